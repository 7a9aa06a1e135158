"""The months of `corrections` on PostgreSQL: made ahead of time, by whoever needs them first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from training.collector.database import Database

__all__ = ["LOCK_KEY", "Months", "ensure_months", "is_partition"]

AHEAD = 2
"""Months made beyond the running one, so that a failure has two months to be noticed."""
PREFIX = "corrections_y"
LOCK_KEY = 0x1A7E47D  # any number, as long as nothing else in this database locks it
LOCK_TIMEOUT = "5s"


class Months:
    """Remembers which months there are; one per process, safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def prepare(self, now: datetime) -> None:
        """Have the month of `now` and those after it, before a row comes that belongs there.

        Raises:
            DatabaseUnavailable: They could not be made now.
        """
        if self._database.is_sqlite or month_name(now) in self._known:
            return
        with self._lock:
            if month_name(now) not in self._known:
                self._database.write(lambda connection: ensure_months(connection, now))
                self._known.add(month_name(now))


def ensure_months(connection: sa.Connection, now: datetime) -> list[str]:
    """Make the partitions that are missing, from the month of `now` on; returns their names.

    A table is made beside the others and then attached: unlike `CREATE TABLE … PARTITION OF`, that
    neither waits for a long export nor lets all who write wait behind it.
    Source: PostgreSQL manual, ALTER TABLE … ATTACH PARTITION: SHARE UPDATE EXCLUSIVE.
    """
    if connection.dialect.name != "postgresql":
        return []
    wanted = [m for m in _months(now) if not _exists(connection, month_name(m))]
    if not wanted:
        return []
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
    made = [m for m in wanted if not _exists(connection, month_name(m))]
    for month in made:
        _make(connection, month)
    return [month_name(month) for month in made]


def is_partition(table: str) -> bool:
    """Whether a table of this name is one month of `corrections`."""
    return table.startswith(PREFIX)


def month_name(time: datetime) -> str:
    """`corrections_y2026m11`."""
    utc = time.astimezone(UTC)
    return f"{PREFIX}{utc.year:04}m{utc.month:02}"


def _make(connection: sa.Connection, month: datetime) -> None:
    name, end = month_name(month), _next(month)
    connection.execute(sa.text(f"CREATE TABLE {name} (LIKE corrections INCLUDING ALL)"))
    connection.execute(
        sa.text(
            f"ALTER TABLE corrections ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{month:%Y-%m-%d}T00:00:00Z') TO ('{end:%Y-%m-%d}T00:00:00Z')"
        )
    )


def _exists(connection: sa.Connection, name: str) -> bool:
    return connection.scalar(sa.select(sa.func.to_regclass(name))) is not None


def _months(now: datetime) -> Iterator[datetime]:
    month = datetime(now.astimezone(UTC).year, now.astimezone(UTC).month, 1, tzinfo=UTC)
    for _ in range(AHEAD + 1):
        yield month
        month = _next(month)


def _next(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
