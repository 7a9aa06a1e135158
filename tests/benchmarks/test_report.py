"""What a run leaves: JSON that reads back, a table, a plot, and a page with a region of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Finding, Reach, Spread
from benchmarks.report import Record, markdown, merge, read, replace_region, write

FOUND = Finding("short", "2.0 ms", "a peer: 9.0 ms", Spread(4.4, 4.1, 4.9), "×", Reach(4.5))
RECORD = Record("row", (FOUND,), "a CPU, a date", "python -m benchmarks", 0.5, 12.0)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """Every field, with and without a reach."""
    bare = replace(RECORD, name="bare", findings=(replace(FOUND, reach=None),), missing="x")

    write(tmp_path, [RECORD, bare])

    assert read(tmp_path / "results.json") == [RECORD, bare]
    assert (tmp_path / "results.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "results.md").read_text("utf-8") == markdown([RECORD, bare]) + "\n"


def test_a_row_that_is_measured_again_takes_its_old_place(tmp_path: Path) -> None:
    """And the other rows stay; a row that could not be measured replaces nothing."""
    other, newer = replace(RECORD, name="other"), replace(RECORD, load=9.0)
    missing = Record("other", (), "", "", 0, 0, missing="no such file")

    write(tmp_path, [RECORD, other])

    assert write(tmp_path, [newer, missing]) == [newer, other]
    assert merge([], [missing]) == [missing]


def test_the_table_names_machine_figure_reach_and_verdict() -> None:
    """A missed one stands out."""
    table = markdown([RECORD])

    assert "a CPU, a date" in table
    assert "| short | 2.0 ms | a peer: 9.0 ms | 4.40× (4.10–4.90) | ≥ 4.50 | **missed** |" in table


def test_a_quick_run_shows_the_bound_that_it_is_judged_by() -> None:
    """Not the one of a full run."""
    found = replace(FOUND, reach=Reach(4.5, quick=0.8))
    table = markdown([replace(RECORD, findings=(found,), is_quick=True)])

    assert "| ≥ 0.80 | met |" in table


def test_only_the_marked_region_of_a_page_changes() -> None:
    """And again the next time."""
    page = "# A page\n<!-- measured: x -->\nold\n<!-- end -->\nrest\n<!-- end -->\n"

    once = replace_region(page, "x", "new \\1")

    assert once == page.replace("old\n", "\nnew \\1\n\n")
    assert replace_region(once, "x", "old") == page.replace("old\n", "\nold\n\n")


def test_a_page_without_the_region_is_refused() -> None:
    """Nothing is written to a place that was guessed."""
    with pytest.raises(ValueError, match="measured: y"):
        replace_region("# A page\n", "y", "new")


def test_results_are_plain_json(tmp_path: Path) -> None:
    """Other programs read them too."""
    write(tmp_path, [RECORD])

    (row,) = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert row["findings"][0]["figure"] == {"median": 4.4, "low": 4.1, "high": 4.9}
