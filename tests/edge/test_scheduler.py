"""`edge.scheduler` with real threads: fair, bounded, and no caller is ever left waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from edge import scheduler as module
from edge.errors import ClientGone, DeadlineExceeded, EdgeError, NotReady, Overloaded
from edge.scheduler import Job, Outcome, Scheduler

PATIENCE_S = 20.0  # far beyond anything that happens here; reached only by a failure


class Gate:
    """A step that says when it began, and ends when it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.released = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str:
        """Wait to be let go."""
        self.began.set()
        was_released = self.released.wait(PATIENCE_S)
        self.ended.set()
        assert was_released
        return "gate"


@pytest.fixture
def scheduler() -> Iterator[Scheduler[Any]]:
    """A scheduler with room for four; closed at the end."""
    made: Scheduler[Any] = Scheduler(queue_size=4)
    yield made
    made.close()
    assert not made.is_healthy()


@pytest.fixture
def gate(scheduler: Scheduler[Any]) -> Iterator[Gate]:
    """A step that occupies the worker until it is let go, at the latest by the end of the test."""
    blocking = Gate()
    scheduler.submit([blocking])
    assert blocking.began.wait(PATIENCE_S)
    yield blocking
    blocking.released.set()


def result(job: Job[Any]) -> tuple[Any, ...]:
    """The job's results, once it has them."""
    return job.future.result(PATIENCE_S).results


def error(job: Job[Any]) -> BaseException | None:
    """The job's error, once it is known; None for a job that went well."""
    return job.future.exception(PATIENCE_S)


