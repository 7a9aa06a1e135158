"""The prediction log, predictions.db: relaxed, bounded, and never in the way of an answer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from edge.errors import StoreUnavailable
from edge.store.database import Database, checkpoint, transaction
from edge.store.erasing import empty_log, with_room
from edge.store.keys import override_key
from edge.store.place import (
    Reserve,
    filesystem_type,
    lock_directory,
    prepare_directory,
    refuse_network,
)
from edge.store.prediction_opening import (
    forget_texts,
    open_log,
    remove_log,
    reopen_scrubbed,
)
from edge.store.prediction_rows import (
    delete_rows,
    find_row,
    forget,
    insert_rows,
    recent_rows,
)
from edge.store.recording import now_ms
from edge.store.records import Override, PredictionRow, ReviewItem
from edge.store.reviewing import choose, mark_reviewed
from edge.store.writer import Writer
from edge.text import normalize

__all__ = ["Mode", "PredictionLog"]

log = logging.getLogger("intentd.store")

Mode = Literal["text", "hash", "off"]
Items = list[ReviewItem]
Result = TypeVar("Result")
DATABASE = "predictions.db"
FLUSH_S = 5.0
FORGET_EVERY_S = 6 * 3600.0  # so that old texts go even when nothing is classified
FOLD_EVERY_S = 3600.0  # what was forgotten stands in the files until the log is folded in
DAY_MS = 86_400_000
MAX_PENDING = 2048  # rows
MAX_PENDING_CHARS = 8 * 2**20
FLUSH_AT = 512  # rows
MAX_TEXT_CHARS = 64 * 1024  # a longer text is not kept; its key is


class PredictionLog:
    """What was answered, for a while. All methods may be called from any thread; none blocks."""

    def __init__(self, directory: Path, mode: Mode, days: int, max_bytes: int) -> None:
        self._directory, self._mode = directory, mode
        self._days, self._max_bytes = days, max_bytes
        self._path = directory / DATABASE
        self._reserve = Reserve(directory)
        self._guard = threading.Lock()
        self._pending: dict[str, PredictionRow] = {}
        self._chars = 0
        self._dropped = 0
        self._reviewed: set[str] = set()
        self._fold_at: float | None = 0.0
        """When to fold the log in, on the monotonic clock; None if nothing was forgotten."""
        self._lock: int | None = None
        self._writer = None if mode == "off" else self._start()
        if mode == "off":
            self._remove()

    def _start(self) -> Writer:
        return Writer(
            self._open,
            self._tidy,
            name="intentd-predictions",
            idle_s=FLUSH_S,
            every_s=FORGET_EVERY_S,
        )

    @classmethod
    def open(
        cls, directory: Path, mode: Mode = "text", days: int = 30, max_bytes: int = 64 * 2**20
    ) -> PredictionLog:
        """Open or create `directory`/predictions.db. Never raises.

        Args:
            directory: The state directory.
            mode: "text" keeps texts; "hash" only their keys (and forgets texts kept before); "off"
                keeps nothing (and removes what was kept before).
            days: Rows older than this are deleted.
            max_bytes: The oldest rows are deleted when the rows take more than this.
        """
        return cls(directory, mode, days, max_bytes)

    @property
    def dropped(self) -> int:
        """Rows that were not kept because the disk was too slow or unwilling."""
        return self._dropped

    def add(self, row: PredictionRow) -> None:
        """Keep a row, soon. Never blocks, never raises; drops and counts where it cannot."""
        if self._writer is None:
            return
        row = self._reduce(row)
        with self._guard:
            is_full = len(self._pending) >= MAX_PENDING or self._chars >= MAX_PENDING_CHARS
            if is_full:
                self._dropped += 1
            else:
                self._pending[row.id] = row
                self._chars += _chars(row)
            is_many = len(self._pending) == FLUSH_AT
        if is_many:
            self._writer.call(self._flush)
        else:
            self._writer.touch()

    def find(self, id: str) -> Future[PredictionRow | None]:
        """The row, flushed or not; None if it is not kept (any more)."""
        with self._guard:
            pending = self._pending.get(id)
        if pending is not None:
            return _done(pending)
        return self._call(lambda db: find_row(db, id), None)

    def review(
        self, limit: int = 20, overrides: Iterable[Override] = ()
    ) -> Future[list[ReviewItem]]:
        """What a person should look at next, one row a text, at most `limit`.

        Args:
            limit: How many.
            overrides: What people said already (`CorrectionStore.overrides()`): such a text is
                shown only where the model says something else.
        """
        said = tuple(overrides)
        return self._call(lambda db: self._review(db, limit, said), [])

    def recent(self, limit: int) -> Future[list[PredictionRow]]:
        """The newest answers whose text is kept, the newest first, one a text and label set."""
        return self._call(lambda db: self._recent(db, limit), [])

    def mark_reviewed(self, ids: Iterable[str]) -> None:
        """Take these, and older rows of the same texts, out of the review, with the next flush."""
        if self._writer is None:
            return
        with self._guard:
            if len(self._reviewed) < MAX_PENDING:
                self._reviewed.update(ids)
        self._writer.touch()

    def flush(self) -> Future[None]:
        """Write now what waits to be written."""
        return self._call(self._flush, None)

    def erase(
        self,
        ids: Iterable[str] = (),
        *,
        text_keys: Iterable[bytes] = (),
        text: str | None = None,
    ) -> Future[int]:
        """Erase rows for good, by id, by key, or by text or content; returns how many.

        In mode "hash" `text` finds only predictions that were made without a content.
        """
        keys = [*text_keys, *([] if text is None else [override_key(text, None)])]
        unwanted = _Unwanted(frozenset(ids), frozenset(keys), text)
        return self._call(lambda db: self._erase(db, unwanted), 0)

    def close(self) -> None:
        """Flush and close. Safe to call twice."""
        if self._writer is not None:
            self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _call(self, work: Callable[[Database], Result], otherwise: Result) -> Future[Result]:
        return _done(otherwise) if self._writer is None else self._writer.call(work)

    def _reduce(self, row: PredictionRow) -> PredictionRow:
        is_long = len(row.text or "") + len(row.content or "") > MAX_TEXT_CHARS
        return replace(row, text=None, content=None) if is_long or self._mode == "hash" else row

    def _open(self) -> Database:
        prepare_directory(self._directory)
        refuse_network(filesystem_type(self._directory), self._directory)
        if self._lock is None:
            self._lock = lock_directory(self._directory, "predictions")
        db = open_log(self._path)
        if self._mode == "hash" and forget_texts(db):
            db.close()
            return reopen_scrubbed(self._path)
        return db

    def _remove(self) -> None:
        """What was kept before goes, unless another daemon is keeping it."""
        if not self._path.exists():
            return
        try:
            self._lock = lock_directory(self._directory, "predictions")
            remove_log(self._path)
        except (OSError, StoreUnavailable) as error:
            log.warning("%s: the answers kept before are still there: %s", self._path, error)

    def _flush(self, db: Database) -> None:
        with self._guard:
            rows, reviewed = list(self._pending.values()), tuple(self._reviewed)
        with transaction(db):
            insert_rows(db, rows)
            mark_reviewed(db, reviewed)
            forgotten = forget(db, now_ms() - self._days * DAY_MS, self._max_bytes)
        if forgotten and self._fold_at is None:
            self._fold_at = time.monotonic() + FOLD_EVERY_S
        with self._guard:
            self._reviewed.difference_update(reviewed)
            for row in rows:
                self._discard(row.id)

    def _tidy(self, db: Database) -> None:
        """Flush; and see to it that what was forgotten leaves the files too."""
        self._flush(db)
        if self._fold_at is not None and time.monotonic() >= self._fold_at and checkpoint(db):
            self._scrub()
            self._fold_at = None

    def _discard(self, id: str) -> None:
        row = self._pending.pop(id, None)
        self._chars -= 0 if row is None else _chars(row)

    def _review(self, db: Database, limit: int, said: tuple[Override, ...]) -> Items:
        self._flush(db)
        return choose(db, limit, said)

    def _recent(self, db: Database, limit: int) -> list[PredictionRow]:
        self._flush(db)
        return recent_rows(db, limit)

    def _erase(self, db: Database, unwanted: _Unwanted) -> int:
        with self._guard:  # not flushed first: on a full disk they could not be
            found = [row.id for row in self._pending.values() if unwanted.names(row)]
            for id in found:
                self._discard(id)
        deleted = with_room(self._reserve, lambda: _delete(db, unwanted))
        empty_log(db, self._path, self._reserve)
        self._scrub()
        return deleted + len(found)

    def _scrub(self) -> None:
        if self._writer is not None:
            self._writer.renew(lambda: reopen_scrubbed(self._path))


@dataclass(frozen=True, slots=True)
class _Unwanted:
    ids: frozenset[str]
    text_keys: frozenset[bytes]
    text: str | None

    def names(self, row: PredictionRow) -> bool:
        is_named = row.id in self.ids or row.text_key in self.text_keys
        return is_named or self.is_text(row.text) or self.is_text(row.content)

    def is_text(self, text: str | None) -> bool:
        if text is None or self.text is None:
            return False
        return normalize(text) == normalize(self.text)


def _delete(db: Database, unwanted: _Unwanted) -> int:
    is_text = None if unwanted.text is None else unwanted.is_text
    with transaction(db):
        return delete_rows(db, unwanted.ids, unwanted.text_keys, is_text)


def _chars(row: PredictionRow) -> int:
    return len(row.text or "") + len(row.content or "")


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future
