"""Chooses a recipe: measures in order of speed, and takes the first that keeps the answers.

The order is data and the gate is arithmetic, so the choice does not depend on how busy the machine
was; only between a recipe and its fused twin do the times decide.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from export.gate import Gate
from export.measure import Measurement, Workbench
from export.recipes import Recipe
from export.report import Reporter
from export.search import find_fewest
from export.settings import Limits

__all__ = ["Choice", "choose", "refusal"]

MIN_GAIN = 0.2
MIN_TIMED_MS = 5.0  # below it, other programs decide what is faster


@dataclass(frozen=True, slots=True)
class Choice:
    """What was tried, and what was taken."""

    taken: Measurement | None
    """None where nothing keeps the answers."""
    tried: tuple[Measurement, ...]
    """In order, the taken one included."""


def choose(
    bench: Workbench,
    recipes: Sequence[Recipe],
    gate: Gate,
    limits: Limits,
    reporter: Reporter,
    *,
    compare: bool = False,
) -> Choice:
    """Measure until one passes.

    Args:
        bench: Makes and measures.
        recipes: In order of speed; a single one is a demand.
        gate: What must be kept.
        limits: For the search.
        reporter: Shows progress, and what the search may cost before it starts.
        compare: Whether the recipe that passed is also measured without fusions, and taken so if
            it is a fifth faster at both lengths; less than that may be noise.
    """
    tried: list[Measurement] = []
    trial_s = 0.0

    def measure(recipe: Recipe) -> Measurement:
        nonlocal trial_s
        started = time.monotonic()
        found = bench.measure(recipe, reporter)
        trial_s = max(trial_s, time.monotonic() - started)
        return found

    for recipe in recipes:
        if recipe.search:
            with reporter.step("ranking products"):
                groups = bench.observe(recipe).groups(recipe)
            reporter.note(_cost(limits, trial_s))
            tried += find_fewest(recipe, groups, gate, measure, limits)
        else:
            tried.append(measure(recipe))
        if tried and gate.passes(tried[-1].agreement):
            taken = tried[-1]
            if compare:
                tried.append(measure(replace(taken.recipe, fused=False)))
                taken = _faster(taken, tried[-1], gate)
            return Choice(taken, tuple(tried))
    return Choice(None, tuple(tried))


def _cost(limits: Limits, trial_s: float) -> str:
    """What the search may take; by the longest trial so far, if one was made."""
    plural = "s" * (limits.evaluations > 1)
    each = f" of about {trial_s:.0f} s" if trial_s >= 1 else ""
    return (
        f"searching: at most {limits.evaluations} trial{plural}{each}, none begun after "
        f"{limits.minutes:g} minutes (--evaluations, --minutes)"
    )


def _faster(fused: Measurement, plain: Measurement, gate: Gate) -> Measurement:
    pairs = ((plain.short_ms, fused.short_ms), (plain.long_ms, fused.long_ms))
    pays = all(ours < theirs * (1 - MIN_GAIN) for ours, theirs in pairs)
    is_slow_enough = fused.short_ms >= MIN_TIMED_MS
    return plain if pays and is_slow_enough and gate.passes(plain.agreement) else fused


def refusal(recipes: Sequence[Recipe], tried: Sequence[Measurement], gate: Gate) -> str:
    """Why nothing was packed, by the numbers of the best that was tried."""
    best = min(tried, key=lambda found: found.agreement.max_delta)
    advice = (
        "try --recipe auto, which searches for one that keeps the answers"
        if len(recipes) == 1
        else "give --probes with texts of your own, and look at the table"
    )
    return f"{best.recipe.name}: {gate.describe(best.agreement)}; nothing was packed; {advice}"
