"""`edge.scoring` against the textbook formulas, at sizes where those overflow too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.scoring import sigmoid, softmax

LOGITS = hnp.arrays(np.float64, st.integers(1, 64), elements=st.floats(-1e4, 1e4))


@given(logits=LOGITS)
def test_softmax_gives_shares_of_one_in_the_order_of_the_logits(logits: np.ndarray) -> None:
    """Scores lie in [0, 1], sum to 1, and a larger logit never gets the smaller score."""
    scores = softmax(logits)

    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(scores[np.argsort(logits, kind="stable")]) >= 0).all()


@given(logits=hnp.arrays(np.float64, (3, 4), elements=st.floats(-50, 50)))
def test_softmax_equals_the_formula_for_each_row(logits: np.ndarray) -> None:
    """Over the last axis, as the textbook has it."""
    for row, scores in zip(logits, softmax(logits), strict=True):
        total = sum(math.exp(x) for x in row)
        assert scores.tolist() == pytest.approx([math.exp(x) / total for x in row], rel=1e-9)


@given(logits=LOGITS, shift=st.floats(-1e3, 1e3))
def test_equal_logits_get_equal_scores(logits: np.ndarray, shift: float) -> None:
    """A tie stays a tie to the last bit, so that the label set's order can settle it."""
    doubled = softmax(np.concatenate([logits, logits]) + shift)

    assert doubled[: logits.size].tolist() == doubled[logits.size :].tolist()


@given(logits=hnp.arrays(np.float64, 5, elements=st.floats(-700, 700)))
def test_sigmoid_equals_the_formula(logits: np.ndarray) -> None:
    """Elementwise, in [0, 1]; far tails are 0 or 1 to within 1e-15."""
    expected = [1 / (1 + math.exp(-x)) for x in logits]

    assert sigmoid(logits).tolist() == pytest.approx(expected, abs=1e-15)


def test_enormous_logits_neither_overflow_nor_warn() -> None:
    """Nearly the largest float32, far beyond what `exp` holds, gives 0 and 1, and no warning."""
    assert softmax(np.array([3e38, -3e38])).tolist() == [1.0, 0.0]
    assert sigmoid(np.array([3e38, 0.0, -3e38])).tolist() == [1.0, 0.5, 0.0]
