"""Identifiers: UUIDs that only grow within a process. Knows nothing of what they name."""

from __future__ import annotations

import os
import threading
import time
import uuid

__all__ = ["uuid7"]

COUNTER_BITS = 12
_lock = threading.Lock()
_last = 0  # milliseconds << COUNTER_BITS | counter, as in the id made last


def uuid7(now_ns: int | None = None) -> uuid.UUID:
    """A UUID of version 7, greater than every one that this process made before.

    Unix milliseconds, then a 12-bit counter that starts again each millisecond (it borrows from the
    next one when it is full, and when the clock is set back), then 62 random bits. Thread-safe.

    Args:
        now_ns: Unix time in nanoseconds; the system's clock where absent.

    Source: RFC 9562, 5.7 and 6.2 (method 1 with a dedicated counter).
    """
    global _last
    now_ms = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    with _lock:
        _last = max(now_ms << COUNTER_BITS, _last + 1)
        ordered = _last
    milliseconds, counter = ordered >> COUNTER_BITS, ordered & (1 << COUNTER_BITS) - 1
    noise = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | noise)
