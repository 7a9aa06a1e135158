"""Corrections as the daemon's outbox shows them."""

from __future__ import annotations

from typing import Any

from edge.ids import uuid7
from edge.wire import CorrectionRecord, ErasureRecord

__all__ = ["correction", "erasure"]

OCCURRED = "2026-11-22T10:00:00.000Z"
DEFAULTS: dict[str, Any] = {
    "seq": 1,
    "epoch": 1,
    "kind": "correction",
    "text": "who owes me money?",
    "content": None,
    "label": "EXTRACT",
    "predicted_label": "REASON",
    "score": 0.5,
    "labels": ["SUMMARIZE", "EXTRACT", "REASON"],
    "label_set": "0f" * 32,
    "model": "1e" * 32,
    "phase": "zero-shot",
    "source": "mail app of john@example.com",
    "occurred_utc": OCCURRED,
}


def correction(**fields: Any) -> CorrectionRecord:
    """One with a new id; the fields that are not given are harmless."""
    return CorrectionRecord.model_validate({"id": str(uuid7()), **DEFAULTS, **fields})


def erasure(record_id: str) -> ErasureRecord:
    """The tombstone of a correction."""
    return ErasureRecord(id=record_id, occurred_utc=OCCURRED)
