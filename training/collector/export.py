"""Gives the corrections out, as NDJSON or Parquet, a few at a time however many there are.

Corrections and suppression list come from one snapshot: no id is in both, and none that was erased
before the export began is in the first.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from edge.errors import InvalidValue
from training.collector.database import Database
from training.collector.models import Correction, RecordId

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FIELDS", "Exported", "Filter", "Form", "export_corrections"]

FIELDS = tuple(column.key for column in Correction.__table__.columns if column.key != "extra")
"""The columns of an export, in their order; `extra` is spread into NDJSON, and JSON in Parquet."""
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}
"""JSON allows these as they are, but many readers of lines end a line there."""
CHUNK = 1000
"""Rows that come from the database at once."""
GROUP_ROWS = 10_000
GROUP_BYTES = 32 << 20
"""A Parquet row group ends at either, so that memory stays bounded with long texts too."""


class Form(StrEnum):
    """How an export is written."""

    NDJSON = "ndjson"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which corrections; empty means all."""

    since: datetime | None = None
    """By the time they were received, inclusive."""
    until: datetime | None = None
    """Exclusive, so that two exports in a row share nothing and miss nothing."""
    labels: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """How much was written."""

    rows: int
    suppressed: int


class _Writer(Protocol):
    def write(self, row: Mapping[str, Any]) -> None: ...

    def finish(self) -> None: ...


def export_corrections(
    database: Database,
    out: Path | None,
    form: Form,
    wanted: Filter,
    suppressed: Path | None = None,
) -> Exported:
    """Write what is stored, oldest first, into files that appear whole or not at all.

    Args:
        database: Where it is read.
        out: The file; None is stdout, for NDJSON only.
        form: How.
        wanted: Which.
        suppressed: A file for every erased id, one a line; None writes none.

    Raises:
        InvalidValue: Parquet on stdout.
        DatabaseUnavailable: The database went away; no file was changed.
    """
    if form is Form.PARQUET and out is None:
        raise InvalidValue("--format parquet: expected --out FILE, for it cannot be streamed")
    with (
        _open_new(suppressed) as listing,
        _open_new(out) as stream,
        database.read(streaming=True) as connection,
    ):
        erased = _write_suppressed(connection, listing)
        rows = _write_rows(connection, stream or sys.stdout.buffer, form, wanted)
    return Exported(rows, erased)


def _write_rows(connection: sa.Connection, stream: IO[bytes], form: Form, wanted: Filter) -> int:
    writer: _Writer = _Parquet(stream) if form is Form.PARQUET else _Ndjson(stream)
    count = 0
    for row in _read(connection, _select(wanted)):
        writer.write(row)
        count += 1
    writer.finish()
    return count


def _write_suppressed(connection: sa.Connection, stream: IO[bytes] | None) -> int:
    if stream is None:
        return connection.execute(
            sa.select(sa.func.count()).where(RecordId.erased_utc.is_not(None))
        ).scalar_one()
    count = 0
    erased = sa.select(RecordId.id).where(RecordId.erased_utc.is_not(None)).order_by(RecordId.id)
    for row in _read(connection, erased):
        stream.write(f"{row['id']}\n".encode())
        count += 1
    return count


def _select(wanted: Filter) -> sa.Select[Any]:
    statement = sa.select(*Correction.__table__.columns)
    if wanted.since is not None:
        statement = statement.where(Correction.received_utc >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(Correction.received_utc < wanted.until)
    if wanted.labels:
        statement = statement.where(Correction.label.in_(wanted.labels))
    if wanted.devices:
        statement = statement.where(Correction.device_id.in_(wanted.devices))
    return statement.order_by(Correction.received_utc, Correction.id)


def _read(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Mapping[str, Any]]:
    with connection.execution_options(yield_per=CHUNK).execute(statement) as result:
        for row in result.mappings():
            yield {str(name): value for name, value in row.items()}


class _Ndjson:
    """One JSON object a line; fields that the sender had and we do not know stay beside ours."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, row: Mapping[str, Any]) -> None:
        """One line."""
        extra = json.loads(row["extra"]) if row["extra"] else {}
        plain = {name: row[name] for name in FIELDS}
        line = json.dumps(extra | plain, ensure_ascii=False, default=_write_time)
        self._stream.write(line.translate(ESCAPES).encode() + b"\n")

    def finish(self) -> None:
        """Hand over what is buffered."""
        self._stream.flush()


class _Parquet:
    """Row groups of bounded size."""

    def __init__(self, stream: IO[bytes]) -> None:
        import pyarrow.parquet as pq

        self._schema = _schema()
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """One row; every so often a row group."""
        self._rows.append(dict(row))
        self._bytes += len(row["text"] or "") + len(row["content"] or "") + len(row["extra"] or "")
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        """The last row group, and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()
        self._bytes = 0


def _schema() -> pa.Schema:
    import pyarrow as pa

    other = {
        "received_utc": pa.timestamp("us", "UTC"),
        "occurred_utc": pa.timestamp("us", "UTC"),
        "epoch": pa.int64(),
        "seq": pa.int64(),
        "schema_version": pa.int32(),
        "score": pa.float64(),
        "labels": pa.list_(pa.string()),
    }
    return pa.schema([(name, other.get(name, pa.string())) for name in (*FIELDS, "extra")])


def _write_time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


@contextmanager
def _open_new(path: Path | None) -> Iterator[IO[bytes] | None]:
    """A file beside `path` that takes its place if all goes well; private, for texts lie in it."""
    if path is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            yield new
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
