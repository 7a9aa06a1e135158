"""What must be remembered about the models across a power cut: one small file, replaced whole.

It knows no bundles, and decides nothing; that is `edge.models.versions`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.models.durable import disk_errors, replace_file

__all__ = ["JOURNAL", "Digest", "Journal", "read_journal", "write_journal"]

JOURNAL = "journal.json"
MAX_JOURNAL_BYTES = 1 << 20
SCHEMA_VERSION = 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Journal(BaseModel):
    """Where each digest may be None, that stands for the bundle that the settings name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    pending: Digest | None = None
    """On probation; here None says that nothing is."""
    tries: Annotated[int, Field(ge=0)] = 0
    """Starts on the pending one so far."""
    last_good: Digest | None = None
    """What was served before the pending one; without one, what is served."""
    previous: Digest | None = None
    """What a rollback goes back to."""
    newest: dict[str, str] = {}
    """Per model name, the version below which a bundle counts as older."""


def read_journal(directory: Path) -> Journal | None:
    """The journal; an empty one before the first is written, None if it is damaged."""
    path = directory / JOURNAL
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JOURNAL_BYTES)
    except FileNotFoundError:
        return Journal()
    except OSError:
        return None
    try:
        return Journal.model_validate_json(data)
    except ValidationError:
        return None


def write_journal(directory: Path, journal: Journal) -> None:
    """Put this journal in the place of the old one, in one step, and on the disk.

    Raises:
        StoreUnavailable: The disk refused; the old one stands.
    """
    data = json.dumps(journal.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    with disk_errors(directory):
        replace_file(directory / JOURNAL, data.encode())
