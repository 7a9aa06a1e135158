"""One experiment: a data set in a folder of its own, fitted and exported as the commands do it.

What is finished is used again, so that a run of hours can be cut into pieces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.bundle import Bundle, read_bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.report import Reporter
from training.exporting import BUNDLE, export
from training.fit.names import MODEL
from training.fit.stage import fit
from training.rows import Row, write_rows
from training.settings import Settings, load_settings
from training.stage import MANIFEST, Stage, read_manifest

__all__ = ["Answers", "Experiment", "Split", "ask_bundle", "ask_original"]


@dataclass(frozen=True, slots=True)
class Split:
    """What is learnt from, chosen by and calibrated on. What is tested on is not in it."""

    train: Sequence[Row]
    dev: Sequence[Row]
    calibration: Sequence[Row]

    @property
    def labels(self) -> list[str]:
        """Those that occur in train."""
        return sorted({row.label for row in self.train if row.label is not None})


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says of some rows."""

    correct: npt.NDArray[np.bool_]
    """bool [rows]; whether the best label is the row's, threshold or not."""
    best: npt.NDArray[np.float64]
    """float64 [rows]; the best label's score."""
    answered: npt.NDArray[np.bool_]
    """bool [rows]; whether it reached its threshold."""
    labels: tuple[str, ...]
    """The best label of each."""


class Experiment:
    """A working directory, in which stages run."""

    def __init__(self, work_dir: Path, encoder: str, overrides: Mapping[str, Any]) -> None:
        given = {"work_dir": str(work_dir), "fit.encoder": encoder} | dict(overrides)
        self.work_dir = work_dir
        self.settings: Settings = load_settings(
            None, [f"{name}={json.dumps(value)}" for name, value in given.items()]
        )

    def build(self, split: Split) -> None:
        """As `intentd-train build` leaves it, with a split that others made."""

        def work(folder: Path) -> dict[str, Any]:
            for name in ("train", "dev", "calibration"):
                write_rows(folder / f"{name}.jsonl", getattr(split, name))
            return {"labels": split.labels}

        Stage("build", self.work_dir / "build", {}, {}, ("rows.py",)).run(work)

    @property
    def is_fitted(self) -> bool:
        """Whether a fit was finished here before."""
        return (self.work_dir / "fit" / MANIFEST).is_file()

    def fit(self, reporter: Reporter) -> dict[str, Any]:
        """Train, unless it was done before; the counts of its manifest."""
        if not self.is_fitted:
            fit(self.settings, reporter)
        return read_manifest(self.work_dir / "fit")

    def export(self, reporter: Reporter) -> Bundle:
        """Make the bundle, unless it was done before."""
        path = self.work_dir / "export" / BUNDLE
        if not path.is_dir():
            export(self.settings, reporter)
        return read_bundle(path)

    @property
    def model(self) -> Path:
        """What was trained, in fp32."""
        return self.work_dir / "fit" / MODEL


def ask_bundle(bundle: Bundle, rows: Sequence[Row]) -> Answers:
    """One row at a time, through the edge's own predictor."""
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    found = [
        predictor.predict(Query(row.text, predictor.label_set, content=row.content)) for row in rows
    ]
    return Answers(
        correct=np.array([p.raw_label == r.label for p, r in zip(found, rows, strict=True)]),
        best=np.array([prediction.scores[0][1] for prediction in found]),
        answered=np.array([prediction.label is not None for prediction in found]),
        labels=tuple(prediction.raw_label for prediction in found),
    )


def ask_original(model: Path, labels: Sequence[str], rows: Sequence[Row]) -> Answers:
    """The fp32 model in PyTorch, one row at a time."""
    from export.convert import TorchClassifier

    original = TorchClassifier(model, 512)
    logits = np.array([original.logits(original.encode(row.text, None)) for row in rows])
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = shifted / shifted.sum(axis=1, keepdims=True)
    given = tuple(labels[i] for i in scores.argmax(axis=1))
    return Answers(
        correct=np.array([g == row.label for g, row in zip(given, rows, strict=True)]),
        best=scores.max(axis=1),
        answered=np.ones(len(rows), dtype=bool),
        labels=given,
    )
