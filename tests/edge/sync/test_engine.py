"""One run: what leaves the outbox, what goes to the dead letter, what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import SyncRefused, Unavailable
from edge.sync.batch import Batch
from edge.sync.engine import Run, Tally
from edge.sync.outgoing import Preparer
from edge.sync.redact import Redactor
from edge.sync.settings import Tier
from edge.sync.target import BatchMalformed, BatchTooLarge, Receipts, Seen
from edge.sync.upstream import ATTEMPTS, Collector
from edge.wire import RecordResult, UseReceipt
from tests.edge.sync.fakes import Answer, FakeCollector, FakeOutbox, fake_collector
from tests.edge.sync.records import correction, erasure

REFUSAL = {"title": "no", "status": 400, "code": "malformed_body", "detail": "not for me"}
KEY = b"k" * 32

Deliver = Callable[[Batch], Sequence[RecordResult]]


class FakeTarget:
    """Takes what it is told to take."""

    def __init__(self, deliver: Deliver | None = None, seen: Seen | None = None) -> None:
        self.batches: list[Batch] = []
        self.reports: list[Batch] = []
        self.pages: list[Receipts] = []
        self._deliver = deliver or accept
        self._seen = seen

    def seen(self, device_id: str) -> Seen | None:
        """As made."""
        return self._seen

    def deliver(self, batch: Batch) -> Sequence[RecordResult]:
        """As made."""
        self.batches.append(batch)
        return self._deliver(batch)

    def report(self, batch: Batch) -> None:
        """Keeps it."""
        self.reports.append(batch)

    def receipts(self, after: int) -> Receipts | None:
        """The next page."""
        return self.pages.pop(0) if self.pages else None

    def close(self) -> None:
        """Nothing is open."""


def accept(batch: Batch) -> list[RecordResult]:
    """Everything."""
    return [RecordResult(id=record_id, status="accepted") for record_id in batch.ids]


def outbox_of(count: int) -> FakeOutbox:
    """So many corrections."""
    return FakeOutbox([correction(seq=seq, text=f"text {seq}") for seq in range(1, count + 1)])


def run(
    outbox: FakeOutbox, target: FakeTarget, tier: Tier = Tier.REDACTED, batch_records: int = 8
) -> Tally:
    """One run, with nothing denied."""
    preparer = Preparer(tier, Redactor(), lambda: KEY)
    return Run(outbox, target, preparer, batch_records).run()


def test_everything_is_delivered_in_order() -> None:
    """In batches of the size that was asked for."""
    outbox, target = outbox_of(20), FakeTarget()
    ids = list(outbox.waiting)
    tally = run(outbox, target)

    assert outbox.delivered == outbox.sent == ids
    assert [len(batch.records) for batch in target.batches] == [8, 8, 4]
    assert (tally.delivered, tally.dead, tally.remaining) == (20, 0, 0)


def test_what_was_not_answered_stays_and_does_not_hold_up_the_others() -> None:
    """Every third record gets no result, run after run; the others all arrive, and the run ends."""
    outbox = outbox_of(30)
    mute = set(list(outbox.waiting)[::3])
    target = FakeTarget(lambda batch: [one for one in accept(batch) if one.id not in mute])
    tally = run(outbox, target, batch_records=16)

    assert set(outbox.waiting) == mute
    assert (tally.delivered, tally.remaining) == (20, 10)


def test_rejected_records_go_to_the_dead_letter_and_come_back_by_redrive() -> None:
    """With what upstream said; a later run delivers them."""
    outbox = outbox_of(5)
    bad = list(outbox.waiting)[2]
    refuse = {"code": "invalid", "message": "labels: expected a list"}

    def deliver(batch: Batch) -> list[RecordResult]:
        return [
            RecordResult(id=i, status="rejected", **refuse)
            if i == bad
            else RecordResult(id=i, status="accepted")
            for i in batch.ids
        ]

    tally = run(outbox, FakeTarget(deliver))

    assert (tally.delivered, tally.dead, list(outbox.dead)) == (4, 1, [bad])
    assert outbox.results[bad].code == "invalid"
    outbox.redrive()
    assert run(outbox, FakeTarget()).delivered == 1


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(1, 40))
def test_poison_is_found_whatever_its_place(
    count: int, places: set[int], batch_records: int
) -> None:
    """A batch with poison in it is refused as a whole: all others arrive, poison alone is dead."""
    outbox = outbox_of(count)
    poison = {list(outbox.waiting)[place] for place in places if place < count}
    if len(poison) == count > 1:
        poison.pop()

    def deliver(batch: Batch) -> list[RecordResult]:
        if poison & set(batch.ids):
            raise BatchMalformed("malformed_body: no")
        return accept(batch)

    tally = run(outbox, FakeTarget(deliver), batch_records=batch_records)

    assert set(outbox.dead) == poison
    assert tally.delivered == count - len(poison)
    assert outbox.waiting == {}


def test_one_percent_of_poison_stops_nobody_and_can_be_sent_again() -> None:
    """One run delivers the other 1980; once upstream is mended, --redrive brings the rest."""
    outbox = outbox_of(2000)
    poison = set(list(outbox.waiting)[50::100])

    def deliver(batch: Batch) -> list[RecordResult]:
        if poison & set(batch.ids):
            raise BatchMalformed("malformed_body: no")
        return accept(batch)

    first = run(outbox, FakeTarget(deliver), batch_records=500)
    assert (first.delivered, first.dead, set(outbox.dead)) == (1980, 20, poison)
    outbox.redrive()
    assert run(outbox, FakeTarget(), batch_records=500).delivered == 20


@pytest.mark.parametrize("count", [2, 7, 100])
def test_upstream_that_refuses_everything_is_not_believed(count: int) -> None:
    """Nothing goes to the dead letter: it is not the records."""
    outbox = outbox_of(count)

    def refuse(batch: Batch) -> list[RecordResult]:
        raise BatchMalformed("malformed_body: schema 2, please")

    target = FakeTarget(refuse)
    with pytest.raises(SyncRefused, match="schema 2"):
        run(outbox, target, batch_records=100)

    assert (len(outbox.waiting), outbox.dead) == (count, {})
    assert len(target.batches) < 30


@given(st.integers(1, 40), st.integers(300, 3000))
def test_too_large_batches_are_halved(count: int, limit: int) -> None:
    """Down to one record; only a record that is too large alone is dead."""
    outbox = outbox_of(count)

    def deliver(batch: Batch) -> list[RecordResult]:
        if sum(len(record.line) for record in batch.records) > limit:
            raise BatchTooLarge("413")
        return accept(batch)

    try:
        tally = run(outbox, FakeTarget(deliver), batch_records=count)
    except SyncRefused:
        assert limit < 700  # not even one fits
        return
    assert tally.delivered + tally.dead == count
    assert limit < 700 or tally.dead == 0


def test_size_that_was_too_large_is_not_tried_again() -> None:
    """The second page is sent in lots that fit."""
    outbox = outbox_of(64)

    def deliver(batch: Batch) -> list[RecordResult]:
        if len(batch.records) > 8:
            raise BatchTooLarge("413")
        return accept(batch)

    target = FakeTarget(deliver)
    run(outbox, target, batch_records=32)

    assert [len(batch.records) > 8 for batch in target.batches].count(True) == 3


@pytest.mark.parametrize("error", [SyncRefused("401"), Unavailable("503")])
def test_refusal_and_outage_lose_nothing(error: Exception) -> None:
    """The cursor is asked first: not even an attempt is noted."""
    outbox = outbox_of(3)

    class Closed(FakeTarget):
        def seen(self, device_id: str) -> Seen | None:
            raise error

    with pytest.raises(type(error)):
        run(outbox, Closed())

    assert (len(outbox.waiting), outbox.sent, outbox.dead) == (3, [], {})


def test_box_restored_from_a_backup_begins_a_new_epoch_and_sends_again() -> None:
    """Upstream knows a number that was never given out here."""
    outbox = outbox_of(3)
    target = FakeTarget(seen=Seen(1, 90))
    run(outbox, target)

    assert outbox.epoch == 2
    assert [batch.sender.epoch for batch in target.batches] == [2]
    assert len(outbox.delivered) == 3


def test_receipts_are_passed_on_page_by_page() -> None:
    """Until a page ends where it began."""
    outbox, target = outbox_of(0), FakeTarget()
    receipt = UseReceipt(id="a", build="b", used_utc="2026-11-22T10:00:00Z")
    target.pages = [Receipts([receipt], 1), Receipts([receipt], 2), Receipts([], 2)]
    tally = run(outbox, target)

    assert (tally.receipts, outbox.receipts_cursor) == (2, 2)


def test_tier_labels_sends_no_text_but_a_keyed_hash() -> None:
    """The same text has the same hash on this box, and another one on any other."""
    same = "who owes me money?"
    outbox = FakeOutbox([correction(seq=1, text=same), correction(seq=2, text=f"  {same}")])
    target = FakeTarget()
    run(outbox, target, Tier.LABELS)
    first, second = (record.fields for record in target.batches[0].records)
    other = Preparer(Tier.LABELS, Redactor(), lambda: b"other").prepare(correction(text=same))

    assert first["text"] is first["content"] is None
    assert first["text_hash"] == second["text_hash"] != (other and other.fields["text_hash"])
    assert same.encode() not in target.batches[0].body()


def test_tier_counts_sends_numbers_and_erasures_alone() -> None:
    """Corrections stay in the outbox, in case the tier changes; what is erased must still go."""
    kept = correction()
    gone = erasure("01900000-0000-7000-8000-000000000000")
    outbox, target = FakeOutbox([kept, gone]), FakeTarget()
    run(outbox, target, Tier.COUNTS)

    assert outbox.delivered == [gone.id]
    assert list(outbox.waiting) == [kept.id]
    assert target.reports[0].counts == [{"label": "EXTRACT", "corrections": 3, "confirmations": 4}]
    assert kept.id.encode() not in target.reports[0].body() + target.reports[0].lines()


@pytest.mark.parametrize("error", [BatchMalformed("400"), BatchTooLarge("413")])
def test_numbers_that_upstream_refuses_stop_the_run(error: Exception) -> None:
    """There is no record to blame: exit code 5, and a message instead of a traceback."""

    class Strict(FakeTarget):
        def report(self, batch: Batch) -> None:
            raise error

    with pytest.raises(SyncRefused, match=f"{error}.*numbers"):
        run(FakeOutbox([correction()]), Strict(), Tier.COUNTS)


def test_source_and_what_is_not_listed_never_leave() -> None:
    """The app's name may hold an address; a new field of the daemon is not sent by accident."""
    target = FakeTarget()
    run(FakeOutbox([correction(text="call +49 151 12345678", label="a@b.test")]), target)
    body = target.batches[0].body()

    assert b"john@example.com" not in body
    assert b"source" not in body
    assert b"12345678" not in body
    assert b"a@b.test" not in body


def test_nul_is_replaced_because_databases_refuse_it() -> None:
    """It would make the record poison."""
    target = FakeTarget()
    run(FakeOutbox([correction(text="a\0b")]), target)

    assert target.batches[0].records[0].fields["text"] == "a\ufffdb"


@pytest.fixture
def upstream() -> Iterator[FakeCollector]:
    """A collector over HTTP that answers as it is told, without waiting between attempts."""
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True), fake_collector() as started:
        yield started


def test_poison_is_found_over_http_too(upstream: FakeCollector) -> None:
    """The whole way: 400 with a problem, halves, dead letter."""
    outbox = outbox_of(40)
    poison = list(outbox.waiting)[17]
    accepting = upstream.script
    upstream.script = lambda request: (
        Answer(400, REFUSAL)
        if request.method == "POST" and poison in request.ids
        else accepting(request)
    )
    target = Collector(upstream.url, "token")
    Run(outbox, target, Preparer(Tier.REDACTED, Redactor(), bytes), 40).run()
    target.close()

    assert list(outbox.dead) == [poison]
    assert len(outbox.delivered) == 39
