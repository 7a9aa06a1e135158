"""What the operator wants to know: how full each class is, and which box lags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from training.collector.devices import list_devices
from training.collector.models import Build, Correction, DeviceCounts, Parked, RecordId, Used

__all__ = ["ClassCount", "DeviceLag", "Stats", "read_stats"]

TARGET = 500
"""Examples that a class needs before a model is fitted on it. Source: the project's goal."""
NONE_OF_THESE = "(none of these)"
KINDS = ("correction", "confirmation")


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One label."""

    label: str
    corrections: int
    confirmations: int
    total: int
    target: int = TARGET


@dataclass(frozen=True, slots=True)
class DeviceLag:
    """One device."""

    id: str
    state: str
    """`active` or `revoked`."""
    records: int
    lag_s: float | None
    """Seconds since its last batch; null if none came."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The whole picture."""

    classes: tuple[ClassCount, ...]
    reported: tuple[ClassCount, ...]
    """Numbers of the boxes that send nothing else; not in `classes`, nor in an export."""
    devices: tuple[DeviceLag, ...]
    corrections: int
    parked: int
    erased: int
    builds: int
    used: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return asdict(self)


def read_stats(connection: sa.Connection, now: datetime) -> Stats:
    """Count everything; reads the whole table, so it is for people and not for a route."""
    classes = _count_classes(connection)
    return Stats(
        classes=classes,
        reported=_sum_reported(connection),
        devices=tuple(
            DeviceLag(
                id=one.id,
                state="revoked" if one.revoked_utc else "active",
                records=one.records,
                lag_s=_seconds_since(one.last_seen_utc, now),
            )
            for one in list_devices(connection)
        ),
        corrections=sum(one.total for one in classes),
        parked=_count(connection, sa.select(sa.func.count()).select_from(Parked)),
        erased=_count(
            connection, sa.select(sa.func.count()).where(RecordId.erased_utc.is_not(None))
        ),
        builds=_count(connection, sa.select(sa.func.count()).select_from(Build)),
        used=_count(connection, sa.select(sa.func.count(Used.record_id.distinct()))),
    )


def _count_classes(connection: sa.Connection) -> tuple[ClassCount, ...]:
    rows = connection.execute(
        sa.select(Correction.label, Correction.kind, sa.func.count().label("n")).group_by(
            Correction.label, Correction.kind
        )
    )
    return _as_classes((row.label, row.kind, row.n) for row in rows)


def _sum_reported(connection: sa.Connection) -> tuple[ClassCount, ...]:
    return _as_classes(
        (one["label"], kind, one[f"{kind}s"])
        for counts in connection.scalars(sa.select(DeviceCounts.counts))
        for one in counts
        for kind in KINDS
    )


def _as_classes(rows: Iterable[tuple[str | None, str, int]]) -> tuple[ClassCount, ...]:
    """The sum of (label, kind, number) by label."""
    found: dict[str, Counter[str]] = {}
    for label, kind, number in rows:
        name = NONE_OF_THESE if label is None else label
        found.setdefault(name, Counter())[kind] += number
    return tuple(
        ClassCount(label, kinds["correction"], kinds["confirmation"], kinds.total())
        for label, kinds in sorted(found.items())
    )


def _count(connection: sa.Connection, statement: sa.Select[int]) -> int:
    return connection.scalars(statement).one()


def _seconds_since(time: datetime | None, now: datetime) -> float | None:
    return None if time is None else (now - time).total_seconds()
