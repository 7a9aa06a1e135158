"""Delivery: what upstream lacks, what it said, what it refused. The corrections are the outbox."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from edge.store.database import Database
from edge.store.recording import last_seq, now_ms
from edge.store.records import (
    Ack,
    Acknowledged,
    AckStatus,
    Correction,
    Cursor,
    Erasure,
    Outbox,
    Receipt,
)
from edge.store.rows import erasure_of, read_page

__all__ = [
    "acknowledge",
    "bump_epoch",
    "count_undelivered",
    "mark_sent",
    "read_cursor",
    "read_dead",
    "read_outbox",
    "redrive",
    "take_receipts",
]

TABLES = ("correction", "erasure")
UNDELIVERED = "accepted_ms IS NULL AND dead = 0"
MAX_ERROR_CHARS = 500  # of what upstream says; it is not trusted to be brief


def read_outbox(db: Database, limit: int) -> Outbox:
    """Tombstones first: what somebody wants gone should not wait behind anything."""
    erasures = [erasure_of(row) for row in _undelivered(db, "erasure", limit)]
    corrections = read_page(_undelivered(db, "correction", limit - len(erasures)))
    cursor = read_cursor(db)
    return Outbox(
        device_id=cursor.device_id,
        epoch=cursor.epoch,
        corrections=tuple(corrections),
        erasures=tuple(erasures),
        remaining=count_undelivered(db) - len(corrections) - len(erasures),
    )


def _undelivered(db: Database, table: str, limit: int) -> Generator[dict[str, Any], None, None]:
    return db.query(
        f"SELECT * FROM {table} WHERE {UNDELIVERED} ORDER BY seq LIMIT ?",  # noqa: S608 - constants
        [max(limit, 0)],
    )


def count_undelivered(db: Database) -> int:
    """Records that upstream lacks, dead ones not counted."""
    return sum(db[table].count_where(UNDELIVERED) for table in TABLES)


def _update(db: Database, change: str, rows: Iterable[Sequence[object]]) -> int:
    """Run `UPDATE <table> SET <change>` on both tables; returns the rows changed."""
    listed, changed = list(rows), 0
    for table in TABLES if listed else ():
        sql = f"UPDATE {table} SET {change}"  # noqa: S608 - constants
        changed += db.conn.executemany(sql, listed).rowcount
    return changed


def mark_sent(db: Database, ids: Iterable[str]) -> int:
    """Note an attempt for each id."""
    at = now_ms()
    change = "sent_ms = ?, attempts = attempts + 1 WHERE id = ?"
    return _update(db, change, ((at, id) for id in ids))


def acknowledge(db: Database, acks: Iterable[Ack]) -> Acknowledged:
    """Accepted, duplicate and parked are delivered; rejected is dead."""
    listed, at = list(acks), now_ms()
    refused = [ack for ack in listed if ack.status is AckStatus.REJECTED]
    taken = [ack for ack in listed if ack.status is not AckStatus.REJECTED]
    delivered = _update(
        db,
        "accepted_ms = ?, sent_ms = coalesce(sent_ms, ?), dead = 0, last_error = NULL "
        "WHERE id = ? AND accepted_ms IS NULL",
        ((at, at, ack.id) for ack in taken),
    )
    dead = _update(
        db,
        f"dead = 1, last_error = ? WHERE id = ? AND {UNDELIVERED}",
        ((_error(ack), ack.id) for ack in refused),
    )
    return Acknowledged(delivered, dead, count_undelivered(db))


def _error(ack: Ack) -> str:
    return ": ".join(part for part in (ack.code or "rejected", ack.message) if part)[
        :MAX_ERROR_CHARS
    ]


def take_receipts(db: Database, receipts: Iterable[Receipt], cursor: int) -> int:
    """Note the builds, and how far the receipts were read; the cursor never goes back."""
    used = db.conn.executemany(
        "UPDATE correction SET build = ?, used_ms = ? WHERE id = ?",
        [(receipt.build, receipt.used_ms, receipt.id) for receipt in receipts],
    ).rowcount
    db.conn.execute("UPDATE device SET receipts_cursor = max(receipts_cursor, ?)", (cursor,))
    return max(used, 0)


def read_cursor(db: Database) -> Cursor:
    """The one row of the table `device`, and the highest number given out."""
    device_id, epoch, receipts = db.execute(
        "SELECT device_id, epoch, receipts_cursor FROM device"
    ).fetchone()
    return Cursor(receipts, device_id, epoch, last_seq(db))


def bump_epoch(db: Database, server_epoch: int, server_seq: int) -> int:
    """If upstream has seen a later number than was ever sent from here, begin a new epoch.

    Sent, not given out: a device that was set back may since have given out as many again.
    """
    epoch = read_cursor(db).epoch
    if (server_epoch, server_seq) <= (epoch, _last_sent(db, epoch)):
        return epoch
    db.conn.execute("UPDATE device SET epoch = ?", (server_epoch + 1,))
    return server_epoch + 1


def _last_sent(db: Database, epoch: int) -> int:
    """The highest number that may have left in an epoch; what was erased may have been sent."""
    row = db.execute(
        "SELECT max(seq) FROM (SELECT seq FROM correction WHERE epoch = :epoch"
        " AND sent_ms IS NOT NULL UNION ALL SELECT seq FROM erasure WHERE epoch = :epoch)",
        {"epoch": epoch},
    ).fetchone()
    return row[0] or 0


def read_dead(db: Database, limit: int) -> list[Correction | Erasure]:
    """What upstream refused, oldest first."""
    corrections = db.query("SELECT * FROM correction WHERE dead = 1 ORDER BY seq LIMIT ?", [limit])
    erasures = db.query("SELECT * FROM erasure WHERE dead = 1 ORDER BY seq LIMIT ?", [limit])
    found: list[Correction | Erasure] = [*read_page(corrections)]
    found += [erasure_of(row) for row in erasures]
    return sorted(found, key=lambda record: record.seq)[:limit]


def redrive(db: Database, ids: Iterable[str] | None) -> int:
    """Take these, or all, out of the dead letter."""
    change = "dead = 0, last_error = NULL WHERE dead = 1"
    if ids is None:
        return _update(db, change, [()])
    return _update(db, f"{change} AND id = ?", ((id,) for id in ids))
