"""Which of two versions of a model is the older one; versions are free text to their makers.

It keeps no record of what was seen: that is the journal's.
"""

from __future__ import annotations

import re

__all__ = ["is_older", "newer"]

ITEM = re.compile(r"([0-9]+)|([a-z]+)")
WORD, END, NUMBER = 0, 1, 2


def is_older(version: str, than: str) -> bool:
    """Whether one version comes before another: 9 < 10, 1.0-rc1 < 1.0 < 1.0.1, dates as they run.

    Numbers are compared as numbers; a word behind a version makes it an earlier one, as with
    semantic versions; marks between them and the letters' case do not count.
    """
    return _key(version) < _key(than)


def newer(one: str, other: str) -> str:
    """The later of two versions."""
    return other if is_older(one, than=other) else one


def _key(version: str) -> list[tuple[int, int, str]]:
    items = ITEM.findall(version.lower().partition("+")[0])  # behind a plus: the build's name
    numbered = [(NUMBER, int(n), "") if n else (WORD, 0, word) for n, word in items]
    return [*numbered, (END, 0, "")]
