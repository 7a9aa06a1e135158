"""The feedback's bias: each side weighs what it is in the traffic."""

from __future__ import annotations

import pytest

from tests.training.samples import row
from training.rows import Origin, Row
from training.weigh import limit_zeal, weigh


def feedback(wrong: int, right: int, origin: Origin = Origin.CORRECTION) -> list[Row]:
    """Rows in which a person differs from the model, and rows in which not."""
    return [
        row(f"{origin}{n}", f"text {n}", "REASON", origin=origin, predicted_label=predicted)
        for n, predicted in enumerate(["EXTRACT"] * wrong + ["REASON"] * right)
    ]


def test_the_audit_tells_how_much_corrections_count() -> None:
    """Ten percent of the audited were wrong, so corrections get ten percent of the weight."""
    rows = feedback(30, 30) + feedback(4, 36, Origin.AUDIT)
    weighed, bias = weigh(rows, min_audit=30, max_weight=10)
    wrong = sum(r.weight for r in weighed if r.label != r.predicted_label)

    assert bias.share_wrong == pytest.approx(0.1)
    assert wrong / sum(r.weight for r in weighed) == pytest.approx(0.1, abs=1e-3)  # rounded weights


def test_without_an_audit_corrections_weigh_no_more_than_confirmations() -> None:
    """Thirty corrections against ten confirmations count as equals."""
    weighed, bias = weigh(feedback(30, 10), min_audit=30, max_weight=10)
    wrong = sum(r.weight for r in weighed if r.label != r.predicted_label)

    assert wrong == pytest.approx(sum(r.weight for r in weighed) - wrong, rel=1e-3)
    assert "too few audited" in bias.note


def test_corrections_alone_are_named_as_what_they_are() -> None:
    """Nothing can be balanced, and the card will say so."""
    weighed, bias = weigh(feedback(5, 0), min_audit=30, max_weight=4)

    assert {r.weight for r in weighed} == {1.0}
    assert "corrections alone" in bias.note


def test_weights_are_bounded_and_other_rows_keep_theirs() -> None:
    """One lonely confirmation does not outweigh everything."""
    seed = row("s", "an example", origin=Origin.SEED)
    weighed, bias = weigh([*feedback(100, 1), seed], min_audit=30, max_weight=4)

    assert (bias.weight_right, weighed[-1].weight) == (4, 1)


def test_one_person_a_day_is_limited() -> None:
    """The first rows stay; other days, people and examples are not touched."""
    many = [*feedback(5, 0), row("next", "x y", created_utc="2026-11-23T00:00:00.000Z")]
    kept, dropped = limit_zeal([*many, row("s", "z", origin=Origin.SEED)], 3)

    assert dropped == 2
    assert [r.id for r in kept] == ["correction0", "correction1", "correction2", "next", "s"]
