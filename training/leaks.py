"""Finds rows that hold what the golden set asks: by lineage, by text, and by meaning.

It changes nothing; what is done about a leak is its caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from training.dedupe import Finder
from training.embed import Vectors, nearest
from training.fold import fold_digits
from training.rows import Row

__all__ = ["Guard", "Leak", "Why", "find_leaks"]


class Why(StrEnum):
    """How a row and a golden one belong together."""

    LINEAGE = "lineage"
    """One stems from the other, or both from one row."""
    EXACT = "exact"
    """The same words; case, punctuation and digits aside."""
    NEAR = "near"
    """Nearly the same letters."""
    PARAPHRASE = "paraphrase"
    """The same meaning in other words."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One row and the golden row that it gives away."""

    why: Why
    likeness: float
    """1 for lineage and exact; the Jaccard index or the cosine, in [0, 1]."""
    id: str
    text: str
    golden_id: str
    golden_text: str

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


class Guard:
    """A golden set, ready to be asked about many rows."""

    def __init__(self, golden: Sequence[Row], jaccard: float, cosine: float) -> None:
        """Keep the rows that must stay unknown, and from which likeness on they are given away."""
        self._golden = golden
        self._cosine = cosine
        self._lineage = {name: i for i, row in enumerate(golden) for name in (row.root, row.id)}
        self._texts = {fold_digits(row.text, row.content): i for i, row in enumerate(golden)}
        self._bare = {fold_digits(row.text): i for i, row in enumerate(golden) if not row.content}
        self._finder = Finder(jaccard)
        for row in golden:
            self._finder.add(fold_digits(row.text, row.content))

    def check(self, row: Row) -> Leak | None:
        """By lineage and by text; the meaning is asked apart, for all rows at once."""
        for name in (row.id, row.root):
            if name in self._lineage:
                return self._leak(Why.LINEAGE, 1.0, row, self._lineage[name])
        folded = fold_digits(row.text, row.content)
        same = self._texts.get(folded, self._bare.get(fold_digits(row.text)))
        if same is not None:
            return self._leak(Why.EXACT, 1.0, row, same)
        near = self._finder.find(folded)
        return None if near is None else self._leak(Why.NEAR, near[1], row, near[0])

    def check_meaning(
        self, rows: Sequence[Row], vectors: Vectors, golden_vectors: Vectors
    ) -> dict[int, Leak]:
        """Position → leak, of the rows that mean what a golden one means."""
        if not len(golden_vectors):
            return {}
        places, cosines = nearest(vectors, golden_vectors)
        return {
            i: self._leak(Why.PARAPHRASE, float(cosine), rows[i], int(place))
            for i, (place, cosine) in enumerate(zip(places, cosines, strict=True))
            if cosine >= self._cosine
        }

    def _leak(self, why: Why, likeness: float, row: Row, place: int) -> Leak:
        golden = self._golden[place]
        return Leak(why, round(likeness, 3), row.id, row.text, golden.id, golden.text)


def find_leaks(
    rows: Sequence[Row],
    golden: Sequence[Row],
    vectors: Vectors,
    golden_vectors: Vectors,
    jaccard: float,
    cosine: float,
) -> dict[int, Leak]:
    """Position → why that row must not be trained on, in the order of the rows.

    Args:
        rows: What is to be trained on.
        golden: What it is to be judged by.
        vectors: float32 [rows, dim], of length 1.
        golden_vectors: The same of the golden rows.
        jaccard: See `Guard`.
        cosine: See `Guard`.
    """
    guard = Guard(golden, jaccard, cosine)
    found = guard.check_meaning(rows, vectors, golden_vectors)
    for position, row in enumerate(rows):
        leak = guard.check(row)
        if leak is not None:
            found[position] = leak  # says more than likeness of meaning
    return dict(sorted(found.items()))
