"""`edge.sequence_classification` on tiny DistilBERT models, beside the `transformers` pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import read_bundle
from edge.errors import InvalidValue, UnknownLabel, WindowTooSmall
from edge.labels import LabelSet
from edge.predictor import Prediction, Predictor
from edge.query import Query
from tests.models import INTENTS, TinyModel, change_bundle

TOLERANCE = 1e-5  # fp32 on both sides; sums in another order
LABELS = LabelSet.from_names(INTENTS)
SPAM = LabelSet.from_names(["SPAM"])


@pytest.fixture
def predictor(tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]) -> Predictor:
    """Four labels, softmax."""
    return load(tiny("intents").bundle)


@pytest.fixture
def spam(tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]) -> Predictor:
    """One logit, sigmoid."""
    return load(tiny("spam").bundle)


def check(prediction: Prediction, expected: list[dict[str, Any]]) -> None:
    """Assert the pipeline's order and its scores."""
    assert [label for label, _ in prediction.scores] == [row["label"] for row in expected]
    scores = [score for _, score in prediction.scores]
    assert scores == pytest.approx([row["score"] for row in expected], abs=TOLERANCE)


def test_scores_equal_those_of_the_pipeline(
    predictor: Predictor, pipelines: Callable[..., Any], real_texts: list[str]
) -> None:
    """Real texts get the softmax scores of `top_k=None`, truncation included, best first."""
    pipe = pipelines("text-classification", "intents")
    for text in real_texts:
        check(predictor.predict(Query(text, LABELS)), pipe(text, top_k=None, truncation=True))


def test_the_best_scores_equal_those_of_top_k(
    predictor: Predictor, pipelines: Callable[..., Any], real_texts: list[str]
) -> None:
    """What the pipeline keeps of `top_k=2` is the head of our ranking; its default is our label."""
    pipe = pipelines("text-classification", "intents")
    for text in real_texts[:10]:
        prediction = predictor.predict(Query(text, LABELS))
        top = [row["label"] for row in pipe(text, top_k=2, truncation=True)]
        assert [label for label, _ in prediction.scores[:2]] == top
        assert prediction.label == pipe(text, truncation=True)[0]["label"]


def test_one_logit_is_scored_by_the_sigmoid(
    spam: Predictor, pipelines: Callable[..., Any], real_texts: list[str]
) -> None:
    """A single-logit model gives the pipeline's sigmoid, not a softmax that is always 1."""
    pipe = pipelines("text-classification", "spam")
    found = []
    for text in real_texts:
        prediction = spam.predict(Query(text, SPAM))
        check(prediction, pipe(text, top_k=None, truncation=True))
        found.append(prediction.scores[0][1])

    assert max(found) - min(found) > 0.1


def test_several_logits_with_sigmoid_stand_alone(
    tiny: Callable[[str], TinyModel],
    pipelines: Callable[..., Any],
    real_texts: list[str],
    tmp_path: Path,
) -> None:
    """A multi-label bundle gives `function_to_apply="sigmoid"`, and every label that is reached."""
    changed = change_bundle(
        tiny("intents").bundle, tmp_path / "b", activation="sigmoid", threshold=0.5
    )
    predictor = Predictor(changed, LABELS)
    pipe = pipelines("text-classification", "intents")
    for text in real_texts[:10]:
        prediction = predictor.predict(Query(text, LABELS, multi_label=True))
        expected = pipe(text, top_k=None, function_to_apply="sigmoid", truncation=True)
        check(prediction, expected)
        reached = [row["label"] for row in expected if row["score"] >= 0.5]
        assert list(prediction.labels) == reached


@pytest.mark.parametrize("window", [8, 64, 500])
def test_a_lower_window_equals_the_pipeline(
    predictor: Predictor, pipelines: Callable[..., Any], real_texts: list[str], window: int
) -> None:
    """`max_tokens` equals `truncation=True` with that `model_max_length`, to the token."""
    pipe = pipelines("text-classification", "intents", window)
    text = max(real_texts, key=len)
    prediction = predictor.predict(Query(text, LABELS, max_tokens=window))

    check(prediction, pipe(text, top_k=None, truncation=True))
    assert (prediction.tokens_used, prediction.truncated) == (window, True)


