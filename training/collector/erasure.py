"""Real erasure: the row goes, its hash goes, and its id is never taken again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import sqlalchemy as sa

from training.collector.counts import forget_counts
from training.collector.dialects import insert
from training.collector.models import Correction, Fate, Parked, RecordId

__all__ = ["erase", "erase_device"]

CHUNK = 1000


def erase(
    connection: sa.Connection, ids: Collection[str], device_id: str | None, now: datetime
) -> set[str]:
    """Erase these ids, whether or not anything came under them.

    Args:
        connection: A transaction that writes.
        ids: The records' ids.
        device_id: Only what is this device's; None is the operator, who may erase anything.
        now: When.

    Returns:
        The ids that are erased now; the others belong to another device.
    """
    ordered = sorted(ids)  # one order for all, or two batches could wait for each other
    erased: set[str] = set()
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        mine = _claim(connection, chunk, device_id, now)
        _delete(connection, mine)
        erased |= mine
    return erased


def erase_device(connection: sa.Connection, device_id: str, now: datetime) -> set[str]:
    """Erase all that a device ever sent, its numbers too; returns the ids."""
    forget_counts(connection, device_id)
    found = sa.select(RecordId.id).where(
        RecordId.device_id == device_id, RecordId.fate != Fate.ERASED
    )
    return erase(connection, list(connection.scalars(found)), None, now)


def _delete(connection: sa.Connection, ids: Collection[str]) -> None:
    claims = sa.select(RecordId.received_utc, RecordId.id).where(RecordId.id.in_(ids))
    key = sa.tuple_(Correction.received_utc, Correction.id)
    connection.execute(sa.delete(Correction).where(key.in_(claims)))
    connection.execute(sa.delete(Parked).where(Parked.id.in_(ids)))


def _claim(
    connection: sa.Connection, ids: Iterable[str], device_id: str | None, now: datetime
) -> set[str]:
    """Put the ids on the suppression list; whoever stores one of them now waits, and then sees."""
    rows = [
        {
            "id": record_id,
            "device_id": device_id,
            "fate": Fate.ERASED,
            "received_utc": now,
            "erased_utc": now,
        }
        for record_id in ids
    ]
    statement = insert(connection, RecordId)
    upsert = statement.on_conflict_do_update(
        index_elements=[RecordId.id],
        set_={
            "fate": Fate.ERASED,
            "identity_sha256": None,
            "erased_utc": sa.func.coalesce(RecordId.erased_utc, statement.excluded.erased_utc),
        },
        where=None if device_id is None else _may_erase(device_id),
    ).returning(RecordId.id)
    return set(connection.scalars(upsert, rows))


def _may_erase(device_id: str) -> sa.ColumnElement[bool]:
    """Its own; and once more what is erased already, by whomever: nothing changes by that."""
    return sa.or_(RecordId.device_id == device_id, RecordId.fate == Fate.ERASED)
