"""A disk without room, in whatever words a library says so, becomes one line. It frees nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import OutputFailed

__all__ = ["needing_room", "no_room"]

FULL_DISK = ("(os error ", "No space left", "PytorchStreamWriter failed", "unexpected pos")
"""How the libraries' own writers, in Rust and C++, say that the disk refuses."""


@contextmanager
def needing_room(folder: Path, what: str) -> Iterator[None]:
    """Whatever a library raises in here because the disk refuses is OutputFailed.

    Args:
        folder: Where is written.
        what: Is written there, for the message.
    """
    try:
        yield
    except Exception as error:
        if any(words in str(error) for words in FULL_DISK):
            raise no_room(folder, what, str(error).splitlines()[0]) from error
        raise


def no_room(folder: Path, what: str, why: str) -> OutputFailed:
    """The error, with what to do."""
    return OutputFailed(
        f"{folder}: expected room for {what}, but {why}; make room, or choose another --work-dir; "
        "the same command then goes on from the last whole checkpoint, if there is one"
    )
