"""Opening: new, old, newer and forbidden files, and a migration that fails."""

from __future__ import annotations

import copy
import os
import threading
import time
from pathlib import Path

import pytest
from sqlite_utils import Migrations
from sqlite_utils.db import Database

from edge.errors import StoreUnavailable
from edge.store import CorrectionStore
from edge.store.database import connect, sqlite3
from edge.store.migrations import CORRECTIONS
from edge.store.opening import DATABASE, open_database
from edge.store.place import create_private
from edge.store.records import Correction
from edge.store.rows import CORRECTION_COLUMNS, insert_of, values_of
from tests.edge.store.samples import new_correction

STEPS = [step.name for step in CORRECTIONS._migrations]


def schema_of(path: Path) -> list[tuple[str, ...]]:
    """Every table and index of a database."""
    conn = sqlite3.connect(path)
    rows = conn.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    conn.close()
    return rows


def write_old(path: Path, last: int) -> None:
    """A database as it was after the first `last` steps, with a row where there is a table."""
    create_private(path)
    db = connect(path, "FULL")
    CORRECTIONS.apply(db, stop_before=STEPS[last:])
    if last >= 2:
        fields = {name: getattr(new_correction("old"), name) for name in NEW_FIELDS}
        old = Correction(**fields, id="01", seq=1, epoch=1, created_ms=5)
        db.execute(insert_of("correction", CORRECTION_COLUMNS), values_of(old))
    db.close()


NEW_FIELDS = new_correction().__dataclass_fields__


def with_step(step: object, name: str) -> Migrations:
    """The steps of this version, and one more."""
    migrations = copy.deepcopy(CORRECTIONS)
    migrations(name=name)(step)  # type: ignore[type-var]  # a function all the same
    return migrations


@pytest.mark.parametrize("last", range(len(STEPS) + 1))
def test_every_old_schema_becomes_the_newest(tmp_path: Path, last: int) -> None:
    """With its rows, and with a backup of what it was."""
    write_old(tmp_path / DATABASE, last)
    store = CorrectionStore.open(tmp_path)
    assert store.health().ok
    assert [it.text for it in store.list().result()] == (["old"] if last >= 2 else [])
    assert store.record(new_correction()).result().correction.seq == (2 if last >= 2 else 1)
    store.close()
    fresh = tmp_path / "fresh"
    CorrectionStore.open(fresh).close()
    assert schema_of(tmp_path / DATABASE) == schema_of(fresh / DATABASE)
    has_backup = any((tmp_path / "backups").glob("*.db"))
    assert has_backup == (0 < last < len(STEPS))


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Not one of its changes, not one of the steps before it; and no quarantine."""
    write_old(tmp_path / DATABASE, 2)
    before = schema_of(tmp_path / DATABASE)

    def fail(db: Database) -> None:
        db.execute("CREATE TABLE halfway (one INTEGER) STRICT")
        db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreUnavailable, match="it is unchanged"):
        open_database(tmp_path, migrations=with_step(fail, "m999_fail"))
    assert schema_of(tmp_path / DATABASE) == before
    assert list(tmp_path.glob("corrupt-*")) == []
    store = CorrectionStore.open(tmp_path)
    assert [it.text for it in store.list().result()] == ["old"]
    store.close()


def test_a_newer_database_is_refused_and_kept(tmp_path: Path) -> None:
    """Going back a version must not destroy what the newer one wrote."""

    def later(db: Database) -> None:
        db.execute("CREATE TABLE later (one INTEGER) STRICT")

    open_database(tmp_path, migrations=with_step(later, "m999_later")).db.close()
    store = CorrectionStore.open(tmp_path)
    health = store.health()
    assert not health.ok
    assert "m999_later" in health.detail
    assert isinstance(store.record(new_correction()).exception(), StoreUnavailable)
    store.close()
    assert list(tmp_path.glob("corrupt-*")) == []


def test_a_store_that_cannot_be_opened_exists_and_recovers_by_itself(tmp_path: Path) -> None:
    """The daemon goes on without it; nobody has to restart anything once the cause is gone."""
    directory = tmp_path / "state"
    directory.write_text("in the way")
    store = CorrectionStore.open(directory)
    assert not store.health().ok
    assert isinstance(store.record(new_correction()).exception(), StoreUnavailable)
    assert list(store.overrides()) == []
    directory.unlink()
    wait_until_ok(store)
    assert store.record(new_correction()).result().is_new
    store.close()


def wait_until_ok(store: CorrectionStore) -> None:
    """Asking for its health is what makes it try again."""
    pause, deadline = threading.Event(), time.monotonic() + 20.0
    while not store.health().ok:
        assert time.monotonic() < deadline, store.health().detail
        pause.wait(0.02)


def test_a_second_store_on_the_same_directory_is_refused(
    store: CorrectionStore, tmp_path: Path
) -> None:
    """One writer is what keeps SQLite's known race away; the first one is not disturbed."""
    second = CorrectionStore.open(tmp_path)
    assert "another process" in second.health().detail
    assert store.record(new_correction()).result().is_new
    store.close()
    wait_until_ok(second)
    assert len(second.list().result()) == 1
    second.close()


def test_a_crash_between_two_renames_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """The damaged file is set aside already, the new one has not got its name yet."""
    first = CorrectionStore.open(tmp_path)
    first.record(new_correction()).result()
    first.close()
    (tmp_path / DATABASE).rename(tmp_path / "corrections.db.salvaged")
    second = CorrectionStore.open(tmp_path)
    assert len(second.list().result()) == 1
    second.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_not_taken_for_damaged(tmp_path: Path) -> None:
    """Permissions are somebody's to set right; the file stays where it is."""
    CorrectionStore.open(tmp_path).close()
    tmp_path.chmod(0o500)
    store = CorrectionStore.open(tmp_path)
    assert not store.health().ok
    store.close()
    tmp_path.chmod(0o700)
    assert list(tmp_path.glob("corrupt-*")) == []
