"""What sync remembers between runs: a lock, until when it keeps quiet, and its own key."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge.errors import Unavailable
from edge.sync.retry import MAX_RETRY_AFTER_S

__all__ = ["SyncState"]

KEY_BYTES = 32


class SyncState:
    """A private directory with a lock, a key and, at times, a moment to wait for.

    Nothing is written by a run in which upstream answers as it should.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """Touches nothing.

        Args:
            directory: Made when it is needed, with mode 0700.
            clock: Unix time in seconds.
        """
        self._directory = directory
        self._clock = clock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock; raises `Unavailable` while another run holds it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Unavailable("another intentd sync is at work; let it finish") from None
        finally:
            os.close(descriptor)

    def quiet_s(self) -> float:
        """Seconds for which upstream asked to be left alone; 0 if it did not."""
        try:
            until = float((self._directory / "quiet-until").read_text())
        except (FileNotFoundError, ValueError):
            return 0.0
        # A clock that was set back must not keep a box quiet for longer than upstream may ask.
        return min(max(until - self._clock(), 0.0), MAX_RETRY_AFTER_S)

    def keep_quiet(self, seconds: float) -> datetime:
        """Remember that upstream asked for this; returns until when."""
        until = self._clock() + min(seconds, MAX_RETRY_AFTER_S)
        path = self._directory / "quiet-until"
        part = path.with_suffix(".part")
        part.write_text(f"{until:.3f}")
        part.replace(path)
        return datetime.fromtimestamp(until, UTC)

    def read_key(self) -> bytes:
        """This box's secret, made when it is first asked for; it never leaves the box."""
        path = self._directory / "key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = secrets.token_bytes(KEY_BYTES)
            part = self._directory / "key.part"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
            part.replace(path)
            return key
