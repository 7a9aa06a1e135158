"""Cuts rows into train, dev and calibration; relatives stay together, and every class is in each.

Pure. By a hash of the root: a later build with more rows moves few of them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from training.rows import Row

__all__ = ["Splits", "split"]

MIN_ROOTS = 5
"""A class with fewer has nothing to spare: all of it is trained on."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Three parts that share no root."""

    train: list[Row]
    dev: list[Row]
    """Chooses among epochs, seeds and settings."""
    calibration: list[Row]
    """Fits temperature and thresholds."""


def split(rows: Sequence[Row], dev: float, calibration: float, seed: int) -> Splits:
    """Cut the rows.

    Args:
        rows: Any.
        dev: Share of each class's roots, in [0, 1]; at least one root where a class has five.
        calibration: The same.
        seed: Another cut.
    """
    label_of = {row.root: row.label for row in reversed(rows)}
    roots: dict[str | None, list[str]] = defaultdict(list)
    for root, label in label_of.items():
        roots[label].append(root)
    place: dict[str, int] = {}
    for names in roots.values():
        names.sort(key=lambda root: hashlib.sha256(f"{seed}\x1f{root}".encode()).digest())
        n_dev, n_calibration = (_size(len(names), share) for share in (dev, calibration))
        place |= dict.fromkeys(names[:n_dev], 1)
        place |= dict.fromkeys(names[n_dev : n_dev + n_calibration], 2)
    parts: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in rows:
        parts[place.get(row.root, 0)].append(row)
    return Splits(*parts)


def _size(roots: int, share: float) -> int:
    return 0 if share == 0 or roots < MIN_ROOTS else max(1, round(share * roots))
