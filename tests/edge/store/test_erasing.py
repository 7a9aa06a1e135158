"""Erasing is real: afterwards no file of the store holds a byte of the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import StoreUnavailable
from edge.store import CorrectionStore
from edge.store.database import sqlite3
from edge.store.place import RESERVE_BYTES
from edge.store.records import Ack, AckStatus, Erasure
from tests.edge.store.samples import new_correction

SECRET = "plums in the icebox"


def files_with(directory: Path, needle: str) -> list[str]:
    """Names of all files that hold the words."""
    found = [path for path in directory.rglob("*") if path.is_file()]
    return sorted(path.name for path in found if needle.encode() in path.read_bytes())


def test_no_file_holds_what_was_erased(store: CorrectionStore, tmp_path: Path) -> None:
    """Database, write-ahead log, dead letter, backups and damaged files set aside."""
    secret = store.record(new_correction(SECRET * 1000, content=SECRET)).result().correction
    other = store.record(new_correction("something else")).result().correction
    store.acknowledge([Ack(secret.id, AckStatus.REJECTED)]).result()
    store.backup().result()
    (tmp_path / "corrupt-1.db").write_text(SECRET)
    (tmp_path / "backups" / "unfinished").write_text(SECRET)
    (tmp_path / "backups" / "unfinished-journal").write_text(SECRET)
    assert len(files_with(tmp_path, SECRET)) >= 3
    assert store.erase([secret.id]).result() == [secret.id]
    assert files_with(tmp_path, SECRET) == []
    assert store.dead().result() == []
    assert store.find(other.id).result() == other
    assert isinstance(store.find(secret.id).result(), Erasure)


def test_backups_without_the_text_are_kept(store: CorrectionStore, tmp_path: Path) -> None:
    """Erasing what was said a minute ago must not cost the copy from before an upgrade."""
    store.record(new_correction("kept")).result()
    before = store.backup().result()
    id = store.record(new_correction(SECRET)).result().correction.id
    after = store.backup().result()
    unreadable = tmp_path / "backups" / "corrections-0.db"
    unreadable.write_bytes(b"nonsense" * 1000)
    store.erase([id]).result()
    assert (before.exists(), after.exists(), unreadable.exists()) == (True, False, False)


def test_a_text_is_erased_wherever_it_stands(store: CorrectionStore, tmp_path: Path) -> None:
    """As text or as content, in any spelling that is the same text, under any label set."""
    same = [
        store.record(new_correction(f"  {SECRET}\n", label_set="set-2")).result(),
        store.record(new_correction("sum this up", content=SECRET)).result(),
        store.record(new_correction(SECRET)).result(),
    ]
    store.record(new_correction(f"{SECRET} and more")).result()
    assert store.erase(text=SECRET).result() == [it.correction.id for it in same]
    assert [it.text for it in store.list().result()] == [f"{SECRET} and more"]


def test_erasing_twice_or_nothing_erases_nothing(store: CorrectionStore) -> None:
    """Unknown and erased ids are passed over; the tombstone stays as it was."""
    id = store.record(new_correction()).result().correction.id
    store.erase([id]).result()
    tombstone = store.find(id).result()
    assert store.erase([id, "unknown"]).result() == []
    assert store.erase(text="unknown").result() == []
    assert store.find(id).result() == tombstone


def test_a_reader_in_the_way_is_reported_and_erasing_again_finishes(
    store: CorrectionStore, tmp_path: Path
) -> None:
    """Another program that reads the database keeps the old log alive; that is no success."""
    id = store.record(new_correction(SECRET)).result().correction.id
    reader = sqlite3.connect(tmp_path / "corrections.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM correction").fetchone()
    with pytest.raises(StoreUnavailable, match="another program reads"):
        store.erase([id]).result()
    reader.close()
    assert store.erase([id]).result() == []
    assert files_with(tmp_path, SECRET) == []


def test_the_reserve_is_held_from_the_start(store: CorrectionStore, tmp_path: Path) -> None:
    """It takes room that is given up when a full disk would bar an erasure."""
    reserve = (tmp_path / "reserve").stat()
    assert reserve.st_size == RESERVE_BYTES
    assert reserve.st_blocks * 512 >= RESERVE_BYTES
