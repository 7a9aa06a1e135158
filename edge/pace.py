"""What a run costs on this machine just now, learnt from the runs; and what fits a budget of time.

Lengths fall into steps, four to an octave. A step's cost is a high quantile of its latest runs, so
that one disturbed run changes nothing; over the steps the costs are made to rise (isotonic
regression). What was never run is guessed from what was, on the dear side: the guess is tried, and
then it is known. It runs nothing itself.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Pace"]

STEPS_PER_OCTAVE = 4
FIRST_STEP = 16
KEPT_RUNS = 16  # a step's latest
QUANTILE = 0.9
FRESH_S = 120.0  # older runs count only where there are no newer ones: the machine was another then
GROWTH = 1.3  # exponent of a longer row's cost: 2.5 times for twice the tokens, as attention grows
NEAR = 1.26  # times the longest row that was run: one step further, where a slope can be trusted
STEEPER = 2.0  # than between the last two steps, since attention bends the curve upwards
FLATTEST = 0.25  # of a straight line through nothing: noise may hide all of a slope
MORE_ROWS, FEWER_ROWS = 1.2, 0.8  # exponents of the guess for another number of rows
HEADROOM = 0.9  # of a budget; the rest is for what differs from run to run
BESIDE_MS = 1.0  # HTTP, JSON and the hand-over, which no run knows of

Curve = list[tuple[int, float]]


@dataclass(slots=True)
class _Step:
    """The latest runs of one length, in (seconds on the clock, milliseconds)."""

    runs: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=KEPT_RUNS))

    def cost(self, since: float) -> tuple[float, int] | None:
        """A high quantile of the runs since then, and how many there are."""
        found = sorted(ms for when, ms in self.runs if when >= since)
        if not found:
            return None
        return found[math.ceil(QUANTILE * len(found)) - 1 - (len(found) == KEPT_RUNS)], len(found)


class Pace:
    """One model on one machine. Any thread may call."""

    def __init__(self, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Knows nothing yet.

        Args:
            window: The model's, in tokens.
            clock: Seconds.
        """
        self._steps = _steps_up_to(window)
        self._clock = clock
        self._guard = threading.Lock()
        self._known: dict[int, dict[int, _Step]] = {}

    def add(self, rows: int, tokens: int, ms: float) -> None:
        """Learn from one run: so many rows, the longest of so many tokens, took so long."""
        if not 0 < ms < math.inf or tokens < 1:
            return
        step = self._steps[min(bisect_left(self._steps, tokens), len(self._steps) - 1)]
        scaled = ms * max(1.0, step / max(tokens, step / 2, FIRST_STEP))
        with self._guard:
            steps = self._known.setdefault(rows, {})
            steps.setdefault(step, _Step()).runs.append((self._clock(), scaled))

    def window_for(self, rows: int, budget_ms: float, floor: int) -> int:
        """The longest row that fits in the budget, in tokens.

        Never less than `floor`, whatever that costs; nor more than the model's window.
        """
        most = self._steps[-1]
        room_ms = HEADROOM * budget_ms - BESIDE_MS
        fitting = [s for s in self._steps if (self.cost_ms(rows, s) or math.inf) <= room_ms]
        return min(most, max([floor, *fitting]))

    def cost_ms(self, rows: int, tokens: int) -> float | None:
        """What such a run is expected to take at most, nine times in ten; None without any run."""
        with self._guard:
            if not self._known:
                return None
            nearest = min(self._known, key=lambda known: abs(math.log(known / rows)))
            curve = self._curve(self._known[nearest])
        ratio = rows / nearest
        exponent = MORE_ROWS if ratio > 1 else FEWER_ROWS
        return _read(curve, tokens) * math.pow(ratio, exponent)

    def _curve(self, steps: dict[int, _Step]) -> Curve:
        """Step and cost, both rising; of fresh runs, else of all."""
        found = _costs(steps, self._clock() - FRESH_S) or _costs(steps, -math.inf)
        return _rising(found)


def _steps_up_to(window: int) -> list[int]:
    steps = {window}
    octave = FIRST_STEP
    while octave < window:
        steps |= {octave + octave * part // STEPS_PER_OCTAVE for part in range(STEPS_PER_OCTAVE)}
        octave *= 2
    return sorted(step for step in steps if step <= window)


def _costs(steps: dict[int, _Step], since: float) -> list[tuple[int, float, int]]:
    """Step, cost and the number of runs that it rests on."""
    found = ((step, steps[step].cost(since)) for step in sorted(steps))
    return [(step, *cost) for step, cost in found if cost is not None]


def _rising(costs: Iterable[tuple[int, float, int]]) -> Curve:
    """The rising curve nearest to the costs. Source: pool adjacent violators, Ayer et al. 1955."""
    pools: list[tuple[list[int], float, int]] = []
    for step, cost, weight in costs:
        pools.append(([step], cost, weight))
        while len(pools) > 1 and pools[-2][1] > pools[-1][1]:
            (left, low, a), (right, high, b) = pools[-2:]
            pools[-2:] = [(left + right, (low * a + high * b) / (a + b), a + b)]
    return [(step, cost) for steps, cost, _ in pools for step in steps]


def _read(curve: Sequence[tuple[int, float]], tokens: int) -> float:
    """The cost at a length: measured, between two measured ones, or guessed beyond the last."""
    if tokens <= curve[0][0]:
        return curve[0][1]
    if tokens >= curve[-1][0]:
        return _guess(curve, tokens)
    at = next(i for i, (step, _) in enumerate(curve) if step >= tokens)
    (low, below), (high, above) = curve[at - 1], curve[at]
    return below + (above - below) * (tokens - low) / (high - low)


def _guess(curve: Sequence[tuple[int, float]], tokens: int) -> float:
    """The cost beyond the longest row that was run; one step beyond, its slope is gone by."""
    last, cost = curve[-1]
    far = cost * math.pow(tokens / last, GROWTH)
    if tokens > NEAR * last or len(curve) == 1:
        return far
    before, less = curve[-2]
    slope = max(STEEPER * (cost - less) / (last - before), FLATTEST * cost / last)
    return min(far, cost + slope * (tokens - last))
