"""Many texts through one classifier: in order, a few at a time, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue

from edge.commands.input import Item
from edge.errors import EdgeError, InvalidRequest, Overloaded, Unavailable
from edge.wire import ClassifyAnswer

__all__ = ["DAEMON_WORKERS", "answer_all"]

DAEMON_WORKERS = 4  # the daemon computes one at a time: enough to keep it busy, and fair to others
WAITING_ROWS = 8
FULL_CHECK_S = 0.2
PATIENCE_S = 60.0  # how long an overloaded daemon is asked again

Classify = Callable[[Item], ClassifyAnswer]
Outcome = ClassifyAnswer | EdgeError
Row = tuple[Item, Future[ClassifyAnswer]]


def answer_all(
    items: Iterable[Item], classify: Classify, write: Callable[[Item, Outcome], None], workers: int
) -> int:
    """Classify each item and write its outcome, in order, as soon as it is known.

    The caller's thread reads, another one writes: whoever pipes in a line gets its answer without
    sending a second one.

    Returns:
        How many items failed.

    Raises:
        DaemonUnreachable: The daemon went away; what was read after that is not answered.
        OSError: The outcome cannot be written, for example because a pipe was closed.
    """
    rows: Queue[Row | None] = Queue(WAITING_ROWS)
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(1) as writer:
        written = writer.submit(_write_all, rows, write)
        try:
            for item in items:
                if not _hand_over((item, pool.submit(_answer, classify, item)), rows, written):
                    break
        finally:
            _hand_over(None, rows, written)
    return written.result()


def _hand_over(row: Row | None, rows: Queue[Row | None], written: Future[int]) -> bool:
    """Queue a row; False once the writer has stopped, and nobody would take it."""
    while not written.done():
        try:
            rows.put(row, timeout=FULL_CHECK_S)
        except Full:
            continue
        return True
    return False


def _write_all(rows: Queue[Row | None], write: Callable[[Item, Outcome], None]) -> int:
    failures = 0
    while (row := rows.get()) is not None:
        item, future = row
        outcome = _outcome_of(future)
        failures += isinstance(outcome, EdgeError)
        write(item, outcome)
    return failures


def _outcome_of(future: Future[ClassifyAnswer]) -> Outcome:
    """The answer, or what is wrong with this row alone."""
    try:
        return future.result()
    except (InvalidRequest, Unavailable) as error:
        return error


def _answer(classify: Classify, item: Item) -> ClassifyAnswer:
    """Ask, and ask again while the daemon is overloaded: a long run must not lose rows to that."""
    if item.problem is not None:
        raise item.problem
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return classify(item)
        except Overloaded as error:
            if time.monotonic() > give_up:
                raise
            time.sleep(error.retry_after_s)
