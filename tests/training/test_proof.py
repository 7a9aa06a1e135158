"""What a number of rows can prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.proof import needed_right, rows_for_perfect, rows_to_prove, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 0, 0.0, 1.0), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (92, 100, 0.8500, 0.9589)],
)
def test_wilson_gives_the_published_interval(right: int, n: int, low: float, high: float) -> None:
    """Against R's `binom::binom.confint(method = "wilson")`, to four digits."""
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-4)


@given(n=st.integers(1, 3000), gate=st.floats(0.5, 0.99))
def test_the_least_number_proves_and_one_less_does_not(n: int, gate: float) -> None:
    """The boundary is exact."""
    least = needed_right(n, gate)
    if least is None:
        assert wilson(n, n)[0] < gate
    else:
        assert wilson(least, n)[0] >= gate > wilson(least - 1, n)[0] if least else True


def test_ninety_percent_takes_35_rows_at_least() -> None:
    """Of a model without an error; one that is no better than the gate is never proven."""
    assert rows_for_perfect(0.9) == 35
    assert rows_to_prove(0.9, 0.9) is None
