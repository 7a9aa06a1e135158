"""Erases for good: afterwards no file of the store holds a byte of what was erased.

File systems that keep old blocks (snapshots, copy on write) are beyond a program's reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from edge.errors import StoreUnavailable
from edge.store.backups import remove_backups
from edge.store.database import Database, checkpoint, error_name, sqlite3, transaction
from edge.store.opening import DATABASE
from edge.store.place import Reserve, fsync_directory, sync_file
from edge.store.recording import now_ms
from edge.store.salvage import QUARANTINE_GLOB
from edge.text import normalize

__all__ = ["empty_log", "erase", "with_room"]

Result = TypeVar("Result")
READER_WAIT_S = 1.0


def erase(
    db: Database, directory: Path, reserve: Reserve, ids: Iterable[str], text: str | None
) -> list[str]:
    """Delete rows, leave tombstones, then remove every copy. Run it again after any error.

    Tombstones come first: a copy removed before its erasure is durable could be restored.

    Raises:
        StoreUnavailable: A reader bars the last step.
        sqlite3.Error, OSError: The disk did not take it, even with the reserve given up.
    """
    wanted = [*ids, *([] if text is None else _ids_of(db, text))]
    erased = with_room(reserve, lambda: _delete(db, wanted))
    tombstones = {row[0] for row in db.execute("SELECT id FROM erasure")}
    remove_backups(directory, tombstones)
    _remove_quarantined(directory)
    empty_log(db, directory / DATABASE, reserve)
    return erased


def _ids_of(db: Database, text: str) -> list[str]:
    wanted = normalize(text)
    rows = db.execute("SELECT id, text, content FROM correction ORDER BY seq")
    return [
        id
        for id, said, content in rows
        if normalize(said) == wanted or (content is not None and normalize(content) == wanted)
    ]


def _delete(db: Database, ids: list[str]) -> list[str]:
    erased, at = [], now_ms()
    with transaction(db):
        for id in ids:
            tombstone = db.conn.execute(
                "INSERT OR IGNORE INTO erasure (seq, id, epoch, erased_ms)"
                " SELECT seq, id, epoch, ? FROM correction WHERE id = ?",
                (at, id),
            )
            if tombstone.rowcount > 0:
                db.conn.execute("DELETE FROM correction WHERE id = ?", (id,))
                erased.append(id)
    return erased


def with_room(reserve: Reserve, step: Callable[[], Result]) -> Result:
    """Run `step`; on a full disk give the reserve up and run it once more."""
    try:
        return step()
    except sqlite3.OperationalError as error:
        if error_name(error) != "SQLITE_FULL":
            raise
    reserve.release()
    return step()


def empty_log(db: Database, path: Path, reserve: Reserve) -> None:
    """Cut the write-ahead log to nothing, durably.

    SQLite does not sync what it cut: after a power cut the old log, texts and all, could be back.

    Raises:
        StoreUnavailable: A reader bars it.
        sqlite3.Error, OSError: The disk did not take it.
    """
    if not with_room(reserve, lambda: checkpoint(db, READER_WAIT_S)):
        raise StoreUnavailable(
            f"erased, but the log of {path} still holds it while another program reads the "
            "database; close that program and erase again"
        )
    sync_file(Path(f"{path}-wal"))


def _remove_quarantined(directory: Path) -> None:
    found = list(directory.glob(QUARANTINE_GLOB))
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        fsync_directory(directory)
