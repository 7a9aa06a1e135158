"""What models are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundle import Task
from export.errors import SourceInvalid
from export.probes import Probe, make_probes, read_probes


def test_an_nli_model_is_asked_enough_to_tell_99_percent() -> None:
    """With several label sets, and with labels that stand alone."""
    probes = make_probes(Task.ZERO_SHOT_NLI)

    assert len(probes) >= 100
    assert len({probe.labels for probe in probes}) >= 4
    assert any(probe.multi_label for probe in probes)
    assert all(probe.labels for probe in probes)
    assert sum(probe.is_self_test for probe in probes) >= 32


def test_a_classifier_is_asked_without_labels_and_about_the_callers_texts() -> None:
    """Its labels are its own."""
    own = [Probe("What is my balance?")]
    probes = make_probes(Task.SEQUENCE_CLASSIFICATION, own)

    assert not any(probe.labels for probe in probes)
    assert own[0] in probes
    assert sum(probe.is_self_test for probe in probes) >= 16


def test_rows_are_read_with_or_without_labels(tmp_path: Path) -> None:
    """One JSON object a line."""
    path = tmp_path / "probes.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "labels": ["x", "y"]}\n')

    assert read_probes(path) == [Probe("a"), Probe("b", ("x", "y"))]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"labels": []}',
        "3",
        '{"text": "a", "labels": 3}',
        '{"text": " "}',
        '{"text": "a", "labels": ["x", "x"]}',
    ],
)
def test_line_that_is_no_probe_is_named(tmp_path: Path, line: str) -> None:
    """File and line."""
    path = tmp_path / "probes.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')

    with pytest.raises(SourceInvalid, match=r"probes\.jsonl:2"):
        read_probes(path)
