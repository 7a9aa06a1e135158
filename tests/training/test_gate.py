"""The gate: each number alone can say no, and the rows say what they can prove."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.assess import say_gates
from training.gate import Measured, Thresholds, decide
from training.metrics import ClassScore, Interval
from training.proof import wilson

ASKED = Thresholds(accuracy=0.9, macro_f1=0.88, class_f1=0.7, ece=0.05)


def measured(right: int = 97, n: int = 100) -> Measured:
    """What passes, unless told otherwise."""
    score = ClassScore(0.95, 0.95, 0.95, 50)
    low, high = wilson(right, n)
    return Measured(
        accuracy=Interval(right / n, low, high),
        macro_f1=Interval(0.95, 0.9, 0.98),
        classes=[("A", score), ("B", score)],
        ece=0.03,
        n=n,
    )


def failed(found: Measured) -> list[str]:
    """The gates that said no."""
    return [check.name for check in decide(found, ASKED).checks if not check.passed]


def test_what_reaches_every_gate_passes() -> None:
    """At the gate is through."""
    good = measured()
    assert failed(good) == []
    assert decide(good, ASKED).passed

    at_the_gate = replace(
        good, accuracy=Interval(0.9, 0.8, 0.95), macro_f1=Interval(0.88, 0.8, 0.9), ece=0.05
    )
    assert failed(at_the_gate) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"accuracy": Interval(0.899, 0.8, 0.95)}, "accuracy"),
        ({"macro_f1": Interval(0.879, 0.8, 0.95)}, "macro_f1"),
        ({"ece": 0.051}, "ece"),
        ({"ece": float("nan")}, "ece"),
        ({"macro_f1": Interval(float("nan"), 0, 1)}, "macro_f1"),
    ],
)
def test_each_number_alone_says_no(change: dict[str, object], name: str) -> None:
    """And what is no number is a no."""
    found = replace(measured(), **change)  # type: ignore[arg-type]  # each its own field

    assert failed(found) == [name]
    assert not decide(found, ASKED).passed


def test_a_class_that_no_golden_row_tries_is_below_the_floor() -> None:
    """It is named, and what is missing said; who asks for no floor is not kept."""
    found = measured()
    unseen = replace(found, classes=[*found.classes, ("C", ClassScore(0, 0, 0, 0))])
    assert failed(unseen) == ["class_f1"]
    gates = [check.as_dict() for check in decide(unseen, ASKED).checks]
    assert "expected F1 of the weakest class ≥ 0.7, found 0.000 (no golden row of C)" in say_gates(
        {"gates": gates, "accuracy": found.accuracy.as_dict(), "n": 100, "proven": True}
    )
    assert decide(unseen, replace(ASKED, class_f1=0.0)).passed


def test_the_floor_names_the_classes_below_it() -> None:
    """The weakest first."""
    weak = [("A", ClassScore(1, 0.5, 0.66, 9)), ("B", ClassScore(1, 0.2, 0.33, 9))]
    check = decide(replace(measured(), classes=weak), ASKED).checks[2]

    assert (check.passed, check.found, check.detail) == (False, 0.33, "B 0.330, A 0.660")


@pytest.mark.parametrize(
    ("right", "n", "proven", "more"),
    [
        (97, 100, True, 0),  # the whole interval is above
        (94, 100, False, True),  # above, but it may be luck
        (88, 100, False, True),  # below, but it may be bad luck
        (50, 100, False, 0),  # the whole interval is below
        (90, 100, False, None),  # at the gate itself no number of rows will tell
    ],
)
def test_it_says_how_many_rows_are_missing(
    right: int, n: int, proven: bool, more: int | None
) -> None:
    """And so many rows of that quality do tell."""
    found = decide(measured(right, n), ASKED)

    assert found.proven is proven
    if more is not True:
        assert found.more_rows == more
        return
    assert found.more_rows
    total = n + found.more_rows
    low, high = wilson(right / n * total, total)
    assert low >= 0.9 or high <= 0.9
