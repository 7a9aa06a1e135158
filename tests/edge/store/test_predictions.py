"""The prediction log: never in the way, bounded, and as private as it was told to be."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edge.store import PredictionLog
from edge.store import predictions as module
from edge.store.database import sqlite3
from edge.store.keys import override_key
from edge.store.predictions import MAX_PENDING, MAX_TEXT_CHARS
from edge.store.recording import now_ms
from tests.edge.store.samples import prediction

SECRET = "plums in the icebox"
DAY_MS = 86_400_000


def files_with(directory: Path, needle: str) -> list[str]:
    """Names of the files that hold the words."""
    return [p.name for p in directory.iterdir() if needle.encode() in p.read_bytes()]


def count(log: PredictionLog) -> int:
    """How many rows are in the file; flushes first."""
    log.flush().result()
    conn = sqlite3.connect(log._path)
    rows: int = conn.execute("SELECT count(*) FROM prediction").fetchone()[0]
    conn.close()
    return rows


def tidy(log: PredictionLog) -> None:
    """What the log does by itself after a while."""
    assert log._writer is not None
    log._writer.call(log._tidy).result()


def test_a_prediction_is_found_before_and_after_it_is_flushed(
    predictions: PredictionLog, tmp_path: Path
) -> None:
    """In every field, also by the next process."""
    row = prediction("1", content="c", created_ms=now_ms())
    predictions.add(row)
    assert predictions.find("1").result() == row
    predictions.flush().result()
    assert predictions.find("1").result() == row
    predictions.close()
    again = PredictionLog.open(tmp_path)
    assert again.find("1").result() == row
    assert again.find("2").result() is None
    again.close()


def test_adding_never_waits_and_counts_what_it_drops(tmp_path: Path) -> None:
    """A disk that hangs costs rows, not answers."""
    log = PredictionLog.open(tmp_path)
    writer, go = log._writer, threading.Event()
    assert writer is not None
    writer.call(lambda _: go.wait(30))
    began = time.monotonic()
    for number in range(MAX_PENDING + 100):
        log.add(prediction(str(number), created_ms=now_ms()))
    took_s = time.monotonic() - began
    go.set()
    assert log.dropped == 100
    assert took_s < 20.0  # it would be 30 if one of them waited
    assert count(log) == MAX_PENDING
    log.close()


def test_a_log_that_cannot_be_opened_drops_and_counts(tmp_path: Path) -> None:
    """Nothing raises, whatever is wrong with the directory."""
    (tmp_path / "state").write_text("in the way")
    log = PredictionLog.open(tmp_path / "state")
    for number in range(MAX_PENDING + 3):
        log.add(prediction(str(number)))
    assert log.dropped == 3
    assert log.find("0").result() is not None
    log.close()


def test_old_predictions_are_forgotten(tmp_path: Path) -> None:
    """By age, at the next flush."""
    log = PredictionLog.open(tmp_path, days=2)
    log.add(prediction("old", created_ms=now_ms() - 3 * DAY_MS))
    log.add(prediction("new", created_ms=now_ms() - DAY_MS))
    assert count(log) == 1
    assert log.find("old").result() is None
    log.close()


def test_what_was_forgotten_leaves_the_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted rows stand in the database, and in its log, until the log is folded in."""
    monkeypatch.setattr(module, "FOLD_EVERY_S", 0.0)
    log = PredictionLog.open(tmp_path, days=2)
    log.add(prediction("old", SECRET, created_ms=now_ms()))
    tidy(log)
    later_ms = now_ms() + 3 * DAY_MS
    monkeypatch.setattr(module, "now_ms", lambda: later_ms)
    log.add(prediction("new", created_ms=later_ms))
    assert files_with(tmp_path, SECRET) != []
    tidy(log)
    assert files_with(tmp_path, SECRET) == []
    assert log.find("new").result() is not None
    log.close()


def test_a_log_that_forgot_nothing_is_not_folded(
    predictions: PredictionLog, tmp_path: Path
) -> None:
    """Folding costs two syncs; a daemon that is used should not sync every few seconds."""
    tidy(predictions)
    predictions.add(prediction("1", created_ms=now_ms()))
    tidy(predictions)
    assert (tmp_path / "predictions.db-wal").stat().st_size > 0


