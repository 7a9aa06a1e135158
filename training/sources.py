"""Reads corrections where they lie: a collector, an export of one, or a box's own database.

Nothing is ever written there. Every source also tells which ids were erased.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.errors import InvalidConfig, InvalidRows, SourceUnreachable
from training.rows import Origin, Row

__all__ = ["Reader", "Source", "open_source"]

FIELDS = ("id", "kind", "text", "label")
"""What a record must have; the others may be missing from an older export."""
RENAMED = frozenset({"kind", "source", "device_id", "labels", "occurred_utc"})
BATCH_ROWS = 1000


@dataclass(slots=True)
class Source:
    """One place that was opened."""

    name: str
    """For people; never with a password."""
    rows: Iterator[Row]
    suppressed: set[str] = field(default_factory=set)
    """Erased ids; complete before the first row is read."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How records become rows."""

    salt: bytes
    """Of this deployment: with it, who said something becomes a number that leads nowhere."""
    audit_sources: tuple[str, ...]
    """Values of `source` that mean: drawn at random."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Why records gave no row → how many."""

    def row(self, record: Mapping[str, Any], place: str) -> Row | None:
        """One record as a row; None, and counted, where it has no text.

        Raises:
            InvalidRows: It is no record of a correction.
        """
        missing = [name for name in FIELDS if name not in record]
        if missing:
            raise InvalidRows(
                f"{place}: expected a correction with {', '.join(FIELDS)}, found none of "
                f"{', '.join(missing)}; make the export anew with `intentd-collect export`"
            )
        if not isinstance(record["text"], str) or not record["text"].strip():
            self.skipped["without a text (sent as a label only)"] += 1
            return None
        try:
            return Row.model_validate(self._values(record))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise InvalidRows(
                f"{place}: expected a correction, field {'.'.join(map(str, problem['loc']))}: "
                f"{problem['msg']}"
            ) from None

    def _values(self, record: Mapping[str, Any]) -> dict[str, Any]:
        others = {name: record[name] for name in record if name not in RENAMED}
        return others | {
            "origin": self._origin(record),
            "root": record["id"],
            "source": self._voice(record),
            "created_utc": _time(record.get("occurred_utc")),
            "model": record.get("model") or "",
            "label_set": record.get("label_set") or "",
        }

    def _origin(self, record: Mapping[str, Any]) -> Origin:
        if record.get("source") in self.audit_sources or record.get("audit"):
            return Origin.AUDIT
        return Origin.CONFIRMATION if record["kind"] == "confirmation" else Origin.CORRECTION

    def _voice(self, record: Mapping[str, Any]) -> str:
        who = f"{record.get('device_id') or ''}\x1f{record.get('source') or ''}"
        return hashlib.blake2b(who.encode(), key=self.salt, digest_size=8).hexdigest()


def open_source(address: str, reader: Reader, scratch: Path) -> Source:
    """Open what an address names.

    Args:
        address: postgresql://…, sqlite:///…, or a path: .ndjson, .jsonl, .parquet, a database.
        reader: How records become rows.
        scratch: A private folder for what a collector gives out.

    Raises:
        InvalidConfig: The address is of no database that a collector has.
        SourceUnreachable: It does not answer, or is not there.
        InvalidRows: It is something else.
    """
    if "://" in address:
        return _open_collector(address, reader, scratch)
    path = Path(address)
    if not path.is_file():
        raise SourceUnreachable(f"{path}: expected an export or a corrections.db, found no file")
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(b"SQLite format 3"):
        return _open_database(path, reader, scratch)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return Source(path.name, _read_parquet(path, reader))
    return Source(path.name, _read_lines(path, reader))


def _open_collector(address: str, reader: Reader, scratch: Path) -> Source:
    """By the collector's own export: rows and erased ids of one snapshot."""
    from edge.errors import EdgeError
    from training.collector.database import Database, database_url
    from training.collector.export import Filter, Form, export_corrections
    from training.collector.migrate import check_schema

    try:
        url = database_url(address)
    except EdgeError as error:
        said = str(error).removeprefix("--database: ")
        raise InvalidConfig(f"collect: {said}") from None
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise SourceUnreachable(f"{url.database}: expected a collector's database, found no file")
    rows, erased = scratch / f"{len(list(scratch.iterdir()))}.ndjson", scratch / "erased.txt"
    database = Database.open(address)
    try:
        check_schema(database)
        export_corrections(database, rows, Form.NDJSON, Filter(), erased)
    except EdgeError as error:
        if error.exit_code == 2:
            raise
        reason = str(error).partition(";")[0]
        raise SourceUnreachable(
            f"{database.name}: expected a collector's database, but {reason}; nothing was changed"
        ) from None
    finally:
        database.close()
    return Source(database.name, _read_lines(rows, reader), set(erased.read_text().split()))


def _open_database(path: Path, reader: Reader, scratch: Path) -> Source:
    from training.box import is_box, read_box

    if is_box(path):
        rows, suppressed = read_box(path, reader)
        return Source(path.name, rows, suppressed)
    return _open_collector(f"sqlite:///{path.resolve()}", reader, scratch)


def _read_lines(path: Path, reader: Reader) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise InvalidRows(
                    f"{place}: expected a JSON object, found something else; make the export anew"
                )
            if row := reader.row(record, place):
                yield row


def _read_parquet(path: Path, reader: Reader) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                extra = record.pop("extra", None)
                whole = (json.loads(extra) if extra else {}) | record
                if row := reader.row(whole, f"{path}, row {number}"):
                    yield row
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise InvalidRows(
            f"{path}: expected Parquet, but {reason}; copy it again, or make the export anew"
        ) from None


def _time(value: object) -> str | None:
    """ISO 8601 with Z and milliseconds, so that times sort as texts."""
    if isinstance(value, str):
        try:
            return _time(datetime.fromisoformat(value))
        except ValueError:
            return value
    if not isinstance(value, datetime):
        return None
    known = value if value.tzinfo else value.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
