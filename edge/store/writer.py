"""The one thread that a database belongs to: it opens, writes in groups, tidies up, and reopens.

While one group is being synced to the disk the next one gathers, so that many writers share an
fsync. Nothing is ever acknowledged before its commit has returned.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from edge.errors import EdgeError, StoreUnavailable
from edge.store.database import Database, error_name, sqlite3, transaction

__all__ = ["DiskFull", "Work", "Writer"]

Result = TypeVar("Result")
Work = Callable[[Database], Result]
MAX_WAITING = 4096
MAX_GROUP = 256
RETRY_S = 1.0  # between two attempts to open what could not be opened
MISTAKES = (  # of whoever asked, not of the disk
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class DiskFull(StoreUnavailable):
    """There is no room on the disk."""


@dataclass(slots=True)
class _Job(Generic[Result]):
    work: Work[Result]
    is_write: bool
    after: Callable[[Result], object] | None
    future: Future[Result] = field(default_factory=Future)

    def succeed(self, result: Result) -> None:
        if self.after is not None:
            self.after(result)
        self.future.set_result(result)


class Writer:
    """Runs work on one database. All methods may be called from any thread; none blocks.

    Args:
        open: Opens the database, in the writer's own thread; may raise.
        tidy: Called when nothing was asked for `idle_s` after a write, and every `every_s`.
        name: Of the thread.
        idle_s: Seconds.
        every_s: Seconds.
    """

    def __init__(
        self,
        open: Callable[[], Database],
        tidy: Callable[[Database], object],
        *,
        name: str,
        idle_s: float,
        every_s: float = math.inf,
    ) -> None:
        self._open, self._tidy = open, tidy
        self._idle_s, self._every_s = idle_s, every_s
        self._db: Database | None = None
        self._due = math.inf
        self._retry_at = 0.0
        self._jobs: deque[_Job[Any]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self.problem: StoreUnavailable | None = None
        """Why the last write or opening failed; None after one that did not."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def write(
        self, work: Work[Result], after: Callable[[Result], object] | None = None
    ) -> Future[Result]:
        """Run `work` in a transaction that it may share; the future ends after the commit.

        Args:
            work: May raise an `EdgeError`, before it has written anything.
            after: Called with the result in the writer's thread, just before the future ends.
        """
        return self._submit(_Job(work, True, after))

    def call(
        self, work: Work[Result], after: Callable[[Result], object] | None = None
    ) -> Future[Result]:
        """Run `work` outside any transaction: a read, or something with transactions of its own."""
        return self._submit(_Job(work, False, after))

    def touch(self) -> None:
        """Ask for `tidy` within `idle_s`, if it is not due already."""
        with self._changed:
            due = time.monotonic() + self._idle_s
            if due < self._due:
                self._due = due
                self._changed.notify()

    def renew(self, open: Callable[[], Database]) -> None:
        """Close the database and go on with what `open` returns; only from within work.

        Should that fail, the next request opens it as always.
        """
        self._drop()
        self._db = open()

    def close(self) -> None:
        """Finish what was asked, tidy up, close the database. Safe to call twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, job: _Job[Result]) -> Future[Result]:
        with self._changed:
            if self._is_closed or len(self._jobs) >= MAX_WAITING:
                why = "is closed" if self._is_closed else "is behind: the disk is too slow"
                job.future.set_exception(StoreUnavailable(f"the store {why}; try again"))
                return job.future
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _run(self) -> None:
        try:
            self._serve()
        finally:  # also after a bug: whoever waits must be told, and nobody else let in
            with self._changed:
                self._is_closed = True
                left, self._jobs = self._jobs, deque()
            for job in left:
                job.future.set_exception(StoreUnavailable("the store has stopped; start again"))

    def _serve(self) -> None:
        self._put_off(self._every_s)
        self._try(self._opened)
        while True:
            jobs = self._next()
            if jobs is None:
                break
            if not jobs:
                self._run_tidy()
            self._run_jobs(jobs)
        self._run_tidy()
        self._drop()

    def _next(self) -> list[_Job[Any]] | None:
        """What waits; an empty list when it is time to tidy up; None when it is time to go."""
        with self._changed:
            while not self._jobs:
                patience = self._due - time.monotonic()
                if self._is_closed:
                    return None
                if patience <= 0:
                    return []
                self._changed.wait(None if math.isinf(patience) else patience)
            group = min(len(self._jobs), MAX_GROUP)
            return [self._jobs.popleft() for _ in range(group)]

    def _run_tidy(self) -> None:
        self._put_off(self._every_s)
        self._try(lambda: self._tidy(self._opened()))

    def _put_off(self, by_s: float) -> None:
        with self._changed:
            self._due = time.monotonic() + by_s

    def _run_jobs(self, jobs: list[_Job[Any]]) -> None:
        running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        for job in running:
            if not job.is_write:
                self._run_alone(job)
        writes = [job for job in running if job.is_write]
        if writes:
            self._run_group(writes)
            self._put_off(self._idle_s)

    def _run_alone(self, job: _Job[Any]) -> None:
        try:
            result = job.work(self._opened())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            job.future.set_exception(self._explain(error))
        else:
            job.succeed(result)

    def _run_group(self, jobs: list[_Job[Any]]) -> None:
        outcomes: list[tuple[_Job[Any], Any, EdgeError | None]] = []
        try:
            db = self._opened()
            with transaction(db):
                outcomes = [(job, *_attempt(job, db)) for job in jobs]
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            self._settle_failed_group(jobs, error)
            return
        self.problem = None
        for job, result, refusal in outcomes:
            if refusal is None:
                job.succeed(result)
            else:
                job.future.set_exception(refusal)

    def _settle_failed_group(self, jobs: list[_Job[Any]], error: Exception) -> None:
        """One by one where only some of them may be at fault; nothing of the group was kept."""
        explained = self._explain(error)
        if len(jobs) > 1 and self._db is not None:
            for job in jobs:
                self._run_group([job])
            return
        for job in jobs:
            job.future.set_exception(explained)

    def _explain(self, error: Exception) -> Exception:
        """The error as the caller gets it; a connection that is in doubt is given up."""
        if isinstance(error, StoreUnavailable):
            self.problem = error
        if not isinstance(error, sqlite3.Error | OSError) or isinstance(error, MISTAKES):
            return error
        if error_name(error) != "SQLITE_FULL":
            self._drop()
        self.problem = _unavailable(error)
        return self.problem

    def _opened(self) -> Database:
        if self._db is None:
            if self.problem is not None and time.monotonic() < self._retry_at:
                raise type(self.problem)(str(self.problem))
            try:
                self._db = self._open()
            except BaseException:
                self._retry_at = time.monotonic() + RETRY_S
                raise
            self.problem = None
        return self._db

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a thread without the store must live on
            self._explain(error)


def _attempt(job: _Job[Any], db: Database) -> tuple[Any, EdgeError | None]:
    try:
        return job.work(db), None
    except EdgeError as refusal:
        return None, refusal


def _unavailable(error: Exception) -> StoreUnavailable:
    """What the disk or SQLite said, as an error for people; never holds a text."""
    name = error_name(error) or type(error).__name__
    if name == "SQLITE_FULL" or getattr(error, "errno", None) == errno.ENOSPC:
        return DiskFull(
            "expected room on the disk, found it full; free some space: writing goes on by itself"
        )
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        advice = "check the disk and the permissions of state_dir"
    else:
        advice = "the next request opens the store again"
    detail = str(error) if isinstance(error, sqlite3.Error) else getattr(error, "strerror", "")
    return StoreUnavailable(f"expected a working store, found {name} ({detail}); {advice}")
