"""Writes corrections and reads them back: the statements behind record, find and list."""

from __future__ import annotations

import dataclasses
import time

from edge.errors import KeyReused
from edge.ids import uuid7
from edge.store.database import Database
from edge.store.records import Correction, Erasure, Kind, NewCorrection, Recorded
from edge.store.rows import (
    CORRECTION_COLUMNS,
    correction_of,
    erasure_of,
    insert_of,
    read_page,
    values_of,
)

__all__ = ["find", "find_key", "last_seq", "list_corrections", "now_ms", "record"]

SAID = ("text", "content", "label", "prediction_id", "source")  # by the caller, not by the daemon
INSERT = insert_of("correction", CORRECTION_COLUMNS)


def record(db: Database, new: NewCorrection) -> Recorded:
    """Insert a correction, unless its client key shows that it came before.

    Raises:
        KeyReused: The client key came before, with something else.
    """
    known = None if new.client_key is None else find_key(db, new.client_key)
    if known is not None:
        return Recorded(_same(known, new), is_new=False)
    epoch: int = db.execute("SELECT epoch FROM device").fetchone()[0]
    said = {field.name: getattr(new, field.name) for field in dataclasses.fields(NewCorrection)}
    correction = Correction(
        **said, id=str(uuid7()), seq=last_seq(db) + 1, epoch=epoch, created_ms=now_ms()
    )
    db.conn.execute(INSERT, values_of(correction))
    return Recorded(correction, is_new=True)


def _same(known: Correction, new: NewCorrection) -> Correction:
    different = [name for name in SAID if getattr(known, name) != getattr(new, name)]
    if different:
        raise KeyReused(
            f"client_key: expected a new key, found the key of correction {known.id}, which has "
            f"another {', another '.join(different)}; use a key once"
        )
    return known


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def last_seq(db: Database) -> int:
    """The highest number given out; 0 before the first."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'correction'").fetchone()
    return row[0] if row else 0


def find(db: Database, id: str) -> Correction | Erasure | None:
    """A correction or its tombstone."""
    for row in db.query("SELECT * FROM correction WHERE id = ?", [id]):
        return correction_of(row)
    for row in db.query("SELECT * FROM erasure WHERE id = ?", [id]):
        return erasure_of(row)
    return None


def find_key(db: Database, client_key: str) -> Correction | None:
    """The correction with a client key."""
    for row in db.query("SELECT * FROM correction WHERE client_key = ?", [client_key]):
        return correction_of(row)
    return None


def list_corrections(
    db: Database, after_seq: int, limit: int, label: str | None, kind: Kind | None
) -> list[Correction]:
    """One page of corrections by number; None for label or kind means any."""
    rows = db.query(
        "SELECT * FROM correction WHERE seq > :after AND (:label IS NULL OR label = :label)"
        " AND (:kind IS NULL OR kind = :kind) ORDER BY seq LIMIT :limit",
        {"after": after_seq, "label": label, "kind": kind and str(kind), "limit": limit},
    )
    return read_page(rows)