def test_the_window_of_the_manifest_is_kept_and_never_raised(
    tiny: Callable[[str], TinyModel], predictor: Predictor, real_texts: list[str], tmp_path: Path
) -> None:
    """A bundle sealed with 32 tokens reads 32, whatever more a request asks for."""
    small = Predictor(change_bundle(tiny("intents").bundle, tmp_path / "b", max_tokens=32), LABELS)
    text = max(real_texts, key=len)
    expected = predictor.predict(Query(text, LABELS, max_tokens=32)).scores
    for asked in (None, 33, 500):
        prediction = small.predict(Query(text, LABELS, max_tokens=asked))
        assert (prediction.scores, prediction.tokens_used) == (expected, 32)


def test_tokens_are_counted_and_truncation_is_reported_to_the_token(predictor: Predictor) -> None:
    """Six words between two special tokens: eight fit whole, seven do not."""
    text = "find the name of the whale"
    for max_tokens, used, truncated in (
        (None, 8, False),
        (8, 8, False),
        (7, 7, True),
        (3, 3, True),
    ):
        prediction = predictor.predict(Query(text, LABELS, max_tokens=max_tokens))
        assert (prediction.tokens_used, prediction.truncated) == (used, truncated)
    with pytest.raises(WindowTooSmall, match="special tokens take 2; ask for at least 3"):
        predictor.predict(Query(text, LABELS, max_tokens=2))


def test_content_follows_the_text_and_is_cut_first(predictor: Predictor) -> None:
    """The window is spent on the request, then on what it is about."""
    text = "find the name of the whale"
    content = "Call me Ishmael. " * 400

    whole = predictor.predict(Query(text, LABELS, content=content))
    assert whole.scores == predictor.predict(Query(f"{text}\n\n{content}", LABELS)).scores
    assert whole.truncated
    only = predictor.predict(Query(text, LABELS, content=content, max_tokens=8))
    assert only.scores == predictor.predict(Query(text, LABELS)).scores
    assert only.truncated


def test_typed_special_tokens_are_text(predictor: Predictor, pipelines: Callable[..., Any]) -> None:
    """`[SEP]` and its like get the scores of their characters, and not those of the tokens."""
    as_text = pipelines("text-classification", "intents", 0, True)
    as_tokens = pipelines("text-classification", "intents")
    for text in ("stop [SEP] go", "[CLS][SEP][PAD][MASK]", "</s> <mask>", "[SEP]" * 2000):
        check(predictor.predict(Query(text, LABELS)), as_text(text, top_k=None, truncation=True))
    first, second = (pipe("stop [SEP] go", top_k=None) for pipe in (as_text, as_tokens))
    assert first != second


def test_unknown_labels_are_refused_with_the_bundles_own(predictor: Predictor) -> None:
    """The message counts what is unknown, without repeating it, and lists what there is."""
    asked = LabelSet.from_names(["EXTRACT", "secret wish", "another"])

    with pytest.raises(UnknownLabel, match="labels: 2 of them unknown") as caught:
        predictor.predict(Query("hello", asked))
    assert ", ".join(INTENTS) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_subset_of_labels_keeps_the_scores_it_has_among_all(predictor: Predictor) -> None:
    """Asking for two labels hides the others; it does not make these two more likely."""
    every = dict(predictor.predict(Query("sum it up", LABELS)).scores)
    for names in (("REASON", "EXTRACT"), ("SEARCH_ONLY",), INTENTS[::-1]):
        some = dict(predictor.predict(Query("sum it up", LabelSet.from_names(names))).scores)
        assert some == {name: every[name] for name in names}


def test_a_hypothesis_template_is_refused(predictor: Predictor) -> None:
    """A field that would be ignored is an error, even one that is empty."""
    for template in ("This is {}.", ""):
        with pytest.raises(InvalidValue, match="hypothesis_template: this bundle has fixed labels"):
            predictor.predict(Query("hello", LABELS, hypothesis_template=template))


def test_temperature_divides_the_logits(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """At temperature 2 the odds are the square roots of those at 1, for softmax and sigmoid."""
    for name, labels in (("intents", LABELS), ("spam", SPAM)):
        path = tiny(name).bundle
        warm = Predictor(change_bundle(path, tmp_path / name, temperature=2.0), labels)
        cold = Predictor(read_bundle(path), labels)
        query = Query("call me", labels)
        (_, sharp), (_, soft) = cold.predict(query).scores[0], warm.predict(query).scores[0]
        others = sharp / (1 - sharp)
        if name == "spam":
            assert soft / (1 - soft) == pytest.approx(others**0.5, rel=1e-6)
        else:
            assert soft < sharp
