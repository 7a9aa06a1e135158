"""Logs as JSON lines on stderr. What is logged are counts, ids and routes: no text, no token."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime

__all__ = ["configure_logging", "write_event"]

FIELDS = "fields"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            # Frames only: an exception's message may quote a user's text.
            line["error"] = record.exc_info[0].__name__
            line["frames"] = "".join(traceback.format_tb(record.exc_info[2]))
        return json.dumps(line | getattr(record, FIELDS, {}), default=str)


def configure_logging(level: str) -> None:
    """Send everything to stderr, one JSON object a line; called once in each process."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells what it is, at every check


def write_event(log: logging.Logger, event: str, **fields: object) -> None:
    """One line at level info; the fields' values are numbers, ids and times."""
    log.info(event, extra={FIELDS: fields})
