"""The starter's build, on a tiny encoder: the order of its steps, its gate, and its bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import CARD, Bundle, Task, read_bundle
from edge.labels import DEFAULT_INTENTS, Intent, LabelSet, read_label_set
from edge.predictor import Predictor
from edge.runtime import RuntimeOptions
from edge.similarity import SimilarityParams
from export import starter
from export.errors import ParityFailed
from export.settings import StarterRecipe, created_utc
from export.starter import build_starter

# Random weights have outliers that int8 holds badly; the real ones are judged by the real recipe.
LENIENT = StarterRecipe(
    name="tiny",
    max_tokens=64,
    min_cosine=0.5,
    max_score_delta=1.0,
    min_label_agreement=0.0,
    threshold=0.99,
)
LABELS = LabelSet(
    name="test",
    version="1",
    intents=(
        Intent("SUMMARIZE", examples=("sum this up", "in short, please")),
        Intent("SEARCH_ONLY", examples=("find the file", "open the folder")),
    ),
    background=("good morning",),
)


@pytest.fixture(scope="module")
def built(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the tiny encoder."""
    return build_starter(encoder, tmp_path_factory.mktemp("built") / "b", LABELS, LENIENT)


def test_bundle_carries_the_recipe(built: Bundle) -> None:
    """Everything the edge must know is in the manifest."""
    manifest = built.manifest

    assert manifest.task is Task.ZERO_SHOT_EMBEDDING
    assert manifest.max_tokens == 64
    assert SimilarityParams.from_manifest(manifest.similarity) == SimilarityParams()
    assert manifest.thresholds == {"SUMMARIZE": 0.99, "SEARCH_ONLY": 0.99}
    assert manifest.threshold == 0
    assert not manifest.quantization.batch_invariant
    assert manifest.source.revision.startswith("sha256:")


def test_bundle_answers_and_its_self_test_does_not_hang_on_the_admins_labels(built: Bundle) -> None:
    """The self-test brings its own labels, so other intents do not fail it."""
    other = LabelSet.from_names(("one", "two"))
    result = Predictor(built, other, RuntimeOptions(threads=1)).self_test()

    assert result.cases >= 16
    assert result.max_score_delta < 1  # every case found its own labels


def test_same_weights_give_the_same_digest(built: Bundle, encoder: Path, tmp_path: Path) -> None:
    """Built again elsewhere, the bundle is the same to the byte."""
    again = build_starter(encoder, tmp_path / "again", LABELS, LENIENT)

    assert again.digest == built.digest


def test_broken_weights_are_refused_and_the_old_bundle_stays(
    built: Bundle, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that lost its weights on the way never reaches `out`."""
    out = tmp_path / "out"
    build_starter(encoder, out, LABELS, LENIENT)
    monkeypatch.setattr(starter, "strip_provenance", _strip_and_break)

    with pytest.raises(ParityFailed, match="nothing was packed"):
        build_starter(encoder, out, LABELS, LENIENT)
    assert read_bundle(out).digest == built.digest


def test_card_tells_source_licence_and_parity(built: Bundle) -> None:
    """A reader of the directory learns what it is without the code."""
    card = (built.path / CARD).read_text()

    for fact in (built.manifest.source.revision, "Apache-2.0", "min_cosine", "intent4"):
        assert fact in card


def test_creation_date_is_fixed_and_can_be_set() -> None:
    """The clock has no part in a bundle's bytes."""
    assert created_utc({}) == "2026-11-22T00:00:00Z"
    assert created_utc({"SOURCE_DATE_EPOCH": "0"}) == "1970-01-01T00:00:00Z"


def test_default_intents_are_a_label_set_with_examples_for_every_label() -> None:
    """What ships with the daemon loads, and has texts enough to score by."""
    labels = read_label_set(DEFAULT_INTENTS)

    assert labels.names == ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
    assert all(len(intent.examples) >= 20 and intent.description for intent in labels.intents)
    assert len(labels.background) >= 20


def test_default_examples_are_each_given_once() -> None:
    """A text under two labels, or twice under one, weighs what it should not."""
    labels = read_label_set(DEFAULT_INTENTS)
    texts = [text for intent in labels.intents for text in intent.examples]
    texts += labels.background

    assert len({text.lower() for text in texts}) == len(texts)


def _strip_and_break(source: Path, out: Path) -> None:
    """Zero one layer's weights, as a failed conversion might."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    factors = {node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"}
    for tensor in model.graph.initializer:
        if tensor.name in factors:
            zeros = np.zeros_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    out.write_bytes(model.SerializeToString())


def test_selftest_lines_are_json_with_their_labels(built: Bundle) -> None:
    """Each case names its labels and has a score for each."""
    for line in (built.path / "selftest.jsonl").read_text().splitlines():
        case = json.loads(line)

        assert set(case) == {"text", "labels", "label", "scores"}
        assert list(case["scores"]) == case["labels"]
        assert case["label"] in case["labels"]
