"""The gate: how far a candidate's scores are from fp32 PyTorch, and whether that is near enough.

Pure arithmetic on scores; it runs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Agreement", "Gate", "compare", "lead"]

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one model's answers differ from another's, over the same cases."""

    label_agreement: float
    """Share in [0, 1] of the decided cases with the same best label; what the gate asks for."""
    plain_agreement: float
    """Share in [0, 1] of all cases with the same best label, ties included."""
    max_delta: float
    """Largest |Δscore| over all cases and labels."""
    mean_delta: float
    """Mean |Δscore| over all cases and labels."""
    cases: int
    decided: int
    """Cases that count in `label_agreement`."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a bundle must keep of the original's answers."""

    min_agreement: float = 0.99
    max_delta: float = 0.05

    def passes(self, found: Agreement) -> bool:
        """Whether both bounds hold; a NaN breaks them."""
        return found.label_agreement >= self.min_agreement and found.max_delta <= self.max_delta

    def describe(self, found: Agreement) -> str:
        """Expected and found, for a message."""
        return (
            f"expected label agreement ≥ {self.min_agreement:g} and |Δscore| ≤ {self.max_delta:g} "
            f"on {found.cases} cases, found {found.label_agreement:.4f} and {found.max_delta:.4f}"
        )


def compare(reference: Sequence[Scores], candidate: Sequence[Scores], tie: float) -> Agreement:
    """Compare case by case; both hold the same cases in the same order, at least one.

    A case whose best label leads by less than `tie` in the reference is undecided: a difference
    that the gate allows may turn it, so it counts in |Δscore| only. Of a model that seldom leads by
    as much, the half with the larger leads counts, so that no model passes on a handful of cases.

    Args:
        reference: float64 [labels] a case.
        candidate: The same shapes.
        tie: In score.
    """
    pairs = list(zip(reference, candidate, strict=True))
    clear = min(tie, float(np.median([lead(a) for a in reference])))
    same = [_best(a) == _best(b) for a, b in pairs]
    decided = [agrees for (a, _), agrees in zip(pairs, same, strict=True) if lead(a) >= clear]
    deltas = np.concatenate([np.abs(a - b) for a, b in pairs])
    return Agreement(
        label_agreement=sum(decided) / len(decided),
        plain_agreement=sum(same) / len(same),
        max_delta=float(deltas.max()),
        mean_delta=float(deltas.mean()),
        cases=len(pairs),
        decided=len(decided),
    )


def lead(scores: Scores) -> float:
    """How far the best label is ahead of the next; of one label alone, how far it is from 0.5."""
    if len(scores) == 1:
        return float(abs(scores[0] - 0.5))
    runner_up, best = np.sort(scores)[-2:]
    return float(best - runner_up)


def _best(scores: Scores) -> int:
    """Which label is given; of one label alone, whether it is."""
    return int(scores[0] >= 0.5) if len(scores) == 1 else int(scores.argmax())
