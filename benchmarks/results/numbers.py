"""Shares with their intervals, and how well a score tells rows of no label apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from training.proof import wilson

__all__ = ["Number", "auroc", "share", "spread"]


@dataclass(frozen=True, slots=True)
class Number:
    """A measured value with what it rests on."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {
            "value": round(self.value, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "n": self.n,
        }


def share(correct: npt.NDArray[np.bool_]) -> Number:
    """How many are right, with Wilson's 95 % interval."""
    low, high = wilson(int(correct.sum()), len(correct))
    return Number(float(correct.mean()), low, high, len(correct))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, and the standard deviation of single runs."""
    return {
        "mean": round(float(np.mean(values)), 4),
        "std": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else 0.0,
        "runs": len(values),
    }


def auroc(known: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]) -> float:
    """How often a row that has a label scores higher than one that has none, in [0, 1]."""
    truth = np.concatenate([np.ones(len(known)), np.zeros(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([known, outside])))
