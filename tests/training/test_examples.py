"""What is learnt from: numbers for labels, and a weight for each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.samples import LABELS, real_rows, row
from training.errors import DataRefused
from training.fit.examples import smallest_class, to_examples, weigh_examples

HERE = Path("train.jsonl")


def test_rows_become_texts_with_numbers() -> None:
    """What the request is about comes after it, as on the edge; no label is -1."""
    rows = [row("1", "why?", "REASON", content="It rained."), row("2", "hi", None, weight=2.0)]
    found = to_examples(rows, LABELS, HERE)

    assert found.texts == ("why?\n\nIt rained.", "hi")
    assert found.targets.tolist() == [2, -1]
    assert found.weights.tolist() == [1.0, 2.0]
    assert found.take(found.in_scope).texts == ("why?\n\nIt rained.",)


def test_a_label_outside_the_set_is_refused() -> None:
    """With the file, the label, and what to do."""
    with pytest.raises(DataRefused, match=r"train.jsonl: expected .*found 'DANCE' \(1 rows\)"):
        to_examples([row("1", "dance", "DANCE")], LABELS, HERE)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(LABELS, "none of SEARCH_ONLY"), (("REASON",), r"found 1 \(REASON\)")],
)
def test_an_empty_class_and_a_single_one_are_refused(labels: tuple[str, ...], said: str) -> None:
    """There is nothing to tell apart."""
    rows = [one for one in real_rows() if one.label in set(labels) - {"SEARCH_ONLY"}]

    with pytest.raises(DataRefused, match=said):
        smallest_class(to_examples(rows, labels, HERE), labels)


def test_small_classes_count_as_much_as_large_ones() -> None:
    """Each row's own weight stays in it; the mean is 1, so that the step size means the same."""
    rows = [row(f"a{n}", "a", "SUMMARIZE") for n in range(30)]
    rows += [row("b1", "b", "REASON", weight=3.0), row("b2", "b", "REASON")]
    found = to_examples(rows, LABELS, HERE)
    weights = weigh_examples(found, len(LABELS), balance=True)
    plain = weigh_examples(found, len(LABELS), balance=False)

    assert weights[:30].sum() == pytest.approx(weights[30:].sum())
    assert weights[30] == pytest.approx(3 * weights[31])
    assert weights.mean() == pytest.approx(1)
    assert plain[30] / plain[0] == pytest.approx(3)


def test_one_row_is_not_said_a_hundred_times() -> None:
    """The weight of a class is bounded, up and down."""
    rows = [row(f"a{n}", "a", "SUMMARIZE") for n in range(500)] + [row("b", "b", "REASON")]
    weights = weigh_examples(to_examples(rows, LABELS, HERE), len(LABELS), balance=True)

    assert weights[-1] / weights[0] <= 100 * (1 + 1e-9)
    assert np.isfinite(weights).all()
