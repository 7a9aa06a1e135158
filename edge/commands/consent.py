"""Asks the person at the terminal before something that cannot, or not easily, be taken back."""

from __future__ import annotations

from pathlib import Path

from edge.errors import InvalidRequest

__all__ = ["consents"]

TERMINAL = Path("/dev/tty")


def consents(question: str, word: str) -> bool:
    """Ask on the terminal itself: stdin may bring data. The word must be typed out.

    Raises:
        InvalidRequest: There is nobody to ask.
    """
    try:
        terminal = TERMINAL.open("r+b", buffering=0)
    except OSError:
        raise InvalidRequest(
            f"expected a terminal to ask on, found none; --yes {word}s without asking"
        ) from None
    with terminal:
        terminal.write(f"{question} Type {word} to go on: ".encode())
        return terminal.readline().strip() == word.encode()
