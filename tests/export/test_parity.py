"""The gate between fp32 and int8."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.errors import ParityFailed
from export.parity import Answer, Parity, check_parity, measure_parity


def answer(angle: float, *scores: float) -> Answer:
    """A unit vector at an angle, and scores."""
    vector = np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)
    return Answer(vector, np.array(scores, dtype=np.float64))


def check(parity: Parity) -> None:
    """The gate, with the bounds that these tests are about."""
    check_parity(parity, min_cosine=0.97, max_score_delta=0.1, min_agreement=0.99)


GOOD = Parity(
    mean_cosine=0.99, min_cosine=0.98, label_agreement=1, max_score_delta=0.05, texts=9, answered=9
)


def test_measures_the_worst_text_and_not_the_mean_alone() -> None:
    """One text that moved far is not hidden by those that did not."""
    reference = [answer(0, 0.9, 0.1), answer(0, 0.2, 0.8)]
    parity = measure_parity(reference, [answer(0, 0.9, 0.1), answer(0.5, 0.3, 0.7)], 0.5)

    assert parity.min_cosine == pytest.approx(math.cos(0.5))
    assert parity.mean_cosine == pytest.approx((1 + math.cos(0.5)) / 2)
    assert parity.max_score_delta == pytest.approx(0.1)
    assert parity.label_agreement == 1


def test_label_counts_where_the_original_gives_one() -> None:
    """Below the threshold the best two labels may swap places for nothing."""
    reference = [answer(0, 0.41, 0.40), answer(0, 0.9, 0.1)]
    candidate = [answer(0, 0.40, 0.41), answer(0, 0.1, 0.9)]

    assert measure_parity(reference, candidate, 0.5).label_agreement == 0
    assert measure_parity(reference, candidate, 0.5).answered == 1
    assert measure_parity(reference, candidate, 0.4).label_agreement == 0
    assert measure_parity(reference[:1], candidate[:1], 0.5).label_agreement == 0


def test_good_parity_passes() -> None:
    """Nothing is raised within the bounds."""
    check(GOOD)


@pytest.mark.parametrize(
    "field",
    [
        {"min_cosine": 0.96},
        {"min_cosine": math.nan},
        {"max_score_delta": 0.11},
        {"max_score_delta": math.nan},
        {"label_agreement": 0.98},
    ],
)
def test_one_broken_bound_refuses(field: dict[str, float]) -> None:
    """Each bound alone is enough to stop the build, and a NaN passes none."""
    values = {name: getattr(GOOD, name) for name in GOOD.__slots__} | field

    with pytest.raises(ParityFailed, match="nothing was packed"):
        check(Parity(**values))
