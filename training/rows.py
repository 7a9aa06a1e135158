"""The one form in which training keeps a labelled text, and JSON lines of it. It knows no source.

Files are read and written a row at a time; a file that is written appears whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from training.errors import InvalidRows, SourceUnreachable

__all__ = ["FEEDBACK", "GENERATED", "Origin", "Row", "new_file", "read_rows", "write_rows"]

MAX_LINE_CHARS = 16 << 20
"""Longer than any text that the daemon takes: what is longer is not a file of rows."""


class Origin(StrEnum):
    """Where a row comes from."""

    CORRECTION = "correction"
    CONFIRMATION = "confirmation"
    AUDIT = "audit"
    """A person's word on an answer that was drawn at random."""
    SEED = "seed"
    """An example of the label set."""
    GOLDEN = "golden"
    TEMPLATE = "template"
    SYNONYM = "synonym"
    NOISE = "noise"
    PUBLIC = "public"
    SHADOW = "shadow"
    """Two models disagree about it, and nobody has judged it yet: its label says nothing."""


FEEDBACK = frozenset({Origin.CORRECTION, Origin.CONFIRMATION, Origin.AUDIT})
"""A person's word on an answer of the daemon."""
GENERATED = frozenset({Origin.TEMPLATE, Origin.SYNONYM, Origin.NOISE})
"""Written by `augment`."""


class Row(BaseModel):
    """One labelled text. Fields that are not known here stay with it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]
    content: str | None = None
    """What the text is about, where it came apart."""
    label: Annotated[str, Field(min_length=1)] | None
    """None means out of scope: none of the labels."""
    origin: Origin
    root: str = ""
    """Id of the real row that this one stems from; a real row's own id."""
    source: str = ""
    """Who said it, hashed; one voice where two people disagree."""
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    created_utc: str | None = None
    model: str = ""
    """Digest of the bundle that answered."""
    label_set: str = ""
    """Digest of the wording under which it was labelled; empty where there was none."""
    predicted_label: str | None = None
    template: str | None = None
    """Of a generated row: the template, or the edit, that made it."""

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("expected some words, found only white space")
        return text

    def model_post_init(self, _context: object) -> None:
        """A real row is its own root."""
        if not self.root:
            object.__setattr__(self, "root", self.id)

    @property
    def is_real(self) -> bool:
        """Whether a person wrote it."""
        return self.origin not in GENERATED


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a file of JSON lines, one at a time; blank lines are skipped.

    Raises:
        InvalidRows: A line is no row; the message names file and line.
        SourceUnreachable: There is no such file.
        OSError: The file cannot be read.
    """
    if not path.exists() or path.is_dir():
        found = "a directory" if path.is_dir() else "none"
        raise SourceUnreachable(f"{path}: expected a file of rows (JSON lines), found {found}")
    with path.open("rb") as stream:
        for number, line in enumerate(_lines(path, stream), 1):
            if line.strip():
                yield _row(path, number, line)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows, one a line, in one step; returns how many.

    Raises:
        OSError: The disk is full, say; what was there before still is.
    """
    count = 0
    with new_file(path) as stream:
        for row in rows:
            stream.write(row.model_dump_json().encode() + b"\n")
            count += 1
    return count


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` if all goes well; private, for texts lie in it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            yield new
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _lines(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_LINE_CHARS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARS:
            raise InvalidRows(
                f"{path}:{number}: expected one row a line, found a line of more than "
                f"{MAX_LINE_CHARS} bytes; is this a file of JSON lines?"
            )
        yield line


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        raise InvalidRows(f"{path}:{number}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    found = problem["msg"].removeprefix("Value error, ")
    return f"expected a row{f', field {place}' if place else ''}: {found}; mend or remove the line"
