"""Logistic regression on vectors, for heads, suspects and the ablation. One place, one pitfall."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

__all__ = ["regress"]

MAX_ITERATIONS = 300
TOLERANCE = 1e-3


def regress(
    vectors: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None = None,
    *,
    strength: float,
) -> LogisticRegression:
    """A fitted regression.

    The slope at the start shrinks with the number of classes: with 150 of equal weight it lay
    below scikit-learn's usual tolerances, so that nothing was learnt, silently. The tolerance
    shrinks with it.

    Args:
        vectors: float32 [rows, dim], of length 1 or so.
        targets: int64 [rows].
        weights: float64 [rows]; None means that all count alike.
        strength: C.
    """
    classes = len(np.unique(targets))
    model: Any = LogisticRegression(
        C=strength, max_iter=MAX_ITERATIONS, tol=TOLERANCE / max(classes, 1)
    )
    with threadpool_limits(1):  # on a busy machine BLAS threads wait for each other
        return model.fit(vectors, targets, weights)
