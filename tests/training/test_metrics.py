"""Numbers as scikit-learn and SciPy compute them, and intervals that are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import (
    accuracy,
    auroc,
    bootstrap,
    class_scores,
    confusion,
    ece,
    macro_f1,
    mcnemar,
    paired_accuracy,
    paired_macro_f1,
    reliability,
    rows_for_mcnemar,
    say_p,
)

CLASSES = 4
PAIRS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60
)
SCORED = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=80)


def split(pairs: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Truth and answers."""
    truth, said = zip(*pairs, strict=True)
    return np.array(truth, np.int64), np.array(said, np.int64)


@given(PAIRS)
def test_class_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Precision, recall, F1 and support, also of classes that never occur."""
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    truth, said = split(pairs)
    found = class_scores(confusion(truth, said, CLASSES))
    labels = range(CLASSES)
    expected = precision_recall_fscore_support(truth, said, labels=labels, zero_division=0)

    for name, values in zip(("precision", "recall", "f1", "n"), expected, strict=True):
        assert [getattr(one, name) for one in found] == pytest.approx(list(values))
    present = sorted({*truth, *said})
    macro = f1_score(truth, said, labels=present, average="macro", zero_division=0)
    assert macro_f1(truth, said, CLASSES) == pytest.approx(macro)


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1))
def test_auroc_is_that_of_scikit_learn(inside: list[int], outside: list[int]) -> None:
    """Ties count half."""
    from sklearn.metrics import roc_auc_score

    truth, scores = [1] * len(inside) + [0] * len(outside), [*inside, *outside]
    found = auroc(np.array(inside, float), np.array(outside, float))

    assert found == pytest.approx(roc_auc_score(truth, scores))


def test_auroc_of_one_side_is_none() -> None:
    """There is nothing to tell apart."""
    assert auroc(np.array([0.5]), np.array([])) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(only_first: int, only_second: int) -> None:
    """Exact as SciPy's; mid-p takes half of the point's own weight on each side."""
    from scipy.stats import binom, binomtest

    first = np.array([True] * only_first + [False] * only_second + [True] * 3)
    second = np.array([False] * only_first + [True] * only_second + [True] * 3)
    found, n = mcnemar(first, second), only_first + only_second
    exact = binomtest(only_first, n).pvalue if n else 1.0
    point = float(binom.pmf(min(only_first, only_second), n, 0.5)) if n else 0.0

    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.exact_p == pytest.approx(exact)
    even = only_first == only_second
    assert found.mid_p == pytest.approx(1.0 if even else exact - point)


def test_mcnemar_stands_many_rows() -> None:
    """No overflow, no underflow to nonsense."""
    found = mcnemar(np.arange(200_000) % 2 == 0, np.arange(200_000) % 2 == 1)

    assert found.exact_p == pytest.approx(1.0)


def test_rows_for_mcnemar_lie_where_its_power_says() -> None:
    """8 % against 4 % of rows: 400 rows see it in 57 % of the cases, 800 in 90 %."""
    needed = rows_for_mcnemar(4, 8, 100)

    assert needed is not None
    assert 400 < needed < 800
    assert rows_for_mcnemar(4, 4, 100) is None


@given(SCORED, st.randoms())
def test_ece_does_not_depend_on_the_order(pairs: list[tuple[int, bool]], chance: Any) -> None:
    """Rows of one score stay in one bin, and every row is in one."""
    mixed = list(pairs)
    chance.shuffle(mixed)
    found = []
    for some in (pairs, mixed):
        scores = np.array([score / 20 for score, _ in some])
        right = np.array([flag for _, flag in some], np.bool_)
        assert sum(part.n for part in reliability(scores, right)) == len(some)
        found.append(ece(scores, right))

    assert found[0] == pytest.approx(found[1])
    assert 0 <= found[0] <= 1


def test_ece_of_what_means_what_it_says_is_nothing() -> None:
    """80 % sure and 80 % right; and 20 points off where 60 % are."""
    scores = np.full(50, 0.8)

    assert ece(scores, np.arange(50) % 5 != 0) == pytest.approx(0.0)
    assert ece(scores, np.arange(50) % 5 > 1) == pytest.approx(0.2)
    assert ece(np.array([]), np.array([], np.bool_)) == 0.0


def test_bootstrap_repeats_itself_and_narrows_with_rows() -> None:
    """The same seed, the same interval; a hundred times the rows, a tenth of the width."""

    def spread(n: int) -> float:
        right = np.arange(n) % 4 != 0
        found = bootstrap(lambda rows: float(right[rows].mean()), n, seed=1)
        assert found == bootstrap(lambda rows: float(right[rows].mean()), n, seed=1)
        assert found.low <= found.value == 0.75 <= found.high
        return found.high - found.low

    assert 5 < spread(100) / spread(10_000) < 20


def test_paired_differences_point_the_right_way() -> None:
    """Positive where the second is better; nothing between two that are one."""
    truth = np.arange(40) % CLASSES
    wrong = (truth + 1) % CLASSES
    half = np.where(np.arange(40) < 20, truth, wrong)

    gain = paired_accuracy(half == truth, truth == truth, seed=0)
    assert gain.low > 0
    assert gain.value == 0.5
    assert paired_macro_f1(truth, half, truth, CLASSES, seed=0).low > 0
    same = paired_macro_f1(truth, half, half, CLASSES, seed=0)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_accuracy_of_nothing_is_unknown() -> None:
    """Its interval is everything."""
    assert accuracy(np.array([], np.bool_)).as_dict() == {"value": 0.0, "low": 0.0, "high": 1.0}


def test_a_tiny_p_is_not_nothing() -> None:
    """For people."""
    assert (say_p(1e-9), say_p(0.0421)) == ("p < 0.001", "p 0.042")
