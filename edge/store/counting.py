"""Numbers for people, counted from corrections.db. Reads only."""

from __future__ import annotations

from edge.store.database import Database
from edge.store.outbox import count_undelivered
from edge.store.records import Counts

__all__ = ["count"]


def count(db: Database) -> Counts:
    """All numbers at once."""
    per_label = db.execute(
        "SELECT label, sum(kind = 'correction'), sum(kind = 'confirmation') FROM correction"
        " GROUP BY label ORDER BY label"
    )
    by_day = db.execute(
        "SELECT date(created_ms / 1000, 'unixepoch') AS day, sum(kind = 'confirmation'), count(*)"
        " FROM correction WHERE coalesce(prediction_id, score, predicted_label) IS NOT NULL"
        " GROUP BY day ORDER BY day"
    )
    total, dead = db.execute(
        "SELECT (SELECT count(*) FROM correction),"
        " (SELECT count(*) FROM correction WHERE dead = 1)"
        " + (SELECT count(*) FROM erasure WHERE dead = 1)"
    ).fetchone()
    return Counts(
        per_label={label: (corrected, confirmed) for label, corrected, confirmed in per_label},
        by_day=tuple((day, agreed, counted) for day, agreed, counted in by_day),
        outbox=count_undelivered(db),
        dead=dead,
        total=total,
    )
