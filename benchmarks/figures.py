"""What is made of times: medians with their spread, ratios, and whether a reach is met.

Pure numbers: nothing here runs or prints anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Figure",
    "Finding",
    "Lap",
    "Reach",
    "Spread",
    "Verdict",
    "added",
    "as_long",
    "compare",
    "faster",
    "lost",
    "more",
    "percentile",
]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is at or below: the nearest rank, never an invented one."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median over rounds, with the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a round."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Lap:
    """One contender's part of one round."""

    times_ms: tuple[float, ...]
    """Of each call."""
    seconds: float
    """Of all of them together."""
    cpu_ms: float
    """CPU time of the contender's processes, a call."""

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return statistics.median(self.times_ms)

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return percentile(self.times_ms, 0.99)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times_ms) / self.seconds


class Verdict(StrEnum):
    """What a reach comes to."""

    MET = "met"
    MISSED = "missed"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a figure is to reach, and what a quick run on a noisy machine must not fall behind."""

    bound: float
    at_least: bool = True
    quick: float | None = None
    """None: a quick run does not judge it."""

    @property
    def sign(self) -> str:
        """How the bound is written."""
        return "≥" if self.at_least else "≤"

    def judge(self, value: float, *, is_quick: bool = False) -> Verdict:
        """Whether it is met; a number that is none never is."""
        bound = self.quick if is_quick else self.bound
        if bound is None:
            return Verdict.NONE
        is_met = value >= bound if self.at_least else value <= bound
        return Verdict.MET if is_met else Verdict.MISSED


Figure = Callable[[Lap, Lap], float]
"""One number of our lap and another's of the same round."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    what: str
    ours: str
    """In words, with unit and spread."""
    against: str
    """Who, and in words."""
    figure: Spread
    unit: str
    """`×`, `ms`, `MB`, …"""
    reach: Reach | None = None

    def verdict(self, *, is_quick: bool = False) -> Verdict:
        """By the median."""
        if self.reach is None:
            return Verdict.NONE
        return self.reach.judge(self.figure.median, is_quick=is_quick)


def compare(ours: Sequence[Lap], others: Sequence[Lap], figure: Figure) -> Spread:
    """The figure of each round, so that a slow minute of the machine weighs on both sides."""
    return Spread.of([figure(mine, other) for mine, other in zip(ours, others, strict=True)])


def faster(ours: Lap, other: Lap) -> float:
    """How many times as long the other takes."""
    return other.p50 / ours.p50


def more(ours: Lap, other: Lap) -> float:
    """How many times as many answers a second."""
    return ours.rate / other.rate


def as_long(ours: Lap, other: Lap) -> float:
    """How many times as long ours takes."""
    return ours.p50 / other.p50


def added(ours: Lap, other: Lap) -> float:
    """Milliseconds that ours takes longer."""
    return ours.p50 - other.p50


def lost(ours: Lap, other: Lap) -> float:
    """Percent of throughput that ours lacks."""
    return 100 * (1 - ours.rate / other.rate)
