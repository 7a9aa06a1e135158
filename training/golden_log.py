"""The golden set in the making: candidates, and every judgement of them, in a log that only grows.

A judgement is on the disk before the next one is asked for; a line that a power cut tore is left
out. Whether people agree is computed from the log, never stored.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from training.errors import InvalidRows
from training.fold import fold
from training.rows import Origin, Row

__all__ = ["Candidate", "GoldenLog", "Judgement", "Standing"]

AGREEING = 2
"""Judgements that must say the same."""


class Standing(StrEnum):
    """How far a candidate has come."""

    NEW = "new"
    ONCE = "judged once"
    AGREED = "agreed"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one person said in one pass."""

    who: str
    label: str | None
    """None means none of the labels."""


@dataclass(slots=True)
class Candidate:
    """A row that may become golden."""

    row: Row
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def standing(self) -> Standing:
        """Agreed once two judgements say the same and no other label has as many."""
        ranked = Counter(j.label for j in self.judgements).most_common(2)
        if not ranked:
            return Standing.NEW
        if ranked[0][1] >= AGREEING and (len(ranked) == 1 or ranked[1][1] < ranked[0][1]):
            return Standing.AGREED
        return Standing.ONCE if len(self.judgements) == 1 else Standing.DISPUTED

    @property
    def label(self) -> str | None:
        """What most say; meaningful once agreed."""
        return Counter(j.label for j in self.judgements).most_common(1)[0][0]

    def passes_of(self, who: str) -> int:
        """How often this person judged it."""
        return sum(judgement.who == who for judgement in self.judgements)


class GoldenLog:
    """The log's content; what is added goes to the disk at once.

    Several people may judge at the same time, each with a log of their own: an addition first takes
    in what the others have added since.
    """

    def __init__(self, path: Path) -> None:
        """Read it; a log that is not there is empty.

        Raises:
            InvalidRows: A line is not one of ours.
        """
        self.path = path
        self.candidates: dict[str, Candidate] = {}
        self._texts: dict[str, str] = {}
        self._whole_bytes = 0
        self._lines = 0
        if path.exists():
            with path.open("rb") as stream:
                self._catch_up(stream)

    def add_rows(self, rows: Iterable[Row]) -> int:
        """Add candidates; a text that is there already is passed over. Returns how many are new."""
        found = list(rows)
        with self._held() as stream:
            events = []
            for row in found:
                if fold(row.text, row.content) not in self._texts and row.id not in self.candidates:
                    events.append({"event": "row", "row": row.model_dump(mode="json")})
                    self._take(events[-1])
            self._append(stream, events)
        return len(events)

    def judge(self, id: str, who: str, label: str | None) -> None:
        """Note a judgement, durably.

        Raises:
            InvalidRows: No candidate has this id.
        """
        with self._held() as stream:
            if id not in self.candidates:
                raise InvalidRows(f"golden: expected the id of a candidate, found {id!r}")
            event = {"event": "judgement", "id": id, "who": who, "label": label}
            self._append(stream, [event])
            self._take(event)

    def find(self, text: str, content: str | None = None) -> Candidate | None:
        """The candidate of a text."""
        id = self._texts.get(fold(text, content))
        return None if id is None else self.candidates[id]

    def _catch_up(self, stream: IO[bytes]) -> None:
        """Take in the whole lines that were not read yet."""
        stream.seek(self._whole_bytes)
        data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._lines += 1
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidRows(
                    f"{self.path}:{self._lines}: expected a candidate or a judgement, found "
                    f"something else ({type(error).__name__}); restore the file from a backup"
                ) from None
        self._whole_bytes += len(whole)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "row":
            row = Row.model_validate(event["row"]).model_copy(update={"origin": Origin.GOLDEN})
            self.candidates[row.id] = Candidate(row)
            self._texts[fold(row.text, row.content)] = row.id
        else:
            judgement = Judgement(event["who"], event["label"])
            self.candidates[event["id"]].judgements.append(judgement)

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        """The file, up to date and nobody else's until it is closed."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._catch_up(stream)
            yield stream

    def _append(self, stream: IO[bytes], events: list[dict[str, Any]]) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = [json.dumps(e | {"utc": now}, ensure_ascii=False) + "\n" for e in events]
        stream.truncate(self._whole_bytes)  # what a power cut tore off a line
        stream.seek(self._whole_bytes)
        stream.write("".join(lines).encode())
        stream.flush()
        os.fsync(stream.fileno())
        self._whole_bytes = stream.tell()
        self._lines += len(lines)
