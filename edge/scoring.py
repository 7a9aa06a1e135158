"""From logits to scores: pure functions on arrays, in float64 so that ties are ties."""

from __future__ import annotations

import numpy as np

__all__ = ["sigmoid", "softmax"]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis; the largest logit is subtracted first, so that nothing overflows."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Elementwise; written with tanh, which does not overflow for large negative logits."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