def wait_for(condition: Callable[[], bool]) -> None:
    """Look until it holds."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "the condition never held"
        time.sleep(0.001)


def record(log: list[str], *names: str) -> list[Callable[[], str]]:
    """Steps that write their names to the log, and return them."""

    def step(name: str) -> str:
        log.append(name)
        return name

    return [lambda name=name: step(name) for name in names]  # type: ignore[misc]  # bound early


def test_results_come_in_the_order_of_the_steps(scheduler: Scheduler[Any]) -> None:
    """One result a step, and the time that the job waited."""
    job = scheduler.submit(record([], "a", "b", "c"))
    outcome = job.future.result(PATIENCE_S)

    assert outcome == Outcome(("a", "b", "c"), outcome.queue_ms)
    assert outcome.queue_ms >= 0


def test_the_wait_is_counted_until_the_first_step(scheduler: Scheduler[Any], gate: Gate) -> None:
    """What happens between two steps is not queueing any more."""
    first = Gate()
    job = scheduler.submit([first, *record([], "second")])
    waited_from = time.monotonic()
    wait_for(lambda: time.monotonic() - waited_from > 0.005)
    gate.released.set()
    assert first.began.wait(PATIENCE_S)
    began = job.started or 0.0
    first.released.set()

    assert job.future.result(PATIENCE_S).queue_ms == (began - job.submitted) * 1e3 > 5


def test_a_job_of_many_steps_does_not_keep_a_short_one_waiting(
    scheduler: Scheduler[Any], gate: Gate
) -> None:
    """Jobs take turns, step by step."""
    log: list[str] = []
    long = scheduler.submit(record(log, "l1", "l2", "l3", "l4"))
    middle = scheduler.submit(record(log, "m1", "m2"))
    short = scheduler.submit(record(log, "s1"))
    gate.released.set()

    assert [result(job) for job in (short, middle, long)] == [
        ("s1",),
        ("m1", "m2"),
        ("l1", "l2", "l3", "l4"),
    ]
    assert log == ["l1", "m1", "s1", "l2", "m2", "l3", "l4"]


def test_a_job_that_comes_while_a_long_one_runs_is_next(scheduler: Scheduler[Any]) -> None:
    """A batch that has begun gives way after the step that it is at."""
    log: list[str] = []
    first = Gate()
    long = scheduler.submit([first, *record(log, "l2", "l3")])
    assert first.began.wait(PATIENCE_S)
    short = scheduler.submit(record(log, "s1"))
    first.released.set()

    assert result(short) == ("s1",)
    assert result(long) == ("gate", "l2", "l3")
    assert log == ["s1", "l2", "l3"]


def test_a_full_queue_turns_the_next_one_away_at_once(
    scheduler: Scheduler[Any], gate: Gate
) -> None:
    """Those that wait are served; the one too many hears so without waiting."""
    waiting = [scheduler.submit(record([], str(i))) for i in range(4)]
    assert scheduler.depth == 4

    with pytest.raises(Overloaded, match="4 requests wait already"):
        scheduler.submit(record([], "late"))

    gate.released.set()
    assert [result(job) for job in waiting] == [(str(i),) for i in range(4)]
    assert result(scheduler.submit(record([], "again"))) == ("again",)
    assert scheduler.depth == 0


def test_a_job_whose_deadline_passed_in_the_queue_is_not_begun(
    scheduler: Scheduler[Any], gate: Gate
) -> None:
    """Work that is of no use any more is not done; the next one is."""
    log: list[str] = []
    late = scheduler.submit(record(log, "late"), deadline_ms=1)
    patient = scheduler.submit(record(log, "patient"), deadline_ms=600_000)
    wait_for(lambda: time.monotonic() > (late.deadline or 0))
    gate.released.set()

    assert isinstance(error(late), DeadlineExceeded)
    assert result(patient) == ("patient",)
    assert log == ["patient"]


def test_the_deadline_is_looked_at_before_every_step(scheduler: Scheduler[Any]) -> None:
    """A batch stops in its middle."""
    log: list[str] = []
    first = Gate()
    job = scheduler.submit([first, *record(log, "second")], deadline_ms=50)
    assert first.began.wait(PATIENCE_S)
    wait_for(lambda: time.monotonic() > (job.deadline or 0))
    first.released.set()

    assert isinstance(error(job), DeadlineExceeded)
    assert log == []


def test_an_abandoned_job_is_dropped(scheduler: Scheduler[Any], gate: Gate) -> None:
    """Nobody waits for it, so no step of it is begun; its place in the queue is free again."""
    log: list[str] = []
    jobs = [scheduler.submit(record(log, str(i))) for i in range(4)]
    for job in jobs[:3]:
        job.is_abandoned = True
    gate.released.set()

    assert [type(error(job)) for job in jobs[:3]] == [ClientGone] * 3
    assert result(jobs[3]) == ("3",)
    assert log == ["3"]


def test_a_job_abandoned_in_its_middle_goes_no_further(scheduler: Scheduler[Any]) -> None:
    """The step that runs ends; the next is not begun."""
    log: list[str] = []
    first = Gate()
    job = scheduler.submit([first, *record(log, "second")])
    assert first.began.wait(PATIENCE_S)
    job.is_abandoned = True
    first.released.set()

    assert isinstance(error(job), ClientGone)
    assert log == []


@pytest.mark.parametrize(
    "raised", [ValueError("x"), MemoryError(), SystemExit(1), KeyboardInterrupt()]
)
def test_an_error_in_a_step_ends_that_job_alone(
    scheduler: Scheduler[Any], gate: Gate, raised: BaseException
) -> None:
    """Whatever a step raises, its caller gets it, and the thread lives on for the others."""
    log: list[str] = []

    def fail() -> str:
        raise raised

    failing = scheduler.submit([*record(log, "f1"), fail, *record(log, "f3")])
    other = scheduler.submit(record(log, "o1", "o2", "o3"))
    gate.released.set()

    assert error(failing) is raised
    assert result(other) == ("o1", "o2", "o3")
    assert "f3" not in log
    assert scheduler.is_healthy()


def test_a_future_cannot_be_cancelled_from_outside(scheduler: Scheduler[Any], gate: Gate) -> None:
    """Only the worker ends it: a cancelled future would break the worker that sets its result."""
    job = scheduler.submit(record([], "a"))

    assert not job.future.cancel()
    gate.released.set()
    assert result(job) == ("a",)


def close_in_background(scheduler: Scheduler[Any], drain_s: float) -> threading.Thread:
    """A thread that closes the scheduler."""
    closing = threading.Thread(target=scheduler.close, args=(drain_s,))
    closing.start()
    return closing


def is_closed(scheduler: Scheduler[Any]) -> bool:
    """Whether a new job is refused because of the stop."""
    try:
        scheduler.submit(record([], "late"))
    except NotReady:
        return True
    except Overloaded:
        return False
    return False


def test_closing_finishes_what_waits_and_takes_nothing_new(
    scheduler: Scheduler[Any], gate: Gate
) -> None:
    """Within the drain time everything that was accepted is answered."""
    jobs = [scheduler.submit(record([], f"{i}a", f"{i}b")) for i in range(4)]
    closing = close_in_background(scheduler, PATIENCE_S)
    wait_for(lambda: is_closed(scheduler))
    gate.released.set()
    closing.join(PATIENCE_S)

    assert [result(job) for job in jobs] == [(f"{i}a", f"{i}b") for i in range(4)]
    with pytest.raises(NotReady, match="stopping"):
        scheduler.submit(record([], "late"))


def test_after_the_drain_time_the_rest_is_turned_away_at_once(
    scheduler: Scheduler[Any], gate: Gate
) -> None:
    """Those that wait hear it before the step that runs has ended."""
    log: list[str] = []
    jobs = [scheduler.submit(record(log, str(i))) for i in range(3)]
    closing = close_in_background(scheduler, 0.0)

    assert [type(error(job)) for job in jobs] == [NotReady] * 3
    assert not gate.released.is_set()
    gate.released.set()
    closing.join(PATIENCE_S)
    assert log == []


def test_a_batch_in_its_middle_is_turned_away_too(scheduler: Scheduler[Any]) -> None:
    """The step that runs ends, the batch does not go on."""
    log: list[str] = []
    first = Gate()
    job = scheduler.submit([first, *record(log, "second")])
    assert first.began.wait(PATIENCE_S)
    waiting = scheduler.submit(record(log, "waiting"))
    closing = close_in_background(scheduler, 0.0)
    assert isinstance(error(waiting), NotReady)
    first.released.set()
    closing.join(PATIENCE_S)

    assert isinstance(error(job), NotReady)
    assert log == []


def test_closing_gives_up_on_a_stuck_step(
    scheduler: Scheduler[Any], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that never ends must not keep the daemon from stopping."""
    waiting = scheduler.submit(record([], "waiting"))
    monkeypatch.setattr(module, "STUCK_AFTER_S", 0.01)

    scheduler.close(0.0)

    assert isinstance(error(waiting), NotReady)
    assert not gate.ended.is_set()


