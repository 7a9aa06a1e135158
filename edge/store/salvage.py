"""What to do with a damaged corrections.db: save what is whole, set the file aside, go on.

A crash at any step leaves either the damaged file (and all is done again) or the new one.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from edge.store.database import Database, transaction
from edge.store.pages import Value, read_rows
from edge.store.place import fsync_directory
from edge.store.rows import CORRECTION_COLUMNS, ERASURE_COLUMNS, insert_of, is_sound

__all__ = ["QUARANTINE_GLOB", "Salvage", "finish", "read_salvage", "set_aside", "write_salvage"]

KEEP_FILES = 3
QUARANTINE_GLOB = "corrupt-*"
MAX_NUMBER = 1 << 48  # a larger seq, epoch or time is damage


@dataclass(slots=True)
class Salvage:
    """What could be read out of a damaged file."""

    corrections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id → row; every one matches its checksum."""
    erasures: dict[str, dict[str, Any]] = field(default_factory=dict)
    device: tuple[str, int, int] | None = None
    """Device id, epoch, cursor of the receipts."""
    last_seq: int = 0

    @property
    def count(self) -> int:
        """Corrections and tombstones."""
        return len(self.corrections) + len(self.erasures)


def read_salvage(database: Path) -> Salvage:
    """Everything in a damaged file that is beyond doubt. Nobody may have the file open.

    Raises:
        OSError: The disk does not give the file.
    """
    salvage = Salvage()
    for rowid, values in read_rows(database, Path(f"{database}-wal")):
        for take in (_take_correction, _take_erasure, _take_device, _take_sequence):
            if take(salvage, rowid, values):
                break
    for id in salvage.erasures.keys() & salvage.corrections.keys():
        del salvage.corrections[id]
    return salvage


def _take_correction(salvage: Salvage, rowid: int, values: tuple[Value, ...]) -> bool:
    if len(values) != len(CORRECTION_COLUMNS):
        return False
    row: dict[str, Any] = dict(zip(CORRECTION_COLUMNS, values, strict=True)) | {"seq": rowid}
    if isinstance(row["score"], int):  # SQLite stores a whole REAL as an integer
        row["score"] = float(row["score"])
    is_whole = is_sound(row)
    if is_whole:
        salvage.corrections[row["id"]] = row
    return is_whole


def _take_erasure(salvage: Salvage, rowid: int, values: tuple[Value, ...]) -> bool:
    if len(values) != len(ERASURE_COLUMNS) or not _is_uuid(values[1]):
        return False
    row: dict[str, Any] = dict(zip(ERASURE_COLUMNS, values, strict=True)) | {"seq": rowid}
    numbers = (rowid, row["epoch"], row["erased_ms"])
    if not all(isinstance(number, int) and 0 < number < MAX_NUMBER for number in numbers):
        return False
    salvage.erasures[row["id"]] = row
    return True


def _take_device(salvage: Salvage, rowid: int, values: tuple[Value, ...]) -> bool:
    match values:
        case (None, str(device_id), int(epoch), int(cursor)) if rowid == 1 and _is_uuid(device_id):
            salvage.device = (device_id, epoch, cursor)
            return True
    return False


def _take_sequence(salvage: Salvage, rowid: int, values: tuple[Value, ...]) -> bool:
    match values:
        case ("correction", int(seq)) if 0 < seq < MAX_NUMBER:
            salvage.last_seq = seq
            return True
    return False


def _is_uuid(value: Value) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def write_salvage(db: Database, salvage: Salvage) -> None:
    """Put what was saved into a new database, which begins a new epoch.

    Raises:
        sqlite3.Error: The disk did not take it.
    """
    with transaction(db):
        for row in _in_order(salvage.corrections):
            db.conn.execute(insert_of("correction", CORRECTION_COLUMNS, or_ignore=True), row)
        for row in _in_order(salvage.erasures):
            db.conn.execute(insert_of("erasure", ERASURE_COLUMNS, or_ignore=True), row)
        if salvage.device is not None:
            device_id, epoch, cursor = salvage.device
            db.conn.execute(
                "UPDATE device SET device_id = ?, epoch = ?, receipts_cursor = ?",
                (device_id, epoch + 1, cursor),
            )
        _continue_numbers(db, salvage)


def _in_order(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows.values(), key=itemgetter("seq"))


def _continue_numbers(db: Database, salvage: Salvage) -> None:
    rows = [*salvage.corrections.values(), *salvage.erasures.values()]
    highest = max([salvage.last_seq, *(row["seq"] for row in rows)])
    db.conn.execute("DELETE FROM sqlite_sequence WHERE name = 'correction'")
    db.conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('correction', ?)", (highest,))


def set_aside(database: Path, replacement: Path) -> Path:
    """Rename the damaged file and its log, put the new one in its place, and return the new name.

    The log goes first: left behind, SQLite would apply it to the new file.
    """
    stamp = datetime.datetime.now(tz=datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = database.with_name(f"corrupt-{stamp}.db")
    log = Path(f"{database}-wal")
    if log.exists():
        log.rename(f"{aside}-wal")
    Path(f"{database}-shm").unlink(missing_ok=True)
    database.rename(aside)
    finish(database, replacement)
    for old in sorted(database.parent.glob(f"{QUARANTINE_GLOB}.db"))[:-KEEP_FILES]:
        old.unlink(missing_ok=True)
        Path(f"{old}-wal").unlink(missing_ok=True)
    return aside


def finish(database: Path, replacement: Path) -> None:
    """Give the new file its name, durably; also after a crash just before that."""
    replacement.rename(database)
    fsync_directory(database.parent)
