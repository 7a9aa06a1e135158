"""Typos and careless casing, as people write on a phone; pure.

Never in a word that carries an intent.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection

__all__ = ["KINDS", "distort"]

WORD = re.compile(r"[^\W\d_]{4,}")
END = re.compile(r"[.?!]+\s*$")
NEIGHBOURS = {
    key: near
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for key, near in zip(
        row,
        (row[1] + "", *(row[i - 1] + row[i + 1] for i in range(1, len(row) - 1)), row[-2]),
        strict=True,
    )
}
"""Keys beside a key, on a QWERTY keyboard."""


def distort(text: str, protected: Collection[str], chance: random.Random) -> tuple[str, str] | None:
    """(Text, what was done to it); None where the draw would leave it as it is.

    Args:
        text: A request.
        protected: Lower-case words in which no letter is touched.
        chance: Draws.
    """
    kind = chance.choice(list(KINDS))
    made = KINDS[kind](text, protected, chance)
    return None if made == text or not made.strip() else (made, kind)


def _in_a_word(
    text: str, protected: Collection[str], chance: random.Random, edit: Callable[[str, int], str]
) -> str:
    """Edit one inner letter of one word."""
    words = [match for match in WORD.finditer(text) if match[0].lower() not in protected]
    if not words:
        return text
    word = chance.choice(words)
    place = chance.randrange(1, len(word[0]) - 1)
    return text[: word.start()] + edit(word[0], place) + text[word.end() :]


def _swap(text: str, protected: Collection[str], chance: random.Random) -> str:
    return _in_a_word(text, protected, chance, lambda w, i: w[:i] + w[i + 1] + w[i] + w[i + 2 :])


def _drop(text: str, protected: Collection[str], chance: random.Random) -> str:
    return _in_a_word(text, protected, chance, lambda w, i: w[:i] + w[i + 1 :])


def _double(text: str, protected: Collection[str], chance: random.Random) -> str:
    return _in_a_word(text, protected, chance, lambda w, i: w[:i] + w[i] + w[i:])


def _slip(text: str, protected: Collection[str], chance: random.Random) -> str:
    def edit(word: str, place: int) -> str:
        near = NEIGHBOURS.get(word[place].lower(), word[place])
        return word[:place] + chance.choice(near) + word[place + 1 :]

    return _in_a_word(text, protected, chance, edit)


def _lower(text: str, _protected: Collection[str], _chance: random.Random) -> str:
    return text.lower()


def _upper(text: str, _protected: Collection[str], _chance: random.Random) -> str:
    return text.upper()


def _no_end(text: str, _protected: Collection[str], _chance: random.Random) -> str:
    return END.sub("", text)


KINDS: dict[str, Callable[[str, Collection[str], random.Random], str]] = {
    "swap": _swap,
    "drop": _drop,
    "double": _double,
    "slip": _slip,
    "lower": _lower,
    "upper": _upper,
    "no-end": _no_end,
}
"""Name → what it does."""
