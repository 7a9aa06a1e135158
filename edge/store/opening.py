"""Opens corrections.db whatever state it is in: new, old, current, newer, or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge.store.backups import write_backup
from edge.store.database import (
    Database,
    Migrations,
    checkpoint,
    connect,
    error_name,
    pragma,
    sqlite3,
)
from edge.store.migrations import CORRECTIONS, HistoryDamaged, is_current, migrate
from edge.store.place import Reserve, create_private, rewrite
from edge.store.records import Correction
from edge.store.rows import correction_of, is_sound
from edge.store.salvage import finish, read_salvage, set_aside, write_salvage

__all__ = ["DATABASE", "Opened", "is_damage", "open_database", "read_corrections"]

DATABASE = "corrections.db"
REPLACEMENT = "corrections.db.salvaged"
TROUBLE = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_LOCKED")
OUTSIDE = (*TROUBLE, "SQLITE_NOMEM", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_INTERRUPT")


class _Damaged(Exception):
    """The file cannot be trusted; what it held has to be salvaged."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open database, and what had to be done to get it."""

    db: Database
    salvaged: int | None = None
    """Rows saved from a damaged file; None where there was no damage."""


def open_database(
    directory: Path, synchronous: str = "FULL", migrations: Migrations = CORRECTIONS
) -> Opened:
    """Open `directory`/corrections.db, on the newest schema, with every row checked.

    Raises:
        StoreUnavailable: Written by a newer version.
        sqlite3.Error, OSError: The disk is full, broken or forbidden; the file is as it was.
    """
    path, replacement = directory / DATABASE, directory / REPLACEMENT
    if replacement.exists() and not path.exists():  # stopped between two renames
        finish(path, replacement)
    create_private(path)
    try:
        return Opened(_open_sound(path, synchronous, migrations))
    except _Damaged:
        saved = _replace_damaged(path, replacement, synchronous, migrations)
        return Opened(_open_sound(path, synchronous, migrations), saved)


def _open_sound(path: Path, synchronous: str, migrations: Migrations) -> Database:
    db: Database | None = None
    rewrite(Path(f"{path}-wal"))
    try:
        db = connect(path, synchronous)
        _check_file(db)
        _bring_up_to_date(db, path.parent, migrations)
        _check_rows(db)
        checkpoint(db)
    except BaseException as error:
        if db is not None:
            db.close()
        if isinstance(error, HistoryDamaged) or is_damage(error, path):
            raise _Damaged(str(error)) from error
        raise
    return db


def is_damage(error: BaseException, path: Path) -> bool:
    """Whether an error comes from what is in the file, and not from the disk or its permissions."""
    if not isinstance(error, sqlite3.Error):
        return False
    name = error_name(error)
    if name.startswith("SQLITE_READONLY"):  # so does a header that claims a newer format
        return _is_writable(path)
    return not name.startswith(OUTSIDE)


def _is_writable(path: Path) -> bool:
    try:
        with path.open("r+b"):  # the connection is closed: no lock of SQLite's to lose
            return True
    except OSError:
        return False


def _check_file(db: Database) -> None:
    found = pragma(db, "integrity_check(1)")  # quick_check passes over indexes: the outbox is one
    if found != "ok":
        raise _Damaged(str(found))


def _bring_up_to_date(db: Database, directory: Path, migrations: Migrations) -> None:
    if is_current(db, migrations):
        return
    if migrations.applied(db):
        write_backup(db, directory)
    migrate(db, migrations)


def _check_rows(db: Database) -> None:
    if len(list(db.query("SELECT * FROM device"))) != 1:
        raise _Damaged("no device")
    db.execute("SELECT count(*) FROM erasure").fetchone()
    for row in db.query("SELECT * FROM correction"):
        if not is_sound(row):
            raise _Damaged(f"correction {row['seq']} does not match its checksum")


def read_corrections(db: Database) -> Iterator[Correction]:
    """Every correction, oldest first."""
    return (correction_of(row) for row in db.query("SELECT * FROM correction ORDER BY seq"))


def _replace_damaged(
    path: Path, replacement: Path, synchronous: str, migrations: Migrations
) -> int:
    Reserve(path.parent).release()  # the copy needs room; the reserve is taken again later
    salvage = read_salvage(path)
    for leftover in (replacement, Path(f"{replacement}-wal"), Path(f"{replacement}-shm")):
        leftover.unlink(missing_ok=True)
    create_private(replacement)
    with closing(connect(replacement, synchronous)) as db:
        migrate(db, migrations)
        write_salvage(db, salvage)
        checkpoint(db)
    set_aside(path, replacement)
    return salvage.count
