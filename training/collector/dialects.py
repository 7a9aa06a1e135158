"""The one statement that SQLAlchemy spells differently for each database: the upsert."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from training.collector.models import Base

__all__ = ["insert"]


def insert(connection: sa.Connection, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
