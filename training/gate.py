"""The rule that says whether a bundle is good enough. Pure: numbers in, verdict out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.metrics import ClassScore, Interval
from training.proof import rows_to_prove

__all__ = ["Check", "GateDecision", "Measured", "Thresholds", "decide"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What decides."""

    accuracy: Interval
    macro_f1: Interval
    classes: Sequence[tuple[str, ClassScore]]
    """Label and scores."""
    ece: float
    n: int
    """Rows with a label."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is asked; shares in [0, 1]."""

    accuracy: float
    macro_f1: float
    class_f1: float
    """The least F1 that every class must reach."""
    ece: float
    """The most that confidence and accuracy may be apart."""


@dataclass(frozen=True, slots=True)
class Check:
    """One gate."""

    name: str
    expected: float
    found: float
    passed: bool
    detail: str = ""
    """What stands behind it; empty where there is nothing to add."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = round(self.found, 6) if math.isfinite(self.found) else None
        return {
            "name": self.name,
            "expected": self.expected,
            "found": found,
            "passed": self.passed,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class GateDecision:
    """All gates, and what the number of rows can prove."""

    checks: tuple[Check, ...]
    proven: bool
    """Whether the accuracy's whole interval lies above its gate."""
    more_rows: int | None
    """Golden rows that are missing to tell; 0 where it is told, None where none would do."""

    @property
    def passed(self) -> bool:
        """Every gate was."""
        return all(check.passed for check in self.checks)


def decide(measured: Measured, thresholds: Thresholds) -> GateDecision:
    """Hold what was measured against what is asked. A number that is none fails.

    A class without a golden row has an F1 of 0: what nobody looked at is not good enough.
    """
    judged = [(score.f1, label) for label, score in measured.classes if score.n]
    weak = sorted((f1, label) for f1, label in judged if f1 < thresholds.class_f1)
    unjudged = [label for label, score in measured.classes if not score.n]
    lowest = 0.0 if unjudged else min((f1 for f1, _ in judged), default=0.0)
    details = [f"no golden row of {', '.join(unjudged)}"] if unjudged else []
    details += [f"{label} {f1:.3f}" for f1, label in weak]
    checks = (
        _at_least("accuracy", thresholds.accuracy, measured.accuracy.value),
        _at_least("macro_f1", thresholds.macro_f1, measured.macro_f1.value),
        _at_least(
            "class_f1",
            thresholds.class_f1,
            lowest,
            ", ".join(details),
        ),
        Check("ece", thresholds.ece, measured.ece, measured.ece <= thresholds.ece),
    )
    proven = measured.accuracy.low >= thresholds.accuracy
    return GateDecision(checks, proven, _more_rows(measured, thresholds.accuracy, proven))


def _at_least(name: str, expected: float, found: float, detail: str = "") -> Check:
    return Check(name, expected, found, found >= expected, detail)


def _more_rows(measured: Measured, gate: float, proven: bool) -> int | None:
    """How many more rows like these would tell, one way or the other."""
    found = measured.accuracy
    if proven or found.high < gate:
        return 0
    if found.value >= gate:
        needed = rows_to_prove(found.value, gate)
    else:  # to be proven below the gate: the errors are above its complement
        needed = rows_to_prove(1 - found.value, 1 - gate)
    return None if needed is None else max(needed - measured.n, 0)
