"""The rows of the table, as data: what is measured against whom, and what it is to reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmarks.daemon_rows import Budget, Crowd, Idle, Repeat, Start, Twenty
from benchmarks.figures import Finding, Reach, added, as_long, faster, lost, more
from benchmarks.graph_rows import Floor, Versus
from benchmarks.races import STARTER, Against, Bench, Race, Side
from benchmarks.random_models import BART, DISTILBERT
from benchmarks.works import FOUR, TWENTY

__all__ = ["ROWS", "Row"]


class Row(Protocol):
    """One row, or a few that are measured together."""

    @property
    def name(self) -> str:
        """What `--only` takes."""

    @property
    def title(self) -> str:
        """What the table's first column says."""

    def measure(self, bench: Bench) -> list[Finding]:
        """Measure it.

        Raises:
            FileNotFoundError: Something that it needs is not on this machine.
        """


OURS, OURS_FOUR = Side("intentd"), Side("intentd", labels=FOUR)
ARTICLE_FOUR = Side("intentd", "article", FOUR)
ONE = FOUR[:1]
IN_BUDGET = Reach(1.2, at_least=False)

ROWS: Sequence[Row] = (
    Race(
        "b-short",
        "Phase B, 27 tokens, p50",
        DISTILBERT,
        OURS,
        (
            Against(Side("transformers", calls_share=0.3), faster, reach=Reach(4.5, quick=0.7)),
            Against(Side("optimum"), faster, reach=Reach(1.1, quick=0.3)),
            Against(Side("plain"), faster, reach=Reach(1.0, quick=0.5)),
            Against(Side("mlflow"), faster),
            Against(Side("infinity", calls_share=0.5), faster),
        ),
        calls=100,
    ),
    Crowd(
        Race(
            "b-clients",
            "Phase B, 27 tokens, 16 clients",
            DISTILBERT,
            OURS,
            (
                Against(Side("plain"), more, reach=Reach(1.5, quick=0.7)),
                Against(Side("infinity", calls_share=0.5), more, reach=Reach(2.0)),
                Against(Side("mlflow", calls_share=0.5), more),
            ),
            calls=320,
            clients=16,
            is_rate=True,
        ),
        tail=Reach(3.0, at_least=False, quick=5.0),
    ),
    Race(
        "a-four",
        "Phase A, four labels, 27 tokens, p50",
        BART,
        OURS_FOUR,
        (
            Against(
                Side("transformers", labels=FOUR, calls_share=0.4),
                faster,
                reach=Reach(5.5, quick=1.7),
            ),
            Against(Side("by-hand", labels=FOUR), faster, reach=Reach(1.15, quick=0.4)),
        ),
        calls=10,
    ),
    Twenty(
        "a-twenty",
        "Phase A, 20 labels",
        BART,
        OURS_FOUR,
        Side("intentd", labels=TWENTY),
        cost=Reach(0.9, at_least=False, quick=1.4),
        memory=Reach(1.25, at_least=False, quick=1.5),
        calls=6,
    ),
    Race(
        "a-article",
        "Phase A, four labels, 20 KB, whole window",
        BART,
        ARTICLE_FOUR,
        (
            Against(Side("transformers", "article", FOUR), faster, reach=Reach(2.5, quick=1.2)),
            Against(Side("by-hand", "article", FOUR), faster),
        ),
        calls=1,
        rounds=3,
    ),
    Race(
        "b-size",
        "Phase B, 900 KB as fast as 20 KB",
        DISTILBERT,
        Side("intentd", "novel"),
        (
            Against(
                Side("intentd", "article"), as_long, reach=Reach(1.15, at_least=False, quick=3.0)
            ),
        ),
        calls=20,
    ),
    Race(
        "a-size",
        "Phase A, one label, 900 KB as fast as 20 KB",
        BART,
        Side("intentd", "novel", ONE),
        (
            Against(
                Side("intentd", "article", ONE),
                as_long,
                reach=Reach(1.15, at_least=False, quick=3.0),
            ),
        ),
        calls=3,
        rounds=4,
    ),
    Budget("b-budget", "Phase B, a latency budget", DISTILBERT, (), 40, IN_BUDGET),
    Budget("a-budget", "Phase A, four labels, a latency budget", BART, FOUR, 12, IN_BUDGET),
    Repeat("repeat", "a text that comes again, p50", DISTILBERT, Reach(1.0, at_least=False)),
    Race(
        "overhead",
        "over the socket, above a bare run: Phase B",
        DISTILBERT,
        OURS,
        (Against(Side("bare"), added, "ms", Reach(1.0, at_least=False)),),
        calls=150,
    ),
    Race(
        "overhead-starter",
        "over the socket, above a bare run: the starter",
        STARTER,
        OURS,
        (Against(Side("bare"), added, "ms", Reach(1.0, at_least=False)),),
        calls=150,
    ),
    Race(
        "logging",
        "what the prediction log costs: the starter, 8 clients",
        STARTER,
        OURS,
        (Against(Side("intentd-unlogged"), lost, "%", Reach(5.0, at_least=False, quick=40.0)),),
        calls=600,
        rounds=7,
        clients=8,
        is_rate=True,
    ),
    Start("start-starter", "the starter", STARTER, starts=5, ready_s=1.0),
    Start("start-b", "DistilBERT, int8", DISTILBERT, starts=5, ready_s=1.5),
    Start("start-a", "BART-large, int8", BART, starts=3, ready_s=5.0),
    Idle("idle", "idle, of one core", STARTER, Reach(0.2, at_least=False), seconds=30.0),
    Floor(
        "ceiling-b",
        "Phase B, 1×32, above its products alone",
        DISTILBERT,
        1,
        32,
        Reach(1.35, at_least=False, quick=6.0),
        runs=50,
        rounds=9,
    ),
    Floor(
        "ceiling-a",
        "Phase A, 4×40, above its products alone",
        BART,
        4,
        40,
        Reach(1.35, at_least=False, quick=6.0),
        runs=5,
        rounds=9,
    ),
    Versus(
        "graph-b",
        "the graph alone: Phase B, 1×32",
        DISTILBERT,
        1,
        32,
        "fp32",
        Reach(2.5, quick=1.0),
        runs=30,
    ),
    Versus(
        "graph-b-long",
        "the graph alone: Phase B, 1×512",
        DISTILBERT,
        1,
        512,
        "optimum",
        Reach(1.0, quick=0.5),
        runs=6,
    ),
    Versus(
        "graph-a",
        "the graph alone: Phase A, 4×40",
        BART,
        4,
        40,
        "fp32",
        Reach(3.0, quick=1.0),
        runs=3,
    ),
    Versus(
        "graph-a-long",
        "the graph alone: Phase A, 4×1024",
        BART,
        4,
        1024,
        "optimum",
        Reach(1.8, quick=0.5),
        runs=1,
        rounds=3,
    ),
)
