"""The key under which two texts are the same text, without holding either. Pure."""

from __future__ import annotations

import hashlib

from edge.text import normalize

__all__ = ["KEY_BYTES", "override_key"]

KEY_BYTES = 16
READ_CHARS = 65_536
"""Of each text. No model's window is longer, so what differs behind it is answered alike; and what
a text costs must not grow with its length. `check_text` ensures that this part is not blank."""
BETWEEN = b"\xff"  # occurs nowhere in UTF-8, so no text can look like a text and a content


def override_key(text: str, content: str | None) -> bytes:
    """BLAKE2b of the normalised text, and of the normalised content where there is one.

    Reads a bounded part of each.
    """
    digest = hashlib.blake2b(_encode(text), digest_size=KEY_BYTES)
    if content is not None:
        digest.update(BETWEEN + _encode(content))
    return digest.digest()


def _encode(text: str) -> bytes:
    return normalize(text[:READ_CHARS]).encode("utf-8", "surrogatepass")
