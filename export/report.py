"""What a person sees of a build: facts, bars and tables on stderr. It computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from export.gate import Gate
from export.settings import LENGTHS

if TYPE_CHECKING:  # measuring loads onnx; a message about bad input should not wait for it
    from export.measure import Measurement

__all__ = ["Reporter"]

T = TypeVar("T")


class Reporter:
    """Writes to stderr; bars appear on a terminal only, elsewhere one line a step."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values, one a line."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self._console.print(f"{name:{width}}  {value}", markup=False)

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A bar that only moves, with the time, for work that does not say how far it is."""
        if not self._console.is_terminal:
            self.note(f"{name} …")
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(name, total=None)
            yield

    def track(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items with a bar."""
        known = list(items)
        if not self._console.is_terminal:
            self.note(f"{name} …")
            yield from known
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            yield from progress.track(known, description=name)

    @contextmanager
    def bar(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for work that says how far it is: call with what is done, and of how much."""
        if not self._console.is_terminal:
            self.note(f"{name} …")
            yield lambda done, total: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(name, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def table(self, tried: Sequence[Measurement], gate: Gate) -> None:
        """Every candidate that was measured, in columns."""
        rows = [HEAD, *(tuple(_cells(found, gate)) for found in tried)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *cells in rows:
            padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
            self.note("  ".join([f"{name:{widths[0]}}", *padded]))


HEAD = (
    "recipe",
    "in fp32",
    "MB",
    *(f"ms at {tokens}" for tokens in LENGTHS),
    "agreement",
    "ties too",
    "max |Δ|",
    "mean |Δ|",
    "batch-invariant",
    "gate",
)


def _cells(found: Measurement, gate: Gate) -> Iterator[str]:
    recipe, agreement = found.recipe, found.agreement
    yield f"{recipe.name}{', fused' * recipe.fused}"
    yield str(len(recipe.excluded)) if recipe.excluded else ""
    yield f"{found.size_bytes / 1e6:.1f}"
    yield f"{found.short_ms:.1f}"
    yield f"{found.long_ms:.1f}"
    yield f"{agreement.label_agreement:.3f}"
    yield f"{agreement.plain_agreement:.3f}"
    yield f"{agreement.max_delta:.4f}"
    yield f"{agreement.mean_delta:.4f}"
    yield "yes" if recipe.batch_invariant else "no"
    yield "passed" if gate.passes(agreement) else "failed"