def test_closing_twice_is_closing_once(scheduler: Scheduler[Any]) -> None:
    """Signals may come in pairs."""
    assert result(scheduler.submit(record([], "a"))) == ("a",)
    scheduler.close(PATIENCE_S)
    scheduler.close(PATIENCE_S)

    assert is_closed(scheduler)


def test_health_tells_a_stuck_step_from_a_busy_one(
    scheduler: Scheduler[Any], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may take long; beyond the bound the watchdog shall restart the daemon."""
    assert scheduler.is_healthy()
    monkeypatch.setattr(module, "STUCK_AFTER_S", 0.0)
    wait_for(lambda: not scheduler.is_healthy())
    gate.released.set()

    wait_for(scheduler.is_healthy)


def test_an_idle_scheduler_is_healthy_until_it_is_closed() -> None:
    """Without work there is nothing to be stuck in; without a thread nothing works."""
    scheduler: Scheduler[Any] = Scheduler(1)
    assert scheduler.is_healthy()
    scheduler.close()

    assert not scheduler.is_healthy()


def test_steps_of_two_jobs_run_at_once_where_there_are_two_workers() -> None:
    """Neither waits for the other."""
    scheduler: Scheduler[Any] = Scheduler(4, workers=2)
    one, two = Gate(), Gate()
    jobs = [scheduler.submit([one]), scheduler.submit([two])]
    assert one.began.wait(PATIENCE_S)
    assert two.began.wait(PATIENCE_S)
    one.released.set()
    two.released.set()

    assert [result(job) for job in jobs] == [("gate",), ("gate",)]
    scheduler.close()


def test_a_batch_takes_the_workers_that_nobody_else_needs() -> None:
    """And its results keep the order of its steps, whichever ends first."""
    scheduler: Scheduler[Any] = Scheduler(4, workers=2)
    first = Gate()
    job = scheduler.submit([first, *record([], "second", "third")])
    assert first.began.wait(PATIENCE_S)
    wait_for(lambda: len(job.results) == 2)
    first.released.set()

    assert result(job) == ("gate", "second", "third")
    scheduler.close()


def test_a_batch_gives_way_also_where_there_are_two_workers() -> None:
    """Who waits for a first step comes before the next step of what is under way."""
    scheduler: Scheduler[Any] = Scheduler(4, workers=2)
    log: list[str] = []
    one, two = Gate(), Gate()
    long = scheduler.submit([one, two, *record(log, "l3", "l4")])
    assert one.began.wait(PATIENCE_S)
    assert two.began.wait(PATIENCE_S)
    short = scheduler.submit(record(log, "s1"))
    assert scheduler.depth == 1
    two.released.set()

    assert result(short) == ("s1",)
    one.released.set()
    assert result(long) == ("gate", "gate", "l3", "l4")
    assert log[0] == "s1"
    scheduler.close()


def test_an_error_ends_a_batch_whose_other_step_is_under_way() -> None:
    """What the other step says is of no use any more, and ends nothing twice."""
    scheduler: Scheduler[Any] = Scheduler(4, workers=2)
    log: list[str] = []
    gate, problem = Gate(), LookupError("x")

    def fail() -> str:
        raise problem

    job = scheduler.submit([gate, fail, *record(log, "third")])
    assert error(job) is problem
    gate.released.set()
    wait_for(lambda: job.running == 0)
    assert result(scheduler.submit(record([], "next"))) == ("next",)
    assert log == []
    assert scheduler.is_healthy()
    scheduler.close()


class Crowd:
    """Threads that submit jobs of all kinds, and keep what was accepted."""

    def __init__(self, scheduler: Scheduler[Any], seed: int, at_once: int) -> None:
        self._scheduler = scheduler
        self._seed = seed
        self._so_many_at_a_time = threading.BoundedSemaphore(at_once)
        self.accepted: list[tuple[tuple[Any, ...], Job[Any]]] = []
        self.refused: list[EdgeError] = []
        self.collisions = 0

    def run(self, threads: int, jobs: int, close_after: int) -> None:
        """Submit from several threads, and close the scheduler while they are at it."""
        members = [
            threading.Thread(target=self._submit_many, args=(number, jobs))
            for number in range(threads)
        ]
        for member in members:
            member.start()
        wait_for(
            lambda: len(self.accepted) >= close_after or not any(m.is_alive() for m in members)
        )
        self._scheduler.close(0.0)
        for member in members:
            member.join(PATIENCE_S)

    def _submit_many(self, number: int, jobs: int) -> None:
        chance = random.Random(self._seed * 100 + number)
        for job in range(jobs):
            values = tuple((number, job, step) for step in range(chance.randint(1, 4)))
            steps = [self._step(value, chance.random() < 0.05) for value in values]
            deadline_ms = 1 if chance.random() < 0.1 else None
            try:
                accepted = self._scheduler.submit(steps, deadline_ms)
            except (Overloaded, NotReady) as error:
                self.refused.append(error)
                continue
            accepted.is_abandoned = chance.random() < 0.1
            self.accepted.append((values, accepted))

    def _step(self, value: Any, fails: bool) -> Callable[[], Any]:
        def step() -> Any:
            if not self._so_many_at_a_time.acquire(blocking=False):
                self.collisions += 1
                return value
            try:
                if fails:
                    raise LookupError(value)
                return value
            finally:
                self._so_many_at_a_time.release()

        return step


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_no_caller_is_ever_left_waiting(seed: int, workers: int) -> None:
    """Under a storm with errors, deadlines, absconders and a stop, every accepted job ends."""
    scheduler: Scheduler[Any] = Scheduler(8, workers)
    crowd = Crowd(scheduler, seed, workers)

    crowd.run(threads=4, jobs=60, close_after=seed * 12)

    assert crowd.collisions == 0
    assert scheduler.depth == 0
    assert len(crowd.accepted) + len(crowd.refused) == 4 * 60
    for values, job in crowd.accepted:
        future: Future[Outcome[Any]] = job.future
        assert future.done(), "an accepted job was forgotten"
        problem = future.exception()
        if problem is None:
            assert future.result().results == values
        else:
            assert isinstance(problem, (ClientGone, DeadlineExceeded, NotReady, LookupError))
