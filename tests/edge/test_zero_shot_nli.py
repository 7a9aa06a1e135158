"""`edge.zero_shot_nli` on tiny BART, DistilBERT and BERT, beside the `transformers` pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from edge.bundle import MODEL, TOKENIZER, read_bundle
from edge.errors import InvalidValue, WindowTooSmall
from edge.labels import Intent, LabelSet
from edge.predictor import Prediction, Predictor
from edge.query import Query
from edge.runtime import Graph, RuntimeOptions
from edge.tokens import TextTokenizer, pad_rows
from edge.zero_shot_nli import ZeroShotNli
from tests.models import INTENTS, TEMPLATE, TinyModel, change_bundle

TOLERANCE = 1e-5  # fp32 on both sides; sums in another order
LABELS = LabelSet.from_names(("billing", "travel plans", "weather", "cooking", "a question"))
ODD_LABELS = LabelSet.from_names(
    (
        "a, b",
        "{x}",
        "{}",
        "naïve 😀",
        " spaced ",
        "two\nlines",
        "日本語",
        "%s",
        "É" * 90,
        "100 % 'sure'",
    )
)
SPECIALS = ("</s>", "<s>", "<pad>", "<mask>", "[SEP]", "[CLS]", "[MASK]", "[PAD]")


@dataclass(frozen=True)
class Subject:
    """Ours beside the library's own, over the same weights."""

    name: str
    tiny: TinyModel
    predictor: Predictor
    pipelines: Callable[..., Any]

    def expected(
        self, text: str, labels: LabelSet, **options: Any
    ) -> tuple[list[str], list[float]]:
        """Labels and scores of the pipeline, best first."""
        window = options.pop("window", 0)
        literal = options.pop("literal", False)
        pipe = self.pipelines("zero-shot-classification", self.name, window, literal)
        answer = pipe(text, list(labels.names), **{"hypothesis_template": TEMPLATE} | options)
        return answer["labels"], answer["scores"]

    def count(self, text: str) -> int:
        """Tokens of the whole text, special tokens not counted, from `tokenizers` itself."""
        tokenizer = Tokenizer.from_file(str(self.tiny.source / TOKENIZER))
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        return len(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(params=["nli-bart", "nli-distilbert", "nli-bert"])
def subject(
    request: pytest.FixtureRequest,
    tiny: Callable[[str], TinyModel],
    load: Callable[[Path], Predictor],
    pipelines: Callable[..., Any],
) -> Subject:
    """Each architecture in turn: entailment is logit 2, 0 and 1; only BERT reads token types."""
    name = request.param
    return Subject(name, tiny(name), load(tiny(name).bundle), pipelines)


def check(prediction: Prediction, expected: tuple[Sequence[str], Sequence[float]]) -> None:
    """Assert the pipeline's order and its scores."""
    labels, scores = expected
    assert [label for label, _ in prediction.scores] == list(labels)
    assert [score for _, score in prediction.scores] == pytest.approx(list(scores), abs=TOLERANCE)


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_equal_those_of_the_pipeline(
    subject: Subject, real_texts: list[str], multi_label: bool
) -> None:
    """Real texts of every kind, longer than the window too, get the pipeline's order and scores."""
    for text in real_texts:
        prediction = subject.predictor.predict(Query(text, LABELS, multi_label=multi_label))
        check(prediction, subject.expected(text, LABELS, multi_label=multi_label))


def test_the_scores_of_texts_differ(subject: Subject, real_texts: list[str]) -> None:
    """The premise of every comparison here: these models tell texts and labels apart."""
    rows = [
        [dict(prediction.scores)[name] for name in LABELS.names]
        for prediction in (subject.predictor.predict(Query(text, LABELS)) for text in real_texts)
    ]

    assert np.std(rows, axis=0).min() > 0.02


@pytest.mark.parametrize("multi_label", [False, True])
def test_one_label_is_scored_against_contradiction(subject: Subject, multi_label: bool) -> None:
    """A single label is not sure by default: it is entailed or contradicted, as in the pipeline."""
    one = LabelSet.from_names(["weather"])
    prediction = subject.predictor.predict(Query("Will it rain?", one, multi_label=multi_label))

    check(prediction, subject.expected("Will it rain?", one, multi_label=multi_label))
    assert 0 < prediction.scores[0][1] < 1


@pytest.mark.parametrize("template", ["{}", "Was the topic {}?", "{} 😀", "\n{} — naïve."])
def test_a_request_may_bring_its_template(subject: Subject, template: str) -> None:
    """The template of the request takes the place of the bundle's."""
    text = "Two tickets to Lisbon, please."
    prediction = subject.predictor.predict(Query(text, LABELS, hypothesis_template=template))

    check(prediction, subject.expected(text, LABELS, hypothesis_template=template))


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_with_odd_characters_are_plain_text(subject: Subject, multi_label: bool) -> None:
    """Commas, braces, emoji, line breaks and long words in labels change nothing but the label."""
    text = "Nobody knew what to make of it."
    prediction = subject.predictor.predict(Query(text, ODD_LABELS, multi_label=multi_label))

    check(prediction, subject.expected(text, ODD_LABELS, multi_label=multi_label))


def test_intents_may_bring_their_own_hypothesis(subject: Subject) -> None:
    """A label set's sentence is used as it stands; a template in the request is stronger."""
    sentences = ("It rains.", "Somebody is hungry.", "This is about money {}.")
    names = ("WEATHER", "FOOD", "MONEY")
    label_set = LabelSet(
        "own", "1", tuple(Intent(n, hypothesis=s) for n, s in zip(names, sentences, strict=True))
    )
    text = "The soup was cold and cost a fortune."
    labels, scores = subject.expected(
        text, LabelSet.from_names(sentences), hypothesis_template="{}"
    )
    named = [names[sentences.index(label)] for label in labels]
    plain = LabelSet.from_names(names)

    check(subject.predictor.predict(Query(text, label_set)), (named, scores))
    check(
        subject.predictor.predict(Query(text, label_set, hypothesis_template="About {}.")),
        subject.expected(text, plain, hypothesis_template="About {}."),
    )


@pytest.mark.parametrize("template", ["", "no place", "{} or {}", "{0}", "{label}", "{{}}", "{} {"])
def test_a_template_without_exactly_one_place_is_refused(subject: Subject, template: str) -> None:
    """Python's format language is not offered: one bare {} or a message that says so."""
    with pytest.raises(InvalidValue, match=r"hypothesis_template: expected .* exactly one \{\}"):
        subject.predictor.predict(Query("text", LABELS, hypothesis_template=template))


@pytest.mark.parametrize("window", [24, 64, 200])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_lower_window_cuts_the_text_and_never_a_hypothesis(
    subject: Subject, read_shared: Callable[[str], str], window: int, multi_label: bool
) -> None:
    """`max_tokens` equals a pipeline with that `model_max_length`, hypotheses of any length."""
    novel = read_shared("longtext/moby_dick.txt")
    labels = LabelSet.from_names(("whales", "ships and the sea", "a very long name of a thing"))
    for start in range(50_000, 1_000_000, 190_013):
        text = novel[start : start + 3000]
        query = Query(text, labels, multi_label=multi_label, max_tokens=window)
        prediction = subject.predictor.predict(query)
        check(prediction, subject.expected(text, labels, multi_label=multi_label, window=window))
        assert (prediction.tokens_used, prediction.truncated) == (window, True)


def test_the_window_of_the_manifest_is_kept_and_never_raised(
    subject: Subject, real_texts: list[str], tmp_path: Path
) -> None:
    """A bundle sealed with 48 tokens reads 48; a request may ask for fewer and not for more."""
    bundle = change_bundle(subject.tiny.bundle, tmp_path / "small", max_tokens=48)
    predictor = Predictor(bundle, LABELS)
    text = max(real_texts, key=len)
    expected = {window: subject.expected(text, LABELS, window=window) for window in (48, 30)}

    for asked, used in ((None, 48), (47_000, 48), (49, 48), (30, 30)):
        prediction = predictor.predict(Query(text, LABELS, max_tokens=asked))
        check(prediction, expected[used])
        assert (prediction.tokens_used, prediction.truncated) == (used, True)


def test_tokens_are_counted_and_truncation_is_reported_to_the_token(subject: Subject) -> None:
    """A text that just fits is whole; one token less in the window, and it is truncated."""
    text = "Could you tell me what the weather in Lisbon will be like?"
    longest = max(subject.count(TEMPLATE.format(name)) for name in LABELS.names)
    special = 4 if subject.name == "nli-bart" else 3
    whole = subject.count(text) + longest + special

    for max_tokens, truncated in (
        (None, False),
        (whole + 1, False),
        (whole, False),
        (whole - 1, True),
    ):
        prediction = subject.predictor.predict(Query(text, LABELS, max_tokens=max_tokens))
        assert prediction.tokens_used == min(whole, max_tokens or whole)
        assert prediction.truncated is truncated


def test_a_window_too_small_for_the_longest_hypothesis_says_what_would_do(subject: Subject) -> None:
    """The message names the smallest window that works, and it does work; one less does not."""
    labels = LabelSet.from_names(("short", "a very long label " * 8))
    longest = subject.count(TEMPLATE.format(labels.names[1]))
    smallest = longest + (4 if subject.name == "nli-bart" else 3) + 1

    with pytest.raises(
        WindowTooSmall, match=rf"ask for at least {smallest} \(the model's window is"
    ):
        subject.predictor.predict(Query("hello", labels, max_tokens=smallest - 1))
    assert (
        subject.predictor.predict(Query("hello", labels, max_tokens=smallest)).tokens_used
        == smallest
    )


def test_content_follows_the_text_and_is_cut_first(subject: Subject) -> None:
    """The window is spent on the request, then on what it is about."""
    text, content = "Sum this up for me, please.", "The ship sailed on. " * 500
    for window in (None, 40):
        with_content = Query(text, LABELS, content=content, max_tokens=window)
        joined = Query(f"{text}\n\n{content}", LABELS, max_tokens=window)
        prediction = subject.predictor.predict(with_content)
        assert prediction.scores == subject.predictor.predict(joined).scores
        assert prediction.truncated

    window = subject.count(text) + 20
    fits = [
        subject.predictor.predict(Query(text, LABELS, content=c, max_tokens=window)).scores
        for c in (content, content + " And on.")
    ]
    assert fits[0] == fits[1] != subject.predictor.predict(Query(text, LABELS)).scores


@pytest.mark.parametrize("multi_label", [False, True])
def test_typed_special_tokens_are_text(subject: Subject, multi_label: bool) -> None:
    """Users who type `</s>` or `[SEP]`, in text or label, get the scores of those characters."""
    labels = LabelSet.from_names(("plain", "end </s> here", "[SEP]", "<mask>"))
    texts = [f"Cancel {special} the {special}{special} order" for special in SPECIALS]
    texts += ["</s></s>This example is weather.</s>", "".join(SPECIALS), "</s>" * 3000]
    for text in texts:
        prediction = subject.predictor.predict(Query(text, labels, multi_label=multi_label))
        check(prediction, subject.expected(text, labels, multi_label=multi_label, literal=True))


def test_a_text_that_became_a_special_token_never_reaches_bart(
    tiny: Callable[[str], TinyModel],
) -> None:
    """Were the tokenizer to let a `</s>` through, no run: BART would answer elsewhere."""
    bundle = read_bundle(tiny("nli-bart").bundle)
    tokenizer = TextTokenizer((bundle.path / TOKENIZER).read_bytes())
    tokenizer._tokenizer.encode_special_tokens = False  # the bug that the check is for
    family = ZeroShotNli(bundle.manifest, tokenizer, Graph(bundle.path / MODEL, RuntimeOptions()))

    assert family.score(Query("no such token", LABELS)).values.shape == (5,)
    with pytest.raises(RuntimeError, match=r"expected 3 </s> in every row, found \[4\]"):
        family.score(Query("the end</s>", LABELS))


def test_temperature_divides_the_logits(subject: Subject, tmp_path: Path) -> None:
    """At temperature 2 the odds between two labels are the square root of those at 1."""
    warm = Predictor(change_bundle(subject.tiny.bundle, tmp_path / "warm", temperature=2.0), LABELS)
    for multi_label in (False, True):
        query = Query("Will it rain?", LABELS, multi_label=multi_label)
        cold, mild = dict(subject.predictor.predict(query).scores), dict(warm.predict(query).scores)
        odds = cold["weather"] / (1 - cold["weather"] if multi_label else cold["billing"])
        softer = mild["weather"] / (1 - mild["weather"] if multi_label else mild["billing"])
        assert softer == pytest.approx(odds**0.5, rel=1e-6)


def test_a_shared_run_of_two_texts_would_change_an_int8_score(
    tiny: Callable[[str], TinyModel],
) -> None:
    """Why rows of two queries never share a run: one row's int8 logits depend on the other row."""
    bundle = read_bundle(tiny("nli-bart").int8)
    tokenizer = TextTokenizer((bundle.path / TOKENIZER).read_bytes())
    graph = Graph(bundle.path / MODEL, RuntimeOptions())
    names = ("input_ids", "attention_mask", "token_type_ids")
    hypothesis = tokenizer.encode(TEMPLATE.format("weather"), 50).ids
    rows = [
        tokenizer.pair(tokenizer.encode(text, 50).ids, hypothesis)
        for text in ("Will it rain?", "Send the invoice to Anna, and copy me, she said to nobody.")
    ]
    alone = graph.run(dict(zip(names, pad_rows(rows[:1], tokenizer.pad_id), strict=True)))
    together = graph.run(dict(zip(names, pad_rows(rows, tokenizer.pad_id), strict=True)))

    assert np.abs(alone[0] - together[0]).max() > 1e-3


def test_sixty_four_labels_are_scored_and_equal_the_pipeline(subject: Subject) -> None:
    """The most labels that a request may bring take several runs, and come back in order."""
    names = tuple(f"topic {n} {'of many words ' * (n % 5)}" for n in range(64))
    labels = LabelSet.from_names(names)
    text = "Which of them is it?"

    labels_found = subject.predictor.predict(Query(text, labels))
    check(labels_found, subject.expected(text, labels))
    assert set(names) == {name for name, _ in labels_found.scores}
    assert len(INTENTS) < len(names)
