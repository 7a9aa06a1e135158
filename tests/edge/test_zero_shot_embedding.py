"""`edge.zero_shot_embedding` on a tiny BERT sentence encoder, beside PyTorch's own vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundle import MODEL, TOKENIZER, read_bundle
from edge.errors import InvalidValue, WindowTooSmall
from edge.labels import Intent, LabelSet
from edge.predictor import Predictor
from edge.query import Query
from edge.runtime import Graph, RuntimeOptions
from edge.similarity import LabelBank, SimilarityParams, segments
from edge.tokens import TextTokenizer
from edge.zero_shot_embedding import ZeroShotEmbedding
from tests.models import INTENTS, TinyModel, change_bundle, mean_pooled

TOLERANCE = 1e-5  # fp32 on both sides; sums in another order
LABELS = LabelSet.from_names(INTENTS)
RICH = LabelSet(
    name="rich",
    version="1",
    intents=(
        Intent("SUM", description="asks for a summary", examples=("sum it up", "in short, please")),
        Intent("FIND", examples=("find the whale", "where is the ship?", "look for papers")),
        Intent("BARE"),
    ),
    background=("hello there", "switch on the light"),
)


@pytest.fixture
def predictor(tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]) -> Predictor:
    """The fp32 bundle."""
    return load(tiny("encoder").bundle)


@pytest.fixture(scope="session")
def embed(tiny: Callable[[str], TinyModel]) -> Callable[[str], np.ndarray]:
    """PyTorch's sentence vector, with the mean and the norm outside any graph."""
    from transformers import AutoModel, AutoTokenizer

    source = tiny("encoder").source
    model: Any = AutoModel.from_pretrained(source, add_pooling_layer=False)
    tokenizer = AutoTokenizer.from_pretrained(source)
    return lambda text: mean_pooled(model, tokenizer, text)


class CountingGraph(Graph):
    """A graph that counts the rows it is given."""

    rows = 0

    def run(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """As `Graph.run`."""
        self.rows += len(rows["input_ids"])
        return super().run(rows)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    "labels", [LABELS, RICH, LabelSet.from_names(["one"])], ids=lambda s: s.name
)
def test_scores_equal_those_of_pytorch_vectors(
    predictor: Predictor,
    embed: Callable[[str], np.ndarray],
    real_texts: list[str],
    labels: LabelSet,
    multi_label: bool,
) -> None:
    """Tokenizer, graph, pooling, norm and padding give the vectors that PyTorch gives alone."""
    bank = LabelBank.build(labels, embed, SimilarityParams())
    for text in real_texts:
        vectors = np.stack([embed(part) for part in segments(text)])
        expected = dict(
            zip(labels.names, bank.score(vectors, multi_label=multi_label), strict=True)
        )
        prediction = predictor.predict(Query(text, labels, multi_label=multi_label))
        assert dict(prediction.scores) == pytest.approx(expected, abs=TOLERANCE)


def test_a_label_set_is_embedded_once(tiny: Callable[[str], TinyModel]) -> None:
    """Texts pay for their own segments only, once the label set was prepared."""
    bundle = read_bundle(tiny("encoder").bundle)
    graph = CountingGraph(bundle.path / MODEL, RuntimeOptions())
    tokenizer = TextTokenizer((bundle.path / TOKENIZER).read_bytes())
    family = ZeroShotEmbedding(bundle.manifest, tokenizer, graph)

    family.prepare(RICH)
    assert graph.rows == 9  # six texts of two labels, one name, two of the background
    family.score(Query("find the whale", RICH))
    assert graph.rows == 9 + len(segments("find the whale"))


def test_content_is_not_read(predictor: Predictor) -> None:
    """What a request is about does not tell what is asked."""
    plain = predictor.predict(Query("sum this up", LABELS))
    with_content = predictor.predict(Query("sum this up", LABELS, content="find the whale " * 900))

    assert with_content.scores == plain.scores


def test_a_hypothesis_template_is_refused(predictor: Predictor) -> None:
    """A field that would be ignored is an error, even one that is empty."""
    for template in ("This is {}.", ""):
        with pytest.raises(
            InvalidValue, match="hypothesis_template: this bundle compares meanings"
        ):
            predictor.predict(Query("hello", LABELS, hypothesis_template=template))


def test_the_window_holds_for_requests_and_for_bundles(
    tiny: Callable[[str], TinyModel], predictor: Predictor, tmp_path: Path
) -> None:
    """`max_tokens` lowers what is read of a segment, never raises it; too few are refused."""
    text = "find the name of the whale"
    small = Predictor(change_bundle(tiny("encoder").bundle, tmp_path / "b", max_tokens=8), LABELS)
    for asked, used, truncated in ((None, 8, False), (500, 8, False), (7, 7, True), (3, 3, True)):
        for who in (predictor, small):
            prediction = who.predict(Query(text, LABELS, max_tokens=asked))
            assert (prediction.tokens_used, prediction.truncated) == (used, truncated)
    longer = small.predict(Query(text + " and of its captain", LABELS, max_tokens=500))
    assert (longer.tokens_used, longer.truncated) == (8, True)
    with pytest.raises(WindowTooSmall, match="ask for at least 3"):
        predictor.predict(Query(text, LABELS, max_tokens=2))


def test_a_text_read_in_part_counts_as_truncated(predictor: Predictor) -> None:
    """Whoever gets an answer from head and tail is told so."""
    short, long = "find the whale", "find the whale. " * 100

    assert not predictor.predict(Query(short, LABELS)).truncated
    assert predictor.predict(Query(long, LABELS)).truncated


def test_typed_special_tokens_are_text(
    tiny: Callable[[str], TinyModel], predictor: Predictor
) -> None:
    """`[SEP]` and its like are embedded as their characters."""
    from transformers import AutoModel, AutoTokenizer

    source = tiny("encoder").source
    model = AutoModel.from_pretrained(source, add_pooling_layer=False)
    as_text = AutoTokenizer.from_pretrained(source, split_special_tokens=True)
    bank = LabelBank.build(LABELS, lambda t: mean_pooled(model, as_text, t), SimilarityParams())
    for text in ("stop [SEP] go", "[CLS][SEP][PAD][MASK]", "</s> <mask> [UNK]"):
        vectors = np.stack([mean_pooled(model, as_text, part) for part in segments(text)])
        expected = dict(zip(LABELS.names, bank.score(vectors), strict=True))
        found = dict(predictor.predict(Query(text, LABELS)).scores)
        assert found == pytest.approx(expected, abs=TOLERANCE)
