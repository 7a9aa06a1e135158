"""Corrections come from a collector, an export or a box; none that was erased, and none twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from edge.store import CorrectionStore
from edge.store.prediction_rows import AUDIT_BELOW
from edge.store.records import Kind
from tests.collector.boxes import Box, erasure, record
from tests.edge.store.samples import new_correction
from tests.training.samples import QUIET, lines_of, run_train, settings_for
from training.collect import collect
from training.collector.database import Database
from training.collector.export import Filter, Form, export_corrections
from training.errors import InvalidConfig, InvalidRows, SourceUnreachable, TrainingError
from training.rows import Origin, Row, read_rows
from training.settings import Settings

DEADLINE_S = 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CorrectionStore]:
    """A box's corrections, while its daemon runs."""
    (tmp_path / "box").mkdir()
    opened = CorrectionStore.open(tmp_path / "box")
    yield opened
    opened.close()


def settings_of(work_dir: Path, *sources: object, **more: object) -> Settings:
    """Settings that name these sources."""
    given = {"sources": [str(source) for source in sources]} | more
    return settings_for(work_dir, *(f"collect.{k}={json.dumps(v)}" for k, v in given.items()))


def rows_of(work_dir: Path, *sources: object, **more: object) -> list[Row]:
    """What collecting gives."""
    collect(settings_of(work_dir, *sources, **more), QUIET)
    return list(read_rows(work_dir / "collect" / "rows.jsonl"))


def say(store: CorrectionStore, text: str, **changes: object) -> str:
    """Record one; its id."""
    return store.record(new_correction(text, **changes)).result(DEADLINE_S).correction.id


def export_of(path: Path, *records: dict[str, object]) -> Path:
    """An NDJSON export."""
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_a_running_box_is_read_without_a_trace(store: CorrectionStore, work_dir: Path) -> None:
    """All fields come, erased ones do not, and its files are as they were."""
    kept = say(store, "which one?", content="an article", label=None)
    gone = say(store, "my secret")
    store.erase([gone]).result(DEADLINE_S)
    folder = work_dir.parent / "box"
    before = {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith("-shm")}
    (found,) = rows_of(work_dir, folder / "corrections.db")

    assert (found.id, found.root, found.label, found.content) == (kept, kept, None, "an article")
    assert (found.origin, found.predicted_label) == (Origin.CORRECTION, "EXTRACT")
    assert (found.model, found.label_set) == ("model-1", "set-1")
    assert (found.created_utc or "").endswith("Z")
    assert (work_dir / "collect" / "suppressed.txt").read_text() == f"{gone}\n"
    after = {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith("-shm")}
    assert after == before


def test_confirmations_and_the_audit_are_told_apart(store: CorrectionStore, work_dir: Path) -> None:
    """What `intentd review` drew at random counts as audit, the rest of it does not."""
    digests = {n: hashlib.blake2b(str(n).encode(), digest_size=4).digest() for n in range(100)}
    drawn = next(str(n) for n in count() if int.from_bytes(digests[n], "big") < AUDIT_BELOW)
    other = next(str(n) for n in count() if int.from_bytes(digests[n], "big") >= AUDIT_BELOW)
    say(store, "one", prediction_id=drawn, source="intentd review")
    say(store, "two", prediction_id=other, source="intentd review")
    say(store, "three", prediction_id=drawn, source="notes")
    say(store, "four", label="EXTRACT", kind=Kind.CONFIRMATION)
    found = {r.text: r.origin for r in rows_of(work_dir, work_dir.parent / "box/corrections.db")}

    assert found == {
        "one": Origin.AUDIT,
        "two": Origin.CORRECTION,
        "three": Origin.CORRECTION,
        "four": Origin.CONFIRMATION,
    }


def test_a_collector_is_read_by_its_address(
    database: Database, address: str, box: Box, work_dir: Path
) -> None:
    """SQLite and PostgreSQL alike; what a box erased is not there, and is suppressed."""
    first, second = record(1, label=None), record(2, text=None)
    box.send([first, second, record(3)])
    gone = record(4)
    box.send([gone])
    box.send([erasure(gone["id"])])
    database.sweep()
    found = rows_of(work_dir, address)

    assert {r.text: r.label for r in found} == {
        first["text"]: None,
        record(3)["text"]: "SEARCH_ONLY",
    }
    assert gone["id"] in (work_dir / "collect" / "suppressed.txt").read_text()


@pytest.mark.parametrize("form", list(Form))
def test_an_export_gives_what_the_collector_gives(
    database: Database, address: str, box: Box, work_dir: Path, form: Form
) -> None:
    """NDJSON and Parquet, unknown fields included."""
    box.send([record(n, mood="good") for n in range(1, 4)])
    path = work_dir.parent / f"export.{form}"
    export_corrections(database, path, form, Filter())

    assert rows_of(work_dir, path) == rows_of(work_dir, address)
    assert (rows_of(work_dir, path)[0].model_extra or {})["mood"] == "good"


def test_erased_anywhere_is_erased_everywhere(store: CorrectionStore, work_dir: Path) -> None:
    """An old export still holds what the box, or a list, has let go since."""
    gone = say(store, "my secret")
    store.erase([gone]).result(DEADLINE_S)
    listed = record(2)
    path = export_of(work_dir.parent / "old.ndjson", record(1) | {"id": gone}, listed, record(3))
    (work_dir / "erased.txt").write_text(f"{listed['id']}\n")
    found = rows_of(
        work_dir,
        path,
        work_dir.parent / "box/corrections.db",
        suppressed=[str(work_dir / "erased.txt")],
    )

    assert [r.text for r in found] == [record(3)["text"]]


