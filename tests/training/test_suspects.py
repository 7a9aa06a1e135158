"""Wrong labels are found among right ones, by models that have not seen the row."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results.guards import plant_noise
from tests.training.samples import real_rows, row
from training.datasets import read_clinc150
from training.embed import embed_texts
from training.suspects import find_suspects

INTENTS = 10


def test_planted_wrong_labels_are_found(clinc150: Path) -> None:
    """20 % wrong labels in CLINC150: at least 70 % are found, at 60 % precision or more.

    On 10 of its intents, for time; docs/results.md has the numbers of all 150.
    """
    rows = list(read_clinc150(clinc150, "train", oos=False))
    names = sorted({r.label or "" for r in rows})[:: 150 // INTENTS][:INTENTS]
    rows = [r for r in rows if r.label in names]
    noisy, wrong = plant_noise(rows)
    found = {s["id"] for s in find_suspects(noisy, embed_texts([r.text for r in rows]), 5, 0)}
    hits = len(found & wrong)
    assert hits >= 0.7 * len(wrong)
    assert hits >= 0.6 * len(found)


def test_a_suspect_says_what_seems_right() -> None:
    """Score, suggestion and origin are what a person needs to decide."""
    rows = real_rows()
    odd = row("odd", "why do canals matter?", "SEARCH_ONLY")
    found = find_suspects([*rows, odd], embed_texts([r.text for r in [*rows, odd]]), 3, 0)

    assert (found[0]["id"], found[0]["suggested"]) == ("odd", "REASON")


def test_a_class_of_one_row_hides_no_suspect() -> None:
    """It cannot be judged itself; all others still are."""
    odd = row("odd", "why do canals matter?", "SEARCH_ONLY")
    rows = [*real_rows(), odd, row("oos", "sing me a song", None)]
    found = find_suspects(rows, embed_texts([r.text for r in rows]), 3, 0)

    assert found[0]["id"] == "odd"
    assert "oos" not in {one["id"] for one in found}


def test_too_little_to_judge_gives_no_suspects() -> None:
    """One label, or a class of one row: nobody is accused."""
    rows = [row(str(n), f"why is {n} odd?") for n in range(5)]
    vectors = embed_texts([r.text for r in rows])

    assert find_suspects(rows, vectors, 5, 0) == []
    assert find_suspects([*rows[:4], row("x", "open it", "SEARCH_ONLY")], vectors, 5, 0) == []
