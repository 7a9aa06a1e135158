"""Damaged files: set aside, what is whole is saved, and the store goes on."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.store import CorrectionStore
from edge.store.database import PAGE_BYTES, connect
from edge.store.opening import DATABASE
from edge.store.pages import read_rows
from edge.store.place import create_private
from edge.store.records import Ack, AckStatus, Correction, Erasure
from tests.edge.store.samples import new_correction

ROWS = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of some corrections, short and long, one of them erased."""
    directory = tmp_path_factory.mktemp("whole")
    store = CorrectionStore.open(directory)
    texts = [f"text {number} " + "x" * (number * 997 % 9000) for number in range(ROWS)]
    ids = [store.record(new_correction(text)).result().correction.id for text in texts]
    store.acknowledge([Ack(id, AckStatus.ACCEPTED) for id in ids[:10]]).result()
    store.erase(ids[5:6]).result()
    store.close()
    return directory


def damaged_copy(whole: Path, target: Path, change: object) -> Path:
    """A copy of the store whose database was changed by `change(bytearray)`."""
    shutil.copytree(whole, target)
    data = bytearray((target / DATABASE).read_bytes())
    change(data)  # type: ignore[operator]  # a function
    (target / DATABASE).write_bytes(data)
    return target


def test_a_lost_first_page_costs_no_row(whole: Path, tmp_path: Path) -> None:
    """Header, schema and all: every row, tombstone, state and number is still there."""

    def destroy(data: bytearray) -> None:
        data[:PAGE_BYTES] = bytes(PAGE_BYTES)

    before = CorrectionStore.open(whole)
    listed, cursor = before.list(limit=1000).result(), before.cursor().result()
    before.close()
    store = CorrectionStore.open(damaged_copy(whole, tmp_path / "d", destroy))
    health = store.health()
    assert store.list(limit=1000).result() == listed
    assert (health.ok, health.salvaged, len(health.quarantined)) == (True, ROWS, 1)
    assert f"{ROWS} records" in health.detail
    after = store.cursor().result()
    assert (after.device_id, after.epoch, after.last_seq) == (
        cursor.device_id,
        cursor.epoch + 1,
        cursor.last_seq,
    )
    assert store.outbox().result().remaining == 0
    assert isinstance(store.outbox().result().erasures[0], Erasure)
    store.close()


def test_a_changed_letter_is_damage_too(whole: Path, tmp_path: Path) -> None:
    """SQLite has no checksums; a row that is not what was said must not train anything."""

    def change(data: bytearray) -> None:
        at = data.index(b"text 7 x") + 5
        data[at] ^= 1

    store = CorrectionStore.open(damaged_copy(whole, tmp_path / "d", change))
    texts = [it.text for it in store.list(limit=1000).result()]
    assert store.health().salvaged == ROWS - 1
    assert not any(text.startswith(("text 6 xxxxxx", "text 7")) and len(text) < 8 for text in texts)
    assert len(texts) == ROWS - 2
    store.close()


@pytest.mark.parametrize("length", [0, 99, 5000])
def test_a_file_of_nonsense_is_set_aside(tmp_path: Path, length: int) -> None:
    """Nothing to save; an empty file is a new one."""
    (tmp_path / DATABASE).write_bytes(random.Random(length).randbytes(length))
    store = CorrectionStore.open(tmp_path)
    assert store.record(new_correction()).result().correction.seq == 1
    assert len(store.health().quarantined) == bool(length)
    store.close()


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    """A disk that damages the file at every start must not be filled by it."""
    for round in range(5):
        (tmp_path / DATABASE).write_bytes(b"nonsense %d" % round)
        CorrectionStore.open(tmp_path).close()
    kept = sorted(tmp_path.glob("corrupt-*.db"))
    assert [path.read_bytes() for path in kept] == [b"nonsense 2", b"nonsense 3", b"nonsense 4"]


