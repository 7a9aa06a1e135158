"""Brings a database's schema to this program's: ordered steps, all of them or none."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from training.collector.database import Database
from training.collector.errors import SchemaMismatch
from training.collector.partitions import LOCK_KEY, ensure_months

__all__ = ["alembic_config", "check_schema", "migrate"]

SCRIPTS = Path(__file__).parent / "migrations"


def alembic_config(connection: sa.Connection) -> Config:
    """What alembic's own commands need to work on this connection."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(database: Database, target: str = "head") -> tuple[str | None, str | None]:
    """Run the missing steps in one transaction, one process at a time, and make the months.

    Args:
        database: Where.
        target: A revision; anything but the newest is for tests.

    Returns:
        The revision before and after.

    Raises:
        SchemaMismatch: The database is newer than this program.
        DatabaseUnavailable: It does not answer.
    """

    def work(connection: sa.Connection) -> tuple[str | None, str | None]:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        before = _revision(connection)
        if before is not None and before not in _revisions():
            raise _newer(before)
        command.upgrade(alembic_config(connection), target)
        if target == "head":
            ensure_months(connection, datetime.now(UTC))
        return before, _revision(connection)

    return database.write(work)


def check_schema(database: Database) -> None:
    """Do nothing if the schema is this program's.

    Raises:
        SchemaMismatch: It is older or newer; the message says what to do.
        DatabaseUnavailable: The database does not answer.
    """
    with database.read() as connection:
        found = _revision(connection)
    if found == _head():
        return
    if found is not None and found not in _revisions():
        raise _newer(found)
    raise SchemaMismatch(
        f"{database.name}: expected schema {_head()}, found {found or 'none'}; make a backup, then "
        "run `intentd-collect migrate`, or start with `serve --migrate`"
    )


def _newer(found: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"expected schema {_head()} or older, found {found}, which a newer intentd made; "
        "install that version here"
    )


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@cache
def _revisions() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())


@cache
def _head() -> str | None:
    return _scripts().get_current_head()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(SCRIPTS))
