"""`edge.window`: which bound holds, and that a budget never asks for less than can be answered."""

from __future__ import annotations

import pytest

from edge.labels import LabelSet
from edge.pace import Pace
from edge.query import Query, Shape
from edge.window import MIN_TEXT_TOKENS, Window, fit_window
from edge.wire import WindowReason

OWN = 512
QUERY = Query("text", LabelSet.from_names(["a", "b"]))
SHAPE = Shape(rows=2, overhead=20)


def make_pace(ms_a_token: float) -> Pace:
    """A machine that was seen to take so long."""
    pace = Pace(OWN)
    for tokens in (16, 32, 64, 128, 256, 512):
        pace.add(SHAPE.rows, tokens, tokens * ms_a_token)
    return pace


@pytest.mark.parametrize(
    ("asked", "budget_ms", "ms_a_token", "tokens", "reason"),
    [
        (None, None, 1.0, OWN, WindowReason.MODEL),
        (9999, None, 1.0, OWN, WindowReason.MODEL),
        (100, None, 1.0, 100, WindowReason.MAX_TOKENS),
        (None, 10_000, 1.0, OWN, WindowReason.MODEL),
        (None, 150, 1.0, 128, WindowReason.LATENCY_BUDGET),
        (100, 150, 1.0, 100, WindowReason.MAX_TOKENS),
        (200, 150, 1.0, 128, WindowReason.LATENCY_BUDGET),
        (None, 1, 50.0, SHAPE.overhead + MIN_TEXT_TOKENS, WindowReason.LATENCY_BUDGET),
        (10, 1, 50.0, 10, WindowReason.MAX_TOKENS),
    ],
)
def test_the_smallest_bound_holds_and_is_named(
    asked: int | None, budget_ms: int | None, ms_a_token: float, tokens: int, reason: WindowReason
) -> None:
    """The bundle's, the request's, or the budget's, which leaves something to read."""
    query = Query(QUERY.text, QUERY.label_set, max_tokens=asked)
    pace = make_pace(ms_a_token)
    fitted, window = fit_window(query, OWN, budget_ms, pace, lambda _: SHAPE)

    assert window == Window(tokens, reason)
    assert fitted.max_tokens == (tokens if reason is WindowReason.LATENCY_BUDGET else asked)


def test_a_small_window_is_never_raised() -> None:
    """Where the bundle holds less than the least that a budget leaves."""
    _, window = fit_window(QUERY, 24, 1, Pace(24), lambda _: SHAPE)

    assert window == Window(24, WindowReason.MODEL)


def test_without_a_budget_nobody_is_asked_for_the_shape() -> None:
    """It may cost something, and may fail."""

    def refuse(_: Query) -> Shape:
        raise AssertionError("asked")

    assert fit_window(QUERY, OWN, None, Pace(OWN), refuse)[0] is QUERY
