"""Accuracy and the table of classes, against scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from training.fit.quality import accuracy, class_table, describe_quality

CLASSES = 4
PAIRS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30
)


@given(PAIRS)
def test_the_numbers_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Classes that occur nowhere are left out; what cannot be divided is null, not 0."""
    answers, targets = (np.array(side) for side in zip(*pairs, strict=True))
    table = class_table(answers, targets, [str(n) for n in range(CLASSES)])
    present = sorted({*answers.tolist(), *targets.tolist()})

    assert accuracy(answers, targets) == accuracy_score(targets, answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = f1_score(targets, answers, labels=present, average=None, zero_division=0)
        assert [table[n]["f1"] for n in present] == pytest.approx(list(expected), abs=1e-4)
        for number in present:
            chosen = {"labels": [number], "average": "macro", "zero_division": 0}
            assert (table[number]["precision"] or 0) == pytest.approx(
                precision_score(targets, answers, **chosen), abs=1e-4
            )
            assert (table[number]["recall"] or 0) == pytest.approx(
                recall_score(targets, answers, **chosen), abs=1e-4
            )
    assert [entry["n"] for entry in table] == np.bincount(targets, minlength=CLASSES).tolist()


def test_no_rows_have_no_quality() -> None:
    """Null says so; 0 would be a claim."""
    none = np.empty(0, dtype=np.int64)
    found = describe_quality(none, none, ("A",))

    assert found == {
        "n": 0,
        "accuracy": None,
        "macro_f1": None,
        "per_class": [{"label": "A", "precision": None, "recall": None, "f1": None, "n": 0}],
    }
