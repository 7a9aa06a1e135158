"""How much of a text is read: the bundle's window, lowered by the request or a budget of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.pace import Pace
from edge.query import Query, Shape
from edge.wire import WindowReason

__all__ = ["MIN_TEXT_TOKENS", "Window", "fit_window"]

MIN_TEXT_TOKENS = 16
"""What is read of a text whatever the budget: with less, the answer would be a guess."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many tokens of a row can be read, special tokens included, and what set that bound."""

    tokens: int
    reason: WindowReason


def fit_window(
    query: Query, own: int, budget_ms: int | None, pace: Pace, shape_of: Callable[[Query], Shape]
) -> tuple[Query, Window]:
    """The query with its window lowered to the budget, and what its window is.

    Args:
        query: What is asked; its `max_tokens` holds besides.
        own: The bundle's window.
        budget_ms: None means that there is none.
        pace: What runs cost here.
        shape_of: What a query's run looks like.

    Raises:
        InvalidValue: There is a budget, and the query's template has no place for the label.
    """
    asked = own if query.max_tokens is None else min(own, query.max_tokens)
    if budget_ms is not None:
        shape = shape_of(query)
        least = min(own, shape.overhead + MIN_TEXT_TOKENS)
        fitting = pace.window_for(shape.rows, budget_ms, least)
        if fitting < asked:
            window = Window(fitting, WindowReason.LATENCY_BUDGET)
            return replace(query, max_tokens=fitting), window
    return query, Window(asked, WindowReason.MAX_TOKENS if asked < own else WindowReason.MODEL)
