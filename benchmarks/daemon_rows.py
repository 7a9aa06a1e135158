"""Rows about the daemon itself: a crowd of clients, many labels, budgets, repeats, start, idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Running, awake, started
from benchmarks.figures import Finding, Reach, Spread, compare, percentile
from benchmarks.graphs import Graphs
from benchmarks.processes import cpu_seconds, family, peak_mb, resident_mb
from benchmarks.races import Bench, Race, Side, Turn, describe_ms, run
from benchmarks.random_models import BART
from benchmarks.servers import COMPILED, Server, has_setting, intentd
from benchmarks.works import TWENTY, WARM_UP, WORKS, Question, questions
from edge.bundle import TOKENIZER
from tests.daemons import running_daemon, short_directory

__all__ = ["Budget", "Crowd", "Idle", "Repeat", "Start", "Twenty"]

CROWD = 16
RESET_PEAK = "5"  # what proc(5) takes to start VmHWM anew
RSS_FACTOR, RSS_EXTRA_MB = 1.3, 90.0
BACK_S = 21.0  # without a request, after which freed memory has gone back to the kernel
BUDGET, CACHE = "latency_budget_ms", "repeat_cache"
LEARN_CALLS = 12
NO_CACHE: Mapping[str, object] = {CACHE: 0}


def _uncached() -> Mapping[str, object]:
    """Identical answers prove nothing where they come from memory."""
    return NO_CACHE if has_setting(CACHE) else {}


@dataclass(frozen=True, slots=True)
class Crowd:
    """A race of many clients, our tail, and whether they get what one client gets."""

    race: Race
    tail: Reach
    """p99 as a multiple of p50."""

    @property
    def name(self) -> str:
        """The race's."""
        return self.race.name

    @property
    def title(self) -> str:
        """The race's."""
        return self.race.title

    def measure(self, bench: Bench) -> list[Finding]:
        """The race first; then the same texts by one client and by all."""
        with self.race.starting(bench) as running:
            laps = run(self.race.turns(bench, running))
        found = self.race.findings(laps)
        ours = laps[self.race.ours.key]
        tail = Spread.of([lap.p99 / lap.p50 for lap in ours])
        found.append(Finding(f"{self.title}: p99 against p50", "", "", tail, "×", self.tail))
        return [*found, self._identity(bench)]

    def _identity(self, bench: Bench) -> Finding:
        graphs = bench.graphs(self.race.model)
        source = questions("short", graphs.bundle / TOKENIZER)
        texts = [next(source) for _ in range(bench.calls(self.race.calls))]
        with intentd(graphs, _uncached()) as server:
            alone, together = server.ask(texts), server.ask(texts, CROWD)
        differing = sum(a.scores != b.scores for a, b in zip(alone, together, strict=True))
        return Finding(
            f"{self.title}: scores other than one client's",
            f"{differing} of {len(texts)} texts",
            "the same texts, one client",
            Spread.of([differing]),
            "texts",
            Reach(0, at_least=False, quick=0),
        )


@dataclass(frozen=True, slots=True)
class Twenty:
    """What a label costs among many, against among few; in time and memory."""

    name: str
    title: str
    model: str
    few: Side
    many: Side
    cost: Reach
    memory: Reach
    calls: int
    rounds: int = 5

    def measure(self, bench: Bench) -> list[Finding]:
        """In turn on one daemon; then the peaks, the smaller first."""
        graphs = bench.graphs(self.model)
        with started(CONTENDERS["intentd"], graphs) as running:
            laps = run(
                {side.key: self._turn(bench, running, side) for side in (self.few, self.many)}
            )
            peaks = [_peak(running, self._turn(bench, running, s)) for s in (self.few, self.many)]
        few, many = laps[self.few.key], laps[self.many.key]
        share = len(self.few.labels) / len(self.many.labels)
        cost = compare(many, few, lambda mine, other: mine.p50 / other.p50 * share)
        ratio = Spread.of([peaks[1] / peaks[0]])
        against = f"{len(self.few.labels)} labels: "
        return [
            Finding(
                f"{self.title}: cost of a label", describe_ms(many), against + describe_ms(few),
                cost, "×", self.cost,
            ),
            Finding(
                f"{self.title}: peak memory", f"{peaks[1]:.0f} MB", f"{against}{peaks[0]:.0f} MB",
                ratio, "×", self.memory,
            ),
        ]  # fmt: skip

    def _turn(self, bench: Bench, running: Running, side: Side) -> Turn:
        source = questions(side.work, bench.graphs(self.model).bundle / TOKENIZER, side.labels)
        drawn = [
            [next(source) for _ in range(self.calls)] for _ in range(bench.rounds(self.rounds))
        ]
        return Turn(running, drawn, Question(WARM_UP, side.labels[:1]))


def _peak(running: Running, turn: Turn) -> float:
    """The most memory that it holds while it answers."""
    with awake(running):
        for process in family(running.pid):
            Path(f"/proc/{process}/clear_refs").write_text(RESET_PEAK, "ascii")
        running.ask(turn.questions[0])
        return peak_mb(family(running.pid))


