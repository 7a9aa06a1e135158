"""The schema: from every version to the newest, all or nothing, and the same as the models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.collector.boxes import NOW, batch, record
from training.collector.database import Database
from training.collector.devices import add_device
from training.collector.errors import SchemaMismatch
from training.collector.ingest import read_batch, store_batch
from training.collector.migrate import SCRIPTS, alembic_config, check_schema, migrate
from training.collector.partitions import ensure_months, month_name
from training.collector.wire import read_envelope

REVISIONS = sorted(s.revision for s in ScriptDirectory(str(SCRIPTS)).walk_revisions())


@pytest.fixture
def empty(empty_address: str) -> Iterator[Database]:
    """A database without any table."""
    opened = Database.open(empty_address, connections=4)
    yield opened
    opened.close()


def revision(database: Database) -> str | None:
    """Where the database stands."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def tables(database: Database) -> set[str]:
    """The names of its tables."""
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_every_version_reaches_the_newest_and_keeps_its_rows(empty: Database) -> None:
    """Step by step, with a row that was there from the first step on."""
    migrate(empty, REVISIONS[0])
    empty.write(lambda c: add_device(c, "nas-1", "", NOW))
    for step in REVISIONS[1:]:
        with pytest.raises(SchemaMismatch, match="migrate"):
            check_schema(empty)
        migrate(empty, step)

    check_schema(empty)
    assert migrate(empty) == (REVISIONS[-1], REVISIONS[-1])
    with empty.read() as connection:
        assert connection.execute(sa.text("SELECT id FROM devices")).scalar_one() == "nas-1"


def test_what_came_before_the_hash_changed_is_still_a_duplicate(empty: Database) -> None:
    """A box that sends it again after the upgrade must not take it for refused."""
    migrate(empty, "0002")
    with empty.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO record_ids (id, device_id, fate, payload_sha256, received_utc) "
                "VALUES (:id, 'nas-1', 'kept', :hash, '2026-11-22 10:00:00+00:00')"
            ).bindparams(sa.bindparam("id", type_=sa.Uuid(as_uuid=False))),
            {"id": (one := record())["id"], "hash": b"of the whole record"},
        )
    migrate(empty)
    empty.write(lambda c: add_device(c, "nas-1", "", NOW))
    old = read_batch(read_envelope(json.dumps(batch("nas-1", [one])).encode()))

    results = empty.write(lambda c: store_batch(c, old, NOW))

    assert [result.status for result in results] == ["duplicate"]


def test_the_models_are_what_the_migrations_make(empty: Database) -> None:
    """`alembic check`: it raises where a column, an index or a type differs."""
    migrate(empty)

    with empty.engine.begin() as connection:
        command.check(alembic_config(connection))


def test_a_step_that_fails_changes_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that it made before it failed are gone again."""
    migrate(empty, REVISIONS[0])
    before = tables(empty)
    monkeypatch.setattr(op, "create_index", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        migrate(empty)

    assert revision(empty) == REVISIONS[0]
    assert tables(empty) == before


def test_a_newer_database_is_refused(empty: Database) -> None:
    """An old program would write what the new one does not expect."""
    migrate(empty)
    with empty.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    for refused in (check_schema, migrate):
        with pytest.raises(SchemaMismatch, match="newer"):
            refused(empty)


def test_several_may_migrate_at_once(empty: Database) -> None:
    """One does it, the others wait and find it done."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty)
        except BaseException as error:  # noqa: BLE001 — shown by the assert
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failures == []
    check_schema(empty)


def test_the_wheel_will_hold_every_step() -> None:
    """They are modules of the package, so that whatever packs the package packs them."""
    assert {path.parent for path in SCRIPTS.rglob("0*.py")} == {SCRIPTS / "versions"}
    assert (SCRIPTS / "env.py").exists()
    assert all(path.suffix == ".py" for path in Path(SCRIPTS / "versions").glob("0*"))


def test_months_are_made_ahead_and_across_the_year(postgresql_address: str) -> None:
    """From any day the running month and two more; a second time nothing is left to do."""
    database = Database.open(postgresql_address)
    days = [datetime(2031, 11, 30, 23, 59, 59, tzinfo=UTC), datetime(2031, 12, 1, tzinfo=UTC)]

    made = [database.write(lambda c, d=day: ensure_months(c, d)) for day in (*days, days[1])]  # type: ignore[misc]

    assert made == [
        ["corrections_y2031m11", "corrections_y2031m12", "corrections_y2032m01"],
        ["corrections_y2032m02"],
        [],
    ]
    database.close()


def test_a_month_can_be_made_while_an_export_reads(postgresql_address: str) -> None:
    """A reader that takes hours must not hold up those who write."""
    database = Database.open(postgresql_address)
    with database.read(streaming=True) as reader:
        reader.execute(sa.text("SELECT * FROM corrections")).fetchall()

        made = database.write(lambda c: ensure_months(c, datetime(2040, 5, 1, tzinfo=UTC)))

    assert made[0] == month_name(datetime(2040, 5, 9, tzinfo=UTC))
    database.close()
