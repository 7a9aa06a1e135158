"""The outbox: nothing leaves it unless upstream said so, and nothing bars what comes after."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.store import CorrectionStore, rows
from edge.store.records import Ack, AckStatus, Correction, Erasure, Receipt, State
from tests.edge.store.samples import new_correction


def ids_of(store: CorrectionStore, count: int) -> list[str]:
    """Record so many corrections."""
    made = [store.record(new_correction(str(number))) for number in range(count)]
    return [future.result().correction.id for future in made]


def state_of(store: CorrectionStore, id: str) -> State:
    """How far a correction has come."""
    found = store.find(id).result()
    assert found is not None
    return found.state


def test_a_correction_goes_from_durable_to_used(store: CorrectionStore) -> None:
    """Each step only on somebody's word."""
    (id,) = ids_of(store, 1)
    states = [state_of(store, id)]
    assert store.mark_sent([id]).result() == 1
    states.append(state_of(store, id))
    done = store.acknowledge([Ack(id, AckStatus.ACCEPTED)]).result()
    states.append(state_of(store, id))
    assert store.receipts([Receipt(id, "build-1", 5)], cursor=3).result() == 1
    states.append(state_of(store, id))
    assert states == [State.DURABLE, State.SENT, State.ACCEPTED, State.USED]
    assert (done.acknowledged, done.dead, done.remaining) == (1, 0, 0)


def test_what_was_sent_but_not_acknowledged_stays(store: CorrectionStore) -> None:
    """Sending is no delivery; attempts are counted."""
    (id,) = ids_of(store, 1)
    store.mark_sent([id]).result()
    store.mark_sent([id, "unknown"]).result()
    (waiting,) = store.outbox().result().corrections
    assert (waiting.id, waiting.attempts) == (id, 2)


def test_a_rejected_record_waits_in_the_dead_letter_until_it_is_redriven(
    store: CorrectionStore,
) -> None:
    """It bars nobody, keeps its reason, and goes back when a person says so."""
    bad, good = ids_of(store, 2)
    refusal = Ack(bad, AckStatus.REJECTED, "invalid", "no such label")
    done = store.acknowledge([refusal, Ack(good, AckStatus.PARKED)]).result()
    assert (done.acknowledged, done.dead, done.remaining) == (1, 1, 0)
    (dead,) = store.dead().result()
    assert (dead.id, dead.state, dead.last_error) == (bad, State.DEAD, "invalid: no such label")
    assert store.redrive(["unknown"]).result() == 0
    assert store.redrive(None).result() == 1
    assert [it.id for it in store.outbox().result().corrections] == [bad]


def test_an_acknowledgement_counts_once_and_a_late_refusal_takes_nothing_back(
    store: CorrectionStore,
) -> None:
    """Answers come twice and out of order."""
    (id,) = ids_of(store, 1)
    assert store.acknowledge([Ack(id, AckStatus.DUPLICATE)] * 2).result().acknowledged == 1
    late = store.acknowledge([Ack(id, AckStatus.REJECTED)]).result()
    assert (late.dead, state_of(store, id)) == (0, State.ACCEPTED)


def test_tombstones_go_first_and_count(store: CorrectionStore) -> None:
    """What somebody wants gone does not wait behind a long queue."""
    ids = ids_of(store, 4)
    store.erase([ids[2]]).result()
    box = store.outbox(limit=2).result()
    assert [it.id for it in box.erasures] == [ids[2]]
    assert [it.id for it in box.corrections] == [ids[0]]
    assert box.remaining == 2
    store.acknowledge([Ack(ids[2], AckStatus.ACCEPTED)]).result()
    assert store.outbox().result().erasures == ()
    assert state_of(store, ids[2]) is State.ERASED


def test_an_outbox_of_none_is_empty(store: CorrectionStore) -> None:
    """The limit counts tombstones and corrections together."""
    ids_of(store, 2)
    box = store.outbox(limit=0).result()
    assert (box.corrections, box.erasures, box.remaining) == ((), (), 2)


def test_an_epoch_begins_when_upstream_knows_more(store: CorrectionStore) -> None:
    """A device that was set back must not give the same numbers out again."""
    store.mark_sent(ids_of(store, 2)).result()
    assert store.bump_epoch(1, 2).result() == 1
    assert store.bump_epoch(1, 3).result() == 2
    assert store.bump_epoch(1, 9).result() == 2
    fresh = store.record(new_correction("later")).result().correction
    assert (fresh.epoch, fresh.seq) == (2, 3)


