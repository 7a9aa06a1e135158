"""Which key means what while a person reviews; pure functions.

It reads no terminal: `edge.commands.terminal` hands over what was pressed.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CONFIRM_KEYS", "NONE_KEYS", "Act", "Step", "assign_keys", "keys_of", "read_step"]

CONFIRM_KEYS = ("\r", "\n")  # Enter, with and without the terminal's translation
NONE_KEYS = ("0", "n")
DIGITS = "123456789"


class Act(StrEnum):
    """What one key asks for."""

    CONFIRM = "confirm"
    """The model was right."""
    LABEL = "label"
    """It is this label."""
    NONE = "none"
    """It is none of the labels."""
    SKIP = "skip"
    """No answer to this one."""
    UNDO = "undo"
    """Take the last step back."""
    QUIT = "quit"
    """Leave."""


COMMANDS = {"s": Act.SKIP, "u": Act.UNDO, "q": Act.QUIT} | dict.fromkeys(NONE_KEYS, Act.NONE)


@dataclass(frozen=True, slots=True)
class Step:
    """What a key asks for, and for `Act.LABEL` which label."""

    act: Act
    label: str | None = None


def assign_keys(labels: Sequence[str]) -> dict[str, str]:
    """A label for each key: the digits in order, then letters.

    A label's first letter is its key too if no other label begins with it and no command has it.
    Labels beyond the ninth get the first free letter of their name, else any; when all letters are
    given away, the rest have no key.

    Returns:
        Key → label; the digits come first.
    """
    keys = dict(zip(DIGITS, labels, strict=False))
    initials = [label[:1].lower() for label in labels]
    keys |= {
        initial: label
        for label, initial in zip(labels, initials, strict=True)
        if initial.isalpha() and initials.count(initial) == 1 and initial not in COMMANDS
    }
    keyed = set(keys.values())
    for label in labels[len(DIGITS) :]:
        if label not in keyed and (free := _free_letter(label, keys)):
            keys[free] = label
    return keys


def keys_of(label: str, keys: Mapping[str, str]) -> str:
    """The keys of a label, as they are shown: `3 r`."""
    return " ".join(key for key, owner in keys.items() if owner == label)


def read_step(key: str, keys: Mapping[str, str]) -> Step | None:
    """What a key asks for, or None if it asks for nothing; capitals mean the same."""
    if key in CONFIRM_KEYS:
        return Step(Act.CONFIRM)
    for candidate in (key, key.lower()):
        if candidate in keys:
            return Step(Act.LABEL, keys[candidate])
        if candidate in COMMANDS:
            return Step(COMMANDS[candidate])
    return None


def _free_letter(label: str, keys: Mapping[str, str]) -> str | None:
    wanted = [char for char in label.lower() if char in string.ascii_lowercase]
    for letter in "".join(wanted) + string.ascii_lowercase:
        if letter not in keys and letter not in COMMANDS:
            return letter
    return None