def test_what_two_sources_hold_comes_once(work_dir: Path) -> None:
    """At least once plus unique ids is effectively once."""
    path = export_of(work_dir.parent / "a.ndjson", record(1))

    assert len(rows_of(work_dir, path, path)) == 1


def test_who_said_it_leads_nowhere_but_stays_one_voice(work_dir: Path) -> None:
    """The same device and app are one number here, and another one elsewhere."""
    path = export_of(work_dir.parent / "a.ndjson", record(1), record(2), record(3, source="x"))
    here = [r.source for r in rows_of(work_dir, path)]
    elsewhere = work_dir.parent / "other"
    elsewhere.mkdir()

    assert here[0] == here[1] != here[2]
    assert "notes" not in (work_dir / "collect" / "rows.jsonl").read_text()
    assert rows_of(elsewhere, path)[0].source != here[0]


def test_collecting_the_same_again_changes_nothing(work_dir: Path) -> None:
    """So that the stages after it are skipped."""
    settings = settings_of(work_dir, export_of(work_dir.parent / "a.ndjson", record(1)))
    first = collect(settings, QUIET)

    assert collect(settings, QUIET).skipped
    assert collect(settings, QUIET).manifest == first.manifest


def test_a_damaged_correction_is_left_out_and_counted(
    store: CorrectionStore, work_dir: Path
) -> None:
    """The checksum tells; nothing is trained on what nobody said."""
    say(store, "good one")
    bad = say(store, "bad one")
    store.close()
    path = work_dir.parent / "box/corrections.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE correction SET label = 'REASON' WHERE id = ?", [bad])

    assert [r.text for r in rows_of(work_dir, path)] == ["good one"]


def broken(path: Path, what: str) -> str:
    """A source that cannot be used; its address."""
    if what == "parquet":
        path.with_suffix(".parquet").write_bytes(b"PAR1" + bytes(40))
        return str(path.with_suffix(".parquet"))
    if what == "cut parquet":
        import pyarrow as pa

        whole = path.with_suffix(".parquet")
        pq.write_table(pa.table({"id": ["a"]}), whole)
        whole.write_bytes(whole.read_bytes()[:-20])
        return str(whole)
    if what == "postgresql":
        return "postgresql://nobody:secret@127.0.0.1:9/none"
    if what == "mysql":
        return "mysql://nobody:secret@127.0.0.1:9/none"
    if what == "old box":
        with closing(sqlite3.connect(path)) as db, db:
            for table in ("correction", "erasure", "device"):
                db.execute(f"CREATE TABLE {table} (id TEXT)")
        return str(path)
    if what == "other database":
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE t (x)")
        return str(path)
    if what == "damaged box":
        path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
        return str(path)
    lines = {"no json": "{", "a list": "[]", "rows": '{"id": "a", "text": "b"}', "absent": None}
    if lines[what] is not None:
        path.write_text(lines[what] or "")
    return str(path)


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("parquet", InvalidRows, "expected Parquet"),
        ("cut parquet", InvalidRows, "expected Parquet"),
        ("postgresql", SourceUnreachable, "127.0.0.1"),
        ("mysql", InvalidConfig, "^collect: expected postgresql://"),
        ("old box", InvalidRows, "start its daemon once"),
        ("other database", TrainingError, "expected"),
        ("damaged box", SourceUnreachable, "readable database"),
        ("no json", InvalidRows, ":1: expected a JSON object"),
        ("a list", InvalidRows, ":1: expected a JSON object"),
        ("rows", InvalidRows, "found none of kind, label"),
        ("absent", SourceUnreachable, "found no file"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(
    work_dir: Path, what: str, error: type[TrainingError], said: str
) -> None:
    """One line without a password; what was collected before is as it was."""
    settings = settings_of(work_dir, export_of(work_dir.parent / "a.ndjson", record(1)))
    collect(settings, QUIET)
    before = (work_dir / "collect" / "rows.jsonl").read_bytes()
    address = broken(work_dir.parent / "broken.db", what)
    with pytest.raises(error, match=said) as caught:
        collect(settings_of(work_dir, address), QUIET)

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (work_dir / "collect" / "rows.jsonl").read_bytes() == before
    assert sorted(p.name for p in work_dir.iterdir()) == ["collect", "salt"]


def test_no_source_at_all_is_said(work_dir: Path) -> None:
    """With the setting's name."""
    with pytest.raises(InvalidConfig, match=r"collect\.sources"):
        collect(settings_for(work_dir), QUIET)


def test_the_command_collects_and_counts(work_dir: Path) -> None:
    """Counts on stdout; a dry run writes nothing."""
    path = export_of(work_dir.parent / "a.ndjson", record(1))
    plan = run_train(work_dir, "collect", str(path), "--dry-run")
    assert (plan.returncode, list(work_dir.iterdir())) == (0, [])

    done = run_train(work_dir, "collect", str(path))
    assert done.returncode == 0, done.stderr
    assert "rows: 1" in done.stdout
    assert lines_of(work_dir / "collect" / "rows.jsonl")[0]["label"] == "SEARCH_ONLY"
