"""Logged texts: from a box's own log, from exports; each once, and none that must not enter."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge.store import PredictionLog
from edge.store.keys import override_key
from edge.store.recording import now_ms
from edge.store.records import SHADOW, PredictionRow
from training.errors import InvalidRows, SourceUnreachable
from training.logged import ERASED, NO_TEXT, OTHER_LABELS, SEEN, log_files, read_logged

LABELS = ("A", "B")


def prediction(id: str, text: str, **changes: Any) -> PredictionRow:
    """An answer, as the daemon keeps it."""
    known: dict[str, Any] = {
        "created_ms": now_ms(),
        "content": None,
        "label": "A",
        "raw_label": "A",
        "score": 0.9,
        "margin": 0.8,
        "reason": "above_threshold",
        "labels": LABELS,
        "label_set": "s" * 64,
        "model": "m" * 64,
        "phase": "starter",
        "text_key": override_key(text, changes.get("content")),
    }
    return PredictionRow(id=id, text=text, **known | changes)


def box(
    folder: Path, rows: Iterable[PredictionRow], mode: Literal["text", "hash"] = "text"
) -> Path:
    """A predictions.db with these answers, as a daemon leaves it."""
    log = PredictionLog.open(folder, mode)
    for row in rows:
        log.add(row)
    log.close()
    return folder / "predictions.db"


def read(*paths: Path, erased: Iterable[str] = ()) -> tuple[list[str], Counter[str]]:
    """Texts, and why others were left out."""
    skipped: Counter[str] = Counter()
    found = read_logged(paths, LABELS, set(erased), skipped, set())
    return [asked.text for asked in found], skipped


def test_a_box_gives_what_was_asked_of_its_own_labels(tmp_path: Path) -> None:
    """Not what a candidate would have said, and each text once, with what it is about."""
    path = box(
        tmp_path,
        [
            prediction("1", "first"),
            prediction("2", "first"),
            prediction("3", "other labels", labels=("X", "Y"), label_set="t" * 64),
            prediction("4", "first", reason=SHADOW, model="c" * 64),
            prediction("5", "first", content="of a letter"),
        ],
    )
    skipped: Counter[str] = Counter()
    found = list(read_logged([path], LABELS, set(), skipped, set()))

    assert [(one.text, one.content) for one in found] == [("first", None), ("first", "of a letter")]
    assert skipped == {OTHER_LABELS: 1}


def test_a_box_that_is_running_is_read_too(tmp_path: Path) -> None:
    """What was not folded into its file yet is part of it, and of what the stage depends on."""
    log = PredictionLog.open(tmp_path)
    log.add(prediction("1", "just now"))
    log.flush().result()
    path = tmp_path / "predictions.db"

    assert read(path) == (["just now"], {})
    assert f"logged {path}-wal" in log_files([str(path)])
    log.close()


def test_texts_that_were_not_kept_are_counted(tmp_path: Path) -> None:
    """A box may keep hashes alone."""
    path = box(tmp_path, [prediction("1", "a secret"), prediction("2", "another")], "hash")

    assert read(path) == ([], {NO_TEXT: 2})


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_exports_give_their_texts(tmp_path: Path, form: str) -> None:
    """Without those that were erased, or have none."""
    records = [
        {"id": "1", "text": "one", "content": None, "labels": ["B", "A"]},
        {"id": "2", "text": "two", "content": None, "labels": []},
        {"id": "3", "text": None, "content": None, "labels": []},
        {"id": "4", "text": "four", "content": None, "labels": []},
        {"id": "5", "text": " one ", "content": None, "labels": []},
    ]
    path = tmp_path / f"export.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    assert read(path, erased=["4"]) == (["one", "two"], {NO_TEXT: 1, ERASED: 1, SEEN: 1})


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.parquet", b"PAR1 and no more", "expected Parquet"),
        ("a.parquet", b"", "expected Parquet"),
        ("a.jsonl", b'{"id": "1"}\n', "a.jsonl:1: expected a record with a text"),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl:1: expected a record with a text"),
        ("a.jsonl", b"\n[]\n", "a.jsonl:2: expected a JSON object"),
        ("a.db", b"SQLite format 3\0" + b"\0" * 200, "a.db"),
    ],
)
def test_something_else_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """With the line, where there are lines."""
    path = tmp_path / name
    path.write_bytes(data)

    with pytest.raises((InvalidRows, SourceUnreachable), match=said):
        read(path)


def test_a_file_that_is_not_there_is_named() -> None:
    """With what it might be."""
    with pytest.raises(SourceUnreachable, match="predictions = off"):
        log_files(["absent.db"])
