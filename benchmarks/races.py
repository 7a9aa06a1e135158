"""Races: contenders that take turns, round after round, each alone on the machine while it runs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, Running, awake, started
from benchmarks.figures import Figure, Finding, Lap, Reach, Spread, compare
from benchmarks.graphs import Graphs, make_graphs
from benchmarks.random_models import Scale
from benchmarks.works import WARM_UP, Question, questions
from edge.bundle import STARTER as STARTER_BUNDLE
from edge.bundle import TOKENIZER

__all__ = ["STARTER", "Against", "Bench", "Race", "Side", "Turn", "describe_ms", "run"]

STARTER = "starter"
QUICK_CALLS = 0.3


@dataclass(frozen=True)
class Bench:
    """What all rows of a run share."""

    cache: Path
    """Where models lie."""
    scale: Scale = Scale.FULL
    effort: float = 1.0
    """Times as many rounds as a row asks for."""
    skip: frozenset[str] = frozenset()
    """Contenders to be left out."""
    _made: dict[str, Graphs] = field(default_factory=dict)

    @property
    def is_quick(self) -> bool:
        """Whether small models are measured, and judged by other bounds."""
        return self.scale is Scale.QUICK

    def graphs(self, model: str) -> Graphs:
        """A model's files, made if they are not there yet.

        Raises:
            FileNotFoundError: What it is made of is not on this machine.
        """
        if model == STARTER:
            return Graphs(STARTER_BUNDLE, STARTER_BUNDLE, STARTER_BUNDLE, STARTER_BUNDLE)
        if model not in self._made:
            self._made[model] = make_graphs(model, self.cache, self.scale)
        return self._made[model]

    def calls(self, asked: int) -> int:
        """Fewer in a quick run, one at least."""
        return max(1, round(asked * QUICK_CALLS)) if self.is_quick else asked

    def rounds(self, asked: int) -> int:
        """At least two, so that there is a spread."""
        return max(2, round(asked * self.effort))


@dataclass(frozen=True, slots=True)
class Turn:
    """One who takes turns, and what is asked of it in each round."""

    running: Running
    questions: Sequence[Sequence[Any]]
    warm_up: Any
    clients: int = 1


def run(turns: Mapping[str, Turn]) -> dict[str, list[Lap]]:
    """Every round in another order, so that nobody always comes after the same one."""
    laps: dict[str, list[Lap]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(len(turns[names[0]].questions)):
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in order:
            laps[name].append(_lap(turns[name], number))
        said = ", ".join(f"{name} {_short(laps[name][-1].p50)} ms" for name in names)
        sys.stderr.write(f"  round {number + 1}: {said}\n")
    return laps


def _lap(turn: Turn, number: int) -> Lap:
    with awake(turn.running) as used:
        turn.running.ask([turn.warm_up])
        asked = turn.questions[number]
        before, began = used(), time.perf_counter()
        replies = turn.running.ask(asked, turn.clients)
        seconds, cpu = time.perf_counter() - began, used() - before
    return Lap(tuple(reply.ms for reply in replies), seconds, cpu * 1e3 / len(asked))


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a race."""

    contender: str
    work: str = "short"
    labels: tuple[str, ...] = ()
    calls_share: float = 1.0
    """Of the race's calls: slow peers need not be asked as often."""

    @property
    def key(self) -> str:
        """Names it within the race."""
        return f"{self.contender} {self.work} {len(self.labels)}"


@dataclass(frozen=True, slots=True)
class Against:
    """What is made of our laps and another side's."""

    side: Side
    what: Figure
    unit: str = "×"
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Race:
    """One row of the table: ours against others on the same model."""

    name: str
    title: str
    model: str
    ours: Side
    others: tuple[Against, ...]
    calls: int
    rounds: int = 5
    clients: int = 1
    is_rate: bool = False
    """Whether answers a second are what counts."""

    def measure(self, bench: Bench) -> list[Finding]:
        """Start all, let them take turns, and compare."""
        with self.starting(bench) as running:
            laps = run(self.turns(bench, running))
        return self.findings(laps)

    @contextmanager
    def starting(self, bench: Bench) -> Iterator[dict[str, Running]]:
        """Every contender once, by name, even if it stands on several sides."""
        graphs = bench.graphs(self.model)
        with ExitStack() as stack:
            running: dict[str, Running] = {}
            for side in (self.ours, *(other.side for other in self.others)):
                name = side.contender
                if name not in running and name not in bench.skip:
                    running[name] = stack.enter_context(started(CONTENDERS[name], graphs))
            yield running

    def turns(self, bench: Bench, running: Mapping[str, Running]) -> dict[str, Turn]:
        """The questions of every side; sides with the same work get the same texts."""
        tokenizer = bench.graphs(self.model).bundle / TOKENIZER
        sides = (self.ours, *(other.side for other in self.others))
        return {
            side.key: Turn(
                running[side.contender],
                self._questions(bench, side, tokenizer),
                Question(WARM_UP, side.labels[:1]),
                self.clients,
            )
            for side in sides
            if side.contender in running
        }

    def _questions(self, bench: Bench, side: Side, tokenizer: Path) -> list[list[Question]]:
        source = questions(side.work, tokenizer, side.labels)
        most = bench.calls(self.calls)
        calls = max(1, round(most * side.calls_share))
        rounds = bench.rounds(self.rounds)
        drawn = [[next(source) for _ in range(most)] for _ in range(rounds)]
        return [texts[:calls] for texts in drawn]

    def findings(self, laps: Mapping[str, Sequence[Lap]]) -> list[Finding]:
        """One for each other side that was measured."""
        ours = laps[self.ours.key]
        describe = describe_rate if self.is_rate else describe_ms
        return [
            Finding(
                what=self.title,
                ours=describe(ours),
                against=f"{_title(other.side, self.ours)}: {describe(laps[other.side.key])}",
                figure=compare(ours, laps[other.side.key], other.what),
                unit=other.unit,
                reach=other.reach,
            )
            for other in self.others
            if other.side.key in laps
        ]


def _title(side: Side, ours: Side) -> str:
    if side.contender != ours.contender:
        return CONTENDERS[side.contender].title
    if side.work != ours.work:
        return f"itself, {side.work}"
    return f"itself, {len(side.labels)} labels"


def describe_ms(laps: Sequence[Lap]) -> str:
    """p50 over the rounds, its spread, and the CPU time of a call."""
    spread = Spread.of([lap.p50 for lap in laps])
    cpu = statistics.median(lap.cpu_ms for lap in laps)
    rounds = f"{_short(spread.low)}–{_short(spread.high)}"
    return f"{_short(spread.median)} ms ({rounds}; CPU {_short(cpu)})"


def describe_rate(laps: Sequence[Lap]) -> str:
    """Answers a second, p50 and p99."""
    rate = Spread.of([lap.rate for lap in laps])
    p50 = statistics.median(lap.p50 for lap in laps)
    p99 = statistics.median(lap.p99 for lap in laps)
    return (
        f"{rate.median:.0f}/s ({rate.low:.0f}–{rate.high:.0f}), p50 {_short(p50)}, "
        f"p99 {_short(p99)} ms"
    )


def _short(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"
