"""When to try again: what a status means, what Retry-After says, how long to wait."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = [
    "MAX_RETRY_AFTER_S",
    "TRANSIENT_STATUSES",
    "AnswerBroken",
    "Backoff",
    "Busy",
    "parse_retry_after",
]

MAX_RETRY_AFTER_S = 6 * 3600.0
"""No upstream keeps a box quiet for longer; its word is taken again then."""
PATIENCE_S = 60.0
"""A wait that is longer ends the run; the next run begins after it."""
BASE_S = 0.5
CAP_S = 30.0
SPREAD = 0.25
"""Retry-After is stretched by up to this, never shortened: not all boxes come back at once."""
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Busy(Exception):
    """Upstream cannot take it now.

    Args:
        message: What to tell a person.
        retry_after_s: What upstream asked for, in seconds; None if it asked for nothing.
    """

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AnswerBroken(Exception):
    """An answer that is cut off, or is not what was expected: nothing is known to be delivered."""


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, from 0 to 6 hours; None if it says nothing.

    Source: RFC 9110, 10.2.3: seconds, or a date.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


@dataclass(slots=True)
class Backoff:
    """How long to wait after each failure of one call; a hook for `stamina.retry_context`."""

    is_transient: Callable[[Exception], bool]
    uniform: Callable[[float, float], float] = random.uniform
    failures: int = 0

    def __call__(self, error: Exception) -> bool | float:
        """Seconds to wait before the next attempt, or False: do not try again in this run."""
        if not self.is_transient(error):
            return False
        self.failures += 1
        asked = error.retry_after_s if isinstance(error, Busy) else None
        if asked is not None:
            return False if asked > PATIENCE_S else asked * self.uniform(1.0, 1.0 + SPREAD)
        return self.uniform(0.0, min(CAP_S, BASE_S * 2 ** (self.failures - 1)))  # full jitter
