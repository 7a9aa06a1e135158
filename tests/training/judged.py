"""Golden rows that a tiny model gets right, and bundles beside it, for assessing and comparing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge.predictor import Predictor
from edge.query import Query
from tests.training.samples import ASKED, LABELS, THINGS, frozen
from training.rows import Origin, Row

__all__ = ["OUTSIDE", "TEXTS", "freeze_told", "told_by"]

TEXTS = [how.format(thing) for thing in THINGS for how in ASKED.values()]
OUTSIDE = ("sing me a song", "good night, house", "turn the lamp off", "flip a coin")


def told_by(predictor: Predictor, texts: Iterable[str]) -> list[Row]:
    """Rows with the label that this model gives: it is right by definition."""
    return [
        Row(
            id=f"golden-{n}",
            text=text,
            label=predictor.predict(Query(text, predictor.label_set)).raw_label,
            origin=Origin.GOLDEN,
        )
        for n, text in enumerate(texts)
    ]


def freeze_told(
    work_dir: Path, predictor: Predictor, n: int = 24, wrong: int = 0, outside: int = 2
) -> list[Row]:
    """Freeze a golden set that the model gets right, but for so many rows."""
    rows = told_by(predictor, TEXTS[:n])
    other = {label: LABELS[i - 1] for i, label in enumerate(LABELS)}
    for i in range(wrong):
        rows[i] = rows[i].model_copy(update={"label": other[rows[i].label or ""]})
    rows += [
        Row(id=f"outside-{i}", text=text, label=None, origin=Origin.GOLDEN)
        for i, text in enumerate(OUTSIDE[:outside])
    ]
    frozen(work_dir, rows)
    return rows
