"""The gate: what counts as the same answer, and how far a score may move."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from export.gate import Agreement, Gate, compare, lead

GOOD = Agreement(
    label_agreement=1, plain_agreement=0.9, max_delta=0.05, mean_delta=0.01, cases=100, decided=90
)


def scores(*values: float) -> npt.NDArray[np.float64]:
    """One case."""
    return np.array(values, dtype=np.float64)


def test_worst_case_is_not_hidden_by_the_others() -> None:
    """The largest difference over all cases and labels counts."""
    found = compare([scores(0.9, 0.1)] * 20, [scores(0.9, 0.1)] * 19 + [scores(0.7, 0.3)], 0.05)

    assert found.max_delta == pytest.approx(0.2)
    assert found.mean_delta == pytest.approx(0.01)
    assert (found.label_agreement, found.cases, found.decided) == (1, 20, 20)


def test_cases_that_the_original_leaves_open_do_not_count_as_labels() -> None:
    """A lead that the gate allows to vanish is none; its scores are still compared."""
    reference = [scores(0.9, 0.1)] * 16 + [scores(0.51, 0.49)]
    found = compare(reference, [scores(0.9, 0.1)] * 16 + [scores(0.48, 0.52)], 0.05)

    assert (found.label_agreement, found.decided, found.cases) == (1, 16, 17)
    assert found.plain_agreement == 16 / 17
    assert found.max_delta == pytest.approx(0.03)


def test_half_of_the_cases_count_of_a_model_that_seldom_leads() -> None:
    """Its scores are all near each other; a handful of clear ones must not speak for the rest."""
    clear, near, open_ = scores(0.9, 0.1), scores(0.51, 0.49), scores(0.501, 0.499)

    found = compare([near] * 10, [near[::-1]] + [near] * 9, 0.05)
    assert (found.decided, found.label_agreement) == (10, 0.9)
    found = compare([near] * 10 + [open_] * 10, [near] * 10 + [open_[::-1]] * 10, 0.05)
    assert (found.decided, found.label_agreement, found.plain_agreement) == (10, 1, 0.5)
    found = compare([clear] * 3 + [near] * 17, [clear] * 3 + [near[::-1]] * 17, 0.05)
    assert (found.decided, found.label_agreement) == (20, 3 / 20)


def test_one_label_alone_agrees_by_its_side() -> None:
    """Where there is nothing to be ahead of, yes or no is the answer."""
    reference = [scores(0.8)] * 19 + [scores(0.6)]

    assert compare(reference, [scores(0.8)] * 19 + [scores(0.4)], 0.05).label_agreement == 0.95
    assert lead(scores(0.8)) == pytest.approx(0.3)
    assert lead(scores(0.2, 0.7, 0.1)) == pytest.approx(0.5)


def test_good_answers_pass() -> None:
    """The bounds themselves are allowed."""
    assert Gate().passes(GOOD)


@pytest.mark.parametrize(
    "broken",
    [
        {"label_agreement": 0.989},
        {"label_agreement": math.nan},
        {"max_delta": 0.0501},
        {"max_delta": math.nan},
    ],
)
def test_one_broken_bound_is_enough(broken: dict[str, float]) -> None:
    """And a NaN breaks any."""
    values = {name: getattr(GOOD, name) for name in GOOD.__slots__} | broken
    found = Agreement(**values)

    assert not Gate().passes(found)
    assert "expected label agreement ≥ 0.99" in Gate().describe(found)
