"""What Linux tells of other processes: their children, CPU time and memory; and signals to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["cpu_seconds", "family", "peak_mb", "resident_mb", "resume", "send", "suspend"]

TICKS = os.sysconf("SC_CLK_TCK")
STOPPED = frozenset("TtZX")
"""States in which a process uses no CPU and will not by itself."""
STOP_S = 10.0
POLL_S = 0.002


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


def suspend(pid: int) -> None:
    """Stop a process and all that descend from it; they have stopped when this returns."""
    members = family(pid)
    send(members, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_S
    while any(_state(member) not in STOPPED for member in members):
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {members} to stop within {STOP_S:g} s")
        time.sleep(POLL_S)


def resume(pid: int) -> None:
    """Let them run again."""
    send(family(pid), signal.SIGCONT)


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time of all, to 10 ms."""
    return sum(_ticks(process) for process in processes) / TICKS


def resident_mb(processes: Iterable[int]) -> float:
    """Memory that they hold now."""
    return sum(_kib(process, "VmRSS") for process in processes) * 1024 / 1e6


def peak_mb(processes: Iterable[int]) -> float:
    """The most that each has ever held, summed up."""
    return sum(_kib(process, "VmHWM") for process in processes) * 1024 / 1e6


def _ticks(process: int) -> int:
    fields = _stat(process)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _state(process: int) -> str:
    fields = _stat(process)
    return fields[0] if fields else "X"


def _stat(process: int) -> list[str]:
    """From its state on; nothing of one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return []


def _kib(process: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
