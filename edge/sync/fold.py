"""Folds a text into the plain form that patterns are sought in, and leads back to the text itself.

It changes nothing that is kept: whatever is found in the folded form is cut from the original.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Folded", "fold"]

_ODD = re.compile(r"[^\t\n\r -~]")
_BLANKS = {ord("\t"): " ", ord("\r"): " "}
_INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")
"""Characters that show nothing and are not in category Cf: fillers, blanks, the joiner."""
_STANDS_FOR = {"\u2212": "-", "\u3002": ".", "\uff61": ".", "\u2024": ".", "\u2028": "\n"}
_MARKS = frozenset({"Mn", "Me"})
MAX_CLUSTER = 32  # normalising reorders marks, in quadratic time; no writing stacks that many


@dataclass(frozen=True, slots=True)
class Folded:
    """A text, its plain form, and where each plain character comes from."""

    original: str
    plain: str
    starts: list[int] | None
    """Index in `original` for each plain character; None where both are the same."""
    ends: list[int] | None
    """Index in `original` after the last character that each plain one comes from."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of the plain form (not empty) lies in the original."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """The plain form: compatibility characters, digits, dashes and blanks as ASCII has them.

    What shows nothing (zero-width characters, controls, variation selectors) is left out. Takes
    time proportional to the text.
    """
    if _ODD.search(text) is None:
        return Folded(text, text.translate(_BLANKS), None, None)
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        for char in _plain(text[start:end]):
            plain.append(char)
            starts.append(start)
            ends.append(end)
    return Folded(text, "".join(plain), starts, ends)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """A character and the marks that sit on it; a mark folds only together with its base."""
    start, size = 0, len(text)
    while start < size:
        end = start + 1
        while end < min(size, start + MAX_CLUSTER) and _is_mark(text[end]):
            end += 1
        yield start, end
        start = end


def _is_mark(char: str) -> bool:
    return char > "\u02ff" and unicodedata.category(char) in _MARKS


def _plain(cluster: str) -> str:
    if len(cluster) == 1 and " " <= cluster <= "~":
        return cluster
    if cluster == "\n":
        return "\n"
    composed = unicodedata.normalize("NFKC", cluster)
    folded = "".join(map(_plain_char, composed))
    # No accent makes another digit, and no digit is lost for wearing one.
    return folded[:1] if folded[:1].isdecimal() and cluster[0].isdigit() else folded


def _plain_char(char: str) -> str:
    if char in _STANDS_FOR:
        return _STANDS_FOR[char]
    if char in _INVISIBLE or "\ufe00" <= char <= "\ufe0f":
        return ""
    if char.isdecimal():
        return str(unicodedata.digit(char))
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category in ("Cf", "Cc", "Me"):
        return ""
    return "-" if category == "Pd" else char
