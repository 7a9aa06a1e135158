"""A regression learns, however many classes there are and whatever their weights."""

from __future__ import annotations

import numpy as np
import pytest

from training.regression import regress

CLASSES, EACH, DIM = 150, 20, 384


def crowded(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [rows, dim] of length 1, int64 [rows]: classes near each other, as in real sets."""
    draw = np.random.default_rng(seed)
    targets = np.arange(CLASSES * EACH) % CLASSES
    centres = draw.normal(size=(CLASSES, DIM))
    rows = centres[targets] + 2.0 * draw.normal(size=(len(targets), DIM))
    rows -= rows.mean(axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), targets


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "balanced"])
def test_many_classes_of_equal_weight_are_learnt(weighted: bool) -> None:
    """Their first slope is tiny, which a fixed tolerance takes for the end."""
    vectors, targets = crowded(seed=1)
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(targets))
    sums = np.bincount(targets, weights)
    balanced = weights / sums[targets] * len(targets) / CLASSES

    model = regress(vectors, targets, balanced if weighted else None, strength=1.0)

    assert model.n_iter_[0] > 0
    assert model.score(vectors, targets) > 0.9
