"""Held-out estimates: scalars and threshold chosen on four fifths of the rows, scored on the last.

What it chooses it only reports; the recipe is `export.settings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from edge.bundle import Bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from export.evaluate import LabelledRow, Outcome, predict_rows, share

__all__ = ["choose_threshold", "cross_validate", "fold_of"]

FOLDS = 5
NEAREST_WEIGHTS = (0.5, 0.7, 0.85, 1.0)
CENTRE_PRIORS = (0.0, 5.0, 20.0)
THRESHOLDS = tuple(percent / 100 for percent in range(30, 95))
MIN_GAIN = 0.05
MIN_TURNED_AWAY = 0.5

Folds = npt.NDArray[np.int64]


def cross_validate(
    bundle: Bundle, label_set: LabelSet, rows: Sequence[LabelledRow], oos: Sequence[LabelledRow]
) -> dict[str, object]:
    """Held-out accuracy, and what a threshold chosen on the other folds does.

    Args:
        bundle: An embedding bundle; its own scalars are not looked at.
        label_set: The labels that the rows use.
        rows: Labelled requests, at least five.
        oos: Rows that fit no label; without them no threshold is chosen.
    """
    folds = fold_of(rows)
    report: dict[str, object] = {}
    grid = [
        Predictor(_with_scalars(bundle, weight, prior), label_set)
        for weight, prior in product(NEAREST_WEIGHTS, CENTRE_PRIORS)
    ]
    for name, request in (("text", False), ("request", True)):
        outcomes = [predict_rows(predictor, rows, request=request) for predictor in grid]
        held_out = _held_out(outcomes, folds)
        report[f"held out: accuracy, {name}"] = share(held_out)
        if request:
            apart = np.array([row.request is not None for row in rows])
            report["held out: accuracy, request, rows apart only"] = share(held_out[apart])
        if oos:
            own = Predictor(bundle, label_set)
            inside = predict_rows(own, rows, request=request)
            outside = predict_rows(own, oos, request=request)
            report |= _held_out_threshold(name, inside, folds, outside, fold_of(oos))
    return report


def fold_of(rows: Sequence[LabelledRow]) -> Folds:
    """A fold in 0 … 4 for each row, dealt out in turn within each source and label."""
    seen: Counter[tuple[str, str]] = Counter()
    folds = []
    for row in rows:
        folds.append(seen[row.source, row.label] % FOLDS)
        seen[row.source, row.label] += 1
    return np.array(folds)


def choose_threshold(inside: Outcome, outside: npt.NDArray[np.float64]) -> float:
    """The lowest threshold that turns half of the strangers away and gains 5 points; else 0.94.

    Args:
        inside: Rows that have a label.
        outside: float64 [rows]; the best scores of rows that have none.
    """
    for threshold in THRESHOLDS:
        answered = inside.best >= threshold
        if not answered.any():
            break
        gain = inside.correct[answered].mean() - inside.correct.mean()
        if gain >= MIN_GAIN and (outside < threshold).mean() >= MIN_TURNED_AWAY:
            return threshold
    return THRESHOLDS[-1]


def _held_out(outcomes: Sequence[Outcome], folds: Folds) -> npt.NDArray[np.bool_]:
    """Per row, whether the scalars that were best on the other folds get it right."""
    correct = np.zeros(len(folds), dtype=bool)
    for fold in range(FOLDS):
        others = folds != fold
        chosen = max(outcomes, key=lambda outcome: outcome.correct[others].mean())
        correct[~others] = chosen.correct[~others]
    return correct


def _held_out_threshold(
    name: str, inside: Outcome, folds: Folds, outside: Outcome, outside_folds: Folds
) -> dict[str, object]:
    answered = np.zeros(len(folds), dtype=bool)
    away = np.zeros(len(outside_folds), dtype=bool)
    chosen = []
    for fold in range(FOLDS):
        others, strangers = folds != fold, outside_folds != fold
        known = Outcome(inside.correct[others], inside.best[others], inside.answered[others])
        threshold = choose_threshold(known, outside.best[strangers])
        chosen.append(threshold)
        answered[~others] = inside.best[~others] >= threshold
        away[~strangers] = outside.best[~strangers] < threshold
    accuracy = share(inside.correct[answered])
    return {
        f"held out: thresholds, {name}": chosen,
        f"held out: answered, {name}": share(answered),
        f"held out: accuracy of the answered, {name}": accuracy,
        f"held out: gain by abstaining, {name}": accuracy - share(inside.correct),
        f"held out: turned away, {name}": share(away),
    }


def _with_scalars(bundle: Bundle, nearest_weight: float, centre_prior: float) -> Bundle:
    scalars = {"nearest_weight": nearest_weight, "centre_prior": centre_prior}
    similarity = bundle.manifest.similarity | scalars
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"similarity": similarity}))
