"""`edge.batch`: the plan as a pure function, and rows that come back in order."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.batch import MAX_BATCH_ROWS, MAX_BATCH_TOKENS, RUNS_AT_ONCE, plan, run_rows
from edge.runtime import Graph
from edge.tokens import Row

LENGTHS = st.lists(st.integers(1, 1200), max_size=80)


class FakeGraph:
    """Stands in for a graph: answers each row with the sum of its own ids, and keeps the shapes."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.shapes: list[tuple[int, int]] = []

    def run(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [batch, 2]: sum of the unmasked ids, and the row's length."""
        ids, mask = rows["input_ids"], rows["attention_mask"]
        self.shapes.append(ids.shape)
        return np.stack([(ids * mask).sum(axis=1), mask.sum(axis=1)], axis=1).astype(np.float32)


def make_row(length: int, value: int) -> Row:
    """A row of one id, repeated."""
    return Row(np.full(length, value, dtype=np.int64), np.zeros(length, dtype=np.int64))


@given(lengths=LENGTHS)
def test_every_row_is_planned_exactly_once(lengths: list[int]) -> None:
    """No row is lost, none is run twice, and no run is empty."""
    chunks = list(plan(lengths))

    assert sorted(position for chunk in chunks for position in chunk) == list(range(len(lengths)))
    assert all(chunks)


@given(lengths=LENGTHS)
def test_runs_stay_within_both_caps(lengths: list[int]) -> None:
    """A run holds few rows and few padded tokens, whatever the request; one long row goes alone."""
    for chunk in plan(lengths):
        longest = max(lengths[position] for position in chunk)
        assert len(chunk) <= MAX_BATCH_ROWS
        assert len(chunk) * longest <= MAX_BATCH_TOKENS or len(chunk) == 1


@given(lengths=LENGTHS)
def test_rows_are_run_from_short_to_long(lengths: list[int]) -> None:
    """Rows of like length share a run; equal ones keep their order."""
    planned = [position for chunk in plan(lengths) for position in chunk]

    assert planned == sorted(planned, key=lambda position: (lengths[position], position))


@given(lengths=LENGTHS)
def test_no_run_could_have_taken_the_next_row(lengths: list[int]) -> None:
    """Runs are full: a row opens a new run only if the one before had no room for it."""
    chunks = list(plan(lengths))
    for chunk, following in pairwise(chunks):
        rows = len(chunk) + 1
        assert rows > MAX_BATCH_ROWS or rows * lengths[following[0]] > MAX_BATCH_TOKENS


@given(lengths=st.lists(st.integers(1, 1200), min_size=1, max_size=80), threads=st.integers(1, 4))
def test_outputs_come_back_in_the_order_of_the_rows(lengths: list[int], threads: int) -> None:
    """However rows were cut into runs and padded, output i is that of row i."""
    rows = [make_row(length, i % 7 + 1) for i, length in enumerate(lengths)]
    outputs = run_rows(cast(Graph, FakeGraph(threads)), rows, pad_id=99)

    assert outputs.tolist() == [[n * (i % 7 + 1), n] for i, n in enumerate(lengths)]


@pytest.mark.parametrize(("length", "rows_a_run"), [(20, 16), (256, 4), (1024, 1), (5000, 1)])
def test_sixty_four_long_rows_take_bounded_memory(length: int, rows_a_run: int) -> None:
    """The most labels with a full window: more runs, never a bigger one."""
    graph = FakeGraph()
    run_rows(cast(Graph, graph), [make_row(length, 1)] * 64, pad_id=0)

    assert graph.shapes == [(rows_a_run, length)] * (64 // rows_a_run)


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 2), (4, 2)])
def test_runs_of_one_query_go_side_by_side(threads: int, most: int) -> None:
    """Two at most, whose memory adds up; one where one thread is all that it may use."""
    graph = CrowdedGraph(threads)
    run_rows(cast(Graph, graph), [make_row(1000, 1)] * 6, pad_id=0)

    assert graph.most == most


class CrowdedGraph(FakeGraph):
    """A fake graph that waits a while for others, and notes how many were there at once."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.most = self._inside = 0
        self._changed = threading.Condition()

    def run(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """As the fake graph's."""
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= RUNS_AT_ONCE, timeout=0.1)
        result = super().run(rows)
        with self._changed:
            self._inside -= 1
        return result


def test_a_run_that_fails_fails_the_query() -> None:
    """As it does alone."""

    class Failing(FakeGraph):
        def run(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        run_rows(cast(Graph, Failing(2)), [make_row(1000, 1)] * 3, pad_id=0)
