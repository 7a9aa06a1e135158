"""What is said on `admin.sock`: the outbox for `intentd sync`, full corrections, erasure, counts.

A record has the same form here, in the outbox of a directory, and on the way to the collector.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge.wire.base import AnswerModel, RequestModel
from edge.wire.corrections import Name

__all__ = [
    "AckAnswer",
    "AckRequest",
    "AgreementDay",
    "CorrectionDetail",
    "CorrectionRecord",
    "CorrectionsAnswer",
    "CursorAnswer",
    "DeadAnswer",
    "DeadErasure",
    "DeadRecord",
    "EpochAnswer",
    "EpochRequest",
    "EraseRequest",
    "ErasedAnswer",
    "ErasureRecord",
    "LabelCount",
    "OutboxAnswer",
    "ReceiptsAnswer",
    "ReceiptsRequest",
    "Record",
    "RecordResult",
    "RedriveAnswer",
    "RedriveRequest",
    "SentAnswer",
    "SentRequest",
    "StatsAnswer",
    "StoreInfo",
    "UseReceipt",
]

RECORD_SCHEMA = 1
MAX_IDS = 10_000  # in one request; a batch upstream is far smaller

Number = Annotated[int, Field(ge=0, le=2**53)]  # what SQLite, and every JSON library, holds exactly
Ids = Annotated[list[Name], Field(max_length=MAX_IDS, fail_fast=True)]
Status = Literal["accepted", "duplicate", "parked", "rejected"]


class CorrectionRecord(AnswerModel):
    """A correction or confirmation, as it goes upstream (after redaction)."""

    type: Literal["correction"] = "correction"
    schema_version: int = RECORD_SCHEMA
    id: str
    seq: int
    epoch: int
    kind: str
    text: str
    content: str | None
    label: str | None
    predicted_label: str | None
    score: float | None
    labels: list[str]
    label_set: str
    model: str
    phase: str
    source: str
    occurred_utc: str


class DeadRecord(CorrectionRecord):
    """A record that upstream refused for good, and why."""

    error: str | None


class ErasureRecord(AnswerModel):
    """Tells upstream to erase a record, wherever it has got to."""

    type: Literal["erasure"] = "erasure"
    schema_version: int = RECORD_SCHEMA
    id: str
    occurred_utc: str


class DeadErasure(ErasureRecord):
    """An erasure that upstream refused for good, and why."""

    error: str | None


Record = Annotated[CorrectionRecord | ErasureRecord, Field(discriminator="type")]


class OutboxAnswer(AnswerModel):
    """Answer of `GET /v1/outbox`: what upstream has not confirmed, oldest first."""

    device_id: str
    epoch: int
    records: list[Record]
    remaining: int
    """Undelivered records that are not among these."""


class SentRequest(RequestModel):
    """Body of `POST /v1/outbox/sent`."""

    ids: Ids


class SentAnswer(AnswerModel):
    """Answer of `POST /v1/outbox/sent`."""

    sent: int


class RecordResult(RequestModel):
    """What upstream said of one record."""

    id: Name
    status: Status
    """`accepted`, `duplicate`, `parked`: delivered. `rejected`: to the dead letter."""
    code: str | None = None
    message: str | None = None


class AckRequest(RequestModel):
    """Body of `POST /v1/outbox/ack`; what is to be tried again is simply not in it."""

    results: Annotated[list[RecordResult], Field(max_length=MAX_IDS, fail_fast=True)]


class AckAnswer(AnswerModel):
    """Answer of `POST /v1/outbox/ack`."""

    acknowledged: int
    dead: int
    remaining: int


class UseReceipt(RequestModel):
    """That a build of training data used a correction."""

    id: Name
    build: Name
    used_utc: str


class ReceiptsRequest(RequestModel):
    """Body of `POST /v1/outbox/receipts`."""

    receipts: Annotated[list[UseReceipt], Field(max_length=MAX_IDS, fail_fast=True)]
    cursor: Number
    """Where upstream's next receipts begin."""


class ReceiptsAnswer(AnswerModel):
    """Answer of `POST /v1/outbox/receipts`."""

    recorded: int


class CursorAnswer(AnswerModel):
    """Answer of `GET /v1/outbox/cursor`: where this device stands."""

    device_id: str
    epoch: int
    last_seq: int
    receipts_cursor: int


class EpochRequest(RequestModel):
    """Body of `POST /v1/outbox/epoch`: the highest (epoch, seq) that upstream has seen of us."""

    server_epoch: Number
    server_seq: Number


class EpochAnswer(AnswerModel):
    """Answer of `POST /v1/outbox/epoch`: the epoch from here on."""

    epoch: int


class DeadAnswer(AnswerModel):
    """Answer of `GET /v1/outbox/dead`."""

    records: list[Annotated[DeadRecord | DeadErasure, Field(discriminator="type")]]


class RedriveRequest(RequestModel):
    """Body of `POST /v1/outbox/redrive`: try these again; null means all."""

    ids: Ids | None = None


class RedriveAnswer(AnswerModel):
    """Answer of `POST /v1/outbox/redrive`."""

    redriven: int


class CorrectionDetail(AnswerModel):
    """One correction with its text, as `admin.sock` shows it."""

    id: str
    seq: int
    epoch: int
    kind: str
    text: str
    content: str | None
    label: str | None
    predicted_label: str | None
    score: float | None
    prediction_id: str | None
    labels: list[str]
    label_set: str
    model: str
    phase: str
    source: str
    client_key: str | None
    state: str
    created_utc: str
    sent_utc: str | None
    accepted_utc: str | None
    used_utc: str | None
    build: str | None
    attempts: int
    error: str | None


class CorrectionsAnswer(AnswerModel):
    """Answer of `GET /v1/corrections`, in the order of `seq`."""

    corrections: list[CorrectionDetail]
    next: int | None
    """The `after` of the next page; null if this is the last."""


class EraseRequest(RequestModel):
    """Body of `POST /v1/corrections/erase`: everything that holds this text."""

    text: str | None = None
    ids: Ids | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.text is None) == (self.ids is None):
            raise ValueError("expected exactly one of text and ids")
        return self


class ErasedAnswer(AnswerModel):
    """Answer of the routes that erase: the corrections that are gone."""

    erased: list[str]


class LabelCount(AnswerModel):
    """What has been collected for one label."""

    label: str | None
    """Null: none of these."""
    corrections: int
    confirmations: int
    target: int
    """How many a fine-tuned model wants."""


class AgreementDay(AnswerModel):
    """How often the user agreed with the model on one day (UTC)."""

    day: str
    agreed: int
    total: int


class StoreInfo(AnswerModel):
    """How the store does."""

    ok: bool
    detail: str
    """For people; what to do, if something is to be done."""
    quarantined: list[str]
    """Names of damaged files that were set aside."""
    salvaged: int
    """Corrections that were saved from a damaged file."""
    journal_mode: str
    synchronous: str
    free_bytes: int
    sqlite_version: str
    filesystem: str


class StatsAnswer(AnswerModel):
    """Answer of `GET /v1/stats`."""

    per_label: list[LabelCount]
    agreement: list[AgreementDay]
    total: int
    outbox: int
    """Undelivered."""
    dead: int
    predictions_dropped: int
    store: StoreInfo
