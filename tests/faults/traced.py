"""A real daemon under strace from its first instruction, and what it asked of the file system."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemons import clean_environment
from tests.e2e.talk import wait_until
from tests.faults.tape import ROOT, Operation, python, read_tape, strace, trace_options

__all__ = ["Traced", "traced_daemon"]


@dataclass(frozen=True)
class Traced:
    """A daemon that answers, and its tape."""

    directory: Path
    tape: Path

    @property
    def socket(self) -> Path:
        """For apps."""
        return self.directory / "api.sock"

    @property
    def state(self) -> Path:
        """Where its databases are."""
        return self.directory / "intentd"

    def operations(self) -> list[Operation]:
        """What it did so far."""
        return list(read_tape(self.tape))


@contextmanager
def traced_daemon(directory: Path, module: str = "edge.cli") -> Iterator[Traced]:
    """Start a daemon in a short directory, wait until it answers, and stop it at the end."""
    traced = Traced(directory, directory / "tape")
    serve = python(module, "serve", "--socket", str(traced.socket))
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as log:
        process = subprocess.Popen(
            [strace(), *trace_options(traced.tape), *serve],
            cwd=ROOT,
            env=clean_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
        )
    try:
        wait_until(lambda: " answers on " in (directory / "stdout").read_text(), "ready")
        yield traced
    finally:
        for child in _children(process.pid):
            os.kill(child, signal.SIGTERM)
        process.wait(60)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
