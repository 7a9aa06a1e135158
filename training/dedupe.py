"""Near duplicates by MinHash, verified on the shingles themselves. Only here is datasketch known.

It says which texts are the same; which of them stays is its caller's business, by order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from datasketch import MinHash, MinHashLSH

from training.fold import shingles

__all__ = ["Finder", "drop_near_duplicates", "jaccard"]

PERMUTATIONS = 128
SLACK = 0.15
"""The index is asked for a bit less than wanted, for it estimates; the shingles then decide."""
MIN_THRESHOLD = 0.3


class Finder:
    """Texts, asked for the ones that are nearly like another."""

    def __init__(self, threshold: float) -> None:
        """Jaccard of the shingles, in [0, 1], from which two texts are the same."""
        self._threshold = threshold
        self._index = MinHashLSH(
            threshold=max(threshold - SLACK, MIN_THRESHOLD), num_perm=PERMUTATIONS
        )
        self._known: dict[int, frozenset[str]] = {}

    def add(self, folded: str) -> int:
        """Keep a text; returns its number, counted from 0."""
        number = len(self._known)
        self._known[number] = shingles(folded)
        self._index.insert(number, _sketch(self._known[number]))
        return number

    def find(self, folded: str) -> tuple[int, float] | None:
        """The likest known text that is the same: its number, and the Jaccard index."""
        mine = shingles(folded)
        close = ((jaccard(mine, self._known[n]), n) for n in self._index.query(_sketch(mine)))
        likeness, number = max(close, key=lambda found: (found[0], -found[1]), default=(0.0, -1))
        return (number, likeness) if number >= 0 and likeness >= self._threshold else None


def drop_near_duplicates(
    folded: Sequence[str],
    groups: Sequence[str | None],
    threshold: float,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> dict[int, int]:
    """Which positions say again what an earlier one of the same group says.

    Args:
        folded: Texts, the ones to keep first.
        groups: Of each text; only texts of one group are compared.
        threshold: See `Finder`.
        track: Wraps the loop, for a progress bar.

    Returns:
        Dropped position → the position that says it already.
    """
    finders: dict[str | None, tuple[Finder, list[int]]] = {}
    dropped = {}
    for position in track(range(len(folded))):
        finder, kept = finders.setdefault(groups[position], (Finder(threshold), []))
        found = finder.find(folded[position])
        if found is not None:
            dropped[position] = kept[found[0]]
        else:
            finder.add(folded[position])
            kept.append(position)
    return dropped


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """What two sets share, of all that is in either; in [0, 1]."""
    return len(first & second) / len(first | second)


def _sketch(parts: Iterable[str]) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([part.encode() for part in itertools.islice(parts, 10_000)])
    return sketch
