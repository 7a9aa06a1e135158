"""What devices send and get, as frozen models; the only place where its field names are spelt.

A batch is read in two steps, so that one bad record is rejected alone: the envelope first, then
each record by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json

from edge.errors import MalformedBody
from training.collector.identity import canonical
from training.collector.models import MAX_NAME_CHARS

__all__ = [
    "SCHEMA_VERSION",
    "BatchAnswer",
    "CorrectionRecord",
    "CursorAnswer",
    "Envelope",
    "ErasureRecord",
    "LabelCount",
    "Newer",
    "Problem",
    "ReceiptInfo",
    "ReceiptsAnswer",
    "Rejected",
    "Result",
    "Status",
    "read_envelope",
    "read_record",
]

SCHEMA_VERSION = 1
"""The newest schema of a record that is understood; newer ones are parked."""
MAX_INT64 = 2**63 - 1
MAX_INT32 = 2**31 - 1
MAX_SHOWN_ID_CHARS = 64


class Status(StrEnum):
    """What became of one record of a batch."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It came before, or its id was erased; either way there is nothing left to send."""
    PARKED = "parked"
    REJECTED = "rejected"


def _without_nul(value: str) -> str:
    if "\0" in value:  # PostgreSQL's text cannot hold it
        raise ValueError("expected text without U+0000, found one; remove it")
    return value


def _read_utc(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("expected a time such as 2026-11-22T10:00:00Z")
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected a time such as 2026-11-22T10:00:00Z") from None


def _write_utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
Id = Annotated[str, Field(pattern=UUID_PATTERN)]
DeviceId = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._:-]{{1,{MAX_NAME_CHARS}}}$")]
Text = Annotated[str, AfterValidator(_without_nul)]
Int64 = Annotated[int, Field(ge=0, le=MAX_INT64)]
Version = Annotated[int, Field(ge=1, le=MAX_INT32)]
UtcTime = Annotated[datetime, BeforeValidator(_read_utc, json_schema_input_type=str)]


ShownTime = Annotated[datetime, PlainSerializer(_write_utc, return_type=str)]


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class LabelCount(_Sent):
    """How much a box holds of one label."""

    label: Text | None
    corrections: Int64
    confirmations: Int64


class Envelope(_Sent):
    """Body of `POST /v1/records`; unknown fields are ignored."""

    schema_version: Version
    device_id: DeviceId
    epoch: Int64
    redaction_version: Text
    tier: Text
    sent_utc: UtcTime
    records: list[Any]
    """Each a `CorrectionRecord` or an `ErasureRecord`; looked at one by one."""
    counts: list[LabelCount] | None = None
    """Tier `counts`: all that the box holds, in numbers; they replace those of the last time."""


class CorrectionRecord(_Sent):
    """A correction or a confirmation; unknown fields are kept."""

    model_config = ConfigDict(extra="allow")

    type: Literal["correction"]
    schema_version: Literal[1]
    id: Id
    seq: Int64
    epoch: Int64
    kind: Literal["correction", "confirmation"]
    text: Text | None = None
    content: Text | None = None
    label: Text | None
    predicted_label: Text | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    labels: Annotated[list[Text], Field(fail_fast=True)]
    label_set: Text
    model: Text = ""
    phase: Text = ""
    source: Text = ""
    occurred_utc: UtcTime


class ErasureRecord(_Sent):
    """A tombstone; honoured whatever its version and whatever else it says."""

    type: Literal["erasure"]
    id: Id


class _Newer(_Sent):
    schema_version: Version
    id: Id
    seq: Int64 = 0
    epoch: Int64 = 0


@dataclass(frozen=True, slots=True)
class Newer:
    """A record of a schema that is not known yet."""

    id: str
    schema_version: int
    epoch: int
    seq: int
    payload: str
    """The whole record as JSON in ASCII."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be read."""

    id: str | None
    """As it came, if it came as a short string."""
    message: str


class Result(_Answer):
    """What became of one record; results come in the order of the records."""

    id: str | None
    """Null only where the record had no usable id."""
    status: Status
    code: str | None = None
    """`conflict` or `invalid`, where it was rejected."""
    message: str | None = None


class CursorAnswer(_Answer):
    """Answer of `GET /v1/cursor`: the newest epoch of this device and its highest number in it."""

    epoch: int = 0
    seq: int = 0


class BatchAnswer(_Answer):
    """Answer of `POST /v1/records`; sent only after the commit."""

    results: list[Result]
    cursor: CursorAnswer
    received_utc: ShownTime


class ReceiptInfo(_Answer):
    """This record went into that build."""

    id: str
    build: str
    used_utc: ShownTime


class ReceiptsAnswer(_Answer):
    """Answer of `GET /v1/receipts`; `next` is the `after` to ask with the next time."""

    receipts: list[ReceiptInfo]
    next: int


class Problem(_Answer):
    """`application/problem+json` (RFC 9457) with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


_CORRECTION = TypeAdapter(CorrectionRecord)
_ERASURE = TypeAdapter(ErasureRecord)
_NEWER = TypeAdapter(_Newer)

Parsed = CorrectionRecord | ErasureRecord | Newer | Rejected


def read_envelope(body: bytes) -> Envelope:
    """Read a batch's envelope; its records are not looked at yet.

    Raises:
        MalformedBody: Not JSON in UTF-8, or the envelope lacks something.
    """
    try:
        return Envelope.model_validate(from_json(body, allow_inf_nan=False))
    except ValidationError as error:
        raise MalformedBody(explain(error)) from None  # its own message repeats the input
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON in UTF-8: {_position(error)}") from None


def read_record(raw: Any) -> Parsed:
    """Read one record; never raises on what a device may send."""
    try:
        if not isinstance(raw, dict):
            return Rejected(None, "expected a JSON object")
        if raw.get("type") == "erasure":
            return _ERASURE.validate_python(raw)
        if _is_newer(raw.get("schema_version")):
            newer = _NEWER.validate_python(raw)
            return Newer(newer.id, newer.schema_version, newer.epoch, newer.seq, canonical(raw))
        return _CORRECTION.validate_python(raw)
    except ValidationError as error:
        return Rejected(_shown_id(raw), explain(error))


def explain(error: ValidationError) -> str:
    """Where and what, without the value: it may be the user's text."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _is_newer(version: object) -> bool:
    return type(version) is int and version > SCHEMA_VERSION


def _shown_id(raw: dict[str, Any]) -> str | None:
    found = raw.get("id")
    return found if isinstance(found, str) and len(found) <= MAX_SHOWN_ID_CHARS else None


def _position(error: ValueError) -> str:
    """The parser's words, which name a line and a column and quote nothing."""
    return str(error)[:120]
