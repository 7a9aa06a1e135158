"""One run of sync: the daemon's outbox → a target → the daemon's word that it is delivered.

It knows neither HTTP nor files. Nothing is forgotten on the way: a record leaves the outbox only by
a result that names its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.errors import SyncRefused
from edge.sync.batch import BATCH_BYTES, Batch, Sender, in_chunks
from edge.sync.outbox import Outbox
from edge.sync.outgoing import Outgoing, Preparer
from edge.sync.settings import Tier
from edge.sync.target import BatchMalformed, BatchTooLarge, Target
from edge.wire import CursorAnswer, LabelCount, Record, RecordResult

__all__ = ["Run", "Tally", "count_rows", "prepare_page"]

POISON_LIMIT = 8
"""So many poison records without a single good one: it is not the records."""
MAX_RECEIPT_PAGES = 100


@dataclass(slots=True)
class Tally:
    """What a run did."""

    delivered: int = 0
    dead: int = 0
    receipts: int = 0
    batches: int = 0
    remaining: int = 0
    labels: int = 0
    """Labels whose numbers were handed over (tier `counts`)."""


@dataclass(slots=True)
class _Poison:
    record: Outgoing
    code: str
    message: str


class Run:
    """One run; make a new one for the next."""

    def __init__(
        self, outbox: Outbox, target: Target, preparer: Preparer, batch_records: int
    ) -> None:
        """Nothing happens yet."""
        self.tally = Tally()
        self._outbox = outbox
        self._target = target
        self._preparer = preparer
        self._batch_records = batch_records
        self._batch_bytes = BATCH_BYTES
        self._poison: list[_Poison] = []

    def run(self) -> Tally:
        """Send all that there is.

        Raises:
            SyncRefused: Upstream does not want us, or refuses everything.
            Unavailable: Upstream cannot answer now.
            DaemonUnreachable: The daemon is gone.
        """
        here = self._meet()
        sender = Sender(here.device_id, here.epoch, self._preparer.tier)
        while self._send_page(sender):
            pass
        if self._preparer.tier is Tier.COUNTS:
            self._report(sender)
        self._fetch_receipts(here.receipts_cursor)
        return self.tally

    def _meet(self) -> CursorAnswer:
        """Learn who we are, and tell the daemon how far upstream has seen us.

        Asked before anything is marked as sent: a token that is refused leaves no trace. A box that
        was restored from a backup begins a new epoch here, before its numbers meet their like.
        """
        here = self._outbox.cursor()
        seen = self._target.seen(here.device_id)
        if seen is None:
            return here
        epoch = self._outbox.bump_epoch(seen.epoch, seen.seq)
        return here if epoch == here.epoch else self._outbox.cursor()

    def _send_page(self, sender: Sender) -> bool:
        """Send what the outbox shows; whether it is worth looking again."""
        page = self._outbox.outbox(self._batch_records)
        records = prepare_page(self._preparer, page.records)
        self.tally.remaining = page.remaining + len(page.records)
        if not records:
            return False
        self._outbox.mark_sent([record.id for record in records])
        before = self.tally.delivered + self.tally.dead
        for chunk in in_chunks(records, self._batch_records, self._batch_bytes):
            self._deliver(Batch(sender, chunk))
        self._bury()
        return self.tally.delivered + self.tally.dead > before and self.tally.remaining > 0

    def _deliver(self, batch: Batch) -> None:
        """Hand a batch over, in halves where it must be."""
        self.tally.batches += 1
        try:
            results = self._target.deliver(batch)
        except BatchTooLarge as error:
            self._batch_bytes = max(1, sum(len(record.line) for record in batch.records) // 2)
            self._halve(batch, "too_large", str(error))
        except BatchMalformed as error:
            self._halve(batch, "malformed", str(error))
        else:
            self._acknowledge(results)

    def _halve(self, batch: Batch, code: str, message: str) -> None:
        middle = len(batch.records) // 2
        if middle == 0:
            self._suspect(batch.records[0], code, message)
            return
        for half in (batch.records[:middle], batch.records[middle:]):
            self._deliver(Batch(batch.sender, half))

    def _suspect(self, record: Outgoing, code: str, message: str) -> None:
        self._poison.append(_Poison(record, code, message))
        if self.tally.delivered == 0 and len(self._poison) >= POISON_LIMIT:
            self._blame_upstream()

    def _bury(self) -> None:
        """Put poison into the dead letter, once it is clear that the others are wanted."""
        if len(self._poison) > 1 and self.tally.delivered == 0:
            self._blame_upstream()
        self._acknowledge(
            [
                RecordResult(
                    id=poison.record.id,
                    status="rejected",
                    code=poison.code,
                    message=poison.message,
                )
                for poison in self._poison
            ]
        )
        self._poison = []

    def _blame_upstream(self) -> None:
        raise SyncRefused(
            f"upstream refused each of {len(self._poison)} records and took none: "
            f"{self._poison[-1].message}; nothing was lost, and nothing went to the dead letter; "
            "see that the collector is as new as this program"
        )

    def _acknowledge(self, results: Sequence[RecordResult]) -> None:
        if not results:
            return
        answer = self._outbox.acknowledge(results)
        self.tally.delivered += answer.acknowledged
        self.tally.dead += answer.dead
        self.tally.remaining = answer.remaining

    def _report(self, sender: Sender) -> None:
        """Hand over numbers by label, all of them: said twice, they are the same."""
        counts = count_rows(self._preparer, self._outbox.stats().per_label)
        try:
            self._target.report(Batch(sender, (), counts))
        except (BatchTooLarge, BatchMalformed) as error:
            raise SyncRefused(
                f"{error}: upstream refused the numbers of tier counts; nothing was lost; see that "
                "the collector is as new as this program"
            ) from error
        self.tally.labels = len(counts)

    def _fetch_receipts(self, after: int) -> None:
        for _ in range(MAX_RECEIPT_PAGES):
            page = self._target.receipts(after)
            if page is None or page.next <= after:
                return
            self.tally.receipts += self._outbox.record_receipts(page.receipts, page.next)
            after = page.next


def prepare_page(preparer: Preparer, records: Sequence[Record]) -> list[Outgoing]:
    """What may leave of a page of the outbox."""
    prepared = (preparer.prepare(record) for record in records)
    return [record for record in prepared if record is not None]


def count_rows(preparer: Preparer, rows: Sequence[LabelCount]) -> list[dict[str, Any]]:
    """Numbers by label, as they leave."""
    return [
        {
            "label": preparer.label(row.label),
            "corrections": row.corrections,
            "confirmations": row.confirmations,
        }
        for row in rows
    ]
