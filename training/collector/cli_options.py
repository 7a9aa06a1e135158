"""What the commands share: the database, ids from stdin, and how things are printed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.errors import InvalidValue
from training.collector.settings import DATABASE_VARIABLE, default_database

if TYPE_CHECKING:
    from training.collector.database import Database

__all__ = [
    "DatabaseOption",
    "JsonOption",
    "open_database",
    "print_json",
    "print_table",
    "read_ids",
]

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="postgresql://user@host/name or sqlite:////path; a password is better given in "
        f"${DATABASE_VARIABLE}. [default: ${DATABASE_VARIABLE}, else collector.db in the state "
        "directory]",
        metavar="URL",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def open_database(address: str | None, *, migrate_first: bool = False) -> Iterator[Database]:
    """The database, with the schema of this program; SQLite's is brought there by itself.

    Raises:
        SchemaMismatch: PostgreSQL's is another, and was not to be migrated.
    """
    from training.collector.database import Database
    from training.collector.migrate import check_schema, migrate

    database = Database.open(address or default_database())
    try:
        if database.is_sqlite or migrate_first:
            migrate(database)
        check_schema(database)
        yield database
    finally:
        database.close()


def read_ids(lines: Iterable[str]) -> list[str]:
    """The ids, one a line; empty lines are skipped.

    Raises:
        InvalidValue: A line that is no UUID.
    """
    ids = []
    for number, line in enumerate(lines, 1):
        if not (word := line.strip()):
            continue
        try:
            ids.append(str(uuid.UUID(word)))
        except ValueError:
            raise InvalidValue(f"line {number}: expected a record's id (a UUID)") from None
    return ids


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
