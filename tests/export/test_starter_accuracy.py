"""The numbers in docs/starter.md, recomputed with the shipped bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundle import STARTER, Bundle, read_bundle
from edge.labels import DEFAULT_INTENTS, read_label_set
from edge.predictor import Predictor
from export.evaluate import evaluate, read_rows
from export.settings import StarterRecipe
from tests.models import SHARED

INTENT4 = SHARED / "intent4"
DOCS = Path(__file__).parents[2] / "docs" / "starter.md"
# int8 rounds differently from CPU to CPU: a handful of close calls out of 191 may turn.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle that is shipped; skips where it was not built."""
    if not STARTER.is_dir():
        pytest.skip("edge/starter is absent: run `make starter`")
    return read_bundle(STARTER)


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> dict[str, object]:
    """What `intentd-export evaluate` prints; skips where the data is absent."""
    if not INTENT4.is_dir():
        pytest.skip("../shared/data/intent4 is absent: its texts are not ours to copy")
    rows, oos = read_rows(INTENT4 / "dev.jsonl"), read_rows(INTENT4 / "oos.jsonl")
    return evaluate(bundle, read_label_set(DEFAULT_INTENTS), rows, oos)


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        ("accuracy, text", 0.838),
        ("accuracy, request where apart", 0.869),
        ("accuracy, request, rows apart only", 0.837),
        ("accuracy, request with content apart", 0.837),
        ("accuracy of the answered, text", 0.916),
        ("turned away, text", 0.975),
    ],
)
def test_documented_number_holds(report: dict[str, object], name: str, documented: float) -> None:
    """The shipped bundle answers as the page says it does, and the page says it."""
    assert report[name] == pytest.approx(documented, abs=TOLERANCE)
    assert f"{documented:.3f}" in DOCS.read_text("utf-8")


def test_manifest_repeats_the_documented_numbers(bundle: Bundle, report: dict[str, object]) -> None:
    """Card and manifest tell what the page tells."""
    found = {metric.name: metric.value for metric in bundle.manifest.metrics}

    assert bundle.manifest.metrics == StarterRecipe().metrics
    assert found["accuracy, request with its passage"] == pytest.approx(
        report["accuracy, text"], abs=TOLERANCE
    )
    assert found["requests of no label turned away"] == pytest.approx(
        report["turned away, text"], abs=TOLERANCE
    )


def test_shipped_bundle_passes_its_self_test(bundle: Bundle) -> None:
    """On this CPU, the int8 graph answers as fp32 did on the workstation."""
    result = Predictor(bundle, read_label_set(DEFAULT_INTENTS)).self_test()

    assert result.cases >= 16
    assert result.passed, result


def test_shipped_bundle_is_what_the_recipe_makes(bundle: Bundle) -> None:
    """A recipe that was changed without `make starter` shows here."""
    recipe = StarterRecipe()
    manifest = bundle.manifest

    assert (manifest.name, manifest.version) == (recipe.name, recipe.version)
    assert manifest.similarity == recipe.similarity
    assert set(manifest.thresholds.values()) == {recipe.threshold}
    assert sum(entry.size for entry in manifest.files.values()) < 25_000_000
