"""What speaks for and against a candidate: a tally of compared answers, and the rule that decides.

It asks no model, and switches nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.memory import resident_bytes
from edge.predictor import Prediction
from edge.wire.models import ComparisonReport

__all__ = ["Policy", "Tally", "decide", "is_finite"]

KEPT_TIMES = 1000
MIN_TIMES = 8  # fewer say nothing about a p95


@dataclass(frozen=True, slots=True)
class Policy:
    """What a candidate must show."""

    wanted: int
    """Texts that decide."""
    min_agreement: float
    """Share of texts with the old model's best label, in [0, 1]."""
    max_slowdown: float | None
    """How many times the old p95 the new one may be; None: another kind of model, not compared."""


@dataclass(slots=True)
class Tally:
    """Counts of one comparison."""

    wanted: int
    """Texts that decide; 0 means that nothing is decided."""
    requests: int = 0
    compared: int = 0
    agreeing: int = 0
    errors: int = 0
    replayed: int = 0
    dropped: int = 0
    old_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))
    new_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))

    def add(self, agrees: bool | None, new_ms: float, old_ms: float | None = None) -> None:
        """Count one text; `agrees` is None where the old model's answer is not known."""
        self.requests += 1
        self.new_ms.append(new_ms)
        if old_ms is not None:
            self.old_ms.append(old_ms)
        if agrees is not None:
            self.compared += 1
            self.agreeing += agrees

    def refuse(self) -> None:
        """Count a text that the candidate cannot take, and the old model could."""
        self.requests += 1
        self.compared += 1

    def fail(self) -> None:
        """Count a text that the candidate failed on."""
        self.requests += 1
        self.errors += 1

    @property
    def agreement(self) -> float | None:
        """In [0, 1]; None before the first text that could be compared."""
        return self.agreeing / self.compared if self.compared else None

    def report(self) -> ComparisonReport:
        """As the API shows it."""
        return ComparisonReport(
            requests=self.requests,
            wanted=self.wanted,
            agreement=None if self.agreement is None else round(self.agreement, 4),
            disagreements=self.compared - self.agreeing,
            old_p50_ms=_percentile(self.old_ms, 0.5),
            new_p50_ms=_percentile(self.new_ms, 0.5),
            old_p95_ms=_percentile(self.old_ms, 0.95),
            new_p95_ms=_percentile(self.new_ms, 0.95),
            new_errors=self.errors,
            replayed=self.replayed,
            dropped=self.dropped,
            rss_bytes=resident_bytes(),
        )


def decide(tally: Tally, policy: Policy, is_complete: bool = False) -> tuple[bool, str] | None:
    """Whether to keep the candidate, and why; None while more must be seen.

    Args:
        tally: What was seen.
        policy: What is asked.
        is_complete: No more texts will come: decide on what there is.
    """
    if tally.errors:
        return False, f"it failed on {tally.errors} of {tally.requests} texts"
    if tally.requests < policy.wanted and not is_complete:
        return None
    agreement = tally.agreement
    if agreement is not None and agreement < policy.min_agreement:
        return False, (
            f"expected the old model's label for at least {policy.min_agreement:.0%} of texts, "
            f"found {agreement:.0%} of {tally.compared}"
        )
    if (slow := _slowdown(tally, policy)) is not None:
        return False, slow
    return True, _summary(tally)


def is_finite(prediction: Prediction) -> bool:
    """Whether every score is a number."""
    return all(math.isfinite(score) for _, score in prediction.scores)


def _slowdown(tally: Tally, policy: Policy) -> str | None:
    old, new = _percentile(tally.old_ms, 0.95), _percentile(tally.new_ms, 0.95)
    is_known = min(len(tally.old_ms), len(tally.new_ms)) >= MIN_TIMES
    if policy.max_slowdown is None or not is_known or not old or not new:
        return None
    if new <= policy.max_slowdown * old:
        return None
    return (
        f"expected a p95 of at most {policy.max_slowdown:g} times the old model's {old:.1f} ms, "
        f"found {new:.1f} ms"
    )


def _summary(tally: Tally) -> str:
    if not tally.requests:
        return "without a probation"
    if tally.agreement is None:
        return f"{tally.requests} texts without an error"
    return f"{tally.agreement:.0%} of {tally.compared} texts with the old model's label, no error"


def _percentile(times: Sequence[float], share: float) -> float | None:
    """Nearest rank; None without times."""
    if not times:
        return None
    ranked = sorted(times)
    return round(ranked[max(0, math.ceil(share * len(ranked)) - 1)], 3)
