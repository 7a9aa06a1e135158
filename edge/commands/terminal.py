"""A terminal that shows one screen and hands over single keys; it always gives the terminal back.

What is shown stays on the alternate screen, so that no text remains in the scrollback. It knows
nothing of reviews.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from edge.errors import InvalidRequest

if TYPE_CHECKING:  # rich is slow to import, and --help does not need it
    from rich.text import Text

__all__ = ["END_OF_INPUT", "RESIZED", "Terminal", "open_terminal", "why_no_terminal"]

END_OF_INPUT = ""
"""The key that stands for a terminal that went away."""
RESIZED = "resized"
"""The key that stands for a new size of the window."""

# Alternate screen, hidden cursor, no wrapping (a character wider than we think must not scroll),
# and bracketed paste: a pasted text must not be taken for keys.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h"
LEAVE = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ESCAPE = b"\x1b"
LINUX_FUNCTION_KEY = b"[["  # the console's F1 is ESC [ [ A, which the standard would end early
PASTE_BEGINS, PASTE_ENDS = b"[200~", b"\x1b[201~"
SIZE_WAIT_S, SIZE_LOOK_S = 0.05, 0.001  # the kernel signals a new size before it tells it
SEQUENCE_WAIT_S = 0.05  # the rest of a sequence comes at once; a person's next key does not
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
CONTROL_CHARS = 6  # where a terminal's settings hold its control characters


class Terminal:
    """The open terminal; made by `open_terminal`."""

    def __init__(self, keyboard: int, wakeup: int) -> None:
        """Takes the keyboard's file descriptor, and one that is readable after a new size."""
        from rich.console import Console

        self._keyboard = keyboard
        self._wakeup = wakeup
        self._drawn_size = self.size
        self._console = Console(highlight=False, emoji=False, markup=False)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines: the window's own, whatever COLUMNS and LINES said at the start."""
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self._keyboard)
            if columns and lines:
                return columns, lines
        columns, lines = shutil.get_terminal_size()
        return columns, lines

    def draw(self, lines: Sequence[Text]) -> None:
        """Replace the screen; what is wider or higher than the window is cut."""
        width, height = self._drawn_size = self.size
        self._console.width = width
        parts = []
        for line in lines[:height]:
            with self._console.capture() as printed:
                self._console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
            parts.append(printed.get() + END_OF_LINE)
        _write(HOME + "\r\n".join(parts) + BELOW)

    def forget_typed(self) -> None:
        """Drop keys that were pressed before what they would answer was on the screen."""
        termios.tcflush(self._keyboard, termios.TCIFLUSH)

    def read_key(self) -> str:
        """Wait for one key; sequences (arrows, pasted text) are read to their end and dropped."""
        while True:
            readable, _, _ = select.select([self._keyboard, self._wakeup], [], [])
            if self._wakeup in readable:
                os.read(self._wakeup, 4096)
                self._await_size()
                return RESIZED
            first = self._read()
            if first != ESCAPE:
                return self._rest_of_character(first) if first else END_OF_INPUT
            self._drop_sequence()

    def _await_size(self) -> None:
        """Let the kernel store the size that it signalled; the same size again is no surprise."""
        until = time.monotonic() + SIZE_WAIT_S
        while self.size == self._drawn_size and time.monotonic() < until:
            time.sleep(SIZE_LOOK_S)

    def _read(self) -> bytes:
        try:
            return os.read(self._keyboard, 1)
        except OSError:  # the window was closed
            return b""

    def _rest_of_character(self, data: bytes) -> str:
        for _ in range(3):
            with contextlib.suppress(UnicodeDecodeError):
                return data.decode("utf-8")
            data += self._read() if self._has_more() else b""
        return data.decode("utf-8", "replace")

    def _has_more(self) -> bool:
        return bool(select.select([self._keyboard], [], [], SEQUENCE_WAIT_S)[0])

    def _drop_sequence(self) -> None:
        data = b""
        while self._has_more() and (byte := self._read()):
            data += byte
            if data.startswith(PASTE_BEGINS):
                self._drop_paste()
                return
            if data != LINUX_FUNCTION_KEY and len(data) > 1 and 0x40 <= byte[0] <= 0x7E:
                return  # ECMA-48: such a byte ends a control sequence

    def _drop_paste(self) -> None:
        seen = b""
        while not seen.endswith(PASTE_ENDS) and (byte := self._read()):
            seen = (seen + byte)[-len(PASTE_ENDS) :]


def why_no_terminal() -> str | None:
    """What keeps this process from having a conversation; None if nothing does."""
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout)):
        if not stream.isatty():
            return f"{name} is not a terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "the terminal cannot move its cursor (TERM=dumb)"
    return None


@contextmanager
def open_terminal() -> Iterator[Terminal]:
    """Keys one by one and a screen of our own, until the end of the block, however it ends.

    Raises:
        InvalidRequest: There is no terminal.
    """
    if reason := why_no_terminal():
        raise InvalidRequest(f"expected a terminal, found none: {reason}")
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    with _ending_signals_raise(), _told_of_signals() as wakeup:
        try:
            tty.setcbreak(keyboard, termios.TCSAFLUSH)
            _disable_suspension(keyboard)
            _write(ENTER)
            yield Terminal(keyboard, wakeup)
        finally:
            with contextlib.suppress(OSError, termios.error):  # the window may be gone
                _write(LEAVE)
                termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _disable_suspension(keyboard: int) -> None:
    """Ctrl-Z would leave a shell with hidden cursor on our screen."""
    settings = termios.tcgetattr(keyboard)
    disabled = os.fpathconf(keyboard, "PC_VDISABLE")
    settings[CONTROL_CHARS][termios.VSUSP] = bytes([disabled])
    termios.tcsetattr(keyboard, termios.TCSANOW, settings)


@contextmanager
def _ending_signals_raise() -> Iterator[None]:
    """Turn signals that would end the process on the spot into an exit that cleans up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _told_of_signals() -> Iterator[int]:
    """A file descriptor that becomes readable with every signal, the one for a new size included.

    The interpreter writes to it at once. A handler would run only after a wait for a key that has
    just begun, and a signal that came a moment before it would not be heeded until the next key.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    told_before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(told_before)
        signal.signal(signal.SIGWINCH, before)
        os.close(readable)
        os.close(writable)


def _write(data: str) -> None:
    sys.stdout.write(data)
    sys.stdout.flush()
