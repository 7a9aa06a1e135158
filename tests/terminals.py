"""Runs a command on a real pseudo-terminal, as a person at a keyboard would meet it.

Waits for what the screen shows, with a deadline; never for a time.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["ESCAPES", "Person", "on_terminal"]

DEADLINE_S = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")
"""Control sequences and carriage returns."""


class Person:
    """Who types into a command and reads its screen."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int, terminal: int) -> None:
        """Takes both ends of the pseudo-terminal; the second only to look at its settings."""
        self.process = process
        self.raw = b""
        self._keyboard = keyboard
        self._terminal = terminal
        self._mark = 0

    def type(self, keys: str) -> None:
        """Press keys; what is waited for next must appear after this."""
        self._mark = len(self.raw)
        os.write(self._keyboard, keys.encode())

    def see(self, words: str) -> str:
        """Wait until the screen shows the words, since the last key; returns what it showed."""
        deadline = time.monotonic() + DEADLINE_S
        while words not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} was not shown, but {self.shown!r}"
            assert self._receive(left), f"it ended before {words!r} was shown: {self.shown!r}"
        return self.shown

    def wait(self) -> int:
        """Read to the end; returns the exit status."""
        while self._receive(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S)

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self._mark = len(self.raw)
        _set_size(self._keyboard, columns, lines)

    @property
    def shown(self) -> str:
        """What was printed since the last key, without control sequences."""
        return ESCAPES.sub("", self.raw[self._mark :].decode("utf-8", "replace"))

    @property
    def settings(self) -> list[Any]:
        """The terminal's settings (see `termios`)."""
        return termios.tcgetattr(self._terminal)

    def _receive(self, timeout_s: float) -> bool:
        if not select.select([self._keyboard], [], [], min(timeout_s, 0.1))[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._keyboard, 65536)
        except OSError:  # Linux says so when the last writer has closed
            return False
        self.raw += data
        return bool(data)


@contextmanager
def on_terminal(
    command: Sequence[str],
    env: Mapping[str, str],
    size: tuple[int, int] = (80, 24),
    *,
    stdin: int | None = None,
    stdout: int | None = None,
) -> Iterator[Person]:
    """Start a command on a terminal of its own; it is killed if it outlives the block.

    Args:
        command: The program and its arguments.
        env: Its environment; TERM is added.
        size: Columns and lines of the window.
        stdin: Where its input comes from instead, as for `subprocess`.
        stdout: Where its output goes instead.
    """
    keyboard, terminal = pty.openpty()
    _set_size(keyboard, *size)
    process = subprocess.Popen(
        command,
        stdin=terminal if stdin is None else stdin,
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
        env={**env, "TERM": "xterm-256color"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
    )
    try:
        yield Person(process, keyboard, terminal)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(terminal)
        os.close(keyboard)


def _set_size(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