def test_an_epoch_begins_though_the_device_that_was_set_back_has_overtaken_upstream(
    store: CorrectionStore,
) -> None:
    """What was given out since, and never sent, is no sign that upstream knows nothing more."""
    ids = ids_of(store, 5)
    store.mark_sent(ids[:2]).result()
    assert store.bump_epoch(1, 4).result() == 2


def test_no_epoch_begins_where_the_last_that_was_sent_was_erased(store: CorrectionStore) -> None:
    """Its tombstone does not say whether it was sent, so it counts."""
    ids = ids_of(store, 2)
    store.mark_sent(ids).result()
    store.erase([ids[1]]).result()
    assert store.bump_epoch(1, 2).result() == 1


def test_a_page_ends_where_its_texts_would_not_fit_into_memory(
    store: CorrectionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand records of a megabyte are not read to show four; what is left is counted."""
    monkeypatch.setattr(rows, "MAX_PAGE_CHARS", 20)
    for text in ("a" * 10, "b" * 10, "c" * 90, "d"):
        store.record(new_correction(text)).result()
    box = store.outbox(100).result()
    assert ([it.text[0] for it in box.corrections], box.remaining) == (["a", "b"], 2)
    assert [it.text[0] for it in store.list(after_seq=2).result()] == ["c"]
    store.acknowledge([Ack(it.id, AckStatus.REJECTED) for it in box.corrections]).result()
    assert len(store.dead().result()) == 2
    assert [it.text[0] for it in store.outbox(100).result().corrections] == ["c"]


def test_the_cursor_of_the_receipts_never_goes_back(store: CorrectionStore) -> None:
    """An old answer that arrives late changes nothing."""
    store.receipts([], cursor=7).result()
    store.receipts([], cursor=4).result()
    cursor = store.cursor().result()
    assert (cursor.receipts_cursor, cursor.last_seq, cursor.epoch) == (7, 0, 1)
    assert len(cursor.device_id) == 36


class Delivery(RuleBasedStateMachine):
    """Whatever upstream answers, in whatever order: outbox, delivered and dead are one whole."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.directory = Path(self.scratch.name)
        self.store = CorrectionStore.open(self.directory)
        self.kept: set[str] = set()
        self.erased: set[str] = set()
        self.delivered: set[str] = set()

    @rule()
    def record(self) -> None:
        """Record one."""
        self.kept.add(self.store.record(new_correction()).result().correction.id)

    @rule(status=st.sampled_from(AckStatus), first=st.integers(0, 3), count=st.integers(0, 3))
    def acknowledge(self, status: AckStatus, first: int, count: int) -> None:
        """Upstream answers for some of the outbox."""
        box = self.store.outbox().result()
        ids = [it.id for it in box.erasures] + [it.id for it in box.corrections]
        ids = ids[first : first + count]
        self.store.acknowledge([Ack(id, status) for id in ids]).result()
        if status is not AckStatus.REJECTED:
            self.delivered.update(ids)

    @rule(first=st.integers(0, 3))
    def erase(self, first: int) -> None:
        """Somebody erases one."""
        for id in sorted(self.kept)[first : first + 1]:
            assert self.store.erase([id]).result() == [id]
            self.kept.discard(id)
            self.erased.add(id)
            self.delivered.discard(id)  # the tombstone is a record of its own

    @rule()
    def redrive(self) -> None:
        """Somebody tries the dead ones again."""
        self.store.redrive(None).result()
        assert self.store.dead().result() == []

    @rule()
    def reopen(self) -> None:
        """The daemon starts again."""
        self.store.close()
        self.store = CorrectionStore.open(self.directory)

    @invariant()
    def nothing_is_missing(self) -> None:
        """Every record is in exactly one place."""
        box = self.store.outbox().result()
        waiting = {it.id for it in box.corrections} | {it.id for it in box.erasures}
        dead = {it.id for it in self.store.dead().result()}
        assert waiting | dead | self.delivered == self.kept | self.erased
        assert len(waiting) + len(dead) + len(self.delivered) == len(self.kept | self.erased)
        for id in self.erased:
            assert isinstance(self.store.find(id).result(), Erasure)
        assert {it.id for it in self.store.list().result()} == self.kept

    def teardown(self) -> None:
        """Close."""
        self.store.close()
        self.scratch.cleanup()


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


def test_the_types_of_what_waits(store: CorrectionStore) -> None:
    """Corrections come whole, with the text that a training build needs."""
    ids_of(store, 1)
    (waiting,) = store.outbox().result().corrections
    assert isinstance(waiting, Correction)
    assert waiting.text == "0"
