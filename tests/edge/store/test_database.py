"""The connection: its settings are read back, and a transaction is one from its first statement."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import StoreUnavailable
from edge.store.database import (
    SETTINGS,
    Database,
    checkpoint,
    connect,
    pragma,
    sqlite3,
    transaction,
)
from edge.store.place import create_private


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one table."""
    made = tmp_path / "t.db"
    create_private(made)
    db = connect(made, "FULL")
    db.execute("CREATE TABLE t (a INTEGER) STRICT")
    db.close()
    return made


@pytest.fixture
def db(path: Path) -> Database:
    """A connection to it."""
    return connect(path, "FULL")


def rows(db: Database) -> list[int]:
    """What is in the table."""
    return [row[0] for row in db.execute("SELECT a FROM t ORDER BY a")]


@pytest.mark.parametrize(("name", "value"), [("FULL", 2), ("NORMAL", 1)])
def test_every_connection_has_the_settings(path: Path, name: str, value: int) -> None:
    """They belong to a connection, and builds of SQLite differ in what they begin with."""
    db = connect(path, name)
    found = {setting: str(pragma(db, setting)).upper() for setting in SETTINGS}
    assert found == {setting: str(value).upper() for setting, value in SETTINGS.items()}
    assert pragma(db, "synchronous") == value
    db.close()


def test_a_setting_that_sqlite_does_not_take_is_refused() -> None:
    """A database in memory has no write-ahead log."""
    with pytest.raises(StoreUnavailable, match="journal_mode = WAL, found memory"):
        connect(Path(":memory:"), "FULL")


def test_a_transaction_has_the_write_lock_before_it_reads(db: Database, path: Path) -> None:
    """Else a writer in between makes it fail at once, whatever the timeout."""
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    with transaction(db):
        assert rows(db) == []
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.close()
    db.close()


def test_a_transaction_that_fails_leaves_nothing(db: Database) -> None:
    """And the connection can go on."""
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        db.conn.executemany("INSERT INTO t VALUES (?)", [(1,), ("not a number",)])
    with transaction(db):
        db.conn.execute("INSERT INTO t VALUES (2)")
    assert rows(db) == [2]
    db.close()


def test_a_checkpoint_empties_the_log_unless_somebody_reads(db: Database, path: Path) -> None:
    """And says so; it does not wait for a reader unless told."""
    log = Path(f"{path}-wal")
    with transaction(db):
        db.conn.execute("INSERT INTO t VALUES (1)")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    assert not checkpoint(db)
    assert log.stat().st_size > 0
    reader.close()
    assert checkpoint(db)
    assert log.stat().st_size == 0
    assert pragma(db, "busy_timeout") == 5000
    db.close()
