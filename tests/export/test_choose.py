"""Which recipe is taken: in order of speed, the first that keeps the answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from edge.bundle import Target
from export.choose import Choice, choose
from export.gate import Agreement, Gate
from export.graph import Product
from export.measure import Measurement
from export.recipes import Recipe, candidates
from export.report import Reporter
from export.settings import Limits

GROUPS: list[tuple[float, tuple[Product, ...]]] = [
    (1 / (n + 1), (Product(f"p{n}", f"a{n}", f"w{n}", 100),)) for n in range(8)
]


@dataclass
class FakeBench:
    """A model whose answers move as `delta` says."""

    delta: Callable[[Recipe], float]
    short_ms: Callable[[Recipe], float] = lambda recipe: 10.0
    asked: list[Recipe] = field(default_factory=list)

    def measure(self, recipe: Recipe, reporter: Reporter) -> Measurement:
        """By the recipe alone."""
        self.asked.append(recipe)
        agreement = Agreement(1, 1, self.delta(recipe), 0, 100, 100)
        return Measurement(recipe, 1, self.short_ms(recipe), self.short_ms(recipe), agreement, 0)

    def observe(self, recipe: Recipe) -> FakeBench:
        """Stands for what was observed."""
        return self

    def groups(self, recipe: Recipe) -> list[tuple[float, tuple[Product, ...]]]:
        """The same for all."""
        return GROUPS


def take(bench: FakeBench, *, fused: bool = False, compare: bool = False) -> Choice:
    """Choose among all recipes; what a person sees is in `log`."""
    quiet = Reporter(Console(file=io.StringIO()))
    recipes = candidates(Target.ANY, fused=fused)
    return choose(bench, recipes, Gate(), Limits(), quiet, compare=compare)  # type: ignore[arg-type]  # a fake


def test_first_that_passes_is_taken_and_no_other_is_made() -> None:
    """Full int8 costs one measurement."""
    bench = FakeBench(lambda recipe: 0.01)

    assert take(bench).taken
    assert [recipe.name for recipe in bench.asked] == ["int8"]


def test_search_comes_after_what_is_faster_and_its_last_trial_is_taken() -> None:
    """With the products that it left in fp32."""
    bench = FakeBench(lambda recipe: 0.01 if len(recipe.excluded) >= 2 else 0.1)
    taken = take(bench).taken

    assert taken
    assert [recipe.name for recipe in bench.asked[:3]] == ["int8", "int8-smooth", "int8-mixed"]
    assert taken.recipe.excluded == ("p0", "p1")


def test_nothing_is_taken_where_nothing_passes() -> None:
    """Not even fp32, should it be wrong."""
    bench = FakeBench(lambda recipe: 0.5)
    choice = take(bench)

    assert choice.taken is None
    assert [found.recipe for found in choice.tried] == bench.asked
    assert bench.asked[-1].name == "fp32"


@pytest.mark.parametrize(
    ("plain_ms", "short_ms", "fused"), [(9.0, 10.0, True), (7.0, 10.0, False), (1.0, 2.0, True)]
)
def test_fusions_are_left_out_only_where_they_clearly_cost(
    plain_ms: float, short_ms: float, fused: bool
) -> None:
    """By a fifth, and of a time that other programs do not decide."""
    bench = FakeBench(lambda _: 0.01, lambda recipe: short_ms if recipe.fused else plain_ms)
    taken = take(bench, fused=True, compare=True).taken

    assert taken
    assert taken.recipe.fused == fused
