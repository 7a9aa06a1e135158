"""Numbers of the boxes that send no more than those: the newest of each box replace the others."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from training.collector.dialects import insert
from training.collector.models import DeviceCounts
from training.collector.wire import Envelope

__all__ = ["forget_counts", "store_counts"]

TIER = "counts"


def store_counts(connection: sa.Connection, envelope: Envelope, now: datetime) -> None:
    """Keep the numbers of a batch; sent again, they are the same.

    A box that sends corrections again has its numbers forgotten: they would be counted twice.
    """
    if envelope.counts is not None:
        statement = insert(connection, DeviceCounts).values(
            device_id=envelope.device_id,
            counts=[one.model_dump() for one in envelope.counts],
            received_utc=now,
        )
        newest = {name: statement.excluded[name] for name in ("counts", "received_utc")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=[DeviceCounts.device_id], set_=newest)
        )
    elif envelope.records and envelope.tier != TIER:
        forget_counts(connection, envelope.device_id)


def forget_counts(connection: sa.Connection, device_id: str) -> None:
    """Drop the numbers of a device."""
    connection.execute(sa.delete(DeviceCounts).where(DeviceCounts.device_id == device_id))
