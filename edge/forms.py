"""The stores' records in their wire form, and back. Pure; it decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edge.errors import InvalidValue
from edge.labels import TARGET_PER_LABEL
from edge.store.records import (
    Correction,
    Counts,
    Erasure,
    Recorded,
    ReviewItem,
    StoreHealth,
)
from edge.wire import (
    AgreementDay,
    CorrectionAnswer,
    CorrectionDetail,
    CorrectionFate,
    CorrectionRecord,
    DeadErasure,
    DeadRecord,
    ErasureRecord,
    LabelCount,
    Score,
    StoreInfo,
)
from edge.wire import ReviewItem as WireReviewItem

__all__ = [
    "correction_answer",
    "dead_record",
    "describe_agreement",
    "describe_correction",
    "describe_fate",
    "describe_labels",
    "describe_review",
    "describe_store",
    "read_utc",
    "record_of",
    "write_utc",
]

END_OF_TIME_MS = 253_402_300_800_000  # the year 10000, which `datetime` cannot write


def write_utc(milliseconds: int) -> str:
    """Unix milliseconds as `2026-01-31T12:00:00.000Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_utc(text: str, field: str) -> int:
    """The other way round; a time without a zone is taken for UTC.

    Raises:
        InvalidValue: Not an ISO 8601 time from 1970 to 9999.
    """
    wrong = InvalidValue(f"{field}: expected a time such as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise wrong from None
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = since // timedelta(milliseconds=1)
    if not 0 <= milliseconds < END_OF_TIME_MS:
        raise wrong
    return milliseconds


def correction_answer(recorded: Recorded) -> CorrectionAnswer:
    """What the app that sent it is told."""
    made = recorded.correction
    return CorrectionAnswer(
        id=made.id,
        seq=made.seq,
        kind=made.kind.value,
        label=made.label,
        predicted_label=made.predicted_label,
        state="durable",  # what this answer says; the fate is asked for elsewhere, and changes
        created_utc=write_utc(made.created_ms),
    )


def describe_fate(found: Correction | Erasure) -> CorrectionFate:
    """How far it has come, without its text."""
    if isinstance(found, Erasure):
        return CorrectionFate(
            id=found.id,
            state=found.state.value,
            sent_utc=_utc(found.sent_ms),
            accepted_utc=_utc(found.accepted_ms),
            erased_utc=write_utc(found.erased_ms),
            error=found.last_error,
        )
    return CorrectionFate(
        id=found.id,
        kind=found.kind.value,
        label=found.label,
        predicted_label=found.predicted_label,
        state=found.state.value,
        created_utc=write_utc(found.created_ms),
        sent_utc=_utc(found.sent_ms),
        accepted_utc=_utc(found.accepted_ms),
        used_utc=_utc(found.used_ms),
        build=found.build,
        error=found.last_error,
    )


def describe_review(item: ReviewItem) -> WireReviewItem:
    """One prediction to look at; its text is known, or it would not be shown."""
    row = item.prediction
    ranked = sorted(row.scores.items(), key=lambda pair: -pair[1])
    return WireReviewItem(
        prediction_id=row.id,
        text=row.text or "",
        content=row.content,
        label=row.label,
        raw_label=row.raw_label or "",
        scores=[Score(label=label, score=score) for label, score in ranked],
        labels=list(row.labels),
        reason=item.why.value,
        created_utc=write_utc(row.created_ms),
    )


def record_of(found: Correction | Erasure) -> CorrectionRecord | ErasureRecord:
    """What goes upstream."""
    if isinstance(found, Erasure):
        return ErasureRecord(id=found.id, occurred_utc=write_utc(found.erased_ms))
    return CorrectionRecord(
        id=found.id,
        seq=found.seq,
        epoch=found.epoch,
        kind=found.kind.value,
        text=found.text,
        content=found.content,
        label=found.label,
        predicted_label=found.predicted_label,
        score=found.score,
        labels=list(found.labels),
        label_set=found.label_set,
        model=found.model,
        phase=found.phase,
        source=found.source,
        occurred_utc=write_utc(found.created_ms),
    )


def dead_record(found: Correction | Erasure) -> DeadRecord | DeadErasure:
    """What upstream refused, and why."""
    record = record_of(found)
    if isinstance(record, ErasureRecord):
        return DeadErasure(**record.model_dump(), error=found.last_error)
    return DeadRecord(**record.model_dump(), error=found.last_error)


def describe_correction(made: Correction) -> CorrectionDetail:
    """Everything about it, its text included."""
    return CorrectionDetail(
        id=made.id,
        seq=made.seq,
        epoch=made.epoch,
        kind=made.kind.value,
        text=made.text,
        content=made.content,
        label=made.label,
        predicted_label=made.predicted_label,
        score=made.score,
        prediction_id=made.prediction_id,
        labels=list(made.labels),
        label_set=made.label_set,
        model=made.model,
        phase=made.phase,
        source=made.source,
        client_key=made.client_key,
        state=made.state.value,
        created_utc=write_utc(made.created_ms),
        sent_utc=_utc(made.sent_ms),
        accepted_utc=_utc(made.accepted_ms),
        used_utc=_utc(made.used_ms),
        build=made.build,
        attempts=made.attempts,
        error=made.last_error,
    )


def describe_labels(counts: Counts, expected: tuple[str, ...]) -> list[LabelCount]:
    """One row a label: the expected ones first, those of no correction included."""
    others = sorted((label for label in counts.per_label if label not in expected), key=str)
    rows = ((label, counts.per_label.get(label, (0, 0))) for label in (*expected, *others))
    return [
        LabelCount(label=label, corrections=made, confirmations=said, target=TARGET_PER_LABEL)
        for label, (made, said) in rows
    ]


def describe_agreement(counts: Counts) -> list[AgreementDay]:
    """How often the user and the model said the same, by day."""
    return [AgreementDay(day=day, agreed=same, total=n) for day, same, n in counts.by_day]


def describe_store(health: StoreHealth) -> StoreInfo:
    """How the store does."""
    return StoreInfo(
        ok=health.ok,
        detail=health.detail,
        quarantined=list(health.quarantined),
        salvaged=health.salvaged,
        journal_mode=health.journal_mode,
        synchronous=health.synchronous,
        free_bytes=health.free_bytes,
        sqlite_version=health.sqlite_version,
        filesystem=health.filesystem,
    )


def _utc(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else write_utc(milliseconds)
