"""Tries a bundle in a process of its own: what kills that process does not kill the daemon.

This is the parent's side: start, watch, give up. What is tried is `edge.models.examination`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge.embedded import DEFAULT_INTENTS
from edge.models.verdict import TrialFailure, TrialReport

__all__ = ["COMMAND", "TrialFailure", "TrialReport", "run_trial"]

COMMAND = (sys.executable, "-m", "edge.models.trial")
POLL_S = 0.02
MAX_OUTPUT_BYTES = 64 << 10
MAX_SHOWN_CHARS = 300
# What belongs to the daemon alone: its supervisor's sockets and clock.
PRIVATE_VARIABLES = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)


def run_trial(
    bundle: Path,
    *,
    timeout_s: float,
    memory_bytes: int,
    intents: Path = DEFAULT_INTENTS,
    threads: int = 0,
    is_wanted: Callable[[], bool] = lambda: True,
) -> TrialReport:
    """Load a bundle in a child process, and let it answer.

    Blocks until the child is done; call it from a thread. The child is a new program, not a fork:
    it holds none of the daemon's sockets and locks. It runs at the lowest priority.

    Args:
        bundle: Its directory.
        timeout_s: After this, the child is killed.
        memory_bytes: Resident memory above which the child is killed.
        intents: The label set that it will be asked for.
        threads: As `RuntimeOptions.threads`.
        is_wanted: Asked again and again, in this thread; once it says no, the child is killed.

    Raises:
        OSError: No process can be started.
    """
    deadline = time.monotonic() + timeout_s
    arguments = [str(bundle), str(intents), str(threads), str(memory_bytes), str(timeout_s)]
    with _memory_file() as out, _memory_file() as log:
        with _child([*COMMAND, *arguments], out, log) as child:
            failure = _watch(child, deadline, memory_bytes, is_wanted)
        if failure is TrialFailure.TIMEOUT:
            return _refusal(failure, f"it was not done within {timeout_s:g} s")
        if failure is TrialFailure.MEMORY:
            return _refusal(failure, f"it took more than {memory_bytes >> 20} MiB")
        if failure is TrialFailure.STOPPED:
            return _refusal(failure, "it was stopped")
        return _read_report(child.returncode, _tail(out), _tail(log))


@contextmanager
def _child(
    command: Sequence[str], out: BinaryIO, log: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    """The running child, which is gone at the end, whatever happens."""
    environment = {k: v for k, v in os.environ.items() if k not in PRIVATE_VARIABLES}
    child = subprocess.Popen(  # noqa: S603 — our own program, with arguments of our own
        command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # with whatever it started
        child.wait()


def _watch(
    child: subprocess.Popen[bytes],
    deadline: float,
    memory_bytes: int,
    is_wanted: Callable[[], bool],
) -> TrialFailure | None:
    """Wait for the child's end; None if it came to one by itself."""
    while True:
        try:
            child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                return TrialFailure.TIMEOUT
            if _resident_bytes(child.pid) > memory_bytes:
                return TrialFailure.MEMORY
            if not is_wanted():
                return TrialFailure.STOPPED
        else:
            return None


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):  # it has just ended
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _read_report(code: int, out: str, log: str) -> TrialReport:
    if code < 0:
        return _refusal(TrialFailure.CRASH, _describe_signal(-code))
    try:
        told = json.loads(out)
        reason = TrialFailure(told["reason"]) if told["reason"] else None
        return TrialReport(reason, str(told["detail"]), dict(told["facts"]))
    except (ValueError, KeyError, TypeError):
        last = log.strip().rpartition("\n")[2][:MAX_SHOWN_CHARS]
        return _refusal(TrialFailure.ERROR, f"it ended with status {code} and no report: {last}")


def _describe_signal(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    meanings = {
        "SIGILL": "this CPU lacks an instruction that the runtime or the model uses",
        "SIGKILL": "somebody killed it, most likely the kernel for want of memory",
        "SIGABRT": "the runtime or the tokenizer gave up, most likely for want of memory",
        "SIGSYS": "the service's filter forbids a system call that it makes",
        "SIGALRM": "it was not done in time",
    }
    return f"its process was ended by {name}" + (
        f": {meanings[name]}" if name in meanings else ", inside the runtime or the tokenizer"
    )


def _refusal(reason: TrialFailure, problem: str) -> TrialReport:
    advice = "the model that is served stays; build the bundle for this machine, or take another"
    return TrialReport(reason, f"{problem}; {advice}")


@contextmanager
def _memory_file() -> Iterator[BinaryIO]:
    """A file without a disk: a full one must not keep a trial from being read."""
    with os.fdopen(os.memfd_create("intentd-trial", os.MFD_CLOEXEC), "w+b") as file:
        yield file


def _tail(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_OUTPUT_BYTES))
    return file.read().decode("utf-8", errors="replace")


if __name__ == "__main__":
    from edge.models.examination import main

    main(sys.argv[1:])
