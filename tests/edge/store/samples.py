"""Corrections and predictions to test with, each one easy to tell from the next."""

from __future__ import annotations

from dataclasses import replace

from edge.store.keys import override_key
from edge.store.records import Kind, NewCorrection, PredictionRow

__all__ = ["new_correction", "prediction"]

LABELS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
CORRECTION = NewCorrection(
    text="",
    content=None,
    label="SUMMARIZE",
    kind=Kind.CORRECTION,
    predicted_label="EXTRACT",
    score=0.75,
    prediction_id=None,
    labels=LABELS,
    label_set="set-1",
    model="model-1",
    phase="A",
    source="tests",
)
PREDICTION = PredictionRow(
    id="",
    created_ms=1,
    text="",
    content=None,
    text_key=b"",
    label="EXTRACT",
    raw_label="EXTRACT",
    score=0.75,
    margin=0.5,
    reason="above_threshold",
    labels=LABELS,
    label_set="set-1",
    model="model-1",
    phase="A",
    scores={"EXTRACT": 0.75, "SUMMARIZE": 0.25},
)


def new_correction(text: str = "say it in short", **changes: object) -> NewCorrection:
    """A correction of `text`, with some fields changed."""
    return replace(CORRECTION, text=text, **changes)  # type: ignore[arg-type]  # any field


def prediction(id: str, text: str = "say it in short", **changes: object) -> PredictionRow:
    """A prediction on `text`, with some fields changed."""
    row = replace(PREDICTION, id=id, text=text, **changes)  # type: ignore[arg-type]  # any field
    return replace(row, text_key=override_key(text, row.content))