@dataclass(frozen=True, slots=True)
class Budget:
    """Whether answers come within a latency budget, whatever the text's size.

    The budget is half of what the whole window takes on this machine, so that it binds.
    """

    name: str
    title: str
    model: str
    labels: tuple[str, ...]
    calls: int
    tail: Reach

    def measure(self, bench: Bench) -> list[Finding]:
        """The whole window first, then each size of text under a budget."""
        if not has_setting(BUDGET):
            raise FileNotFoundError(f"this intentd has no setting {BUDGET}")
        graphs = bench.graphs(self.model)
        with intentd(graphs, _uncached()) as server:
            whole = [reply.ms for reply in server.ask(self._texts(graphs, "article", 3))]
        budget_ms = max(1, round(statistics.median(whole) / 2))
        with intentd(graphs, {BUDGET: budget_ms, **_uncached()}) as server:
            server.ask(self._texts(graphs, "article", LEARN_CALLS))
            return [self._finding(server, graphs, work, budget_ms) for work in WORKS]

    def _finding(self, server: Server, graphs: Graphs, work: str, budget_ms: int) -> Finding:
        texts = self._texts(graphs, work, self.calls + LEARN_CALLS)[LEARN_CALLS:]
        times = [reply.ms for reply in server.ask(texts)]
        p99 = percentile(times, 0.99)
        return Finding(
            f"{self.title} of {budget_ms} ms, {work}: p99 against it",
            f"p50 {statistics.median(times):.1f}, p99 {p99:.1f} ms",
            "the budget",
            Spread.of([p99 / budget_ms]),
            "×",
            self.tail,
        )

    def _texts(self, graphs: Graphs, work: str, count: int) -> list[Question]:
        source = questions(work, graphs.bundle / TOKENIZER, self.labels)
        return [next(source) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Repeat:
    """How long a text takes that was asked before."""

    name: str
    title: str
    model: str
    reach: Reach
    texts: int = 200

    def measure(self, bench: Bench) -> list[Finding]:
        """Each text once, and then all of them again."""
        if not has_setting(CACHE):
            raise FileNotFoundError(f"this intentd has no setting {CACHE}")
        graphs = bench.graphs(self.model)
        source = questions("short", graphs.bundle / TOKENIZER)
        texts = [next(source) for _ in range(self.texts)]
        with intentd(graphs) as server:
            first = statistics.median(reply.ms for reply in server.ask(texts))
            again = [[reply.ms for reply in server.ask(texts)] for _ in range(bench.rounds(5))]
        spread = Spread.of([statistics.median(times) for times in again])
        quick = Reach(first, at_least=False, quick=first)
        return [
            Finding(
                self.title, f"{spread.median:.2f} ms", f"the first time: {first:.2f} ms", spread,
                "ms", quick if bench.is_quick else self.reach,
            )
        ]  # fmt: skip


def _start_s(graphs: Graphs, state: Path) -> float:
    """Seconds from exec until the daemon says that it answers."""
    env = {**COMPILED, "INTENTD_STATE_DIR": str(state)}
    began = time.perf_counter()
    with running_daemon("--bundle", str(graphs.bundle), env=env):
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Start:
    """From exec to ready; memory then, and after a load."""

    name: str
    title: str
    model: str
    starts: int
    ready_s: float

    def measure(self, bench: Bench) -> list[Finding]:
        """Several starts on one state directory, as after a reboot; the first does not count.

        The load goes to another daemon, which is looked at again once it has been quiet.
        """
        graphs = bench.graphs(self.model)
        with short_directory() as state:
            starts = 1 + bench.rounds(self.starts)
            seconds = [_start_s(graphs, state) for _ in range(starts)][1:]
        with intentd(graphs) as server:
            processes = family(server.pid)
            fresh = resident_mb(processes)
            self._load(server, graphs)
            time.sleep(BACK_S)
            used, peak = resident_mb(processes), peak_mb(processes)
        spread = Spread.of(seconds)
        size = graphs.ours.stat().st_size / 1e6
        room = Reach(RSS_FACTOR * size + RSS_EXTRA_MB, at_least=False)
        file = f"a model file of {size:.0f} MB"
        return [
            Finding(
                f"from exec to ready: {self.title}", f"{len(seconds)} starts", "", spread, "s",
                Reach(self.ready_s, at_least=False),
            ),
            Finding(
                f"memory when ready: {self.title}", f"{fresh:.0f} MB", file, Spread.of([fresh]),
                "MB", room,
            ),
            Finding(
                f"memory after a load: {self.title}", f"{used:.0f} MB, {peak:.0f} at its peak",
                file, Spread.of([used]), "MB", room,
            ),
        ]  # fmt: skip

    def _load(self, server: Server, graphs: Graphs) -> None:
        """Short texts from many clients, and a few that fill the window."""
        is_slow = self.model == BART
        short = questions("short", graphs.bundle / TOKENIZER, TWENTY if is_slow else ())
        calls, clients = (4, 4) if is_slow else (400, CROWD)
        server.ask([next(short) for _ in range(calls)], clients)
        article = questions("article", graphs.bundle / TOKENIZER, TWENTY[:4] if is_slow else ())
        server.ask([next(article) for _ in range(1 if is_slow else 10)])


@dataclass(frozen=True, slots=True)
class Idle:
    """CPU time of a daemon that nobody asks."""

    name: str
    title: str
    model: str
    reach: Reach
    seconds: float

    def measure(self, bench: Bench) -> list[Finding]:
        """After a few requests, so that there is something to settle."""
        graphs = bench.graphs(self.model)
        source = questions("short", graphs.bundle / TOKENIZER)
        with intentd(graphs) as server:
            server.ask([next(source) for _ in range(50)], CROWD)
            time.sleep(BACK_S)
            before = cpu_seconds(family(server.pid))
            time.sleep(self.seconds)
            used = cpu_seconds(family(server.pid)) - before
        share = Spread.of([100 * used / self.seconds])
        said = f"{used * 1e3:.0f} CPU-ms in {self.seconds:g} s"
        return [Finding(self.title, said, "", share, "%", self.reach)]
