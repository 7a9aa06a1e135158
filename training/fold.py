"""When two texts are the same text to a person: case, punctuation and width do not count. Pure.

Looser than `edge.text.normalize`, which decides what the *daemon* takes for the same text.
"""

from __future__ import annotations

import re
import unicodedata

from edge.text import normalize

__all__ = ["fold", "fold_digits", "shingles"]

SHINGLE_CHARS = 5
"""Source: usual for short texts; research measured 0.8 Jaccard on these as "the same text"."""
NO_WORD = re.compile(r"[\W_]+")
DIGIT = re.compile(r"\d")


def fold(text: str, content: str | None = None) -> str:
    """NFKC, case folded, words only; a text without a word stays what it is.

    Args:
        text: The request.
        content: What it is about; part of the identity, for the same request is another one there.
    """
    folded = _words(text) or normalize(text)
    return folded if content is None else f"{folded}\x1f{_words(content)}"


def fold_digits(text: str, content: str | None = None) -> str:
    """`fold`, and every digit is 0: the same template with another number is the same text."""
    return DIGIT.sub("0", fold(text, content))


def shingles(folded: str) -> frozenset[str]:
    """Every run of five characters; a shorter text is one shingle, itself."""
    last = max(len(folded) - SHINGLE_CHARS, 0)
    return frozenset(folded[i : i + SHINGLE_CHARS] for i in range(last + 1))


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return NO_WORD.sub(" ", unicodedata.normalize("NFKC", plain)).strip()
