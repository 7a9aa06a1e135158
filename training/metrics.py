"""What answers are worth, in numbers: accuracy, F1, calibration, telling outsiders. Pure numpy.

Labels are numbers here: positions in the label set. Every interval is two-sided, 95 %.

Sources: Wilson, JASA 22 (1927); percentile bootstrap, Efron & Tibshirani (1993), ch. 13; expected
calibration error with bins of equal mass, Nixon et al. (2019), arXiv 1904.01685; McNemar's exact
and mid-p test, Fagerland et al., BMC Med. Res. Methodol. 13:91 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.proof import Z_95, wilson

__all__ = [
    "Bin",
    "ClassScore",
    "Interval",
    "McNemar",
    "accuracy",
    "auroc",
    "bootstrap",
    "class_scores",
    "confusion",
    "ece",
    "macro_f1",
    "mcnemar",
    "paired_accuracy",
    "paired_macro_f1",
    "reliability",
    "rows_for_mcnemar",
    "say_p",
]

Numbers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

RESAMPLES = 1000
BINS = 10
POWER_80 = 0.841621
"""Quantile of the normal distribution: the share of cases in which a real difference is seen."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value, and where the true one lies in 95 of 100 cases."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON, to six digits."""
        return {name: round(getattr(self, name), 6) for name in ("value", "low", "high")}


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fares."""

    precision: float
    """Of the rows that got its label, the share that asked for it; 0 where none got it."""
    recall: float
    """Of the rows that asked for it, the share that got its label; 0 where none asked."""
    f1: float
    n: int
    """Rows that asked for it."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence."""

    low: float
    high: float
    confidence: float
    """The mean score in [0, 1]."""
    accuracy: float
    """The share that was right."""
    n: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Whether one of two models is right more often on the same rows, or it is chance."""

    only_first: int
    """Rows that only the first got right."""
    only_second: int
    exact_p: float
    """Two-sided, exact; conservative."""
    mid_p: float
    """Two-sided, mid-p; the one to judge by."""


def accuracy(right: npt.NDArray[np.bool_]) -> Interval:
    """The share of rows answered right, with Wilson's interval."""
    hits, n = int(right.sum()), len(right)
    low, high = wilson(hits, n)
    return Interval(hits / n if n else 0.0, low, high)


def confusion(truth: Numbers, said: Numbers, classes: int) -> Numbers:
    """int64 [asked for, answered]: how many rows of each pair."""
    return np.bincount(truth * classes + said, minlength=classes * classes).reshape(
        classes, classes
    )


def class_scores(table: Numbers) -> list[ClassScore]:
    """Each class's scores, of a confusion table."""
    return [
        ClassScore(float(p), float(r), float(f), int(n))
        for p, r, f, n in zip(*_per_class(table), table.sum(axis=1), strict=True)
    ]


def macro_f1(truth: Numbers, said: Numbers, classes: int) -> float:
    """The mean F1 over all classes that are asked for or answered."""
    return _macro(confusion(truth, said, classes))


def bootstrap(
    statistic: Callable[[Numbers], float], n: int, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """A statistic of rows with its percentile interval.

    Args:
        statistic: Gets the positions of rows, each as often as it was drawn.
        n: Rows.
        seed: Of the draws: the same seed gives the same interval.
        resamples: How often to draw.
    """
    value = statistic(np.arange(n))
    if n == 0:
        return Interval(value, value, value)
    chance = np.random.default_rng(seed)
    drawn = [statistic(chance.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def paired_accuracy(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], seed: int
) -> Interval:
    """By how much the second is right more often than the first, on the same rows."""
    gain = second.astype(np.float64) - first
    return bootstrap(lambda rows: float(gain[rows].mean()) if len(rows) else 0.0, len(gain), seed)


def paired_macro_f1(
    truth: Numbers, first: Numbers, second: Numbers, classes: int, seed: int
) -> Interval:
    """By how much the second's macro-F1 is higher than the first's, on the same rows."""

    def gain(rows: Numbers) -> float:
        asked = truth[rows]
        return macro_f1(asked, second[rows], classes) - macro_f1(asked, first[rows], classes)

    return bootstrap(gain, len(truth), seed)


def reliability(
    confidence: Scores, right: npt.NDArray[np.bool_], bins: int = BINS
) -> tuple[Bin, ...]:
    """Answers sorted by confidence and cut into bins of equal mass, as many as have rows.

    Equal scores stay together, so that the bins do not depend on the order of the rows.
    """
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order]
    cuts = [round(i * len(order) / bins) for i in range(1, bins)]
    places = sorted({int(np.searchsorted(ranked, ranked[cut])) for cut in cuts if cut < len(order)})
    parts = [part for part in np.split(order, places) if len(part)]
    return tuple(
        Bin(
            low=float(confidence[part[0]]),
            high=float(confidence[part[-1]]),
            confidence=float(confidence[part].mean()),
            accuracy=float(right[part].mean()),
            n=len(part),
        )
        for part in parts
    )


def ece(confidence: Scores, right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """How far confidence and accuracy are apart, in the mean over bins; in [0, 1], 0 of nothing."""
    found = reliability(confidence, right, bins)
    total = sum(part.n for part in found)
    return sum(part.n * abs(part.confidence - part.accuracy) for part in found) / max(total, 1)


def auroc(inside: Scores, outside: Scores) -> float | None:
    """How often a row from inside scores above one from outside, in [0, 1]; ties count half.

    Returns:
        None where one of the two is empty.
    """
    if not len(inside) or not len(outside):
        return None
    ranked = np.sort(outside)
    below = np.searchsorted(ranked, inside, "left")
    up_to = np.searchsorted(ranked, inside, "right")
    return float((below + up_to).sum() / (2 * len(inside) * len(outside)))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two models on the rows that only one of them got right."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n, fewer = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return McNemar(0, 0, 1.0, 1.0)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(fewer + 1)
    ]
    tail, point = math.fsum(map(math.exp, logs)), math.exp(logs[-1])
    return McNemar(only_first, only_second, min(1.0, 2 * tail), min(1.0, 2 * tail - point))


def rows_for_mcnemar(only_first: int, only_second: int, n: int) -> int | None:
    """Rows with which a difference like the one found is seen in 4 of 5 cases.

    Source: Connor, Biometrics 43 (1987) 207-211.

    Returns:
        None where there is no difference to see.
    """
    if not n or only_first == only_second:
        return None
    discordant, gain = (only_first + only_second) / n, (only_second - only_first) / n
    spread = math.sqrt(max(discordant - gain * gain, 0.0))
    return math.ceil(((Z_95 * math.sqrt(discordant) + POWER_80 * spread) / gain) ** 2)


def say_p(p: float) -> str:
    """A p for people: one that is nearly nothing is not nothing."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def _macro(table: Numbers) -> float:
    present = (table.sum(axis=0) + table.sum(axis=1)) > 0
    return float(_per_class(table)[2][present].mean()) if present.any() else 0.0


def _per_class(table: Numbers) -> tuple[Any, Any, Any]:
    """Precision, recall and F1 a class: float64 [classes]; what cannot be computed is 0."""
    right = np.diag(table).astype(np.float64)
    said, asked = table.sum(axis=0), table.sum(axis=1)
    return (
        right / np.maximum(said, 1),
        right / np.maximum(asked, 1),
        2 * right / np.maximum(said + asked, 1),
    )
