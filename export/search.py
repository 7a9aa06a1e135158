"""Finds the products that int8 holds badly: as few as possible stay in fp32.

Products are ranked by how far int8 moves their own output on real texts, then the worst are left in
fp32: 1, 2, 4 … groups until the gate opens, then fewer again. Each trial is a whole measurement, so
the number of trials and the time are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from export.gate import Gate
from export.graph import Product
from export.measure import Measurement
from export.recipes import Recipe
from export.settings import Limits

__all__ = ["Groups", "find_fewest"]

Groups = Sequence[tuple[float, tuple[Product, ...]]]
"""Error and products, the worst group first."""

MAX_FP32_SHARE = 0.5
"""Share of the weights in fp32 beyond which other recipes are smaller and no slower."""


def find_fewest(
    recipe: Recipe,
    groups: Groups,
    gate: Gate,
    measure: Callable[[Recipe], Measurement],
    limits: Limits,
) -> list[Measurement]:
    """Every trial, in order; the last one passes the gate, or none does.

    Args:
        recipe: An int8 recipe without exclusions.
        groups: Ranked; a group stays in fp32 or becomes int8 as a whole.
        gate: What must be kept.
        measure: Makes and measures a candidate; remembers what it measured.
        limits: When to stop; at least one trial is made.
    """
    deadline = time.monotonic() + limits.minutes * 60
    trials: list[Measurement] = []

    def passes(count: int) -> bool:
        trials.append(measure(_leave_out(recipe, groups, count)))
        return gate.passes(trials[-1].agreement)

    def may_go_on() -> bool:
        return len(trials) < limits.evaluations and time.monotonic() < deadline

    most = _most(groups)
    failed, passing, count = 0, None, min(1, most)
    while count and passing is None and (not trials or may_go_on()):
        if passes(count):
            passing = count
        else:
            failed, count = count, min(2 * count, most) if count < most else 0
    best = trials[-1] if passing is not None else None
    while passing is not None and passing - failed > 1 and may_go_on():
        middle = (failed + passing) // 2
        if passes(middle):
            passing, best = middle, trials[-1]
        else:
            failed = middle
    return trials if best is None else [t for t in trials if t is not best] + [best]


def _most(groups: Groups) -> int:
    """How many groups may stay in fp32."""
    sizes = [sum(product.size for product in group) for _, group in groups]
    room, count = sum(sizes) * MAX_FP32_SHARE, 0
    for size in sizes:
        room -= size
        if room < 0:
            break
        count += 1
    return count


def _leave_out(recipe: Recipe, groups: Groups, count: int) -> Recipe:
    names = [product.name for _, group in groups[:count] for product in group]
    return replace(recipe, excluded=tuple(names))
