"""Checked copies of corrections.db. Never by copying the file: half of it may be in the log."""

from __future__ import annotations

import datetime
from collections.abc import Set
from contextlib import closing
from pathlib import Path

from edge.errors import StoreUnavailable
from edge.store.database import Database, pragma, sqlite3
from edge.store.place import create_private, fsync_directory, prepare_directory

__all__ = ["DIRECTORY", "remove_backups", "write_backup"]

DIRECTORY = "backups"
KEEP_FILES = 3
UNFINISHED = "unfinished"


def write_backup(db: Database, directory: Path) -> Path:
    """Copy the open database into `directory`/backups, check the copy, and keep the newest three.

    The copy is one epoch ahead: numbers given out after it is restored meet none given out before.

    Raises:
        StoreUnavailable: The copy is not sound.
        sqlite3.Error, OSError: The disk did not take it.
    """
    folder = directory / DIRECTORY
    prepare_directory(folder)
    stamp = datetime.datetime.now(tz=datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    path, unfinished = folder / f"corrections-{stamp}.db", folder / UNFINISHED
    unfinished.unlink(missing_ok=True)
    create_private(unfinished)
    try:
        _copy(db, unfinished)
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    fsync_directory(folder)
    for old in _backups(directory)[:-KEEP_FILES]:
        old.unlink(missing_ok=True)
    return path


def _copy(db: Database, path: Path) -> None:
    target = sqlite3.connect(path, isolation_level=None)
    try:
        db.conn.backup(target)
        copy = Database(target, recursive_triggers=False, execute_plugins=False)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, complete in itself
        if copy["device"].exists():
            target.execute("UPDATE device SET epoch = epoch + 1")
        if pragma(copy, "integrity_check") != "ok":
            raise StoreUnavailable(
                f"expected a sound copy of the corrections, found damage in it; check the disk at "
                f"{path.parent}"
            )
    finally:
        target.close()


def remove_backups(directory: Path, erased: Set[str]) -> int:
    """Remove, durably, every copy that holds one of these ids, or that cannot be read.

    Returns:
        How many were removed.
    """
    found = [path for path in _backups(directory) if not erased.isdisjoint(_ids_in(path, erased))]
    found += (directory / DIRECTORY).glob(f"{UNFINISHED}*")  # a crash left it, and its journal
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        fsync_directory(directory / DIRECTORY)
    return len(found)


def _ids_in(path: Path, otherwise: Set[str]) -> Set[str]:
    try:
        place = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as conn:
            return {row[0] for row in conn.execute("SELECT id FROM correction")}
    except sqlite3.Error:
        return otherwise


def _backups(directory: Path) -> list[Path]:
    return sorted((directory / DIRECTORY).glob("corrections-*.db"))
