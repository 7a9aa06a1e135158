"""One SQLite connection as this program wants it: settings made and read back, one way to write.

The `sqlite3` in here is the one that sqlite-utils chose. Two SQLite libraries in one process drop
each other's locks on a file, so nothing else in this program imports one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Migrations
    from sqlite_utils.db import Database
else:
    # sqlite-utils imports pandas where there is one, for types that are not used here: 75 MB and
    # 0.7 s of the daemon's start.
    had_pandas = "pandas" in sys.modules
    sys.modules.setdefault("pandas", None)
    from sqlite_utils import Migrations
    from sqlite_utils.db import Database, sqlite3

    if not had_pandas:
        del sys.modules["pandas"]

__all__ = [
    "MIN_VERSION",
    "PAGE_BYTES",
    "Database",
    "Migrations",
    "checkpoint",
    "connect",
    "error_name",
    "has_wal_reset_bug",
    "pragma",
    "sqlite3",
    "transaction",
]

MIN_VERSION = (3, 37, 0)  # STRICT tables
PAGE_BYTES = 4096
BUSY_TIMEOUT_S = 5.0
JOURNAL_BYTES = 16 * 2**20
SYNCHRONOUS = {"OFF": 0, "NORMAL": 1, "FULL": 2, "EXTRA": 3}
SETTINGS: dict[str, str | int] = {
    "page_size": PAGE_BYTES,
    "journal_mode": "WAL",
    "journal_size_limit": JOURNAL_BYTES,
    "wal_autocheckpoint": 1000,  # pages: about 4 MB
    "secure_delete": 1,  # what is deleted is overwritten, or an erased text stays in the file
    "temp_store": 2,  # in memory: no user's text in a temporary file
    "cell_size_check": 1,
    "trusted_schema": 0,
}


def connect(path: Path, synchronous: str) -> Database:
    """Open a database for reading and writing in the calling thread alone.

    Args:
        path: An existing file, empty or a database.
        synchronous: "FULL" (every commit is on the disk) or "NORMAL".

    Raises:
        StoreUnavailable: SQLite is too old, or did not take a setting.
        sqlite3.Error: The file is no database, is damaged, or cannot be read or written.
    """
    if sqlite3.sqlite_version_info < MIN_VERSION:
        raise StoreUnavailable(
            f"expected SQLite {'.'.join(map(str, MIN_VERSION))} or newer, found "
            f"{sqlite3.sqlite_version}; upgrade Python or its SQLite"
        )
    conn = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    try:
        db = Database(conn, recursive_triggers=False, execute_plugins=False)
        _set(db, SETTINGS | {"synchronous": SYNCHRONOUS[synchronous]})
    except BaseException:
        conn.close()
        raise
    return db


def _set(db: Database, settings: dict[str, str | int]) -> None:
    for name, value in settings.items():
        db.conn.execute(f"PRAGMA {name} = {value}")
        found = pragma(db, name)
        if str(found).upper() != str(value).upper():
            raise StoreUnavailable(
                f"expected SQLite to take {name} = {value}, found {found}; is the disk local and "
                "writable?"
            )


def pragma(db: Database, name: str) -> str | int:
    """The value of a setting, as SQLite reports it."""
    value: str | int = db.conn.execute(f"PRAGMA {name}").fetchone()[0]
    return value


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """All or nothing, with the write lock from the start.

    A plain BEGIN takes the lock only at the first write, and fails there, at once and whatever the
    busy timeout, if another connection wrote since the first read.
    """
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
        raise


def checkpoint(db: Database, wait_s: float = 0.0) -> bool:
    """Fold the write-ahead log into the database and cut it to nothing; False if a reader bars it.

    Args:
        db: Outside any transaction.
        wait_s: How long a reader may take to go away.

    Raises:
        sqlite3.Error: The disk did not take it.
    """
    db.conn.execute(f"PRAGMA busy_timeout = {int(wait_s * 1e3)}")
    try:
        is_busy: int = db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        db.conn.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1e3)}")
    return not is_busy


def error_name(error: BaseException) -> str:
    """SQLite's name of an error, such as SQLITE_IOERR_FSYNC; empty where it has none."""
    return str(getattr(error, "sqlite_errorname", None) or "")


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite can lose commits when two connections write or checkpoint at once.

    This program has one connection, under a lock, which never meets it.
    Source: https://www.sqlite.org/wal.html#walresetbug (fixed in 3.51.3, 3.50.7, 3.44.6).
    """
    is_fixed = (
        version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    )
    return not is_fixed
