"""What is learnt from: rows as texts with numbers for labels, and how much each counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.query import join
from training.errors import DataRefused
from training.rows import Row, read_rows

__all__ = ["Examples", "read_examples", "smallest_class", "to_examples", "weigh_examples"]

MAX_CLASS_WEIGHT = 10.0
"""Of a class, against one of the usual size: one row said a hundred times is not a hundred rows."""
MIN_CLASSES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows in one order: text, label and weight of each."""

    texts: tuple[str, ...]
    """As the edge reads them: the request, and what it is about after it."""
    targets: npt.NDArray[np.int64]
    """int64 [rows]: position in the label set; -1 is out of scope."""
    weights: npt.NDArray[np.float64]
    """float64 [rows], as `build` gave them."""
    roots: tuple[str, ...]
    """The real row that each stems from."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def in_scope(self) -> npt.NDArray[np.bool_]:
        """Of each row, bool [rows]: whether it has a label."""
        return self.targets >= 0

    def take(self, chosen: npt.NDArray[np.bool_]) -> Examples:
        """Some of them."""
        places = np.flatnonzero(chosen)
        return Examples(
            texts=tuple(self.texts[i] for i in places),
            targets=self.targets[places],
            weights=self.weights[places],
            roots=tuple(self.roots[i] for i in places),
        )


def read_examples(path: Path, labels: Sequence[str]) -> Examples:
    """Read a file of rows.

    Raises:
        InvalidRows: A line is no row.
        DataRefused: A label is not in the set.
    """
    return to_examples(list(read_rows(path)), labels, path)


def to_examples(rows: Sequence[Row], labels: Sequence[str], path: Path) -> Examples:
    """Number the labels.

    Args:
        rows: Any.
        labels: The set, in the order of the logits.
        path: Where the rows are from, for the message.

    Raises:
        DataRefused: A label is not in the set.
    """
    number: Mapping[str | None, int] = {None: -1} | {name: i for i, name in enumerate(labels)}
    strange = Counter(row.label for row in rows if row.label not in number)
    if strange:
        name, n = strange.most_common(1)[0]
        raise DataRefused(
            f"{path}: expected the labels {', '.join(labels)}, found {name!r} ({n} rows); run "
            "`intentd-train build` again, so that data and labels are of one make"
        )
    return Examples(
        texts=tuple(join(row.text, row.content) for row in rows),
        targets=np.array([number[row.label] for row in rows], dtype=np.int64),
        weights=np.array([row.weight for row in rows], dtype=np.float64),
        roots=tuple(row.root for row in rows),
    )


def smallest_class(found: Examples, labels: Sequence[str]) -> int:
    """Rows of the smallest class.

    Raises:
        DataRefused: There is one class only, or one without a row.
    """
    counts = np.bincount(found.targets[found.in_scope], minlength=len(labels))
    empty = [name for name, n in zip(labels, counts, strict=True) if not n]
    if empty or len(labels) < MIN_CLASSES:
        what = f"none of {', '.join(empty)}" if empty else f"{len(labels)} ({', '.join(labels)})"
        raise DataRefused(
            f"fit: expected rows of at least {MIN_CLASSES} labels and of every label, found "
            f"{what}; collect more and build again"
        )
    return int(counts.min())


def weigh_examples(found: Examples, classes: int, *, balance: bool) -> npt.NDArray[np.float64]:
    """float64 [rows], on average 1: each row's own weight, and that of its class.

    Args:
        found: In scope.
        classes: How many.
        balance: Whether small classes count as much as large ones.
    """
    weights = found.weights.copy()
    if balance:
        sums = np.bincount(found.targets, weights, minlength=classes)
        usual = sums[sums > 0].mean()
        bound = 1 / MAX_CLASS_WEIGHT
        weights *= np.clip(usual / np.maximum(sums, 1e-9), bound, MAX_CLASS_WEIGHT)[found.targets]
    mean = weights.mean()
    return weights / mean if mean > 0 else np.ones_like(weights)
