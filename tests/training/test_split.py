"""Splits: relatives stay together, every class is everywhere, and few rows move."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.samples import LABELS, real_rows, row
from training.rows import Row
from training.split import split


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from("ABC")), max_size=60), st.integers())
def test_no_root_is_in_two_parts(drawn: list[tuple[int, str]], seed: int) -> None:
    """And no row is lost."""
    rows = [
        row(str(n), f"text {n}", label, root=f"{label}{r}") for n, (r, label) in enumerate(drawn)
    ]
    found = split(rows, 0.2, 0.2, seed)
    parts = (found.train, found.dev, found.calibration)
    roots: list[set[str]] = [{r.root for r in part} for part in parts]

    assert sum(map(len, parts)) == len(rows)
    assert len(roots[0] | roots[1] | roots[2]) == sum(map(len, roots))


def test_every_class_is_in_every_part() -> None:
    """Ten percent of twelve is at least one."""
    found = split(real_rows(), 0.1, 0.1, 0)

    for part in (found.dev, found.calibration):
        assert Counter(r.label for r in part) == dict.fromkeys(LABELS, 1)


def test_children_go_where_their_root_goes() -> None:
    """Also when that is not the training part."""
    children = [r.model_copy(update={"id": f"{r.id}-child"}) for r in real_rows()]
    found = split([*real_rows(), *children], 0.25, 0.1, 0)

    assert len(found.dev) == 2 * len({r.root for r in found.dev}) == 24


def test_a_class_with_nothing_to_spare_is_trained_on() -> None:
    """Four roots are too few to give one away."""
    rows: list[Row] = real_rows(4)

    assert len(split(rows, 0.1, 0.1, 0).train) == len(rows)


def test_a_later_build_moves_few_rows() -> None:
    """What was held back stays held back, but for the rows that newcomers push out."""
    before = {r.id for r in split(real_rows(12), 0.2, 0.2, 0).dev}
    after = split(real_rows(14), 0.2, 0.2, 0)

    assert len(before & {r.id for r in after.train}) <= len(LABELS)
