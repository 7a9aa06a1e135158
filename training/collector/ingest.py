"""Stores a batch: every record accepted, known, parked or refused for itself, in one transaction.

An id is claimed in `record_ids` before its correction is stored. Two processes that bring the same
id at once meet there: the second waits for the first to commit, and then finds it taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from training.collector.counts import store_counts
from training.collector.dialects import insert
from training.collector.erasure import erase
from training.collector.identity import canonical, identity_sha256
from training.collector.models import Correction, Cursor, Fate, Parked, RecordId
from training.collector.wire import (
    CorrectionRecord,
    CursorAnswer,
    Envelope,
    ErasureRecord,
    Newer,
    Parsed,
    Rejected,
    Result,
    Status,
    read_record,
)

__all__ = ["Batch", "read_batch", "read_cursor", "store_batch"]

CHUNK = 1000
CONFLICT = "conflict"
INVALID = "invalid"
OTHER_PAYLOAD = "this id came before with another label, kind, number or time, and that was kept"
OTHER_DEVICE = "this id belongs to another device"

Storable = CorrectionRecord | Newer


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known about an id that was taken before."""

    device_id: str | None
    fate: str
    identity_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was read but not stored yet."""

    envelope: Envelope
    records: Sequence[Parsed]
    hashes: Sequence[bytes]
    """Of each record, in their order; empty for those that are not stored."""
    fresh: Mapping[str, tuple[Storable, bytes]]
    """The first record of each id that may be stored, with its hash."""
    erased: Set[str]
    """Ids that this batch erases; a correction beside its own erasure is not stored at all."""


def read_batch(envelope: Envelope) -> Batch:
    """Read each record of an envelope."""
    parsed = [read_record(raw) for raw in envelope.records]
    hashes = [
        identity_sha256(raw) if isinstance(record, Storable) else b""
        for raw, record in zip(envelope.records, parsed, strict=True)
    ]
    erased = {record.id for record in parsed if isinstance(record, ErasureRecord)}
    fresh: dict[str, tuple[Storable, bytes]] = {}
    for record, digest in zip(parsed, hashes, strict=True):
        if isinstance(record, Storable) and record.id not in erased:
            fresh.setdefault(record.id, (record, digest))
    return Batch(envelope, parsed, hashes, fresh, erased)


def store_batch(connection: sa.Connection, batch: Batch, now: datetime) -> list[Result]:
    """Store what is new; one result a record, in their order. The caller commits."""
    device, fresh = batch.envelope.device_id, batch.fresh
    taken = _claim(connection, device, fresh, now)
    claimed = fresh.keys() - taken
    _store_corrections(connection, batch, claimed, now)
    _store_parked(connection, batch, claimed, now)
    erased = erase(connection, batch.erased, device, now) if batch.erased else set()
    store_counts(connection, batch.envelope, now)
    _advance_cursor(connection, batch, now)
    return _results(batch, claimed, taken, erased)


def read_cursor(connection: sa.Connection, device_id: str) -> CursorAnswer:
    """The newest epoch of a device, and its highest number in it; zeros if nothing came."""
    newest = (
        sa.select(Cursor.epoch, Cursor.seq)
        .where(Cursor.device_id == device_id)
        .order_by(Cursor.epoch.desc())
        .limit(1)
    )
    row = connection.execute(newest).one_or_none()
    return CursorAnswer() if row is None else CursorAnswer(epoch=row.epoch, seq=row.seq)


def _claim(
    connection: sa.Connection,
    device_id: str,
    fresh: Mapping[str, tuple[Storable, bytes]],
    now: datetime,
) -> dict[str, Claim]:
    """Take every id that is free; returns what is known about the others."""
    rows = [
        {
            "id": record_id,
            "device_id": device_id,
            "fate": Fate.PARKED if isinstance(fresh[record_id][0], Newer) else Fate.KEPT,
            "identity_sha256": fresh[record_id][1],
            "received_utc": now,
        }
        for record_id in sorted(fresh)  # one order for all, or two batches could deadlock
    ]
    if not rows:
        return {}
    claim = insert(connection, RecordId).on_conflict_do_nothing().returning(RecordId.id)
    free = set(connection.scalars(claim, rows))
    return _known(connection, sorted(fresh.keys() - free))


def _known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Claim]:
    known: dict[str, Claim] = {}
    for start in range(0, len(ids), CHUNK):
        rows = connection.execute(
            sa.select(
                RecordId.id, RecordId.device_id, RecordId.fate, RecordId.identity_sha256
            ).where(RecordId.id.in_(ids[start : start + CHUNK]))
        )
        known |= {row.id: Claim(row.device_id, row.fate, row.identity_sha256) for row in rows}
    return known


def _store_corrections(
    connection: sa.Connection, batch: Batch, claimed: Iterable[str], now: datetime
) -> None:
    envelope, fresh = batch.envelope, batch.fresh
    common = {
        "device_id": envelope.device_id,
        "received_utc": now,
        "redaction_version": envelope.redaction_version,
        "tier": envelope.tier,
    }
    records = (fresh[record_id][0] for record_id in claimed)
    rows = [_row(one) | common for one in records if isinstance(one, CorrectionRecord)]
    if rows:
        connection.execute(sa.insert(Correction), rows)


def _row(record: CorrectionRecord) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in CorrectionRecord.model_fields}
    del fields["type"]
    return fields | {"extra": canonical(record.model_extra) if record.model_extra else None}


def _store_parked(
    connection: sa.Connection, batch: Batch, claimed: Iterable[str], now: datetime
) -> None:
    fresh, envelope = batch.fresh, batch.envelope
    rows = [
        {
            "id": record.id,
            "device_id": envelope.device_id,
            "schema_version": record.schema_version,
            "payload": record.payload,
            "redaction_version": envelope.redaction_version,
            "tier": envelope.tier,
            "received_utc": now,
        }
        for record in (fresh[record_id][0] for record_id in claimed)
        if isinstance(record, Newer)
    ]
    if rows:
        connection.execute(sa.insert(Parked), rows)


def _advance_cursor(connection: sa.Connection, batch: Batch, now: datetime) -> None:
    """Remember the highest number of each epoch; also the time, by which a device was seen."""
    highest = {batch.envelope.epoch: 0}
    for record in batch.records:
        if isinstance(record, Storable):
            highest[record.epoch] = max(record.seq, highest.get(record.epoch, 0))
    statement = insert(connection, Cursor)
    larger = sa.case(
        (statement.excluded.seq > Cursor.seq, statement.excluded.seq), else_=Cursor.seq
    )
    upsert = statement.on_conflict_do_update(
        index_elements=[Cursor.device_id, Cursor.epoch],
        set_={"seq": larger, "updated_utc": statement.excluded.updated_utc},
    )
    device = batch.envelope.device_id
    rows = [
        {"device_id": device, "epoch": epoch, "seq": seq, "updated_utc": now}
        for epoch, seq in sorted(highest.items())
    ]
    connection.execute(upsert, rows)


def _results(
    batch: Batch, claimed: Iterable[str], taken: Mapping[str, Claim], erased: Set[str]
) -> list[Result]:
    waiting = set(claimed)
    results = []
    for record, digest in zip(batch.records, batch.hashes, strict=True):
        if isinstance(record, Rejected):
            results.append(_rejected(record.id, INVALID, record.message))
        elif isinstance(record, ErasureRecord):
            results.append(_erasure_result(record.id, erased))
        elif record.id in waiting:
            waiting.remove(record.id)
            status = Status.PARKED if isinstance(record, Newer) else Status.ACCEPTED
            results.append(Result(id=record.id, status=status))
        else:
            results.append(_repeated(record.id, digest, batch, taken))
    return results


def _repeated(record_id: str, digest: bytes, batch: Batch, taken: Mapping[str, Claim]) -> Result:
    """The result of a record whose id was taken: before, or earlier in this batch."""
    claim = taken.get(record_id)
    if claim is None and record_id in batch.fresh:
        claim = Claim(batch.envelope.device_id, Fate.KEPT, batch.fresh[record_id][1])
    if claim is None or claim.fate == Fate.ERASED:
        return Result(id=record_id, status=Status.DUPLICATE)
    if claim.device_id != batch.envelope.device_id:
        return _rejected(record_id, CONFLICT, OTHER_DEVICE)
    if claim.identity_sha256 not in (None, digest):
        return _rejected(record_id, CONFLICT, OTHER_PAYLOAD)
    return Result(id=record_id, status=Status.DUPLICATE)


def _erasure_result(record_id: str, erased: Set[str]) -> Result:
    if record_id in erased:
        return Result(id=record_id, status=Status.ACCEPTED)
    return _rejected(record_id, CONFLICT, OTHER_DEVICE)


def _rejected(record_id: str | None, code: str, message: str) -> Result:
    return Result(id=record_id, status=Status.REJECTED, code=code, message=message)
