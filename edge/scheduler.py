"""One worker thread that runs the model, behind a bounded queue: who waits, and for how long.

A request of many texts is worked off one text at a time, in turn with the others, so that a batch
of 256 cannot keep a single text waiting for minutes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge.errors import ClientGone, DeadlineExceeded, NotReady, Overloaded

__all__ = ["Job", "Outcome", "Scheduler"]

Result = TypeVar("Result")
LAST_STEP_S = 5.0
STUCK_AFTER_S = 120.0  # longer than any run on the slowest CPU this is made for


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """A finished job."""

    results: tuple[Result, ...]
    """One for each step, in the order of the steps."""
    queue_ms: float
    """From submission until the first step began."""


@dataclass(slots=True)
class Job(Generic[Result]):
    """The steps of one request, and the future that gets their results."""

    steps: Sequence[Callable[[], Result]]
    deadline: float | None
    """On `time.monotonic()`; checked before each step."""
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    results: list[Result] = field(default_factory=list)
    future: Future[Outcome[Result]] = field(default_factory=Future)
    is_abandoned: bool = False
    """Set it when nobody waits any more: no further step is begun."""


class Scheduler(Generic[Result]):
    """Runs jobs on one thread, round-robin by step. All methods may be called from any thread."""

    def __init__(self, queue_size: int) -> None:
        self._queue_size = queue_size
        self._jobs: deque[Job[Result]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_drained = False
        self._step_started: float | None = None
        self._thread = threading.Thread(target=self._work, name="intentd-model", daemon=True)
        self._thread.start()

    def submit(
        self, steps: Sequence[Callable[[], Result]], deadline_ms: int | None = None
    ) -> Job[Result]:
        """Queue a job.

        Args:
            steps: What to run, in order; at least one.
            deadline_ms: Milliseconds from now after which no further step is begun.

        Raises:
            Overloaded: The queue is full.
            NotReady: The scheduler is closed.
        """
        deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1e3
        job = Job(steps, deadline)
        job.future.set_running_or_notify_cancel()  # only the worker ends it from here on
        with self._changed:
            if self._is_closed:
                raise NotReady("the daemon is stopping; try again when it is back")
            if len(self._jobs) >= self._queue_size:
                raise Overloaded(
                    f"{len(self._jobs)} requests wait already, which is the limit; try again later"
                )
            self._jobs.append(job)
            self._changed.notify()
        return job

    @property
    def depth(self) -> int:
        """Jobs that wait for their first or next step."""
        return len(self._jobs)

    def is_healthy(self) -> bool:
        """Whether the worker lives and no step is stuck."""
        started = self._step_started
        is_stuck = started is not None and time.monotonic() - started > STUCK_AFTER_S
        return self._thread.is_alive() and not is_stuck

    def close(self, drain_s: float = 0.0) -> None:
        """Take no new job; work for `drain_s` seconds more, then turn the rest away.

        A step that runs cannot be stopped: it gets `LAST_STEP_S` more, then it is given up.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(drain_s)
        with self._changed:
            self._is_drained = True
            waiting = list(self._jobs)
            self._jobs.clear()
        for job in waiting:
            _turn_away(job)
        self._thread.join(LAST_STEP_S)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if self._is_drained:
                _turn_away(job)
            elif self._advance(job):
                with self._changed:
                    self._jobs.append(job)

    def _next(self) -> Job[Result] | None:
        """The job whose turn it is; waits for one. None once closed and empty."""
        with self._changed:
            while not self._jobs and not self._is_closed:
                self._changed.wait()
            return self._jobs.popleft() if self._jobs else None

    def _advance(self, job: Job[Result]) -> bool:
        """Run one step; True if more are to come. An error ends the job, never the thread."""
        now = time.monotonic()
        if job.is_abandoned:
            job.future.set_exception(ClientGone("the client closed its connection"))
            return False
        if job.deadline is not None and now > job.deadline:
            waited_ms = (now - job.submitted) * 1e3
            message = f"the deadline passed {waited_ms:.0f} ms after the request came; allow more"
            job.future.set_exception(DeadlineExceeded(message))
            return False
        job.started = job.started or now
        self._step_started = now
        try:
            job.results.append(job.steps[len(job.results)]())
        except BaseException as error:  # noqa: BLE001 — the caller's: it gets it from the future
            job.future.set_exception(error)
            return False
        finally:
            self._step_started = None
        if len(job.results) < len(job.steps):
            return True
        queue_ms = (job.started - job.submitted) * 1e3
        job.future.set_result(Outcome(tuple(job.results), queue_ms))
        return False


def _turn_away(job: Job[Result]) -> None:
    job.future.set_exception(NotReady("the daemon stopped first; try again"))
