"""Scores a bundle on labelled requests, through the edge's own predictor. It changes no bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.bundle import Bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.errors import SourceInvalid

__all__ = ["LabelledRow", "Outcome", "evaluate", "predict_rows", "read_rows", "share"]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One request with the label that a person gave it."""

    text: str
    """The request, often with the passage that it is about."""
    label: str
    request: str | None = None
    """The request without its passage, where the two can be told apart."""
    source: str = ""

    @property
    def content(self) -> str | None:
        """The passage; None where the request cannot be told apart from it."""
        return self.text.replace(self.request, "").strip() or None if self.request else None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a bundle answered some rows."""

    correct: npt.NDArray[np.bool_]
    """bool [rows]; whether the best label is the right one, threshold or not."""
    best: npt.NDArray[np.float64]
    """float64 [rows]; the best label's score."""
    answered: npt.NDArray[np.bool_]
    """bool [rows]; whether the best label reached its threshold."""


def read_rows(path: Path) -> list[LabelledRow]:
    """Read JSON lines with `text`, `label`, and optionally `request` and `source`.

    Raises:
        SourceInvalid: A line is no such row.
    """
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            request, source = row.get("request") or None, row.get("source", "")
            rows.append(LabelledRow(row["text"], row["label"], request, source))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceInvalid(
                f"{path}:{number}: expected an object with text and label, found something else "
                f"({type(error).__name__}: {error})"
            ) from error
    return rows


def evaluate(
    bundle: Bundle, label_set: LabelSet, rows: Sequence[LabelledRow], oos: Sequence[LabelledRow]
) -> dict[str, object]:
    """Accuracy with the passage, without it, and with it apart; then what the thresholds do.

    Args:
        bundle: A verified bundle.
        label_set: The labels that the rows use.
        rows: At least one.
        oos: Rows that fit no label; may be empty.
    """
    predictor = Predictor(bundle, label_set)
    separable = [row for row in rows if row.request]
    whole, bare = predict_rows(predictor, rows), predict_rows(predictor, rows, request=True)
    report: dict[str, object] = {
        "rows": len(rows),
        "rows with a request apart": len(separable),
        "accuracy, text": share(whole.correct),
        "accuracy, request where apart": share(bare.correct),
    }
    if separable:
        apart = predict_rows(predictor, separable, request=True)
        content = predict_rows(predictor, separable, request=True, content=True)
        report["accuracy, request, rows apart only"] = share(apart.correct)
        report["accuracy, request with content apart"] = share(content.correct)
    for name, outcome in (("text", whole), ("request", bare)):
        gain = share(outcome.correct[outcome.answered]) - share(outcome.correct)
        report[f"answered, {name}"] = share(outcome.answered)
        report[f"accuracy of the answered, {name}"] = share(outcome.correct[outcome.answered])
        report[f"gain by abstaining, {name}"] = gain
    for label in label_set.names:
        chosen = np.array([row.label == label for row in rows])
        report[f"recall of {label}, text"] = share(whole.correct[chosen])
    if oos:
        report["rows of no label"] = len(oos)
        report["turned away, text"] = 1 - share(predict_rows(predictor, oos).answered)
        apart = predict_rows(predictor, oos, request=True)
        report["turned away, request"] = 1 - share(apart.answered)
    return report


def predict_rows(
    predictor: Predictor,
    rows: Sequence[LabelledRow],
    *,
    request: bool = False,
    content: bool = False,
) -> Outcome:
    """Predict every row.

    Args:
        predictor: With the label set that the rows use.
        rows: Requests.
        request: Whether to send the request alone where it is known, rather than the text.
        content: Whether to send the passage beside it.
    """
    predictions = []
    for row in rows:
        text = row.request if request and row.request else row.text
        passage = row.content if content else None
        predictions.append(predictor.predict(Query(text, predictor.label_set, content=passage)))
    pairs = list(zip(rows, predictions, strict=True))
    return Outcome(
        correct=np.array([p.raw_label == row.label for row, p in pairs], dtype=bool),
        best=np.array([p.scores[0][1] for p in predictions], dtype=np.float64),
        answered=np.array([p.label is not None for p in predictions], dtype=bool),
    )


def share(flags: npt.NDArray[np.bool_]) -> float:
    """Share in [0, 1] of what holds; 0 of nothing."""
    return float(flags.mean()) if flags.size else 0.0
