"""The worker threads that run the model, behind a bounded queue: who waits, and for how long.

A request of many texts is worked off text by text, in turn with the others, so that a batch of 256
cannot keep a single text waiting for minutes; a worker that nobody else needs takes its next text.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge.errors import ClientGone, DeadlineExceeded, EdgeError, NotReady, Overloaded

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
    begun: int = 0
    """Steps that a worker has taken."""
    running: int = 0
    """Steps that are under way."""
    results: dict[int, Result] = field(default_factory=dict)
    """By the number of the step."""
    is_over: bool = False
    """Whether the future has been promised its end, so that nobody ends it twice."""
    future: Future[Outcome[Result]] = field(default_factory=Future)
    is_abandoned: bool = False
    """Set it when nobody waits any more: no further step is begun."""


class Scheduler(Generic[Result]):
    """Runs jobs round-robin by step. All methods may be called from any thread."""

    def __init__(self, queue_size: int, workers: int = 1) -> None:
        """Starts its threads.

        Args:
            queue_size: Jobs that may wait.
            workers: Steps that may run at once.
        """
        self._queue_size = queue_size
        self._jobs: deque[Job[Result]] = deque()  # no step of theirs is under way
        self._going: deque[Job[Result]] = deque()  # some are under way, and more are to come
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_drained = False
        self._steps_started: list[float | None] = [None] * workers
        self._threads = [
            threading.Thread(
                target=self._work, args=(number,), name=f"intentd-model-{number}", daemon=True
            )
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

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
        job.future.set_running_or_notify_cancel()  # only a worker ends it from here on
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
        """Whether every worker lives and no step is stuck."""
        now = time.monotonic()
        are_stuck = [s is not None and now - s > STUCK_AFTER_S for s in self._steps_started]
        return all(thread.is_alive() for thread in self._threads) and not any(are_stuck)

    def close(self, drain_s: float = 0.0) -> None:
        """Take no new job; work for `drain_s` seconds more, then turn the rest away.

        A step that runs cannot be stopped: it gets `LAST_STEP_S` more, then it is given up.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._join(drain_s)
        with self._changed:
            self._is_drained = True
            waiting = [*self._jobs, *self._going]
            self._jobs.clear()
            self._going.clear()
            for job in waiting:
                job.is_over = True
            self._changed.notify_all()
        for job in waiting:
            job.future.set_exception(_stopped())
        self._join(LAST_STEP_S)

    def _join(self, patience_s: float) -> None:
        """Wait for all workers, so long in all."""
        until = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self, worker: int) -> None:
        while (taken := self._take()) is not None:
            job, number = taken
            problem: BaseException | None = _stopped() if self._is_drained else _obstacle(job)
            if problem is None:
                problem = self._run(job, number, worker)
            self._settle(job, problem)

    def _take(self) -> tuple[Job[Result], int] | None:
        """A job and the number of its step whose turn it is; None once closed and empty.

        Who waits for a first step comes before who has one under way.
        """
        with self._changed:
            while not (self._jobs or self._going or self._is_closed):
                self._changed.wait()
            queue = self._jobs or self._going
            if not queue:
                return None
            job = queue.popleft()
            number, job.begun, job.running = job.begun, job.begun + 1, job.running + 1
            job.started = job.started or time.monotonic()
            if job.begun < len(job.steps):
                self._going.append(job)
                self._changed.notify()
            return job, number

    def _run(self, job: Job[Result], number: int, worker: int) -> BaseException | None:
        """Run one step; an error ends the job, never the thread."""
        self._steps_started[worker] = time.monotonic()
        try:
            job.results[number] = job.steps[number]()
        except BaseException as error:  # noqa: BLE001 — the caller's: it gets it from the future
            return error
        finally:
            self._steps_started[worker] = None
        return None

    def _settle(self, job: Job[Result], problem: BaseException | None) -> None:
        """End the job, or let it wait for its next turn."""
        with self._changed:
            job.running -= 1
            is_complete = len(job.results) == len(job.steps)
            is_end = not job.is_over and (problem is not None or is_complete)
            job.is_over = job.is_over or is_end
            if job in self._going and (job.is_over or not job.running):
                self._going.remove(job)
                if not job.is_over:
                    self._jobs.append(job)
        if is_end:
            _end(job, problem)


def _end(job: Job[Result], problem: BaseException | None) -> None:
    if problem is not None:
        job.future.set_exception(problem)
        return
    queue_ms = ((job.started or job.submitted) - job.submitted) * 1e3
    results = tuple(job.results[number] for number in range(len(job.steps)))
    job.future.set_result(Outcome(results, queue_ms))


def _obstacle(job: Job[Result]) -> EdgeError | None:
    """Why no further step of it is to be begun."""
    if job.is_abandoned:
        return ClientGone("the client closed its connection")
    now = time.monotonic()
    if job.deadline is not None and now > job.deadline:
        waited_ms = (now - job.submitted) * 1e3
        return DeadlineExceeded(
            f"the deadline passed {waited_ms:.0f} ms after the request came; allow more"
        )
    return None


def _stopped() -> NotReady:
    return NotReady("the daemon stopped first; try again")
