"""The writer's thread: groups, refusals inside a group, and a database that will not open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.errors import KeyReused, StoreUnavailable
from edge.store.database import Database, connect, sqlite3
from edge.store.place import create_private
from edge.store.writer import DiskFull, Writer

INSERT = "INSERT INTO t VALUES (?)"


def opener(path: Path) -> Callable[[], Database]:
    """What opens a database with one table."""

    def open() -> Database:
        create_private(path)
        db = connect(path, "FULL")
        db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER UNIQUE) STRICT")
        return db

    return open


@contextmanager
def running(open: Callable[[], Database], tidy: object = lambda _: None) -> Iterator[Writer]:
    """A writer that is closed at the end."""
    writer = Writer(open, tidy, name="test", idle_s=0.01)  # type: ignore[arg-type]  # a function
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def held(writer: Writer) -> Iterator[None]:
    """The writer is busy for the length of the block, so that what is asked gathers."""
    go = threading.Event()
    writer.call(lambda _: go.wait(10))
    try:
        yield
    finally:
        go.set()


def insert(number: object) -> Callable[[Database], None]:
    """Work that inserts a number."""

    def work(db: Database) -> None:
        db.conn.execute(INSERT, (number,))

    return work


def numbers(writer: Writer) -> list[int]:
    """What is in the table."""
    rows = writer.call(lambda db: db.execute("SELECT a FROM t ORDER BY a").fetchall()).result()
    return [row[0] for row in rows]


def test_what_gathers_is_committed_together(tmp_path: Path) -> None:
    """A hundred writers that wait share one commit, and so one sync of the disk."""
    states = []

    def work(db: Database) -> None:
        states.append(db.conn.total_changes)
        db.conn.execute(INSERT, (None,))
        assert db.conn.in_transaction

    commits: list[str] = []

    def open() -> Database:
        db = opener(tmp_path / "t.db")()
        db.conn.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        return db

    with running(open) as writer:
        with held(writer):
            futures = [writer.write(work) for _ in range(100)]
        for future in futures:
            future.result()
    assert len(states) == 100
    assert len(commits) == 1


def test_a_refusal_inside_a_group_touches_nobody_else(tmp_path: Path) -> None:
    """An expected error belongs to whoever asked."""

    def refuse(_: Database) -> None:
        raise KeyReused("taken")

    with running(opener(tmp_path / "t.db")) as writer:
        with held(writer):
            futures = [writer.write(insert(1)), writer.write(refuse), writer.write(insert(2))]
        errors = [type(future.exception()) for future in futures]
        assert errors == [type(None), KeyReused, type(None)]
        assert numbers(writer) == [1, 2]


@pytest.mark.parametrize("number", [1, "not a number", object()])
def test_work_that_breaks_the_transaction_breaks_it_for_itself(
    tmp_path: Path, number: object
) -> None:
    """The others of its group are written without it, once."""
    with running(opener(tmp_path / "t.db")) as writer:
        with held(writer):
            good = [writer.write(insert(1)), writer.write(insert(2))]
            bad = writer.write(insert(number))
            good.append(writer.write(insert(3)))
        assert [future.exception() for future in good] == [None] * 3
        assert bad.exception() is not None
        assert numbers(writer) == [1, 2, 3]


def test_nobody_is_told_before_the_commit(tmp_path: Path) -> None:
    """While a future of the group is open, no future of the group has ended."""
    seen = []
    with running(opener(tmp_path / "t.db")) as writer:
        with held(writer):
            first = writer.write(insert(1))
            second = writer.write(lambda _: seen.append(first.done()))
        second.result()
        assert seen == [False]


def test_tidying_comes_after_the_last_write_and_then_no_more(tmp_path: Path) -> None:
    """Once; an idle disk may sleep."""
    tidied, twice = threading.Event(), threading.Event()

    def tidy(_: Database) -> None:
        (twice if tidied.is_set() else tidied).set()

    with running(opener(tmp_path / "t.db"), tidy) as writer:
        writer.write(insert(1)).result()
        assert tidied.wait(10)
        assert not twice.wait(0.1)


def test_a_database_that_does_not_open_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When somebody asks, and not more often than now and then."""
    monkeypatch.setattr("edge.store.writer.RETRY_S", 0.0)
    attempts = []

    def open() -> Database:
        attempts.append(1)
        if len(attempts) < 3:
            raise sqlite3.OperationalError("unable to open database file")
        return opener(tmp_path / "t.db")()

    with running(open) as writer:
        error = writer.write(insert(1)).exception()
        assert isinstance(error, StoreUnavailable)
        assert writer.problem is not None
        assert writer.write(insert(2)).exception() is None
        assert writer.problem is None


def test_a_full_disk_keeps_the_connection(tmp_path: Path) -> None:
    """There is nothing wrong with it; the next write is tried as soon as it is asked for."""
    opened = []

    def open() -> Database:
        opened.append(1)
        return opener(tmp_path / "t.db")()

    def limit(pages: int) -> Callable[[Database], object]:
        return lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    with running(open) as writer:
        writer.call(limit(3)).result()
        errors = [writer.write(insert(number)).exception() for number in range(2000)]
        assert isinstance(errors[-1], DiskFull)
        writer.call(limit(10_000)).result()
        assert writer.write(insert(5000)).exception() is None
        assert numbers(writer) == [n for n, it in enumerate(errors) if it is None] + [5000]
    assert opened == [1]


def test_a_queue_that_is_too_long_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs must not fill the memory."""
    monkeypatch.setattr("edge.store.writer.MAX_WAITING", 2)
    with running(opener(tmp_path / "t.db")) as writer:
        numbers(writer)
        with held(writer):
            futures = [writer.write(insert(number)) for number in range(5)]
        errors = [future.exception() for future in futures]
    assert errors[0] is None
    assert isinstance(errors[-1], StoreUnavailable)
    assert "too slow" in str(errors[-1])


def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    """And leaves no thread and no log behind."""
    writer = Writer(opener(tmp_path / "t.db"), lambda _: None, name="t", idle_s=60.0)
    futures = [writer.write(insert(number)) for number in range(50)]
    writer.close()
    writer.close()
    assert all(future.exception() is None for future in futures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.db"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Whoever asked before and whoever asks after is told that there is no store any more."""

    def break_it(_: None) -> None:
        raise SystemError("a bug")

    writer = Writer(opener(tmp_path / "t.db"), lambda _: None, name="t", idle_s=60.0)
    with held(writer):
        writer.write(insert(1), after=break_it)
        waiting = [writer.call(lambda _: None) for _ in range(600)]
    assert isinstance(waiting[-1].exception(10), StoreUnavailable)
    writer.close()
    assert isinstance(writer.write(insert(2)).exception(10), StoreUnavailable)
