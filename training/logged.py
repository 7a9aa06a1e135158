"""Reads texts that were really asked, from where boxes and collectors left them. Without labels.

What holds no text, was erased, or was asked about other labels is left out, and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.store.database import sqlite3
from edge.store.keys import override_key
from edge.store.records import SHADOW
from training.box import open_read_only
from training.errors import InvalidRows, SourceUnreachable

__all__ = ["Asked", "log_files", "read_logged"]

BATCH_ROWS = 1000
PREDICTIONS = """
    SELECT id, text, content, labels FROM prediction WHERE seq IN (
        SELECT max(seq) FROM prediction WHERE reason <> ? GROUP BY text_key, label_set
    ) ORDER BY seq
"""
CORRECTIONS = "SELECT id, text, content, labels FROM correction ORDER BY seq"
QUERIES = {"prediction": (PREDICTIONS, (SHADOW,)), "correction": (CORRECTIONS, ())}
NO_TEXT = "kept without their text (predictions = hash, or sent as a label only)"
OTHER_LABELS = "asked about other labels"
ERASED = "erased"
SEEN = "the same text once more"


@dataclass(frozen=True, slots=True)
class Asked:
    """A text that somebody sent."""

    id: str
    text: str
    content: str | None = None


def log_files(paths: Iterable[str]) -> dict[str, Path]:
    """Name → file, for a stage: also the part of a running daemon's database that lies beside it.

    Raises:
        SourceUnreachable: There is no such file.
    """
    found = {}
    for name in paths:
        path = Path(name)
        if not path.is_file():
            raise SourceUnreachable(
                f"{path}: expected logged texts (predictions.db, .ndjson, .jsonl or .parquet), "
                "found no file; a box that keeps no answers (predictions = off) has none"
            )
        found[f"logged {name}"] = path
        if (beside := Path(f"{path}-wal")).is_file():
            found[f"logged {name}-wal"] = beside
    return found


def read_logged(
    paths: Iterable[Path],
    labels: Collection[str],
    erased: Collection[str],
    skipped: Counter[str],
    seen: set[bytes],
) -> Iterator[Asked]:
    """Each text once.

    Args:
        paths: Databases of a box, JSON lines, Parquet.
        labels: What the models tell apart; texts that were asked about others are left out.
        erased: Ids that must not enter.
        skipped: Counts why others were left out.
        seen: Keys of texts that are known; grows.

    Raises:
        InvalidRows: A file holds something else.
        SourceUnreachable: It cannot be read now.
    """
    wanted = set(labels)
    for path in paths:
        for number, record in enumerate(_records(path), 1):
            reason = _why_not(record, wanted, erased, f"{path}:{number}")
            if reason is None:
                key = override_key(record["text"], record.get("content"))
                reason = SEEN if key in seen else None
                seen.add(key)
            if reason is not None:
                skipped[reason] += 1
                continue
            id = str(record.get("id") or f"{path.name}:{number}")
            yield Asked(id, record["text"], record.get("content"))


def _why_not(
    record: Mapping[str, Any], wanted: set[str], erased: Collection[str], place: str
) -> str | None:
    text, content = record.get("text"), record.get("content")
    if (
        "text" not in record
        or not isinstance(text, str | None)
        or not isinstance(content, str | None)
    ):
        raise InvalidRows(
            f"{place}: expected a record with a text, found none; is this a file of logged texts?"
        )
    if text is None or not text.strip():
        return NO_TEXT
    if {record.get("id"), record.get("root")} & set(erased):
        return ERASED
    labels = record.get("labels")
    labels = json.loads(labels) if isinstance(labels, str) else labels
    return OTHER_LABELS if labels and set(labels) != wanted else None


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(b"SQLite format 3"):
        return _from_database(path)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return _from_parquet(path)
    return _from_lines(path)


def _from_database(path: Path) -> Iterator[Mapping[str, Any]]:
    with closing(open_read_only(path)) as connection:
        tables = {
            row["name"]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        name = next((name for name in QUERIES if name in tables), None)
        if name is None:
            raise InvalidRows(
                f"{path}: expected a box's predictions.db or corrections.db, found another "
                "database; name one of these, or an export"
            )
        try:
            rows = connection.execute(*QUERIES[name])
            yield from map(dict, rows)
        except sqlite3.Error as error:
            raise SourceUnreachable(f"{path}: expected a readable database, but {error}") from None


def _from_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise InvalidRows(f"{path}:{number}: expected a JSON object, found something else")
            yield record


def _from_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise InvalidRows(f"{path}: expected Parquet, but {reason}; copy it again") from None
