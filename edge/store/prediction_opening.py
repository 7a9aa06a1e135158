"""Opens predictions.db. It is a log: a damaged one is thrown away, not salvaged."""

from __future__ import annotations

from pathlib import Path

from edge.store.database import Database, checkpoint, connect, pragma, sqlite3, transaction
from edge.store.migrations import HistoryDamaged, is_current, migrate
from edge.store.opening import is_damage
from edge.store.place import create_private
from edge.store.prediction_rows import PREDICTIONS
from edge.store.scrubbing import scrub

__all__ = ["forget_texts", "open_log", "remove_log", "reopen_scrubbed"]


def open_log(path: Path) -> Database:
    """Open the log on the newest schema, a new one where the old one is damaged.

    Raises:
        StoreUnavailable: Written by a newer version.
        sqlite3.Error, OSError: The disk is full, broken or forbidden.
    """
    try:
        return _open_sound(path)
    except (sqlite3.Error, HistoryDamaged) as error:
        if not isinstance(error, HistoryDamaged) and not is_damage(error, path):
            raise
    remove_log(path)
    return _open_sound(path)


def _open_sound(path: Path) -> Database:
    create_private(path)
    db = connect(path, "NORMAL")
    try:
        if pragma(db, "quick_check(1)") != "ok":
            raise sqlite3.DatabaseError("quick_check found damage")
        if not is_current(db, PREDICTIONS):
            migrate(db, PREDICTIONS)
    except BaseException:
        db.close()
        raise
    return db


def remove_log(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it."""
    for suffix in ("-wal", "-shm", ""):  # the log first: SQLite would apply it to a new file
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def forget_texts(db: Database) -> bool:
    """Make a log of texts a log of keys; whether there were texts in it."""
    with transaction(db):
        changed = db.conn.execute(
            "UPDATE prediction SET text = NULL, content = NULL"
            " WHERE text IS NOT NULL OR content IS NOT NULL"
        ).rowcount
    checkpoint(db)
    return changed > 0


def reopen_scrubbed(path: Path) -> Database:
    """Overwrite what was forgotten, and open the log again; this process has it closed.

    Raises:
        sqlite3.Error, OSError: The disk is full, broken or forbidden.
    """
    scrub(path)
    return connect(path, "NORMAL")
