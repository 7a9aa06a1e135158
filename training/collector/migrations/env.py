"""Alembic's entry: it works on the connection that `training.collector.migrate` hands over."""

from __future__ import annotations

from alembic import context

from training.collector.models import Base
from training.collector.partitions import is_partition


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Leave the months alone: they come from the data, not from the models."""
    return not (kind == "table" and name is not None and is_partition(name))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_name=include_name,
    compare_type=True,
    transaction_per_migration=False,
)
context.run_migrations()
