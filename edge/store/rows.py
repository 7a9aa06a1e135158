"""Rows of corrections.db ↔ dataclasses, and the checksum that a row carries of what was said."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

from edge.store.records import Correction, Erasure, Kind

__all__ = [
    "CORRECTION_COLUMNS",
    "ERASURE_COLUMNS",
    "correction_of",
    "erasure_of",
    "insert_of",
    "is_full",
    "is_sound",
    "read_page",
    "values_of",
]

CHECKSUM_BYTES = 16
MAX_PAGE_CHARS = 4 << 20  # of the texts in one page: what a small machine can hold a few times
FIXED = (  # what never changes once it is recorded
    "seq",
    "id",
    "epoch",
    "created_ms",
    "kind",
    "label",
    "predicted_label",
    "score",
    "prediction_id",
    "label_set",
    "model",
    "phase",
    "source",
    "client_key",
    "labels",
    "text",
    "content",
)
CORRECTION_COLUMNS = (  # in the order of the table
    *("seq", "id", "epoch", "created_ms", "kind", "label", "predicted_label", "score"),
    *("prediction_id", "label_set", "model", "phase", "source", "client_key", "sent_ms"),
    *("accepted_ms", "used_ms", "build", "attempts", "last_error", "dead", "checksum"),
    *("labels", "text", "content"),
)
ERASURE_COLUMNS = (  # in the order of the table
    *("seq", "id", "epoch", "erased_ms", "sent_ms", "accepted_ms", "attempts", "last_error"),
    "dead",
)

Row = Mapping[str, Any]


def correction_of(row: Row) -> Correction:
    """A row of the table `correction` as a dataclass."""
    names = {field.name for field in dataclasses.fields(Correction)}
    values = {name: row[name] for name in names}
    values |= {"kind": Kind(row["kind"]), "labels": tuple(json.loads(row["labels"]))}
    return Correction(**values | {"dead": bool(row["dead"])})


def read_page(rows: Generator[dict[str, Any], None, None]) -> list[Correction]:
    """Rows of the table `correction`, until their texts fill a page; one, however long."""
    page: list[Correction] = []
    chars = 0
    with closing(rows):  # a read that is left open would bar the checkpoint
        for row in rows:
            page.append(correction_of(row))
            chars += _chars(page[-1])
            if chars >= MAX_PAGE_CHARS:
                break
    return page


def is_full(page: Sequence[Correction]) -> bool:
    """Whether `read_page` stopped there, although there may be more."""
    return sum(map(_chars, page)) >= MAX_PAGE_CHARS


def _chars(correction: Correction) -> int:
    return len(correction.text) + len(correction.content or "")


def values_of(correction: Correction) -> dict[str, Any]:
    """A correction as column → value, with its checksum."""
    row: dict[str, Any] = {
        field.name: getattr(correction, field.name) for field in dataclasses.fields(correction)
    }
    row |= {
        "kind": str(correction.kind),
        "labels": json.dumps(correction.labels, ensure_ascii=False),
        "dead": int(correction.dead),
        "score": _finite(correction.score),
    }
    return row | {"checksum": _checksum(row)}


def erasure_of(row: Row) -> Erasure:
    """A row of the table `erasure` as a dataclass."""
    values = {name: row[name] for name in ERASURE_COLUMNS}
    return Erasure(**values | {"dead": bool(row["dead"])})


def insert_of(table: str, columns: tuple[str, ...], *, or_ignore: bool = False) -> str:
    """An INSERT statement with named values."""
    verb = "INSERT OR IGNORE" if or_ignore else "INSERT"
    names, values = ", ".join(columns), ", ".join(f":{column}" for column in columns)
    return f"{verb} INTO {table} ({names}) VALUES ({values})"


def is_sound(row: Row) -> bool:
    """Whether what was said is, byte for byte, what was recorded."""
    try:
        return bool(row["checksum"] == _checksum(row))
    except (TypeError, ValueError):  # bytes where there was a text, or half a character
        return False


def _finite(score: float | None) -> float | None:
    """SQLite keeps no NaN, and gives a whole number back as a float."""
    return None if score is None or not math.isfinite(score) else float(score)


def _checksum(row: Row) -> bytes:
    fixed = [row[name] for name in FIXED]
    return hashlib.blake2b(
        json.dumps(fixed, separators=(",", ":")).encode(), digest_size=CHECKSUM_BYTES
    ).digest()
