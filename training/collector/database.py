"""Opens the database and runs transactions on it; it knows no table.

SQLite gets WAL, `synchronous=FULL` and `BEGIN IMMEDIATE` for whatever writes; PostgreSQL gets
deadlines. What fails for reasons of the moment becomes `DatabaseUnavailable`, without the values.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from edge.errors import InvalidSettings
from training.collector.errors import DatabaseUnavailable

__all__ = ["POSTGRESQL", "SQLITE", "Database", "database_url"]

Value = TypeVar("Value")

POSTGRESQL = "postgresql"
SQLITE = "sqlite"
BUSY_TIMEOUT_S = 20
SWEEP_TIMEOUT_MS = 500
POOL_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 60_000
ATTEMPTS = 5
RETRYABLE_STATES = frozenset({"40001", "40P01"})
"""Serialisation failure and deadlock: the server rolled back, and asks to run it again."""
READS = "intentd_reads"
SNAPSHOT = "REPEATABLE READ"


@dataclass(frozen=True, slots=True)
class Database:
    """One pool of connections; safe to use from any thread, never across a fork."""

    engine: sa.Engine

    @classmethod
    def open(cls, address: str, *, connections: int = 2, deadlines: bool = False) -> Database:
        """Make the pool; nothing is connected yet, but SQLite's directory and file are made.

        Args:
            address: A SQLAlchemy URL; `postgresql://` means psycopg 3.
            connections: At most so many; a thread needs one.
            deadlines: Bound every statement in time, as a server must and an export must not.

        Raises:
            InvalidSettings: An address of another kind.
        """
        url = database_url(address)
        options: dict[str, Any] = {"pool_size": connections, "max_overflow": 0}
        if url.get_backend_name() == SQLITE:
            _make_private_file(url)
            options["connect_args"] = {"timeout": BUSY_TIMEOUT_S}
        else:
            options |= {"pool_pre_ping": True, "connect_args": _connect_args(deadlines)}
        engine = sa.create_engine(url, hide_parameters=True, pool_timeout=POOL_TIMEOUT_S, **options)
        if url.get_backend_name() == SQLITE:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return cls(engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is one file, with one writer."""
        return self.engine.dialect.name == SQLITE

    @property
    def name(self) -> str:
        """The address, its password hidden."""
        return self.engine.url.render_as_string(hide_password=True)

    def write(self, work: Callable[[sa.Connection], Value]) -> Value:
        """Run `work` in one transaction, and return once it is committed to the disk.

        It is run again where the server chose it as the victim of a deadlock.

        Raises:
            DatabaseUnavailable: The database is away, full, locked or too slow.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except exc.OperationalError as error:
                if attempt == ATTEMPTS or _state(error) not in RETRYABLE_STATES:
                    raise _unavailable(error) from None
            except (exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
                raise _unavailable(error) from None
        raise AssertionError("unreachable")

    @contextmanager
    def read(self, *, streaming: bool = False) -> Iterator[sa.Connection]:
        """A transaction that only reads, on one snapshot throughout.

        Args:
            streaming: Rows come through a server-side cursor, a few at a time.

        Raises:
            DatabaseUnavailable: The database is away or too slow.
        """
        options: dict[str, Any] = {READS: True, "stream_results": streaming}
        if not self.is_sqlite:
            options |= {"isolation_level": SNAPSHOT, "postgresql_readonly": True}
        try:
            with self.engine.connect().execution_options(**options) as connection:
                yield connection
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            raise _unavailable(error) from None

    def sweep(self) -> bool:
        """After an erasure: take what was erased out of SQLite's files for good.

        SQLite overwrites what it deletes, but not the copies that it left behind where it moved
        rows before: only the file written anew has none.

        Returns:
            False where a reader or the disk is in the way; call again later.
        """
        if not self.is_sqlite:
            return True
        with self.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute(f"PRAGMA busy_timeout={SWEEP_TIMEOUT_MS}")  # a long export is in the way
            try:
                return _cut_log(raw) and _rewrite(raw) and _cut_log(raw)
            finally:
                raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def database_url(address: str) -> URL:
    """The address as SQLAlchemy wants it.

    Raises:
        InvalidSettings: It is no URL, or of a database other than PostgreSQL and SQLite.
    """
    expected = "expected postgresql://user@host/name or sqlite:////path/collector.db"
    try:
        url = make_url(address)
    except exc.ArgumentError:
        raise InvalidSettings(f"--database: {expected}, found something else") from None
    kind = url.get_backend_name()
    if kind in ("postgres", POSTGRESQL):
        return url.set(drivername="postgresql+psycopg")
    if kind != SQLITE or not url.database or url.database == ":memory:":
        raise InvalidSettings(f"--database: {expected}, found {kind}")
    return url


def _connect_args(deadlines: bool) -> dict[str, Any]:
    settings = {"timezone": "UTC"}
    if deadlines:
        settings |= {
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
        }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "intentd-collect",
        "options": options,
    }


def _make_private_file(url: URL) -> None:
    """Texts lie in it: nobody else may read it, whatever the umask is.

    A file that is there is not opened: to close it again would drop the locks that SQLite holds on
    it for this process (POSIX locks), and another process would take away the write-ahead log.
    """
    path = Path(url.database or "")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise InvalidSettings(
            f"--database: {path}: expected a place to keep the database, but {error.strerror}"
        ) from error


def _prepare_sqlite(raw: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # per connection; NORMAL loses what was acknowledged in a power cut
        "foreign_keys=ON",
        "secure_delete=ON",
        "journal_size_limit=16777216",
    ):
        raw.execute(f"PRAGMA {pragma}")
    mode = raw.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        raise InvalidSettings(
            f"--database: expected a filesystem that can do WAL, found journal mode {mode}; "
            "use a local disk, not a network share"
        )


def _cut_log(raw: Any) -> bool:
    return bool(raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def _rewrite(raw: Any) -> bool:
    try:
        raw.execute("VACUUM")
    except sqlite3.OperationalError:  # a writer bars it, or there is no room
        return False
    return True


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred BEGIN that writes after another writer fails at once, whatever the busy timeout is.
    reads = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _state(error: exc.DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


def _unavailable(error: exc.SQLAlchemyError) -> DatabaseUnavailable:
    """Without the driver's own message where it may quote a value; the kind says enough."""
    kind = type(getattr(error, "orig", None) or error).__name__
    return DatabaseUnavailable(
        f"the database does not take it now ({kind}); nothing was stored, send it again later"
    )
