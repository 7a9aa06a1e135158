"""Pure functions on user text: what counts as a text at all, and when two texts are the same.

Nothing here changes what the model sees; the tokenizer gets the text as it came.
"""

from __future__ import annotations

import unicodedata

from edge.errors import InvalidText

__all__ = ["check_text", "normalize"]

BLANK_SCAN_CHARS = 65_536  # a text that opens with more blanks than this counts as blank


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

    Case is kept: it can carry meaning, and the models of Phase A are cased.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
