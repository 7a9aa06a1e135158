"""What gives the golden set away: the planted rows are found, and little else is."""

from __future__ import annotations

import pytest

from edge.labels import DEFAULT_INTENTS, read_label_set
from tests.training.paraphrases import PAIRS
from tests.training.samples import row
from training.embed import embed_texts
from training.leaks import Leak, Why, find_leaks
from training.rows import Origin, Row
from training.settings import BuildSettings

GOLDEN = [
    row(f"g{n}", text, label, origin=Origin.GOLDEN) for n, (label, text, _) in enumerate(PAIRS)
]


def leaks_of(rows: list[Row]) -> dict[int, Leak]:
    """As the build looks for them."""
    golden, mine = (embed_texts([r.text for r in some]) for some in (GOLDEN, rows))
    options = BuildSettings()
    return find_leaks(rows, GOLDEN, mine, golden, options.leak_jaccard, options.leak_cosine)


def test_exact_rows_and_paraphrases_are_found() -> None:
    """Of 50 planted exact rows all, of 50 paraphrases at least 45, each with its golden row."""
    exact = [row(f"x{n}", f" {text.upper()} !") for n, (_, text, _) in enumerate(PAIRS)]
    reworded = [row(f"p{n}", text) for n, (*_, text) in enumerate(PAIRS)]
    found = leaks_of([*exact, *reworded])

    assert all(found[n].why is Why.EXACT and found[n].golden_id == f"g{n}" for n in range(50))
    right = [n for n in range(50) if 50 + n in found and found[50 + n].golden_id == f"g{n}"]
    assert len(right) >= 45


def test_rows_of_their_own_are_let_through() -> None:
    """The label set's examples ask other things than the golden rows."""
    examples = [e for intent in read_label_set(DEFAULT_INTENTS).intents for e in intent.examples]
    found = leaks_of([row(str(n), text) for n, text in enumerate(examples)])

    assert len(found) <= len(examples) // 100  # two are, in truth, nearly the same request


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"id": "g7"}, Why.LINEAGE), ({"root": "g7"}, Why.LINEAGE)],
)
def test_a_relative_of_a_golden_row_is_found(changes: dict[str, str], why: Why) -> None:
    """Whatever its text has become."""
    child = row("child", "quite another thing").model_copy(update=changes)

    assert leaks_of([child])[0].why is why


def test_another_number_is_no_other_text() -> None:
    """The same template with another slot value asks the same."""
    found = leaks_of([row("t", "Find my tax return from 2023")])

    assert (found[0].why, found[0].golden_text) == (Why.EXACT, "Find my tax return from 2018")
