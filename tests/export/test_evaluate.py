"""Scoring a bundle on labelled rows, and the held-out estimates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export.crossval import THRESHOLDS, choose_threshold, fold_of
from export.errors import SourceInvalid
from export.evaluate import LabelledRow, Outcome, read_rows


def outcome(*rows: tuple[bool, float]) -> Outcome:
    """An outcome of (correct, best score) pairs."""
    correct, best = zip(*rows, strict=True)
    return Outcome(np.array(correct), np.array(best), np.ones(len(rows), dtype=bool))


def test_content_is_the_text_without_the_request() -> None:
    """What a caller would send apart; None where the two cannot be told apart."""
    row = LabelledRow("Sum it up.\n\nThe mill burned.", "SUMMARIZE", request="Sum it up.")

    assert row.content == "The mill burned."
    assert LabelledRow("Sum it up.", "SUMMARIZE").content is None
    assert LabelledRow("Sum it up.", "SUMMARIZE", request="Sum it up.").content is None


def test_rows_are_read_with_what_they_hold(tmp_path: Path) -> None:
    """An empty request is none."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "X", "request": "", "source": "s"}) + "\n")

    assert read_rows(path) == [LabelledRow("a", "X", None, "s")]


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "a"}', "3"])
def test_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    """The message tells the file and the line."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "a", "label": "X"}}\n{line}\n')

    with pytest.raises(SourceInvalid, match=r"rows\.jsonl:2"):
        read_rows(path)


def test_folds_hold_each_source_and_label_in_turn() -> None:
    """Every fold is a small picture of the whole."""
    rows = [LabelledRow("t", label, source=source) for label in "AB" for source in "xy"] * 10
    folds = fold_of(rows)

    for key in {(row.source, row.label) for row in rows}:
        own = folds[[(row.source, row.label) == key for row in rows]]

        assert sorted(own) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_threshold_is_the_lowest_that_keeps_both_promises() -> None:
    """Half of the strangers away, and five points gained; one without the other is not enough."""
    inside = outcome(*[(True, 0.8)] * 8, *[(False, 0.5)] * 2)

    assert choose_threshold(inside, np.array([0.4, 0.4])) == pytest.approx(0.51)
    assert choose_threshold(inside, np.array([0.6, 0.6])) == pytest.approx(0.61)


def test_threshold_that_cannot_be_found_is_the_highest() -> None:
    """Rather silent than wrong."""
    assert choose_threshold(outcome((True, 0.2)), np.array([0.1])) == THRESHOLDS[-1]
