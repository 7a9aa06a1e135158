"""`edge.probation`: what is counted, and what it decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.predictor import Prediction
from edge.probation import Policy, Tally, decide, is_finite
from edge.wire import Reason

POLICY = Policy(wanted=10, min_agreement=0.8, max_slowdown=2.0)


def tally(
    agreeing: int = 10, differing: int = 0, old_ms: float = 1.0, new_ms: float = 1.0
) -> Tally:
    """So many compared texts."""
    found = Tally(10)
    for number in range(agreeing + differing):
        found.add(number < agreeing, new_ms, old_ms)
    return found


def test_nothing_is_decided_before_enough_was_seen() -> None:
    """Unless no more will come."""
    assert decide(tally(9), POLICY) is None
    assert decide(tally(9), POLICY, is_complete=True) == (
        True,
        "100% of 9 texts with the old model's label, no error",
    )


def test_first_failure_decides_at_once() -> None:
    """Whatever else was right."""
    found = tally(1)
    found.fail()
    assert decide(found, POLICY) == (False, "it failed on 1 of 2 texts")


@pytest.mark.parametrize(("differing", "keeps"), [(2, True), (3, False)])
def test_agreement_is_judged_at_its_limit(differing: int, keeps: bool) -> None:
    """Eight of ten pass, seven do not."""
    decided = decide(tally(10 - differing, differing), POLICY)
    assert decided is not None
    assert decided[0] is keeps


@pytest.mark.parametrize(("new_ms", "keeps"), [(2.0, True), (2.1, False)])
def test_slowdown_is_judged_at_its_limit(new_ms: float, keeps: bool) -> None:
    """Between bundles of one task; between two tasks it is not."""
    decided = decide(tally(new_ms=new_ms), POLICY)
    assert decided is not None
    assert decided[0] is keeps
    other_task = decide(tally(new_ms=new_ms), replace(POLICY, max_slowdown=None))
    assert other_task is not None
    assert other_task[0]


@pytest.mark.parametrize(("texts", "keeps"), [(19, True), (20, True), (40, False)])
def test_one_busy_moment_of_the_machine_decides_nothing(texts: int, keeps: bool) -> None:
    """Of few texts the median counts; of more, one in twenty may be slow, and no more."""
    found = tally(texts - (slow := texts // 10))
    for _ in range(slow if texts > 20 else 1):
        found.add(True, 50.0, 1.0)
    decided = decide(found, POLICY)
    assert decided is not None
    assert decided[0] is keeps
    assert keeps or "expected a p95 of at most 2 times" in decided[1]


def test_text_that_the_candidate_must_refuse_counts_as_disagreement() -> None:
    """A client would get 422 where it got an answer."""
    found = tally(7)
    for _ in range(3):
        found.refuse()
    assert found.agreement == 0.7
    decided = decide(found, POLICY)
    assert decided is not None
    assert not decided[0]


def test_unknown_answers_of_the_old_model_are_not_compared() -> None:
    """Then only failures and time count."""
    found = Tally(10)
    for _ in range(10):
        found.add(None, 1.0)
    assert found.agreement is None
    assert decide(found, POLICY) == (True, "10 texts without an error")


def test_report_tells_all_of_it() -> None:
    """Percentiles by nearest rank; the daemon's memory with it."""
    found = Tally(4)
    for number in range(1, 101):
        found.add(number > 10, float(number), 1.0)
    report = found.report()
    assert (report.requests, report.wanted, report.agreement) == (100, 4, 0.9)
    assert (report.disagreements, report.new_p50_ms, report.new_p95_ms) == (10, 50.0, 95.0)
    assert report.old_p95_ms == 1.0
    assert report.rss_bytes > 1 << 20


def test_scores_that_are_no_numbers_are_seen() -> None:
    """NaN and infinity alike, at any place."""
    sound = Prediction(
        "A", ("A",), "A", Reason.ABOVE_THRESHOLD, (("A", 1.0), ("B", 0.0)), 3, False, 1.0, 1.0
    )
    assert is_finite(sound)
    for bad in (float("nan"), float("inf")):
        assert not is_finite(replace(sound, scores=(("A", 1.0), ("B", bad))))
