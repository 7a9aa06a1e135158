"""The schema of corrections.db as ordered steps. A step that was released is never changed."""

from __future__ import annotations

import uuid

from edge.errors import StoreUnavailable
from edge.store.database import Database, Migrations, error_name, sqlite3, transaction

__all__ = ["CORRECTIONS", "HistoryDamaged", "is_current", "migrate"]

CORRECTIONS = Migrations("corrections")


class HistoryDamaged(Exception):
    """The file's own list of steps makes no sense."""


@CORRECTIONS()
def m001_device(db: Database) -> None:
    """Who this device is, and where it stands towards upstream; one row."""
    db.execute("""
        CREATE TABLE device (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            device_id TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            receipts_cursor INTEGER NOT NULL
        ) STRICT
    """)
    db.execute("INSERT INTO device VALUES (1, ?, 1, 0)", [str(uuid.uuid4())])


@CORRECTIONS()
def m002_correction(db: Database) -> None:
    """Corrections, which are their own outbox. Long columns stand last: counts skip them."""
    db.execute("""
        CREATE TABLE correction (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            epoch INTEGER NOT NULL,
            created_ms INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('correction', 'confirmation')),
            label TEXT,
            predicted_label TEXT,
            score REAL,
            prediction_id TEXT,
            label_set TEXT NOT NULL,
            model TEXT NOT NULL,
            phase TEXT NOT NULL,
            source TEXT NOT NULL,
            client_key TEXT UNIQUE,
            sent_ms INTEGER,
            accepted_ms INTEGER,
            used_ms INTEGER,
            build TEXT,
            attempts INTEGER NOT NULL DEFAULT 0,
            last_error TEXT,
            dead INTEGER NOT NULL DEFAULT 0 CHECK (dead IN (0, 1)),
            checksum BLOB NOT NULL,
            labels TEXT NOT NULL,
            text TEXT NOT NULL,
            content TEXT
        ) STRICT
    """)
    db.execute(
        "CREATE INDEX correction_outbox ON correction (seq) WHERE accepted_ms IS NULL AND dead = 0"
    )
    db.execute("CREATE INDEX correction_dead ON correction (seq) WHERE dead = 1")


@CORRECTIONS()
def m003_erasure(db: Database) -> None:
    """Tombstones: what was erased is known by its id, so that upstream erases it too."""
    db.execute("""
        CREATE TABLE erasure (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            epoch INTEGER NOT NULL,
            erased_ms INTEGER NOT NULL,
            sent_ms INTEGER,
            accepted_ms INTEGER,
            attempts INTEGER NOT NULL DEFAULT 0,
            last_error TEXT,
            dead INTEGER NOT NULL DEFAULT 0 CHECK (dead IN (0, 1))
        ) STRICT
    """)


def is_current(db: Database, migrations: Migrations) -> bool:
    """Whether every step is applied. Reads only.

    Raises:
        HistoryDamaged: The steps that the file names are not the first of ours.
        StoreUnavailable: All of ours are applied, and some that this program does not know.
    """
    ours = [step.name for step in migrations._migrations]  # it has no public list
    applied = [step.name for step in migrations.applied(db)]
    table = db[migrations.migrations_table]
    n_rows = table.count if table.exists() else 0
    if n_rows != len(applied) or applied[: len(ours)] != ours[: len(applied)]:
        raise HistoryDamaged(f"expected {ours}, found {applied}")
    newer = applied[len(ours) :]
    if newer:
        raise StoreUnavailable(
            f"expected the schema of this version, found newer steps ({', '.join(newer)}); "
            "upgrade intentd, or restore a backup"
        )
    return len(applied) == len(ours)


def migrate(db: Database, migrations: Migrations) -> None:
    """Apply the missing steps, all or none.

    Raises:
        StoreUnavailable: A step failed; the file is as it was.
    """
    try:
        with transaction(db):
            migrations.apply(db)
    except sqlite3.Error as error:
        if error_name(error) != "SQLITE_ERROR":  # the disk, not the step
            raise
        raise StoreUnavailable(
            f"expected to bring the database to this version, found {error}; it is unchanged: go "
            "back to the version before, and report this"
        ) from error
