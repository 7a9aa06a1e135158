"""Receipts: which build used which record, so that whoever corrected can see what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from training.collector.devices import check_name
from training.collector.dialects import insert
from training.collector.models import Build, Fate, RecordId, Used
from training.collector.wire import ReceiptInfo, ReceiptsAnswer

__all__ = ["Marked", "mark_used", "read_receipts"]

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Marked:
    """What became of a list of ids that a build says it used."""

    used: int
    """Now marked, or marked before for the same build."""
    erased: tuple[str, ...]
    """Erased since the export: the build must be made anew without them."""
    unknown: tuple[str, ...]
    """Never came here: golden rows, or another collector's."""


def mark_used(
    connection: sa.Connection, build_id: str, ids: Iterable[str], now: datetime
) -> Marked:
    """Note that a build used these records; to say it twice changes nothing.

    Raises:
        InvalidValue: Not a build's id.
    """
    check_name(build_id, "build")
    if connection.dialect.name == "postgresql":
        # Devices read by `n > cursor`: a number that is committed after a larger one is never seen.
        connection.execute(sa.text("LOCK TABLE used IN EXCLUSIVE MODE"))
    build = {"id": build_id, "created_utc": now}
    connection.execute(insert(connection, Build).on_conflict_do_nothing(), [build])
    wanted = sorted(set(ids))
    used, erased, unknown = 0, [], []
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        known = _read_fates(connection, chunk)
        unknown += [record_id for record_id in chunk if record_id not in known]
        erased += [record_id for record_id, (_, fate) in known.items() if fate == Fate.ERASED]
        kept = {k: device for k, (device, fate) in known.items() if fate != Fate.ERASED}
        _insert(connection, build_id, kept, now)
        used += len(kept)
    return Marked(used, tuple(sorted(erased)), tuple(unknown))


def read_receipts(
    connection: sa.Connection, device_id: str, after: int, limit: int
) -> ReceiptsAnswer:
    """A device's receipts after a cursor, oldest first."""
    rows = connection.execute(
        sa.select(Used.n, Used.record_id, Used.build_id, Used.used_utc)
        .where(Used.device_id == device_id, Used.n > after)
        .order_by(Used.n)
        .limit(limit)
    ).all()
    receipts = [
        ReceiptInfo(id=row.record_id, build=row.build_id, used_utc=row.used_utc) for row in rows
    ]
    return ReceiptsAnswer(receipts=receipts, next=rows[-1].n if rows else after)


def _read_fates(connection: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[str | None, str]]:
    rows = connection.execute(
        sa.select(RecordId.id, RecordId.device_id, RecordId.fate).where(RecordId.id.in_(ids))
    )
    return {row.id: (row.device_id, row.fate) for row in rows}


def _insert(
    connection: sa.Connection, build_id: str, devices: dict[str, str | None], now: datetime
) -> None:
    rows = [
        {"record_id": record_id, "device_id": device, "build_id": build_id, "used_utc": now}
        for record_id, device in devices.items()
    ]
    if rows:
        connection.execute(insert(connection, Used).on_conflict_do_nothing(), rows)
