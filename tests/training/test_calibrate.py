"""Temperature and thresholds: what they promise, checked by counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.scoring import softmax
from training.fit.calibrate import (
    MIN_ROWS_FOR_OWN,
    calibrate,
    fit_temperature,
    fit_threshold,
)

LABELS = ("A", "B", "C")


def drawn(rows: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (rows, len(LABELS)))
    shares = softmax(logits / temperature)
    return logits, np.array([draw.choice(len(LABELS), p=share) for share in shares])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_truth_is_found(temperature: float) -> None:
    """Labels that were drawn at a temperature give it back, to 15 %."""
    found = fit_temperature(*drawn(4000, temperature))

    assert found == pytest.approx(temperature, rel=0.15)


def test_a_few_right_rows_do_not_make_it_sure() -> None:
    """Right on all of five says little: the score stays below that of six of seven and some."""
    logits = np.array([[2.0, 0.0, 0.0]] * 5)
    temperature = fit_temperature(logits, np.zeros(5, dtype=np.int64))

    assert softmax(logits / temperature)[0, 0] == pytest.approx(6 / 7 + 1 / 21, abs=0.01)


def test_calibration_lowers_the_error_of_a_boaster() -> None:
    """Logits three times too large: the scores come nearer to what is right."""
    logits, targets = drawn(3000, 3.0)
    found = calibrate(logits, targets, LABELS, 1.0)

    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_after < found.ece_before / 3


@given(
    st.lists(
        st.tuples(st.sampled_from([0.2, 0.4, 0.5, 0.7, 0.9]), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_no_threshold_costs_less(rows: list[tuple[float, bool]], wrong_cost: float) -> None:
    """Compared with every place where a cut could be."""
    best, right = np.array([score for score, _ in rows]), np.array([good for _, good in rows])

    def cost(threshold: float) -> float:
        given_label = best >= threshold
        return float((right & ~given_label).sum() + wrong_cost * (~right & given_label).sum())

    found = cost(fit_threshold(best, right, wrong_cost))

    assert found == min(cost(cut) for cut in (0.0, 0.3, 0.45, 0.6, 0.8, 0.95))


def test_rows_of_no_label_raise_the_threshold() -> None:
    """They were given a label with a middling score: such scores are then turned away."""
    sure, middling = [8.0, 0.0, 0.0], [1.0, 0.0, 0.0]
    known = calibrate(np.array([sure] * 30), np.zeros(30, dtype=np.int64), LABELS, 1.0)
    logits = np.array([sure] * 30 + [middling] * 30)
    targets = np.array([0] * 30 + [-1] * 30)
    mixed = calibrate(logits, targets, LABELS, 1.0)

    assert (known.threshold, known.n_out_of_scope) == (0.0, 0)
    assert softmax(np.array(middling) / mixed.temperature)[0] < mixed.threshold < 0.99
    assert (mixed.n, mixed.n_out_of_scope) == (30, 30)
    assert mixed.temperature == known.temperature


def test_a_label_has_a_threshold_of_its_own_from_twenty_answers() -> None:
    """Fewer say nothing: the common one holds there."""
    many, few = [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]
    logits = np.array([many] * MIN_ROWS_FOR_OWN + [few] * (MIN_ROWS_FOR_OWN - 1))
    targets = logits.argmax(axis=1)

    assert set(calibrate(logits, targets, LABELS, 1.0).thresholds) == {"A"}


def test_without_rows_nothing_is_fitted() -> None:
    """Every answer is given, as it is; the numbers that are missing are null."""
    found = calibrate(np.empty((0, 3)), np.empty(0, dtype=np.int64), LABELS, 1.0)
    as_dict = found.as_dict(LABELS, "build/calibration.jsonl")

    assert as_dict == {
        "labels": list(LABELS),
        "temperature": 1.0,
        "threshold": 0.0,
        "thresholds": {},
        "n": 0,
        "n_out_of_scope": 0,
        "ece_before": None,
        "ece_after": None,
        "fitted_on": "build/calibration.jsonl",
    }
