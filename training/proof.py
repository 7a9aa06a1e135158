"""What a number of judged rows can prove about an accuracy. Pure arithmetic.

Source: Wilson's score interval, E. B. Wilson, JASA 22 (1927) 209-212.
"""

from __future__ import annotations

import math

__all__ = ["Z_95", "needed_right", "rows_for_perfect", "rows_to_prove", "wilson"]

Z_95 = 1.959964
"""Two-sided 95 %."""
MOST_ROWS = 1_000_000


def wilson(right: float, n: int, z: float = Z_95) -> tuple[float, float]:
    """The interval in [0, 1] that holds the true share; (0, 1) of nothing.

    Args:
        right: Rows answered right; a fraction, where it is an expectation.
        n: Rows in all.
        z: Quantile of the normal distribution.
    """
    if n == 0:
        return 0.0, 1.0
    share, spread = right / n, z * z / n
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def needed_right(n: int, gate: float) -> int | None:
    """The least rows that must be right of `n`, for the interval to lie above the gate.

    Returns:
        None where not even all of them would do.
    """
    if wilson(n, n)[0] < gate:
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wilson(middle, n)[0] >= gate else (middle + 1, high)
    return low


def rows_for_perfect(gate: float) -> int:
    """The fewest rows with which a model without a single error is proven above the gate."""
    return rows_to_prove(1.0, gate) or MOST_ROWS


def rows_to_prove(accuracy: float, gate: float) -> int | None:
    """Rows from which a model of this accuracy is expected to be proven above the gate.

    Returns:
        None where no million of rows would do, as when the model is not above it.
    """
    if wilson(accuracy * MOST_ROWS, MOST_ROWS)[0] < gate:
        return None
    low, high = 1, MOST_ROWS
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if wilson(accuracy * middle, middle)[0] >= gate else (middle + 1, high)
        )
    return low
