"""How good answers are: accuracy, macro-F1, and both sides of every class. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["accuracy", "class_table", "describe_quality", "macro_f1"]

Numbers = npt.NDArray[np.int64]
DIGITS = 4


def accuracy(given: Numbers, targets: Numbers) -> float:
    """Share in [0, 1] of rows that got their label; at least one row."""
    return float((given == targets).mean())


def macro_f1(given: Numbers, targets: Numbers, classes: int) -> float:
    """Mean F1 of the classes that occur in either; a class that is never right counts 0."""
    scores = [_f1(given, targets, number) for number in range(classes)]
    present = [score for score in scores if score is not None]
    return float(np.mean(present)) if present else 0.0


def class_table(given: Numbers, targets: Numbers, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and rows of each class; null where there is nothing to divide by."""
    return [
        {
            "label": label,
            "precision": _share(targets[given == number] == number),
            "recall": _share(given[targets == number] == number),
            "f1": _f1(given, targets, number),
            "n": int((targets == number).sum()),
        }
        for number, label in enumerate(labels)
    ]


def describe_quality(given: Numbers, targets: Numbers, labels: Sequence[str]) -> dict[str, Any]:
    """As `dev.json` holds it."""
    return {
        "n": len(targets),
        "accuracy": round(accuracy(given, targets), DIGITS) if len(targets) else None,
        "macro_f1": round(macro_f1(given, targets, len(labels)), DIGITS) if len(targets) else None,
        "per_class": class_table(given, targets, labels),
    }


def _share(found: npt.NDArray[np.bool_]) -> float | None:
    return round(float(found.mean()), DIGITS) if len(found) else None


def _f1(given: Numbers, targets: Numbers, number: int) -> float | None:
    hit = int(((given == number) & (targets == number)).sum())
    both = int((given == number).sum() + (targets == number).sum())
    return round(2 * hit / both, DIGITS) if both else None
