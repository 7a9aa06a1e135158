"""Who moved which model where, when and why: rows that are added and never changed.

Each is on the disk before what it tells of is done, and another one follows when it is done. One
process at a time holds the file. It knows neither MLflow nor rules.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import InvalidRows

__all__ = ["Action", "AuditLog", "Entry", "Outcome", "State"]


class Action(StrEnum):
    """What a person asked for."""

    STAGING = "staging"
    PRODUCTION = "production"
    ROLLBACK = "rollback"


class State(StrEnum):
    """How it went."""

    BEGUN = "begun"
    """Decided; whether it was carried out, the process that did it never told."""
    DONE = "done"
    DROPPED = "dropped"
    """Nothing of it was carried out."""
    OVERTAKEN = "overtaken"
    """Half of it was, and somebody else has moved the aliases since."""


class Entry(BaseModel):
    """A decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    utc: str
    """ISO 8601, `Z`."""
    action: Action
    who: Annotated[str, Field(min_length=1)]
    why: Annotated[str, Field(min_length=1)]
    host: str
    registry: str
    """Address of MLflow, without a password."""
    model: str
    version: int
    """The one that the decision is about, as MLflow counts."""
    digest: str
    """Of its bundle."""
    before: dict[str, int]
    """Alias → version."""
    after: dict[str, int | None]
    """Alias → version, in the order of the moves; None takes it away."""
    evidence: dict[str, str] = {}
    """File → sha256 of what was shown in its favour."""
    verdict: str = ""
    """What that said, in a line."""


class Outcome(BaseModel):
    """How a decision ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    utc: str
    outcome: State
    note: str = ""


@dataclass(slots=True)
class AuditLog:
    """A file of JSON lines: an `Entry` each, and its `Outcome` later; a torn line is no row."""

    path: Path

    @contextmanager
    def hold(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let no other process of this machine decide meanwhile.

        Args:
            waiting: Called once if another one has to end first.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def append(self, row: Entry | Outcome) -> None:
        """Add a row; on return it is on the disk.

        Raises:
            OSError: The disk is full, say. What is there stays; a torn end is told from a row.
        """
        line = row.model_dump_json().encode() + b"\n"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a row that is half written is no torn end
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last process died while it wrote
            _write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _fsync(self.path.parent)

    def read(self) -> list[tuple[Entry, Outcome | None]]:
        """The decisions in their order, each with how it ended.

        Raises:
            InvalidRows: A line is neither; only the last one may be torn.
        """
        entries: dict[str, Entry] = {}
        outcomes: dict[str, Outcome] = {}
        for row in self._rows():
            if isinstance(row, Entry):
                entries[row.id] = row
            else:
                outcomes[row.id] = row
        return [(entry, outcomes.get(name)) for name, entry in entries.items()]

    def _rows(self) -> Iterator[Entry | Outcome]:
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
            except ValueError:
                continue  # blank, or torn by a power cut before anything was done
            try:
                yield _row(found)
            except ValidationError:
                raise InvalidRows(
                    f"{self.path}:{number}: expected a row of the audit, found something else; "
                    "the program never changes one: restore the line"
                ) from None


def _row(found: Any) -> Entry | Outcome:
    is_outcome = isinstance(found, dict) and "outcome" in found
    return (Outcome if is_outcome else Entry).model_validate(found)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _fsync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
