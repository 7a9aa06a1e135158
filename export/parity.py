"""The starter's gate: how far int8 moved its embeddings and answers; it refuses too far.

What is a classifier, with scores of its own, is judged by `export.gate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.errors import ParityFailed

__all__ = ["Answer", "Parity", "check_parity", "measure_parity"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one model says of one text."""

    embedding: npt.NDArray[np.float32]
    """float32 [dim], of length 1."""
    scores: npt.NDArray[np.float64]
    """float64 [labels]."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the quantised model is to the original, over the probe texts."""

    mean_cosine: float
    min_cosine: float
    label_agreement: float
    """Share in [0, 1], of the texts that the original answers, with the same best label."""
    max_score_delta: float
    """Largest |Δscore| over texts and labels."""
    texts: int
    answered: int
    """Texts on which the original's best score reaches the threshold; below it labels may tie."""

    def as_manifest(self) -> dict[str, float]:
        """Rounded so that the last bits of another machine's fp32 do not change the bundle."""
        return {
            "mean_cosine": round(self.mean_cosine, 3),
            "min_cosine": round(self.min_cosine, 3),
            "label_agreement": round(self.label_agreement, 3),
            "max_abs_score_delta": round(self.max_score_delta, 3),
            "texts": float(self.texts),
            "texts_answered": float(self.answered),
        }


def measure_parity(
    reference: Sequence[Answer], candidate: Sequence[Answer], threshold: float
) -> Parity:
    """Compare answer by answer; both hold the same texts in the same order, at least one.

    Where the original is under the `threshold` no label is given, and the best two may swap places
    for a difference of nothing; such a text counts in the cosine and in |Δscore| only.
    """
    pairs = list(zip(reference, candidate, strict=True))
    cosines = [float(a.embedding @ b.embedding) for a, b in pairs]
    answered = [(a, b) for a, b in pairs if a.scores.max() >= threshold]
    agreeing = sum(int(a.scores.argmax() == b.scores.argmax()) for a, b in answered)
    return Parity(
        mean_cosine=float(np.mean(cosines)),
        min_cosine=min(cosines),
        label_agreement=agreeing / len(answered) if answered else 0.0,
        max_score_delta=max(float(np.abs(a.scores - b.scores).max()) for a, b in pairs),
        texts=len(pairs),
        answered=len(answered),
    )


def check_parity(
    parity: Parity, *, min_cosine: float, max_score_delta: float, min_agreement: float
) -> None:
    """Let pass, or refuse.

    Raises:
        ParityFailed: One of the bounds is broken; a NaN breaks all of them.
    """
    passed = (
        parity.min_cosine >= min_cosine
        and parity.max_score_delta <= max_score_delta
        and parity.label_agreement >= min_agreement
    )
    if not passed:
        raise ParityFailed(
            f"expected cosine ≥ {min_cosine}, |Δscore| ≤ {max_score_delta} and label agreement ≥ "
            f"{min_agreement} on {parity.texts} texts ({parity.answered} answered), found "
            f"{parity.min_cosine:.4f}, {parity.max_score_delta:.4f} and "
            f"{parity.label_agreement:.4f}; nothing was packed"
        )
