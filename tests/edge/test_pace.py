"""`edge.pace`: windows that fit a budget on a machine that is noisy, disturbed, and changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pace import BESIDE_MS, FRESH_S, HEADROOM, KEPT_RUNS, Pace

WINDOW, FLOOR = 1024, 24
RUNS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 2000), st.floats(0.01, 1e5)), max_size=60
)


class Machine:
    """Costs what it costs, with noise, and takes the time that it takes."""

    def __init__(self, seed: int, cost: Callable[[int], float]) -> None:
        self.now, self.slowness, self._chance, self._cost = 0.0, 1.0, random.Random(seed), cost
        self.pace = Pace(WINDOW, lambda: self.now)

    def run(self, tokens: int, rows: int = 1) -> float:
        """Milliseconds of one run, which the pace learns of."""
        noise = self._chance.lognormvariate(0, 0.04)
        ms = rows * self._cost(tokens) * self.slowness * noise
        self.now += ms / 1e3
        self.pace.add(rows, tokens, ms)
        return ms

    def disturb(self) -> None:
        """A run that somebody else's work made ten times slower."""
        self.pace.add(1, 64, 10 * self._cost(64))

    def answer(self, budget_ms: float, rows: int = 1) -> float:
        """A text that is longer than any window."""
        return self.run(self.pace.window_for(rows, budget_ms, FLOOR), rows)


def attention(tokens: int) -> float:
    """As a small encoder: a fixed part, a linear one, and a square one."""
    return 2 + 0.12 * tokens + 1.5e-4 * tokens**2


MACHINES: dict[str, Callable[[int], float]] = {
    "encoder": attention,
    "large": lambda tokens: 20 + 1.5 * tokens + 2e-3 * tokens**2,
    "flat": lambda tokens: 5 + 0.001 * tokens,
    "steps": lambda tokens: 3 + 8 * (tokens // 64),
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", range(3))
def test_the_budget_holds_from_the_first_text_on(name: str, seed: int) -> None:
    """99 in 100 within 1.2 times of it, while it is still learning as well."""
    machine = Machine(seed, MACHINES[name])
    machine.run(8)
    budget_ms = MACHINES[name](300)
    times = sorted(machine.answer(budget_ms) for _ in range(300))

    assert times[int(0.99 * len(times))] <= 1.2 * budget_ms


@pytest.mark.parametrize("name", MACHINES)
def test_the_window_grows_to_what_fits(name: str) -> None:
    """Too dear a guess is tried, and corrected: not much of the budget is left unused."""
    machine = Machine(1, MACHINES[name])
    machine.run(8)
    budget_ms = (1.25 * MACHINES[name](300) + BESIDE_MS) / HEADROOM
    for _ in range(100):
        machine.answer(budget_ms)

    assert machine.pace.window_for(1, budget_ms, FLOOR) >= 0.7 * 300


def test_one_disturbed_run_changes_nothing() -> None:
    """A backup that starts beside it is no property of the model."""
    machine = Machine(2, attention)
    for _ in range(KEPT_RUNS):
        for tokens in (16, 64, 128, 256):
            machine.run(tokens)
    before = machine.pace.window_for(1, 25, FLOOR)
    machine.disturb()

    assert machine.pace.window_for(1, 25, FLOOR) == before


def test_a_slower_machine_is_noticed_and_a_faster_one_too() -> None:
    """The window shrinks while it lasts, and comes back."""
    machine = Machine(3, attention)
    machine.run(8)
    for _ in range(100):
        machine.answer(40)
    wide = machine.pace.window_for(1, 40, FLOOR)
    machine.slowness = 3.0
    slow = [machine.answer(40) for _ in range(100)]
    narrow = machine.pace.window_for(1, 40, FLOOR)
    machine.slowness = 1.0
    machine.now += FRESH_S
    for _ in range(100):
        machine.answer(40)

    assert narrow < wide
    assert sorted(slow[KEPT_RUNS * 2 :])[-2] <= 1.2 * 40
    assert machine.pace.window_for(1, 40, FLOOR) >= 0.7 * wide


def test_more_labels_leave_less_of_the_text() -> None:
    """Each label is a row; what eight rows cost is guessed before it was ever tried."""
    machine = Machine(4, attention)
    for tokens in (16, 64, 256):
        machine.run(tokens)
    few, many = (machine.pace.window_for(rows, 40, FLOOR) for rows in (1, 8))
    times = sorted(machine.answer(40, rows=8) for _ in range(100))

    assert many < few
    assert times[-2] <= 1.2 * 40


@given(RUNS, st.integers(1, 8), st.floats(0.1, 1e6), st.integers(1, WINDOW))
def test_whatever_was_seen_the_window_is_one(
    runs: list[tuple[int, int, float]], rows: int, budget_ms: float, floor: int
) -> None:
    """Never below the floor, never above the model's own, and more for more time."""
    pace = Pace(WINDOW)
    for run in runs:
        pace.add(*run)
    window = pace.window_for(rows, budget_ms, floor)

    assert floor <= window <= WINDOW
    assert window <= pace.window_for(rows, 2 * budget_ms, floor)


@given(RUNS.filter(bool), st.integers(1, 8), st.integers(1, WINDOW), st.integers(1, WINDOW))
def test_a_longer_row_never_costs_less(
    runs: list[tuple[int, int, float]], rows: int, one: int, other: int
) -> None:
    """However the runs that it was learnt from contradict each other."""
    pace = Pace(WINDOW)
    for run in runs:
        pace.add(*run)
    short, long = (pace.cost_ms(rows, tokens) for tokens in sorted((one, other)))

    assert short is not None
    assert long is not None
    assert short <= long * (1 + 1e-9)


def test_without_a_run_nothing_is_known() -> None:
    """Then the least is read, until there is one; what is no time teaches nothing."""
    pace = Pace(WINDOW)
    for ms in (0.0, -1.0, float("nan"), float("inf")):
        pace.add(1, 64, ms)

    assert pace.cost_ms(1, 64) is None
    assert pace.window_for(1, 1e6, FLOOR) == FLOOR


@pytest.mark.parametrize("window", [8, 16, 17, 512])
def test_the_models_own_window_is_the_last_step(window: int) -> None:
    """Whatever its size."""
    pace = Pace(window)
    pace.add(1, window, 1.0)

    assert pace.window_for(1, 100, 4) == window
