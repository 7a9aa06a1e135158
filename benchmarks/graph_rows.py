"""Rows about graphs alone, run through the same runtime: ours, fp32, Optimum's, and the floor.

Every graph runs in a fresh process, warmed by another shape, as it does on the edge: in one that
has freed gigabytes before, large buffers cost no page faults.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.contenders import Contender, started
from benchmarks.figures import Figure, Finding, Reach, as_long, compare, faster
from benchmarks.graphs import Graphs, make_floor, make_rows
from benchmarks.in_process import Shape, graph_alone
from benchmarks.races import Bench, Turn, describe_ms, run
from benchmarks.random_models import BART

__all__ = ["Floor", "Versus"]

WARM_TOKENS = 16
TITLES = {"fp32": "fp32", "optimum": "Optimum's default int8"}


@dataclass(frozen=True, slots=True)
class Floor:
    """Our graph against its own products, with nothing in between."""

    name: str
    title: str
    model: str
    rows: int
    tokens: int
    reach: Reach
    runs: int
    rounds: int = 5

    def measure(self, bench: Bench) -> list[Finding]:
        """How many times as long the whole takes."""
        graphs = bench.graphs(self.model)
        floor = make_floor(graphs, make_rows(self.model == BART, self.rows, self.tokens))
        return _compare(self, bench, floor, "its products alone", as_long)


@dataclass(frozen=True, slots=True)
class Versus:
    """Our graph against another form of the same model."""

    name: str
    title: str
    model: str
    rows: int
    tokens: int
    other: Literal["fp32", "optimum"]
    reach: Reach
    runs: int
    rounds: int = 5

    def measure(self, bench: Bench) -> list[Finding]:
        """How many times as fast ours is."""
        graphs = bench.graphs(self.model)
        other = graphs.fp32 if self.other == "fp32" else graphs.optimum
        return _compare(self, bench, other, TITLES[self.other], faster)


def _compare(
    row: Floor | Versus, bench: Bench, other: Path, title: str, figure: Figure
) -> list[Finding]:
    graphs, is_bart = bench.graphs(row.model), row.model == BART
    asked = [[Shape(row.rows, row.tokens)] * bench.calls(row.runs)] * bench.rounds(row.rounds)
    with ExitStack() as stack:
        turns = {
            name: Turn(
                stack.enter_context(started(Contender(name, name, _alone(path, is_bart)), graphs)),
                asked,
                Shape(1, WARM_TOKENS),
            )
            for name, path in (("ours", graphs.ours), ("other", other))
        }
        laps = run(turns)
    ours, others = laps["ours"], laps["other"]
    spread = compare(ours, others, figure)
    against = f"{title}: {describe_ms(others)}"
    return [Finding(row.title, describe_ms(ours), against, spread, "×", row.reach)]


def _alone(path: Path, is_bart: bool) -> Callable[[Graphs], Any]:
    return lambda _: graph_alone(path, is_bart)
