"""Fits a temperature, and the scores below which no label is given. Pure arithmetic on logits.

It sees the calibration part only: rows that were neither learnt from nor chosen by, nor golden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.scoring import softmax
from training.metrics import ece

__all__ = ["Calibration", "calibrate", "fit_temperature", "fit_threshold"]

Floats = npt.NDArray[np.float64]

TEMPERATURES = (0.05, 20.0)
STEPS = 60
"""Of the golden section; each takes off 38 %, so the rest is far below what rows can tell."""
MIN_ROWS_FOR_OWN = 20
"""Rows that are given a label before it gets a threshold of its own; fewer say nothing."""
HIGHEST = 0.99
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the calibration part says of a model."""

    temperature: float
    threshold: float
    """Of labels that have none of their own."""
    thresholds: dict[str, float]
    n: int
    """Rows that have a label; the temperature is theirs."""
    n_out_of_scope: int
    """Rows that have none: they count where thresholds are fitted."""
    ece_before: float | None
    ece_after: float | None

    def as_dict(self, labels: Sequence[str], fitted_on: str) -> dict[str, Any]:
        """As `calibration.json` holds it."""
        return {
            "labels": list(labels),
            "temperature": self.temperature,
            "threshold": self.threshold,
            "thresholds": self.thresholds,
            "n": self.n,
            "n_out_of_scope": self.n_out_of_scope,
            "ece_before": self.ece_before,
            "ece_after": self.ece_after,
            "fitted_on": fitted_on,
        }


def calibrate(
    logits: Floats, targets: npt.NDArray[np.int64], labels: Sequence[str], wrong_cost: float
) -> Calibration:
    """Fit temperature and thresholds.

    Without a labelled row nothing is fitted: the temperature stays 1, and every answer is given.

    Args:
        logits: float64 [rows, labels].
        targets: int64 [rows]; -1 is out of scope.
        labels: In the order of the logits.
        wrong_cost: What a wrong answer costs, where turning a right one away costs 1.
    """
    known = targets >= 0
    if not known.any():
        return Calibration(1.0, 0.0, {}, 0, int((~known).sum()), None, None)
    temperature = fit_temperature(logits[known], targets[known])
    scores = softmax(logits / temperature)
    best, right = scores.max(axis=1), scores.argmax(axis=1) == targets
    threshold = fit_threshold(best, right, wrong_cost)
    return Calibration(
        temperature=temperature,
        threshold=threshold,
        thresholds=_own_thresholds(best, right, scores.argmax(axis=1), labels, wrong_cost),
        n=int(known.sum()),
        n_out_of_scope=int((~known).sum()),
        ece_before=_error(logits[known], targets[known]),
        ece_after=_error(logits[known] / temperature, targets[known]),
    )


def fit_temperature(logits: Floats, targets: npt.NDArray[np.int64]) -> float:
    """The temperature under which the rows are likeliest; on few rows, not too sure of itself.

    A model that is right on all of a few rows would be made as sure as can be. So a row counts as
    right by (n + 1) / (n + 2) only, as if one had been right and one wrong before.

    Source: temperature scaling, Guo et al. 2017; the target, Platt 1999.

    Args:
        logits: float64 [rows, labels], at least one row.
        targets: int64 [rows].
    """
    rows, classes = logits.shape
    rest = 1 / (rows + 2) / classes
    wanted = np.full(logits.shape, rest)
    wanted[np.arange(rows), targets] += (rows + 1) / (rows + 2)

    def unlikeliness(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_scores = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-(wanted * log_scores).sum())

    low, high = np.log(TEMPERATURES)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if unlikeliness(left) <= unlikeliness(right):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), DIGITS)


def fit_threshold(best: Floats, right: npt.NDArray[np.bool_], wrong_cost: float) -> float:
    """The score from which answering costs least; of several, the lowest.

    Args:
        best: float64 [rows]: each row's best score. An out-of-scope row is never right.
        right: bool [rows].
        wrong_cost: What a wrong answer costs, where turning a right one away costs 1.
    """
    order = np.argsort(best, kind="stable")
    ranked, good = best[order], right[order]
    turned_away = np.concatenate([[0], np.cumsum(good)])
    given = np.concatenate([np.cumsum((~good)[::-1])[::-1], [0]])
    costs = turned_away + wrong_cost * given
    # Equal scores are answered or turned away together.
    cuts = np.flatnonzero(np.concatenate([[True], ranked[1:] > ranked[:-1], [True]]))
    cut = int(cuts[costs[cuts].argmin()])
    if cut == 0:
        return 0.0
    above = ranked[cut] if cut < len(ranked) else 1.0
    return round(min(float(ranked[cut - 1] + above) / 2, HIGHEST), DIGITS)


def _own_thresholds(
    best: Floats,
    right: npt.NDArray[np.bool_],
    given: npt.NDArray[np.int64],
    labels: Sequence[str],
    wrong_cost: float,
) -> dict[str, float]:
    found = {}
    for number, label in enumerate(labels):
        rows = given == number
        if rows.sum() >= MIN_ROWS_FOR_OWN:
            found[label] = fit_threshold(best[rows], right[rows], wrong_cost)
    return found


def _error(logits: Floats, targets: npt.NDArray[np.int64]) -> float:
    scores = softmax(logits)
    return round(ece(scores.max(axis=1), scores.argmax(axis=1) == targets), DIGITS)
