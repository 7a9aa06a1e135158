"""Finds labels that are probably wrong. The only file that knows scikit-learn's folds and cleanlab.

Every row is judged by models that have not seen it. Suspects are for a person to look at: among
corrections, "the model says otherwise" is why they exist, so nothing is ever deleted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cleanlab.filter import find_label_issues
from sklearn.model_selection import StratifiedGroupKFold

from training.embed import Vectors
from training.regression import regress
from training.rows import Row

__all__ = ["find_suspects", "out_of_fold"]

Probabilities = npt.NDArray[np.float64]

STRENGTH = 10.0
"""Of the regression (C): chosen by the noise measurement in docs/results.md."""


def find_suspects(
    rows: Sequence[Row],
    vectors: Vectors,
    folds: int,
    seed: int,
    track: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> list[dict[str, Any]]:
    """Rows whose label is probably wrong, worst first, with what seems right.

    Args:
        rows: With and without label; the latter are a class of their own.
        vectors: float32 [rows, dim].
        folds: Parts in which rows are judged; with fewer rows of a class, in fewer. The row of a
            class that has no other cannot be judged, and takes no part.
        seed: Of the parts.
        track: Wraps the loop over the parts, for a progress bar.
    """
    sizes = Counter(row.label for row in rows)
    judged = [i for i, row in enumerate(rows) if sizes[row.label] > 1]
    if len(judged) < len(rows):
        return find_suspects([rows[i] for i in judged], vectors[judged], folds, seed, track)
    names = sorted({row.label or "" for row in rows})
    given = np.array([names.index(row.label or "") for row in rows])
    folds = min(folds, int(np.bincount(given).min(initial=len(rows))))
    if len(names) < 2 or folds < 2:
        return []
    roots = [row.root for row in rows]
    guessed = out_of_fold(given, vectors, roots, folds, seed, track)
    worst = find_label_issues(
        given,
        guessed,
        return_indices_ranked_by="self_confidence",
        filter_by="prune_by_noise_rate",
        n_jobs=1,
    )
    return [_suspect(rows[i], given[i], guessed[i], names) for i in worst]


def out_of_fold(
    given: npt.NDArray[np.int64],
    vectors: Vectors,
    groups: Sequence[str],
    folds: int,
    seed: int,
    track: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> Probabilities:
    """float64 [rows, classes]: what models say that have not seen the row, nor its relatives."""
    guessed = np.zeros((len(given), int(given.max()) + 1))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, held in track(list(parts.split(vectors, given, groups))):
        model = regress(vectors[train], given[train], strength=STRENGTH)
        guessed[np.ix_(held, model.classes_)] = model.predict_proba(vectors[held])
    return guessed


def _suspect(row: Row, given: int, guessed: Probabilities, names: Sequence[str]) -> dict[str, Any]:
    best = int(guessed.argmax())
    return {
        "id": row.id,
        "text": row.text,
        "label": row.label,
        "suggested": names[best] or None,
        "score_of_label": round(float(guessed[given]), 4),
        "score_of_suggested": round(float(guessed[best]), 4),
        "origin": row.origin,
    }
