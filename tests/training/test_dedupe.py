"""Near duplicates are found by MinHash, and only what the shingles confirm."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from training.dedupe import Finder, drop_near_duplicates, jaccard
from training.fold import fold, shingles

LONG = "please find the contract about the harbour that we signed with the mayor in the spring"


def test_the_first_of_two_like_texts_stays() -> None:
    """A word more is the same text; another text is not."""
    texts = [LONG, f"{LONG} now", "why is the sky blue"]

    assert drop_near_duplicates(texts, ["A"] * 3, 0.8) == {1: 0}


def test_texts_of_two_labels_are_not_compared() -> None:
    """What differs in its label is a conflict, for a person to see."""
    assert drop_near_duplicates([LONG, LONG], ["A", "B"], 0.8) == {}


def test_a_likely_twin_below_the_threshold_stays() -> None:
    """The index offers it, the shingles say no: 0.85 is not 0.9."""
    other = LONG.replace("spring", "autumn")

    assert 0.7 < jaccard(shingles(LONG), shingles(other)) < 0.9
    assert drop_near_duplicates([LONG, other], ["A", "A"], 0.9) == {}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab c", min_size=1, max_size=12), min_size=1, max_size=8))
def test_nothing_is_dropped_that_the_shingles_do_not_confirm(texts: list[str]) -> None:
    """Whatever the estimate says, the exact index decides."""
    for position, kept in drop_near_duplicates(texts, [None] * len(texts), 0.7).items():
        assert kept < position
        assert jaccard(shingles(texts[kept]), shingles(texts[position])) >= 0.7


def test_every_exact_copy_is_found() -> None:
    """A thousand texts, each asked for again."""
    texts = [fold(f"request number {n:04} about item {n * 7919 % 10007}") for n in range(300)]
    finder = Finder(0.8)
    for text in texts:
        finder.add(text)

    assert all(finder.find(text) == (n, 1.0) for n, text in enumerate(texts))
