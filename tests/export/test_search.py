"""The search for sensitive products: few trials, the fewest exclusions, and an end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from export.gate import Agreement, Gate
from export.graph import Product
from export.measure import Measurement
from export.recipes import Recipe, Weights
from export.search import find_fewest
from export.settings import Limits

RECIPE = Recipe("int8-mixed", Weights.INT8, search=True)
GROUPS = [(1 / (n + 1), (Product(f"p{n}", f"a{n}", f"w{n}", 100),)) for n in range(40)]


@dataclass
class FakeBench:
    """A model that keeps its answers once its worst `needed` groups are in fp32."""

    needed: int
    counts: list[int] = field(default_factory=list)

    def measure(self, recipe: Recipe) -> Measurement:
        """Passes or fails by the number of exclusions alone."""
        self.counts.append(len(recipe.excluded))
        delta = 0.01 if len(recipe.excluded) >= self.needed else 0.5
        return Measurement(recipe, 1, 1, 1, Agreement(1, 1, delta, 0, 100, 100), 0)


def search(bench: FakeBench, limits: Limits | None = None) -> list[Measurement]:
    """Run it over forty groups, the worst first."""
    return find_fewest(RECIPE, GROUPS, Gate(), bench.measure, limits or Limits())


@pytest.mark.parametrize("needed", range(1, 21))
def test_fewest_groups_that_pass_are_found(needed: int) -> None:
    """In few trials; the last one is the one to take, and the worst groups are what it leaves."""
    bench = FakeBench(needed)
    trials = search(bench)

    assert trials[-1].recipe.excluded == tuple(f"p{n}" for n in range(needed))
    assert Gate().passes(trials[-1].agreement)
    assert len(bench.counts) <= 10


def test_more_than_half_in_fp32_is_not_tried() -> None:
    """Other recipes are smaller then."""
    bench = FakeBench(needed=25)
    trials = search(bench)

    assert max(bench.counts) == 20
    assert not Gate().passes(trials[-1].agreement)


def test_number_of_trials_is_bounded() -> None:
    """What was found until then is taken."""
    bench = FakeBench(needed=9)
    trials = search(bench, Limits(evaluations=5))

    assert bench.counts == [1, 2, 4, 8, 16]
    assert len(trials[-1].recipe.excluded) == 16


def test_time_is_bounded() -> None:
    """One trial is always made."""
    bench = FakeBench(needed=1)

    assert search(bench, Limits(minutes=0))[-1].recipe.excluded == ("p0",)
    assert FakeBench(9).counts == []
    assert len(search(FakeBench(9), Limits(minutes=0))) == 1
