"""What the made rows of `augment` bring: the same cheap model with and without them.

A stand-in, and called so: logistic regression on the starter's vectors, not the model that `fit`
trains. It shows whether made rows help or harm on real ones, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.report import Reporter
from training.embed import embed_texts
from training.golden import read_frozen
from training.metrics import (
    Numbers,
    accuracy,
    bootstrap,
    macro_f1,
    mcnemar,
    paired_accuracy,
)
from training.rows import Row, read_rows
from training.settings import Settings
from training.stage import MANIFEST, require

__all__ = ["ablate", "ablation_inputs"]

PARTS = ("with", "without")
STRENGTH = 10.0
"""Of the regression (C), as where suspects are looked for."""


def ablation_inputs(settings: Settings) -> dict[str, Path]:
    """What it reads; empty where `build` or `augment` has not run.

    It is tested on the golden set, or, before one is frozen, on build/dev.jsonl.

    Raises:
        StageMissing: A file was changed by hand.
    """
    work_dir = Path(settings.work_dir)
    if not all((work_dir / name / MANIFEST).exists() for name in ("build", "augment")):
        return {}
    return {
        "with": require(work_dir / "augment", "train.jsonl"),
        "without": require(work_dir / "build", "train.jsonl"),
        "test": read_frozen(work_dir) or require(work_dir / "build", "dev.jsonl"),
    }


def ablate(
    inputs: dict[str, Path], labels: Sequence[str], seed: int, reporter: Reporter
) -> dict[str, Any]:
    """Train twice, test once.

    Args:
        inputs: Of `ablation_inputs`.
        labels: The label set; rows of no label take no part.
        seed: Of the draws behind the intervals.
        reporter: Shows how far it is.
    """
    places = {label: i for i, label in enumerate(labels)}
    parts = {
        name: [row for row in read_rows(path) if row.label in places]
        for name, path in inputs.items()
    }
    texts = sorted({row.text for rows in parts.values() for row in rows})
    with reporter.step(f"ablation: reading {len(texts)} texts"):
        vectors = dict(zip(texts, embed_texts(texts), strict=True))
    truth = np.array([places[row.label or ""] for row in parts["test"]], dtype=np.int64)
    said = {name: _train(parts[name], parts["test"], places, vectors) for name in PARTS}
    test = mcnemar(said["without"] == truth, said["with"] == truth)
    gain = paired_accuracy(said["without"] == truth, said["with"] == truth, seed)
    return {
        "test": inputs["test"].name,
        "n": len(truth),
        **{
            name: _card(parts[name], truth, said[name], len(labels), seed)
            for name in ("without", "with")
        },
        "gain": gain.as_dict(),
        "mid_p": round(test.mid_p, 6),
    }


def _train(
    rows: Sequence[Row], test: Sequence[Row], places: dict[str, int], vectors: dict[str, Any]
) -> Numbers:
    from training.regression import regress

    targets = np.array([places[row.label or ""] for row in rows], dtype=np.int64)
    weights = np.array([row.weight for row in rows], dtype=np.float64)
    sums = np.bincount(targets, minlength=len(places))
    model = regress(
        np.stack([vectors[row.text] for row in rows]),
        targets,
        weights * len(rows) / np.count_nonzero(sums) / sums[targets],
        strength=STRENGTH,
    )
    said = model.predict(np.stack([vectors[row.text] for row in test]))
    return np.asarray(said, dtype=np.int64)


def _card(
    rows: Sequence[Row], truth: Numbers, said: Numbers, classes: int, seed: int
) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "accuracy": accuracy(truth == said).as_dict(),
        "macro_f1": bootstrap(
            lambda drawn: macro_f1(truth[drawn], said[drawn], classes), len(truth), seed
        ).as_dict(),
    }
