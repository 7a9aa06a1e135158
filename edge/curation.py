"""The admin's use cases: the outbox for `intentd sync`, full corrections, erasure, counts.

Knows no HTTP, and sends nothing anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edge.errors import InvalidText, InvalidValue, NotFound
from edge.forms import (
    dead_record,
    describe_agreement,
    describe_correction,
    describe_labels,
    describe_store,
    read_utc,
    record_of,
)
from edge.labels import LabelSet
from edge.ledger import Ledger
from edge.store.keys import override_key
from edge.store.records import Ack, AckStatus, Correction, Counts, Erasure, Kind, Receipt
from edge.store.rows import is_full
from edge.text import normalize
from edge.wire import (
    AckAnswer,
    AckRequest,
    CorrectionDetail,
    CorrectionsAnswer,
    CursorAnswer,
    DeadAnswer,
    EpochAnswer,
    EpochRequest,
    ErasedAnswer,
    EraseRequest,
    OutboxAnswer,
    ReceiptsAnswer,
    ReceiptsRequest,
    RedriveAnswer,
    RedriveRequest,
    SentAnswer,
    SentRequest,
    StatsAnswer,
)

__all__ = ["Curation"]


class Curation:
    """What the admin does with corrections. Use it from one event loop.

    Every method may raise `StoreUnavailable`, and `Overloaded` when too many wait for the disk.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._store = ledger.store

    async def outbox(self, limit: int) -> OutboxAnswer:
        """What upstream does not have yet, oldest first."""
        found = await self._ledger.ask(partial(self._store.outbox, limit))
        return OutboxAnswer(
            device_id=found.device_id,
            epoch=found.epoch,
            records=[*map(record_of, found.erasures), *map(record_of, found.corrections)],
            remaining=found.remaining,
        )

    async def mark_sent(self, body: SentRequest) -> SentAnswer:
        """Note that these are on their way."""
        return SentAnswer(sent=await self._ledger.ask(partial(self._store.mark_sent, body.ids)))

    async def acknowledge(self, body: AckRequest) -> AckAnswer:
        """Take upstream's word: delivered, or to the dead letter."""
        acks = [Ack(r.id, AckStatus(r.status), r.code, r.message) for r in body.results]
        done = await self._ledger.ask(partial(self._store.acknowledge, acks))
        return AckAnswer(acknowledged=done.acknowledged, dead=done.dead, remaining=done.remaining)

    async def record_receipts(self, body: ReceiptsRequest) -> ReceiptsAnswer:
        """Note which corrections were used for which build."""
        receipts = [
            Receipt(one.id, one.build, read_utc(one.used_utc, f"receipts.{position}.used_utc"))
            for position, one in enumerate(body.receipts)
        ]
        known = await self._ledger.ask(partial(self._store.receipts, receipts, body.cursor))
        return ReceiptsAnswer(recorded=known)

    async def cursor(self) -> CursorAnswer:
        """Where this device stands towards upstream."""
        found = await self._ledger.ask(self._store.cursor)
        return CursorAnswer(
            device_id=found.device_id,
            epoch=found.epoch,
            last_seq=found.last_seq,
            receipts_cursor=found.receipts_cursor,
        )

    async def bump_epoch(self, body: EpochRequest) -> EpochAnswer:
        """Begin a new epoch if upstream has seen more of this device than it knows itself."""
        ask = partial(self._store.bump_epoch, body.server_epoch, body.server_seq)
        return EpochAnswer(epoch=await self._ledger.ask(ask))

    async def dead_letter(self, limit: int) -> DeadAnswer:
        """What upstream refused for good."""
        found = await self._ledger.ask(partial(self._store.dead, limit))
        return DeadAnswer(records=[dead_record(one) for one in found])

    async def redrive(self, body: RedriveRequest) -> RedriveAnswer:
        """Put dead letters back into the outbox."""
        return RedriveAnswer(
            redriven=await self._ledger.ask(partial(self._store.redrive, body.ids))
        )

    async def corrections(
        self, after: int, limit: int, label: str | None, kind: str | None
    ) -> CorrectionsAnswer:
        """One page of corrections.

        Raises:
            InvalidValue: No such kind.
        """
        if kind is not None and kind not in list(Kind):
            raise InvalidValue(f"kind: expected one of {', '.join(Kind)}")
        wanted = None if kind is None else Kind(kind)
        page = await self._ledger.ask(partial(self._store.list, after, limit, label, wanted))
        is_last = len(page) < limit and not is_full(page)
        return CorrectionsAnswer(
            corrections=[describe_correction(made) for made in page],
            next=None if is_last else page[-1].seq,
        )

    async def correction(self, correction_id: str) -> CorrectionDetail:
        """One correction with its text.

        Raises:
            NotFound: None of this id, or it was erased.
        """
        found = await self._ledger.ask(partial(self._store.find, correction_id))
        if not isinstance(found, Correction):
            was = "it was erased" if found else "no correction of this id was ever made here"
            raise NotFound(f"{was}; GET /v1/corrections lists those that there are")
        return describe_correction(found)

    async def erase(self, correction_id: str) -> ErasedAnswer:
        """Erase one correction and its prediction; of one that is erased already, what is left.

        Raises:
            NotFound: None of this id was ever made here.
        """
        found = await self._ledger.ask(partial(self._store.find, correction_id))
        if found is None:
            raise NotFound("no correction of this id was ever made here; look at the id")
        return await self._erase([found])

    async def erase_all(self, body: EraseRequest) -> ErasedAnswer:
        """Erase everything that holds a text, or each of several corrections that is known.

        Raises:
            InvalidText: The text is blank; so are the contents of many that nobody wants erased.
        """
        if body.text is None:
            asked = [partial(self._store.find, id) for id in body.ids or []]
            found = [await self._ledger.ask(find) for find in asked]
            return await self._erase([one for one in found if one is not None])
        if not normalize(body.text):
            raise InvalidText("text: expected the text that is to be erased, found a blank one")
        await self._ledger.ask(partial(self._ledger.predictions.erase, text=body.text))
        return ErasedAnswer(
            erased=await self._ledger.ask(partial(self._store.erase, text=body.text))
        )

    async def _erase(self, found: Sequence[Correction | Erasure]) -> ErasedAnswer:
        """Predictions first: if this fails midway, the repetition finds the corrections still.

        Those that are tombstones already go to the store as well: it may have failed after them,
        and removes then what is left in its log and its copies.
        """
        made = [one for one in found if isinstance(one, Correction)]
        if made:
            ids = [one.prediction_id for one in made if one.prediction_id is not None]
            keys = [override_key(one.text, one.content) for one in made]
            await self._ledger.ask(partial(self._ledger.predictions.erase, ids, text_keys=keys))
        ids = [one.id for one in found]
        return ErasedAnswer(erased=await self._ledger.ask(partial(self._store.erase, ids)))

    async def stats(self, default: LabelSet) -> StatsAnswer:
        """Counts by label, with a row for each of the daemon's own; and how the stores do."""
        counts: Counts = await self._ledger.ask(self._store.counts)
        return StatsAnswer(
            per_label=describe_labels(counts, default.names),
            agreement=describe_agreement(counts),
            total=counts.total,
            outbox=counts.outbox,
            dead=counts.dead,
            predictions_dropped=self._ledger.predictions.dropped,
            store=describe_store(self._store.health()),
        )
