"""Drift: distances that are nothing for the same, and grow with what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.samples import real_rows, row
from training.drift import compare_profiles, js_distance, profile
from training.embed import Vectors
from training.rows import Origin

COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50), min_size=1)


def embedded(texts: Sequence[str]) -> Vectors:
    """Vectors that are cheap: how often vowels occur."""
    return np.array([[text.count(v) + 0.1 for v in "aeiou"] for text in texts], np.float32)


@given(COUNTS, COUNTS)
def test_the_distance_is_one(first: dict[str, int], second: dict[str, int]) -> None:
    """Between 0 and 1, the same both ways, 0 for the same shares, as SciPy has it."""
    from scipy.spatial.distance import jensenshannon

    found = js_distance(first, second)
    names = sorted({*first, *second})
    vectors = [[counts.get(name, 0) for name in names] for counts in (first, second)]

    assert found == pytest.approx(js_distance(second, first), abs=1e-9)
    assert js_distance(first, {k: 3 * v for k, v in first.items()}) == pytest.approx(0, abs=1e-6)
    assert found == pytest.approx(float(jensenshannon(*vectors, base=2)), abs=1e-6)


def test_nothing_in_common_is_one() -> None:
    """And so is something against nothing."""
    assert js_distance({"a": 1}, {"b": 1}) == pytest.approx(1.0)
    assert js_distance({"a": 1}, {}) == 1.0
    assert js_distance({}, {}) == 0.0


def test_a_build_has_not_moved_from_itself() -> None:
    """Whatever the order of its rows."""
    rows = real_rows(6)
    before, now = (profile(some, "x", embedded) for some in (rows, rows[::-1]))
    found = compare_profiles(before, now)

    names = ("labels", "lengths", "vocabulary", "meaning", "new_words")
    assert [found[name] for name in names] == [0, 0, 0, 0, 0]


def test_made_rows_do_not_count() -> None:
    """They say what was asked of `augment`, not what people ask."""
    made = [row(f"m{n}", f"made up {n}", origin=Origin.TEMPLATE) for n in range(50)]

    assert profile([*real_rows(3), *made], "x", embedded) == profile(real_rows(3), "x", embedded)


def test_what_is_new_shows() -> None:
    """One class more, other words, longer texts."""
    new = [
        row(f"n{n}", "kindly juxtapose twelve marvellous zithers today", "NEW") for n in range(9)
    ]
    before = profile(real_rows(3), "x", embedded)
    found = compare_profiles(before, profile([*real_rows(3), *new], "y", embedded))

    assert found["shares"]["NEW"] == [0.0, 0.4286]
    assert found["new_words"] > 0.4
    assert found["rows"] == [12, 21]
    assert min(found[name] for name in ("labels", "lengths", "vocabulary")) > 0.2