def test_the_log_stays_within_its_bytes(tmp_path: Path) -> None:
    """The oldest go first, and the file stops growing."""
    log = PredictionLog.open(tmp_path, max_bytes=2**20)
    for number in range(300):
        log.add(prediction(str(number), "x" * 20_000, created_ms=now_ms()))
        if number % 20 == 19:
            log.flush().result()
    kept = count(log)
    assert 20 <= kept < 60
    assert log.find("299").result() is not None
    assert log.find("0").result() is None
    log.close()
    assert (tmp_path / "predictions.db").stat().st_size < 2 * 2**20


def test_a_very_long_text_is_not_kept_but_its_key_is(predictions: PredictionLog) -> None:
    """A correction of it must bring the text along."""
    predictions.add(prediction("1", "x" * (MAX_TEXT_CHARS + 1)))
    found = predictions.find("1").result()
    assert found is not None
    assert found.text is None
    assert found.text_key == override_key("x" * (MAX_TEXT_CHARS + 1), None)


def test_hash_mode_keeps_no_text_not_even_from_before(tmp_path: Path) -> None:
    """Turning the setting takes effect on what is there."""
    first = PredictionLog.open(tmp_path)
    first.add(prediction("1", SECRET, created_ms=now_ms()))
    first.close()
    assert files_with(tmp_path, SECRET) == ["predictions.db"]
    second = PredictionLog.open(tmp_path, "hash")
    second.add(prediction("2", SECRET, content=SECRET, created_ms=now_ms()))
    second.flush().result()
    assert files_with(tmp_path, SECRET) == []
    rows = [second.find(id).result() for id in "12"]
    assert [row and (row.text, row.content) for row in rows] == [(None, None)] * 2
    assert rows[0] is not None
    assert rows[0].text_key == override_key(SECRET, None)
    assert second.review().result() == []
    second.close()


def test_off_keeps_nothing_not_even_from_before(tmp_path: Path) -> None:
    """No file, no thread, no error."""
    first = PredictionLog.open(tmp_path)
    first.add(prediction("1", created_ms=now_ms()))
    first.close()
    second = PredictionLog.open(tmp_path, "off")
    second.add(prediction("2"))
    assert list(tmp_path.glob("predictions.db*")) == []
    assert second.find("2").result() is None
    second.mark_reviewed(["2"])
    assert (second.review().result(), second.flush().result()) == ([], None)
    assert (second.erase(text="x").result(), second.dropped) == (0, 0)
    second.close()


def test_off_leaves_another_daemons_log_alone_and_says_so(
    predictions: PredictionLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unlinked beneath the other it would be lost; unsaid, somebody would believe it gone."""
    predictions.add(prediction("1", created_ms=now_ms()))
    predictions.flush().result()
    PredictionLog.open(tmp_path, "off").close()
    assert count(predictions) == 1
    assert "still there" in caplog.text


@pytest.mark.parametrize("is_flushed", [True, False])
@pytest.mark.parametrize("by", ["ids", "text_keys", "text", "content"])
def test_erasing_leaves_no_byte(
    predictions: PredictionLog, tmp_path: Path, by: str, is_flushed: bool
) -> None:
    """By id, by key, by text or by content, flushed or not."""
    text, content = (SECRET, "else") if by != "content" else ("else", f" {SECRET} ")
    row = prediction("1", text, content=content, created_ms=now_ms())
    predictions.add(row)
    predictions.add(prediction("2", "other", created_ms=now_ms()))
    if is_flushed:
        predictions.flush().result()
    wanted = {
        "ids": predictions.erase(["1"]),
        "text_keys": predictions.erase(text_keys=[row.text_key]),
    }
    if by not in wanted:
        wanted[by] = predictions.erase(text=SECRET)
    assert sum(future.result() for future in wanted.values()) == 1
    predictions.flush().result()
    assert predictions.find("1").result() is None
    assert files_with(tmp_path, SECRET) == []
    assert count(predictions) == 1


def test_a_damaged_log_begins_anew(tmp_path: Path) -> None:
    """It is a log: not worth a quarantine, and its texts should not lie about."""
    (tmp_path / "predictions.db").write_bytes(b"nonsense" * 1000)
    log = PredictionLog.open(tmp_path)
    log.add(prediction("1", created_ms=now_ms()))
    assert count(log) == 1
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "predictions.db",
        "predictions.lock",
    ]