def test_damage_while_running_is_found_and_the_store_goes_on(whole: Path, tmp_path: Path) -> None:
    """The request that meets it may fail; the next one finds a store that was mended."""
    directory = tmp_path / "d"
    shutil.copytree(whole, directory)
    store = CorrectionStore.open(directory)
    with (directory / DATABASE).open("r+b") as file:
        file.write(bytes(4 * PAGE_BYTES))
    store._writer.call(lambda db: db.execute("PRAGMA shrink_memory").fetchall()).result()
    failures = [store.record(new_correction(str(n))).exception() for n in range(3)]
    assert failures[-1] is None
    assert store.health().quarantined
    assert len(store.list(limit=1000).result()) >= ROWS - 1
    store.close()


values = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.just("long " * 3000),
    st.none() | st.binary(),
)


@given(rows=st.lists(values, max_size=20), is_folded=st.booleans())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
def test_pages_are_read_as_sqlite_wrote_them(
    tmp_path: Path, rows: list[tuple[object, ...]], is_folded: bool
) -> None:
    """Every value of every row, from the database or its log, and nothing else."""
    path = tmp_path / "pages.db"
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    create_private(path)
    db = connect(path, "FULL")
    db.execute("CREATE TABLE t (a INTEGER, b REAL, c TEXT, d BLOB) STRICT")
    db.conn.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    if is_folded:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = [(rowid, row) for rowid, row in read_rows(path, Path(f"{path}-wal")) if len(row) == 4]
    db.close()
    assert sorted(rowid for rowid, _ in found) == list(range(1, len(rows) + 1))
    assert [row for _, row in sorted(found, key=lambda it: it[0])] == [tuple(row) for row in rows]


@given(data=st.binary(min_size=0, max_size=3 * PAGE_BYTES), leaf=st.booleans())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
def test_reading_nonsense_ends_without_an_error(tmp_path: Path, data: bytes, leaf: bool) -> None:
    """Whatever the bytes say."""
    path, log = tmp_path / "nonsense.db", tmp_path / "nonsense.db-wal"
    page = bytes([0x0D]) + data[1:] if leaf else data
    path.write_bytes(bytes(PAGE_BYTES) + page.ljust(PAGE_BYTES, b"\0"))
    log.write_bytes(data)
    assert all(isinstance(rowid, int) for rowid, _ in read_rows(path, log))


def test_fifty_damages_are_survived(whole: Path, tmp_path: Path) -> None:
    """Each start is a working store; every row that is there is one that was recorded."""
    before = CorrectionStore.open(whole)
    recorded = {it.id: it for it in before.list(limit=1000).result()}
    before.close()
    set_aside = 0
    for seed in range(50):
        target = damaged_copy(whole, tmp_path / str(seed), Damage(seed))
        store = CorrectionStore.open(target)
        health = store.health()
        kept = store.list(limit=1000).result()
        assert all(it == recorded[it.id] for it in kept), seed
        assert health.ok, (seed, health.detail)
        assert health.quarantined or len(kept) == len(recorded), seed
        assert isinstance(store.record(new_correction()).result().correction, Correction)
        set_aside += bool(health.quarantined)
        store.close()
        shutil.rmtree(target)
    assert set_aside > 25


class Damage:
    """A damage drawn by a seed: a flipped bit, a lost sector or page, a cut, a changed header."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def __call__(self, data: bytearray) -> None:
        """Do it."""
        at = self.chance.randrange(len(data))
        match self.chance.choice(("bit", "bit", "sector", "page", "cut", "header")):
            case "bit":
                data[at] ^= 1 << self.chance.randrange(8)
            case "sector":
                at -= at % 512
                data[at : at + 512] = bytes(512)
            case "page":
                at -= at % PAGE_BYTES
                data[at : at + PAGE_BYTES] = self.chance.randbytes(PAGE_BYTES)
            case "cut":
                del data[max(at, 1) :]
            case "header":
                data[at % 100] = self.chance.randrange(256)
