"""The verdict of a comparison: what the rows prove, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.compare import compare, decide_verdict
from training.judging import Judged
from training.settings import ShadowSettings

LABELS = ("A", "B")
OPTIONS = ShadowSettings()


def judged(right: Any) -> Judged:
    """Answers that are right where it says so; every one above its threshold."""
    truth = np.arange(len(right)) % 2
    return Judged(
        truth=truth,
        said=np.where(right, truth, 1 - truth),
        answered=np.ones(len(right), np.bool_),
        confidence=np.full(len(right), 0.9),
        outside=np.array([0.1]),
        rejected=np.array([True]),
    )


def verdict(n: int, both: int, only_first: int, only_second: int) -> tuple[str, str]:
    """Of so many rows: both right, one of them, neither."""
    rows = np.arange(n)
    first = rows < both + only_first
    second = (rows < both) | (
        (rows >= both + only_first) & (rows < both + only_first + only_second)
    )
    return decide_verdict(compare(judged(first), judged(second), LABELS, 0), OPTIONS)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((200, 150, 2, 30), "better"),
        ((200, 150, 30, 2), "worse"),
        ((200, 190, 0, 0), "not worse"),
        ((2000, 1900, 8, 10), "not worse"),  # a difference, and smaller than the margin
        ((60, 50, 3, 4), "cannot tell"),
        ((200, 180, 6, 2), "cannot tell"),
    ],
)
def test_the_rows_decide(counts: tuple[int, int, int, int], expected: str) -> None:
    """Chance is not called a difference, and few rows are not called proof."""
    assert verdict(*counts)[0] == expected


def test_where_it_cannot_tell_it_says_how_many_rows_would() -> None:
    """For a difference like the one that was found."""
    assert "you need" in verdict(60, 50, 3, 4)[1]
    assert "more golden rows" in verdict(60, 50, 3, 4)[1]


def test_errors_on_live_texts_outweigh_golden_rows() -> None:
    """A model that fails is worse, however right it is."""
    rows = np.ones(50, np.bool_)
    found = compare(judged(~rows), judged(rows), LABELS, 0)

    assert decide_verdict(found, OPTIONS)[0] == "better"
    live = {"errors": 1, "requests": 9}
    assert decide_verdict(found, OPTIONS, live) == ("worse", "it failed on 1 of 9 live texts")


def test_a_class_that_fell_is_named() -> None:
    """Though the whole gained."""
    rows = np.arange(100)
    found = compare(judged(rows % 2 == 0), judged((rows % 2 == 1) | (rows < 20)), LABELS, 0)

    assert [fall["label"] for fall in found["golden"]["fallen"]] == ["A"]
    assert found["golden"]["fallen"][0]["recall"] == [1.0, 0.2]
