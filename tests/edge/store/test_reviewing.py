"""What to label next: the doubtful, the disputed, and some drawn by lot."""

from __future__ import annotations

import hashlib
from collections import Counter

from edge.store import PredictionLog
from edge.store.keys import override_key
from edge.store.prediction_rows import AUDIT_BELOW
from edge.store.recording import now_ms
from edge.store.records import Override, ReviewItem, Why
from tests.edge.store.samples import prediction


def is_audited(id: str) -> bool:
    """Whether the lot falls on an id."""
    digest = hashlib.blake2b(id.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < AUDIT_BELOW


PLAIN = [str(number) for number in range(200) if not is_audited(str(number))]
AUDITED = [str(number) for number in range(200) if is_audited(str(number))]


def add(log: PredictionLog, id: str, text: str, **changes: object) -> None:
    """Keep a prediction made now."""
    log.add(prediction(id, text, created_ms=now_ms(), **changes))


def why_of(items: list[ReviewItem]) -> dict[str, Why]:
    """Id → why it is shown."""
    return {item.prediction.id: item.why for item in items}


def said(text: str, label: str | None, label_set: str = "set-1") -> Override:
    """What a person said of a text."""
    return Override(override_key(text, None), label_set, label, "c")


def test_the_least_sure_come_first(predictions: PredictionLog) -> None:
    """By the margin between the best and the second label."""
    for id, margin in zip(PLAIN, (0.5, 0.1, None, 0.3), strict=False):
        add(predictions, id, f"text {id}", margin=margin)
    items = predictions.review().result()
    assert [item.prediction.margin for item in items] == [0.1, 0.3, 0.5, None]
    assert {item.why for item in items} == {Why.LOW_CONFIDENCE}


def test_two_models_that_differ_are_a_disagreement(predictions: PredictionLog) -> None:
    """On the same text under the same labels; the newest answer is shown, once."""
    first, second, third, fourth = PLAIN[:4]
    add(predictions, first, "a", model="m1", raw_label="EXTRACT")
    add(predictions, second, " a ", model="m2", raw_label="REASON")
    add(predictions, third, "b", model="m1", raw_label="EXTRACT")
    add(predictions, fourth, "b", model="m2", raw_label="EXTRACT")
    shown = why_of(predictions.review().result())
    assert shown == {second: Why.DISAGREEMENT, fourth: Why.LOW_CONFIDENCE}


def test_a_text_that_was_corrected_is_settled_under_its_label_set(
    predictions: PredictionLog,
) -> None:
    """Under another set it is a disagreement where the model could have said it, and did not."""
    here, elsewhere, agrees, impossible = PLAIN[:4]
    add(predictions, here, "a", raw_label="EXTRACT")
    add(predictions, elsewhere, "b", raw_label="EXTRACT")
    add(predictions, agrees, "c", raw_label="EXTRACT")
    add(predictions, impossible, "d", raw_label="EXTRACT")
    overrides = [
        said("a", "REASON"),
        said("b", "REASON", "set-2"),
        said("c", "EXTRACT", "set-2"),
        said("d", "COOK", "set-2"),
    ]
    shown = why_of(predictions.review(20, overrides).result())
    expected = dict.fromkeys((agrees, impossible), Why.LOW_CONFIDENCE)
    assert shown == expected | {elsewhere: Why.DISAGREEMENT}


def test_what_was_reviewed_does_not_come_back(predictions: PredictionLog) -> None:
    """Nor do older answers on the same text."""
    add(predictions, PLAIN[0], "a")
    add(predictions, PLAIN[1], "a")
    add(predictions, PLAIN[2], "b")
    predictions.mark_reviewed([PLAIN[1]])
    assert list(why_of(predictions.review().result())) == [PLAIN[2]]


def test_the_lot_is_drawn_by_the_id_alone(predictions: PredictionLog) -> None:
    """About one in ten, whatever the model thought of it, so that it measures the model."""
    for id in map(str, range(200)):
        add(predictions, id, f"text {id}", margin=0.01 if int(id) % 2 else 0.99)
    items = predictions.review(1000).result()
    audited = [item.prediction.id for item in items if item.why is Why.AUDIT]
    assert sorted(audited) == sorted(AUDITED)
    assert 8 <= len(audited) <= 35
    assert len(items) == 200


def test_every_reason_gets_its_turn(predictions: PredictionLog) -> None:
    """A flood of doubtful texts does not bury the others."""
    for id in [*PLAIN[:50], *AUDITED[:5]]:
        add(predictions, id, f"text {id}", model="m1", raw_label="EXTRACT")
    for id in PLAIN[50:60]:
        add(predictions, id, f"text {PLAIN[int(id) % 10]}", model="m2", raw_label="REASON")
    reasons = Counter(item.why for item in predictions.review(10).result())
    assert reasons[Why.AUDIT] == 2
    assert reasons[Why.DISAGREEMENT] == 4
    assert predictions.review(0).result() == []


def test_a_short_review_is_the_beginning_of_a_long_one(predictions: PredictionLog) -> None:
    """Only as many as were asked for are held in memory: the best of them, not the first."""
    for id in map(str, range(60)):
        add(predictions, id, f"text {id}", model="m1", margin=(int(id) * 7 % 60) / 60)
    for id in PLAIN[20:30]:
        add(predictions, f"{id} again", f"text {id}", model="m2", raw_label="REASON")
    whole = why_of(predictions.review(1000).result())
    assert len(whole) == 60
    for limit in (1, 2, 7, 30):
        assert list(why_of(predictions.review(limit).result())) == list(whole)[:limit]
