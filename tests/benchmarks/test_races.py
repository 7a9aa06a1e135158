"""Races: in turn, each alone, and with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.contenders import Contender, started
from benchmarks.graphs import Graphs
from benchmarks.processes import cpu_seconds, family, peak_mb, resident_mb, send
from benchmarks.races import STARTER, Against, Bench, Race, Side, Turn, run
from benchmarks.replies import Reply
from benchmarks.works import Question

NOWHERE = Graphs(Path(), Path(), Path(), Path())
STOPPED = "T"


@dataclass
class Sleeper:
    """A process that does nothing, and notes who was awake whenever it was asked."""

    pid: int
    others: list[Sleeper] = field(default_factory=list)
    asked: list[tuple[int, set[str]]] = field(default_factory=list)

    def ask(self, questions: Sequence[object], clients: int = 1) -> list[Reply]:
        """Look around."""
        self.asked.append((len(questions), {state(other.pid) for other in self.others}))
        return [Reply(1.0, {}) for _ in questions]


def state(pid: int) -> str:
    """One letter, as proc(5) has it."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]


@contextmanager
def sleeper(_: Graphs) -> Iterator[Sleeper]:
    """Ended by this test alone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield Sleeper(process.pid)
    finally:
        process.communicate(b"\n")


def test_each_is_alone_while_it_is_measured() -> None:
    """All others are stopped, in every round, whatever the order."""
    with ExitStack() as stack:
        pair = [stack.enter_context(started(Contender("", "", sleeper), NOWHERE)) for _ in range(2)]
        assert all(isinstance(each, Sleeper) for each in pair)
        first, second = (each for each in pair if isinstance(each, Sleeper))
        first.others, second.others = [second], [first]
        laps = run(
            {name: Turn(each, [[0, 1], [2]], 0) for name, each in zip("ab", pair, strict=True)}
        )
        stopped = {state(each.pid) for each in pair}

    assert {len(rounds) for rounds in laps.values()} == {2}
    assert [[len(lap.times_ms) for lap in laps[name]] for name in "ab"] == [[2, 1], [2, 1]]
    assert all(states == {STOPPED} for each in (first, second) for _, states in each.asked)
    assert stopped == {STOPPED}


def test_one_question_warms_up_before_each_lap() -> None:
    """It is not counted."""
    with started(Contender("", "", sleeper), NOWHERE) as running:
        run({"a": Turn(running, [[0] * 5] * 2, 0)})

    assert isinstance(running, Sleeper)
    assert [count for count, _ in running.asked] == [1, 5, 1, 5]


def test_a_family_is_a_process_and_its_children() -> None:
    """What they hold and have used is told of all."""
    command = "import subprocess as s, sys; s.run([sys.executable, '-c', 'input()'])"
    process = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE)
    try:
        while len(members := family(process.pid)) < 2:
            assert process.poll() is None
        assert members[0] == process.pid
        assert 0 < resident_mb(members) <= peak_mb(members)
        assert cpu_seconds(members) >= 0
        send(members, signal.SIGCONT)
    finally:
        process.communicate(b"\n")
    assert resident_mb(members) == 0


def test_intentd_is_measured_beside_its_bare_model(tmp_path: Path) -> None:
    """On the starter, through a real socket: the same texts for both, one figure a round."""
    race = Race(
        "x",
        "a title",
        STARTER,
        Side("intentd"),
        (Against(Side("bare"), lambda ours, other: ours.p50 - other.p50, "ms"),),
        calls=3,
        rounds=2,
    )
    bench = Bench(tmp_path)

    with race.starting(bench) as running:
        turns = race.turns(bench, running)
        laps = run(turns)
    (finding,) = race.findings(laps)

    assert turns["intentd short 0"].questions == turns["bare short 0"].questions
    assert [len(lap.times_ms) for lap in laps["intentd short 0"]] == [3, 3]
    assert finding.figure.low <= finding.figure.median <= finding.figure.high
    assert finding.against.startswith("bare `session.run`")


def test_a_contender_can_be_left_out(tmp_path: Path) -> None:
    """Its findings are missing, and nothing else is."""
    others = tuple(Against(Side(name), lambda *_: 1.0) for name in ("bare", "infinity"))
    race = Race("x", "", STARTER, Side("intentd"), others, calls=1)
    bench = Bench(tmp_path, skip=frozenset({"infinity", "bare", "intentd"}))

    with race.starting(bench) as running:
        assert running == {}


@pytest.mark.parametrize("effort", [0.1, 1.0, 3.0])
def test_there_are_always_rounds_enough_for_a_spread(tmp_path: Path, effort: float) -> None:
    """Two at least."""
    assert Bench(tmp_path, effort=effort).rounds(5) == max(2, round(5 * effort))


def test_questions_are_the_same_for_every_side_of_a_work(tmp_path: Path) -> None:
    """Slow peers get the first of them."""
    side, slow = Side("intentd"), Side("bare", calls_share=0.5)
    race = Race("x", "", STARTER, side, (Against(slow, lambda *_: 1.0),), calls=4, rounds=2)
    turns = race.turns(Bench(tmp_path), {"intentd": Sleeper(1), "bare": Sleeper(1)})

    ours, theirs = turns[side.key].questions, turns[slow.key].questions
    assert [round_[:2] for round_ in ours] == list(theirs)
    assert isinstance(ours[0][0], Question)
    assert ours[0] != ours[1]
