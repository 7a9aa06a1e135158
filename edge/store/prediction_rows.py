"""The schema and the statements of predictions.db. Forgets by age and by size."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from edge.store.database import Database, Migrations, pragma
from edge.store.records import SHADOW, PredictionRow

__all__ = [
    "AUDIT_BELOW",
    "PREDICTIONS",
    "delete_rows",
    "find_row",
    "forget",
    "insert_rows",
    "prediction_of",
    "recent_rows",
]

PREDICTIONS = Migrations("predictions")
AUDIT_SPAN = 1 << 32
AUDIT_BELOW = AUDIT_SPAN // 10  # one prediction in ten is audited, whatever the model thought of it
OLDEST_SHARE = 10  # one row in ten goes when the rows take too much room
COLUMNS = (
    *("id", "created_ms", "text_key", "label_set", "model", "phase", "label", "raw_label", "score"),
    *("margin", "reason", "audit", "labels", "scores", "text", "content"),
)
INSERT = (
    f"INSERT OR IGNORE INTO prediction ({', '.join(COLUMNS)})"  # noqa: S608 - constants
    f" VALUES ({', '.join(':' + column for column in COLUMNS)})"
)


@PREDICTIONS()
def m001_prediction(db: Database) -> None:
    """What was answered. `audit` is drawn from the id alone."""
    db.execute("""
        CREATE TABLE prediction (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            created_ms INTEGER NOT NULL,
            text_key BLOB NOT NULL,
            label_set TEXT NOT NULL,
            model TEXT NOT NULL,
            phase TEXT NOT NULL,
            label TEXT,
            raw_label TEXT,
            score REAL,
            margin REAL,
            reason TEXT NOT NULL,
            audit INTEGER NOT NULL,
            reviewed INTEGER NOT NULL DEFAULT 0,
            labels TEXT NOT NULL,
            scores TEXT NOT NULL,
            text TEXT,
            content TEXT
        ) STRICT
    """)
    db.execute("CREATE INDEX prediction_created ON prediction (created_ms)")
    db.execute("CREATE INDEX prediction_text ON prediction (text_key, label_set)")


def insert_rows(db: Database, rows: Iterable[PredictionRow]) -> None:
    """Insert rows; an id that is there already is passed over."""
    db.conn.executemany(INSERT, [_values(row) for row in rows])


def _values(row: PredictionRow) -> dict[str, Any]:
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    digest = hashlib.blake2b(row.id.encode(), digest_size=4).digest()
    return values | {
        "labels": json.dumps(row.labels, ensure_ascii=False),
        "scores": json.dumps(row.scores, ensure_ascii=False),
        "audit": int.from_bytes(digest, "big"),
    }


def prediction_of(row: dict[str, Any]) -> PredictionRow:
    """A row of the table as a dataclass."""
    values = {field.name: row[field.name] for field in dataclasses.fields(PredictionRow)}
    return PredictionRow(
        **values | {"labels": tuple(json.loads(row["labels"])), "scores": json.loads(row["scores"])}
    )


def find_row(db: Database, id: str) -> PredictionRow | None:
    """A prediction by its id."""
    for row in db.query("SELECT * FROM prediction WHERE id = ?", [id]):
        return prediction_of(row)
    return None


def recent_rows(db: Database, limit: int) -> list[PredictionRow]:
    """The newest answers whose text is kept, the newest first, one a text and label set."""
    rows = db.query(
        "SELECT * FROM prediction WHERE seq IN (SELECT max(seq) FROM prediction"
        " WHERE text IS NOT NULL AND reason <> ? GROUP BY text_key, label_set)"
        " ORDER BY seq DESC LIMIT ?",
        [SHADOW, limit],
    )
    return [prediction_of(row) for row in rows]


def forget(db: Database, before_ms: int, max_bytes: int) -> int:
    """Delete rows older than `before_ms`, and then the oldest until the rows fit `max_bytes`.

    Returns:
        How many were deleted.
    """
    deleted = db.conn.execute("DELETE FROM prediction WHERE created_ms < ?", (before_ms,)).rowcount
    while _used_bytes(db) > max_bytes and (count := db["prediction"].count):
        deleted += db.conn.execute(
            "DELETE FROM prediction WHERE seq IN (SELECT seq FROM prediction ORDER BY seq LIMIT ?)",
            (-(-count // OLDEST_SHARE),),
        ).rowcount
    return deleted


def _used_bytes(db: Database) -> int:
    pages = int(pragma(db, "page_count")) - int(pragma(db, "freelist_count"))
    return pages * int(pragma(db, "page_size"))


def delete_rows(
    db: Database,
    ids: Iterable[str],
    text_keys: Iterable[bytes],
    is_text: Callable[[str | None], bool] | None,
) -> int:
    """Delete by id, by key, and where `is_text` says so of a text or content."""
    before = db["prediction"].count
    db.conn.executemany("DELETE FROM prediction WHERE id = ?", [(id,) for id in ids])
    db.conn.executemany("DELETE FROM prediction WHERE text_key = ?", [(key,) for key in text_keys])
    if is_text is not None:
        rows = db.execute("SELECT seq, text, content FROM prediction WHERE text IS NOT NULL")
        found = [(seq,) for seq, text, content in rows if is_text(text) or is_text(content)]
        db.conn.executemany("DELETE FROM prediction WHERE seq = ?", found)
    return before - db["prediction"].count
