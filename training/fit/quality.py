"""How good answers are: accuracy, macro-F1, and both sides of every class. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.metrics import class_scores, confusion, macro_f1

__all__ = ["accuracy", "class_table", "describe_quality"]

Numbers = npt.NDArray[np.int64]
DIGITS = 4


def accuracy(given: Numbers, targets: Numbers) -> float:
    """Share in [0, 1] of rows that got their label; at least one row."""
    return float((given == targets).mean())


def class_table(given: Numbers, targets: Numbers, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and rows of each class; null where there is nothing to divide by."""
    table = confusion(targets, given, len(labels))
    said, asked = table.sum(axis=0), table.sum(axis=1)
    return [
        {
            "label": label,
            "precision": _round(score.precision) if said[number] else None,
            "recall": _round(score.recall) if asked[number] else None,
            "f1": _round(score.f1) if said[number] or asked[number] else None,
            "n": score.n,
        }
        for number, (label, score) in enumerate(zip(labels, class_scores(table), strict=True))
    ]


def describe_quality(given: Numbers, targets: Numbers, labels: Sequence[str]) -> dict[str, Any]:
    """As `dev.json` holds it."""
    return {
        "n": len(targets),
        "accuracy": _round(accuracy(given, targets)) if len(targets) else None,
        "macro_f1": _round(macro_f1(targets, given, len(labels))) if len(targets) else None,
        "per_class": class_table(given, targets, labels),
    }


def _round(value: float) -> float:
    return round(value, DIGITS)
