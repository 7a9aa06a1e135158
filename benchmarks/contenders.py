"""Who is measured: the protocol that every contender keeps, and the list of all of them.

A contender runs in processes of its own, which sleep (SIGSTOP) while another one is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from benchmarks import in_process, servers
from benchmarks.graphs import Graphs
from benchmarks.processes import cpu_seconds, family, resume, suspend
from benchmarks.replies import Reply
from benchmarks.works import Question

__all__ = ["CONTENDERS", "Contender", "Running", "awake", "started"]


class Running(Protocol):
    """A contender that has loaded its model."""

    @property
    def pid(self) -> int:
        """Its first process."""

    def ask(self, questions: Sequence[Question], clients: int = 1) -> list[Reply]:
        """Answer all, each client one at a time; what the asking costs is not in the times."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to have a model answer."""

    name: str
    title: str
    """For the table."""
    start: Callable[[Graphs], AbstractContextManager[Running]]


CONTENDERS: Mapping[str, Contender] = {
    each.name: each
    for each in (
        Contender("intentd", "intentd, over its socket", servers.intentd),
        Contender(
            "intentd-unlogged",
            "intentd without a prediction log",
            partial(servers.intentd, settings={"predictions": "off"}),
        ),
        Contender("bare", "bare `session.run` on the same rows", in_process.bare),
        Contender(
            "transformers", "transformers pipeline, fp32 torch", in_process.transformers_pipeline
        ),
        Contender("optimum", "optimum-onnx pipeline, its int8", in_process.optimum_pipeline),
        Contender("by-hand", "Optimum's int8, batched by hand", in_process.batched_by_hand),
        Contender("plain", "FastAPI + onnxruntime, 30 lines", servers.plain),
        Contender("infinity", "Infinity 0.0.78, torch engine", servers.infinity),
        Contender("mlflow", "MLflow model serving, Optimum's int8", servers.mlflow),
    )
}


@contextmanager
def started(contender: Contender, graphs: Graphs) -> Iterator[Running]:
    """The contender, asleep until `awake`; woken for its end."""
    with contender.start(graphs) as running:
        suspend(running.pid)
        try:
            yield running
        finally:
            resume(running.pid)


@contextmanager
def awake(running: Running) -> Iterator[Callable[[], float]]:
    """Let it run; gives what says how many CPU seconds it has used since."""
    resume(running.pid)
    before = cpu_seconds(family(running.pid))
    try:
        yield lambda: cpu_seconds(family(running.pid)) - before
    finally:
        suspend(running.pid)
