"""Pages hold copies of rows that moved; afterwards they hold rows alone."""

from __future__ import annotations

import random
import re
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.store import CorrectionStore, PredictionLog
from edge.store.database import PAGE_BYTES, checkpoint, connect, pragma
from edge.store.place import create_private
from edge.store.recording import now_ms
from edge.store.scrubbing import scrub
from tests.edge.store.samples import new_correction, prediction

WORD = re.compile(rb"w\d+w")
LENGTHS = (5, 50, 300, 900, 1500, 3000, 6000)


def remnants(directory: Path, erased: list[str]) -> list[str]:
    """Which of these words a file still holds."""
    files = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    held = {word.decode() for word in WORD.findall(files)}
    return [word for word in erased if word in held]


def words(chance: random.Random, count: int) -> list[str]:
    """Texts of many lengths, each with a word of its own in front."""
    return [f"w{chance.randrange(10**12)}w {'x' * chance.choice(LENGTHS)}" for _ in range(count)]


def test_rows_that_moved_leave_copies_which_scrubbing_takes_away(tmp_path: Path) -> None:
    """SQLite's own erasure leaves some; the rows that stay are as they were."""
    path, chance = tmp_path / "moved.db", random.Random(1)
    create_private(path)
    erased: list[str] = []
    with closing(connect(path, "FULL")) as db:
        db.execute("CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT)")
        for _ in range(4):
            lot = words(chance, 150)
            db.conn.executemany("INSERT INTO t VALUES (?, ?)", [(a[:40], a) for a in lot])
            gone = chance.sample(lot, 75)
            db.conn.executemany("DELETE FROM t WHERE a = ?", [(a[:40],) for a in gone])
            erased += [a.split()[0] for a in gone]
        kept = db.execute("SELECT * FROM t ORDER BY a").fetchall()
        checkpoint(db)
    assert remnants(tmp_path, erased)
    assert scrub(path) > 0
    assert remnants(tmp_path, erased) == []
    assert scrub(path) == 0
    with closing(connect(path, "FULL")) as db:
        assert pragma(db, "integrity_check") == "ok"
        assert db.execute("SELECT * FROM t ORDER BY a").fetchall() == kept


def test_no_correction_leaves_a_copy_behind(tmp_path: Path) -> None:
    """Drawn so that one did, while rows were erased alone."""
    chance, live, erased = random.Random(2), dict[str, str](), list[str]()
    store = CorrectionStore.open(tmp_path)
    for _ in range(6):
        made = [store.record(new_correction(t, client_key=t[:40])) for t in words(chance, 60)]
        live |= {one.result().correction.text: one.result().correction.id for one in made}
        gone = chance.sample(sorted(live), len(live) // 2)
        assert len(store.erase([live.pop(text) for text in gone]).result()) == len(gone)
        erased += [text.split()[0] for text in gone]
        assert remnants(tmp_path, erased) == []
    assert sorted(it.text for it in store.list(limit=1000).result()) == sorted(live)
    store.close()


def test_no_prediction_leaves_a_copy_behind(tmp_path: Path) -> None:
    """Whether a person erased it, or it was forgotten with all texts."""
    chance = random.Random(3)
    log = PredictionLog.open(tmp_path)
    lot = words(chance, 300)
    for number, text in enumerate(lot):
        log.add(prediction(str(number), text, created_ms=now_ms()))
    log.flush().result()
    gone = chance.sample(range(300), 150)
    assert log.erase([str(number) for number in gone]).result() == 150
    assert remnants(tmp_path, [lot[number].split()[0] for number in gone]) == []
    log.close()
    PredictionLog.open(tmp_path, "hash").close()
    assert remnants(tmp_path, [text.split()[0] for text in lot]) == []


@given(data=st.binary(max_size=PAGE_BYTES), kind=st.sampled_from([0x02, 0x05, 0x0A, 0x0D, 0x00]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_pages_of_nonsense_end_without_an_error(tmp_path: Path, data: bytes, kind: int) -> None:
    """Only ever zeros are written, and no byte is added."""
    path = tmp_path / "nonsense"
    before = bytes(PAGE_BYTES) + (bytes([kind]) + data).ljust(PAGE_BYTES, b"\1")
    path.write_bytes(before)
    scrub(path)
    after = path.read_bytes()
    assert len(after) == len(before)
    assert all(new in (old, 0) for old, new in zip(before, after, strict=True))
