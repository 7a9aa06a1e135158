"""What the service manager hears from us: ready, reloading, stopping, alive. Source: sd_notify(3).

Without a service manager everything here does nothing, and it never raises into the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Callable

__all__ = ["notify", "ready", "reloading", "stopping", "watchdog", "watchdog_interval_s"]

SEND_TIMEOUT_S = 1.0  # systemd's queue is full only when systemd itself is stuck
PINGS_PER_PERIOD = 3  # one late ping, or one lost, does not kill a healthy daemon

MICROSECONDS = re.compile(r"[0-9]{1,19}")  # systemd's usec_t has 64 bits

log = logging.getLogger(__name__)


def notify(*assignments: str) -> bool:
    """Send `NAME=value` assignments as one datagram to `$NOTIFY_SOCKET`.

    Returns:
        Whether it was sent; False without a service manager, or when it cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A line break would start another assignment, and values may quote an error message.
    datagram = "\n".join(" ".join(a.splitlines()) for a in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SEND_TIMEOUT_S)
            sock.sendto(datagram.encode("utf-8", "replace"), _native(address))
    except (OSError, ValueError) as error:
        log.warning("cannot notify the service manager at %s: %s", address, error)
        return False
    return True


def ready(status: str = "") -> bool:
    """Say that requests are answered from now on; also ends a reload."""
    return notify("READY=1", f"STATUS={status}")


def reloading() -> bool:
    """Say that a reload began; `ready` must follow. The time is what `Type=notify-reload` needs."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(status: str = "") -> bool:
    """Say that the daemon is on its way out."""
    return notify("STOPPING=1", f"STATUS={status}")


def watchdog_interval_s() -> float | None:
    """Seconds between pings, a third of what systemd allows; None when it expects none from us."""
    period_us = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not MICROSECONDS.fullmatch(period_us) or int(period_us) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None  # meant for our parent
    return int(period_us) / 1e6 / PINGS_PER_PERIOD


async def watchdog(is_healthy: Callable[[], bool], interval_s: float | None = None) -> None:
    """Ping while healthy, until cancelled; silence makes systemd restart the daemon.

    It runs on the event loop's monotonic clock, so a step of the wall clock loses no ping, and a
    blocked event loop pings no more.

    Args:
        is_healthy: Asked before each ping, on the event loop; it must not block. Raising means no.
        interval_s: Seconds between pings; None takes systemd's, and returns at once if it has none.
    """
    interval_s = interval_s or watchdog_interval_s()
    if interval_s is None:
        return
    was_healthy = True
    while True:
        healthy = _ask(is_healthy)
        if healthy:
            notify("WATCHDOG=1")
        if healthy != was_healthy:
            log.warning("watchdog: %s", "healthy again" if healthy else "unhealthy, pings stop")
            was_healthy = healthy
        await asyncio.sleep(interval_s)


def _ask(is_healthy: Callable[[], bool]) -> bool:
    try:
        return is_healthy()
    except Exception:  # whatever it is, the daemon cannot vouch for itself
        log.exception("watchdog: the health check failed")
        return False


def _native(address: str) -> str:
    """The address as the kernel wants it: an abstract name starts with NUL, which we write `@`."""
    return "\0" + address[1:] if address.startswith("@") else address
