"""Pure functions on user text: what counts as a text at all, and when two texts are the same.

Nothing here changes what the model sees; the tokenizer gets the text as it came.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from edge.errors import InvalidText

__all__ = ["check_text", "normalize"]

BLANK_SCAN_CHARS = 65_536  # a text that opens with more blanks than this counts as blank
MAX_MARKS = 30
"""On one letter; no writing has more. Source: UAX #15, section 13 (stream-safe text)."""
_MAY_BE_PILE = re.compile(rf"[^\w\s\x00-\u02ff]{{{MAX_MARKS + 1},}}")


def check_text(text: str, field: str = "text") -> str:
    """Return `text` unchanged if it can be classified.

    Reads a bounded part of the text: what a text costs must not grow with its length.

    Raises:
        InvalidText: The text is empty or blank.
    """
    if not text[:BLANK_SCAN_CHARS].strip():
        found = "an empty string" if not text else "only white space"
        raise InvalidText(f"{field}: expected a text to classify, found {found}; send some words")
    return text


def normalize(text: str) -> str:
    """The form in which two texts are the same text: NFC, white space collapsed and trimmed.

    Case is kept: it can carry meaning, and the models of Phase A are cased. A letter with more
    marks than any writing has stays as it came: to order them takes quadratic time, and holds up
    all other threads meanwhile.
    """
    parts, done = [], 0
    for start, end in _piles(text):
        parts += [unicodedata.normalize("NFC", text[done:start]), text[start:end]]
        done = end
    parts.append(unicodedata.normalize("NFC", text[done:]))
    return " ".join("".join(parts).split())


def _piles(text: str) -> Iterator[tuple[int, int]]:
    """Where letters lie that bear more than `MAX_MARKS`, marks and all."""
    for run in _MAY_BE_PILE.finditer(text):
        start = run.start()
        for end in range(run.start(), run.end() + 1):
            if end < run.end() and unicodedata.combining(text[end]):
                continue
            if end - start > MAX_MARKS:
                yield max(start - 1, 0), end
            start = end + 1
