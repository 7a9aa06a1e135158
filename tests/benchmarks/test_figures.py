"""Medians, ratios and verdicts: numbers in, numbers out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Finding, Lap, Reach, Spread, Verdict, compare, percentile

TIMES = st.lists(st.floats(0.01, 1e6), min_size=1)


def lap(*times_ms: float) -> Lap:
    """One that took as long as its calls together."""
    return Lap(times_ms, sum(times_ms) / 1e3, 1.0)


@given(TIMES, st.floats(0, 1))
def test_a_percentile_is_a_value_that_was_measured(times: list[float], share: float) -> None:
    """And as many lie below it as it says."""
    found = percentile(times, share)

    assert found in times
    assert sum(time <= found for time in times) >= math.floor(share * len(times))


def test_the_99th_of_a_hundred_is_the_slowest() -> None:
    """A single slow answer among a hundred shows."""
    assert percentile([*[1.0] * 99, 50.0], 0.99) == 50.0
    assert percentile([*[1.0] * 990, *[50.0] * 9, 2.0], 0.99) < 50.1


def test_a_ratio_is_taken_round_by_round() -> None:
    """A slow minute of the machine weighs on both sides, and leaves the ratio."""
    ours, others = [lap(1.0), lap(10.0), lap(1.0)], [lap(2.0), lap(20.0), lap(2.0)]

    spread = compare(ours, others, lambda mine, other: other.p50 / mine.p50)

    assert spread == Spread(2.0, 2.0, 2.0)


def test_rounds_of_different_number_are_not_compared() -> None:
    """A side that lost a round has no ratio."""
    with pytest.raises(ValueError, match="argument"):
        compare([lap(1.0)], [lap(1.0), lap(1.0)], lambda mine, other: 1.0)


def test_a_lap_knows_its_rate_and_tail() -> None:
    """Answers a second over the wall clock, and the nearest rank."""
    measured = Lap((1.0, 2.0, 9.0), 0.5, 1.0)

    assert (measured.p50, measured.p99, measured.rate) == (2.0, 9.0, 6.0)


@pytest.mark.parametrize(
    ("reach", "value", "full", "quick"),
    [
        (Reach(4.5, quick=0.8), 4.5, Verdict.MET, Verdict.MET),
        (Reach(4.5, quick=0.8), 1.0, Verdict.MISSED, Verdict.MET),
        (Reach(4.5, quick=0.8), 0.7, Verdict.MISSED, Verdict.MISSED),
        (Reach(1.0, at_least=False), 2.0, Verdict.MISSED, Verdict.NONE),
        (Reach(1.0, at_least=False, quick=3.0), 2.0, Verdict.MISSED, Verdict.MET),
        (Reach(1.0, at_least=False, quick=3.0), math.nan, Verdict.MISSED, Verdict.MISSED),
    ],
)
def test_a_reach_is_met_on_its_own_side(
    reach: Reach, value: float, full: Verdict, quick: Verdict
) -> None:
    """By its bound in a full run; by the generous one, or not at all, in a quick one."""
    assert (reach.judge(value), reach.judge(value, is_quick=True)) == (full, quick)


def test_a_finding_is_judged_by_its_median() -> None:
    """One lucky round meets nothing; and without a reach there is no verdict."""
    spread = Spread.of([0.5, 0.6, 9.0])

    assert Finding("", "", "", spread, "×", Reach(1.0)).verdict() is Verdict.MISSED
    assert Finding("", "", "", spread, "×").verdict() is Verdict.NONE
