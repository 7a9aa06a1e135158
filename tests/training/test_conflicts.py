"""One text, several words on it: who is heard, and that nothing is decided in silence."""

from __future__ import annotations

from itertools import permutations

from tests.training.samples import row
from training.conflicts import resolve
from training.rows import Origin

LATER = "2026-11-23T10:00:00.000Z"


def test_agreement_leaves_one_row() -> None:
    """Case and punctuation make no other text."""
    found = resolve([row("1", "Why is it so?"), row("2", "why is it so")])

    assert [r.id for r in found.rows] == ["1"]
    assert (found.merged, found.conflicts) == (1, [])


def test_most_voices_win_and_one_person_is_one_voice() -> None:
    """Three rows of one zealous person do not outvote two people."""
    zealous = [row(str(n), "find it", "REASON", source="z", created_utc=LATER) for n in range(3)]
    others = [row(s, "find it", "SEARCH_ONLY", source=s) for s in ("x", "y")]
    found = resolve([*zealous, *others])

    assert [r.label for r in found.rows] == ["SEARCH_ONLY"]
    assert len(found.conflicts[0]["said"]) == 5


def test_a_person_may_change_their_mind_and_order_does_not_matter() -> None:
    """The newest word holds, wherever it stands in the file."""
    rows = [
        row("1", "find it", "REASON"),
        row("2", "find it", "SEARCH_ONLY", created_utc=LATER),
        row("3", "find it", "EXTRACT"),
    ]

    assert {resolve(order).rows[0].label for order in permutations(rows)} == {"SEARCH_ONLY"}


def test_another_content_is_another_text() -> None:
    """The same request about something else may ask something else."""
    found = resolve([row("1", "this?", "REASON", content="a"), row("2", "this?", "EXTRACT")])

    assert len(found.rows) == 2


def test_a_persons_word_stays_before_an_example() -> None:
    """The row that is kept is the one with lineage to a person."""
    seed = row("seed", "find it", origin=Origin.SEED, created_utc=None)

    assert resolve([seed, row("1", "find it")]).rows[0].id == "1"
