"""When the next run begins: the same moment of every interval, another one for each box."""

from __future__ import annotations

import hashlib
import re

from edge.errors import InvalidValue

__all__ = ["parse_interval", "seconds_to_next", "splay"]

MIN_INTERVAL_S = 10.0
MAX_INTERVAL_S = 7 * 86400.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_INTERVAL = re.compile(r"(\d{1,6})([smhd])")


def parse_interval(text: str) -> float:
    """`15m` → 900.0 seconds.

    Raises:
        InvalidValue: Not a number with s, m, h or d; or under 10 s or over 7 d.
    """
    match = _INTERVAL.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        raise InvalidValue(f"--every: expected 10s to 7d, such as 15m or 6h, found {text!r}")
    return seconds


def splay(device_id: str, interval_s: float) -> float:
    """Where in the interval this box has its turn; even over a fleet, and always the same."""
    digest = hashlib.sha256(device_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * interval_s


def seconds_to_next(now: float, interval_s: float, offset_s: float) -> float:
    """From now (Unix seconds) to the box's next turn: more than 0, at most one interval."""
    return interval_s - (now - offset_s) % interval_s
