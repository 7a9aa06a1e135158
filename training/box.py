"""Reads a box's own corrections.db, while its daemon runs or not. It writes nothing into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edge.store.database import sqlite3
from edge.store.prediction_rows import AUDIT_BELOW
from edge.store.rows import CORRECTION_COLUMNS, is_sound
from training.errors import InvalidRows, SourceUnreachable
from training.rows import Row

if TYPE_CHECKING:
    from training.sources import Reader

__all__ = ["is_box", "open_read_only", "read_box"]

REVIEW = "intentd review"
"""The `source` of what was said there; which of it was audited, the prediction's id tells."""
BUSY_TIMEOUT_S = 5.0
TABLES = {"correction", "erasure", "device"}


def is_box(path: Path) -> bool:
    """Whether this SQLite file is a daemon's, not a collector's.

    Raises:
        SourceUnreachable: It cannot be read.
    """
    with closing(open_read_only(path)) as connection:
        return _tables(connection) >= TABLES


def read_box(path: Path, reader: Reader) -> tuple[Iterator[Row], set[str]]:
    """Rows, oldest first, and the ids of those erased; both of one moment.

    Raises:
        InvalidRows: It is of another schema.
        SourceUnreachable: It cannot be read.
    """
    with closing(open_read_only(path)) as connection:
        columns = {row["name"] for row in connection.execute("PRAGMA table_info(correction)")}
        missing = sorted(set(CORRECTION_COLUMNS) - columns)
        if missing:
            raise InvalidRows(
                f"{path}: expected this version's corrections.db, found one without "
                f"{', '.join(missing)}; start its daemon once, which brings it up to date"
            )
        try:
            connection.execute("BEGIN")
            device = connection.execute("SELECT device_id FROM device").fetchone()[0]
            erased = {row["id"] for row in connection.execute("SELECT id FROM erasure")}
            found = connection.execute("SELECT * FROM correction ORDER BY seq").fetchall()
        except sqlite3.Error as error:
            raise _unreachable(path, error) from None
    return _rows(path, [dict(row) for row in found], device, reader), erased


def _rows(path: Path, found: list[dict[str, Any]], device: str, reader: Reader) -> Iterator[Row]:
    for record in found:
        if not is_sound(record):
            reader.skipped["damaged (the checksum does not match)"] += 1
            continue
        row = reader.row(_record(record, device), f"{path}, correction {record['id']}")
        if row is not None:
            yield row


def _record(row: dict[str, Any], device: str) -> dict[str, Any]:
    """As the collector would have got it; and, from the prediction's id, whether it was audited."""
    names = ("id", "kind", "text", "content", "label", "predicted_label", "score", "label_set")
    occurred = datetime.fromtimestamp(row["created_ms"] / 1000, UTC)
    return {name: row[name] for name in names} | {
        "labels": json.loads(row["labels"]),
        "model": row["model"],
        "phase": row["phase"],
        "source": row["source"],
        "device_id": device,
        "occurred_utc": occurred,
        "audit": row["source"] == REVIEW and _is_audited(row["prediction_id"]),
    }


def _is_audited(prediction_id: str | None) -> bool:
    """As the daemon draws: by the id alone."""
    if prediction_id is None:
        return False
    digest = hashlib.blake2b(prediction_id.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < AUDIT_BELOW


def open_read_only(path: Path) -> sqlite3.Connection:
    """Read-only; where the folder is too (a backup), as a file that nobody changes.

    Raises:
        SourceUnreachable: It cannot be read.
    """
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    wal = Path(f"{path}-wal")
    quiet = not wal.exists() or wal.stat().st_size == 0
    error: sqlite3.Error | None = None
    for option in ("", "&immutable=1") if quiet else ("",):
        connection = sqlite3.connect(
            address + option, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            connection.row_factory = sqlite3.Row
            _tables(connection)
            return connection
        except sqlite3.Error as found:
            connection.close()
            error = found
    assert error is not None  # noqa: S101 - the loop returned, or noted one
    raise _unreachable(path, error)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {
        row["name"]
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }


def _unreachable(path: Path, error: sqlite3.Error) -> SourceUnreachable:
    return SourceUnreachable(
        f"{path}: expected a readable database, but {error}; nothing was changed"
    )
