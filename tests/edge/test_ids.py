"""Identifiers grow, whatever the clock does."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from edge.ids import uuid7

FAR_NS = 2**47 * 10**6  # later than anything another test draws from the real clock


@given(st.integers(FAR_NS, FAR_NS * 3 // 2))
def test_ids_are_uuids_of_version_7(now_ns: int) -> None:
    """The version and the variant are those of the RFC, and the time is not in the past."""
    made = uuid7(now_ns)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 >= now_ns // 10**6


@given(st.lists(st.integers(0, FAR_NS), min_size=2, max_size=50))
def test_ids_grow_even_when_the_clock_is_set_back(times_ns: list[int]) -> None:
    """Sorting by id is sorting by age, within a process."""
    made = [uuid7(now_ns) for now_ns in times_ns]
    assert made == sorted(set(made))
    assert [str(id) for id in made] == sorted(str(id) for id in made)


def test_ids_stay_unique_across_a_full_millisecond() -> None:
    """More ids in one millisecond than its counter holds borrow from the next."""
    made = [uuid7(0) for _ in range(10_000)]
    assert made == sorted(set(made))


def test_threads_never_make_the_same_id() -> None:
    """Two threads at once get different ids."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: uuid7(), range(2000)))
    assert len(set(made)) == 2000
