"""What Linux tells of other processes: their children, CPU time and memory; and signals to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["cpu_seconds", "family", "peak_mb", "resident_mb", "send"]

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> tuple[int, ...]:
    """A process and all that descend from it, those that have ended left out."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text("ascii").split())
    return tuple(found)


def send(processes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time of all, to 10 ms."""
    return sum(_ticks(process) for process in processes) / TICKS


def resident_mb(processes: Iterable[int]) -> float:
    """Memory that they hold now."""
    return sum(_kib(process, "VmRSS") for process in processes) / 1000 * 1.024


def peak_mb(processes: Iterable[int]) -> float:
    """The most that each has ever held, summed up."""
    return sum(_kib(process, "VmHWM") for process in processes) / 1000 * 1.024


def _ticks(process: int) -> int:
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _kib(process: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
