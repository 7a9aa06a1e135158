"""The calls about corrections: to `api.sock`, and to `admin.sock`. Opens no connection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from edge.calls import Call, reader
from edge.wire import (
    AckAnswer,
    AckRequest,
    CorrectionAnswer,
    CorrectionDetail,
    CorrectionFate,
    CorrectionsAnswer,
    CursorAnswer,
    DeadAnswer,
    EpochAnswer,
    EpochRequest,
    ErasedAnswer,
    OutboxAnswer,
    ReceiptsAnswer,
    ReceiptsRequest,
    RecordResult,
    RedriveAnswer,
    RedriveRequest,
    ReviewAnswer,
    SentAnswer,
    SentRequest,
    StatsAnswer,
    UseReceipt,
)

__all__ = [
    "CURSOR",
    "STATS",
    "ConfirmOptions",
    "CorrectionOptions",
    "ack_call",
    "confirm_call",
    "correct_call",
    "correction_call",
    "corrections_call",
    "dead_call",
    "detail_call",
    "epoch_call",
    "erase_call",
    "erase_text_call",
    "outbox_call",
    "receipts_call",
    "redrive_call",
    "review_call",
    "sent_call",
]


class ConfirmOptions(TypedDict, total=False):
    """What may be said beside the verdict; `None` is the same as not said."""

    text: str | None
    """The text that was classified; needed without a prediction id, or if it is not kept."""
    content: str | None
    """The content that was classified with the text."""
    labels: Sequence[str] | None
    """The labels that were offered, if the request brought its own."""
    source: str | None
    """The name of the app."""
    client_key: str | None
    """Makes a repetition harmless: the same key is the same correction."""


class CorrectionOptions(ConfirmOptions, total=False):
    """The same, and which answer it is about."""

    prediction_id: str | None
    """The `id` of the answer that is judged."""


def correct_call(label: str | None, options: CorrectionOptions) -> Call[CorrectionAnswer]:
    """`POST /v1/corrections` with a label; None says: none of these."""
    return _correct({**_given(options), "label": label})


def confirm_call(prediction_id: str, options: ConfirmOptions) -> Call[CorrectionAnswer]:
    """`POST /v1/corrections` that says: this was right."""
    return _correct({**_given(options), "prediction_id": prediction_id, "confirm": True})


def correction_call(correction_id: str) -> Call[CorrectionFate]:
    """`GET /v1/corrections/{id}` of `api.sock`."""
    return Call(_correction_path(correction_id), reader(CorrectionFate))


def review_call(limit: int) -> Call[ReviewAnswer]:
    """`GET /v1/review`."""
    return Call(_query("/v1/review", limit=limit), reader(ReviewAnswer))


STATS = Call("/v1/stats", reader(StatsAnswer))
CURSOR = Call("/v1/outbox/cursor", reader(CursorAnswer))


def outbox_call(limit: int) -> Call[OutboxAnswer]:
    """`GET /v1/outbox`."""
    return Call(_query("/v1/outbox", limit=limit), reader(OutboxAnswer))


def sent_call(ids: Sequence[str]) -> Call[SentAnswer]:
    """`POST /v1/outbox/sent`."""
    return Call("/v1/outbox/sent", reader(SentAnswer), _body(SentRequest(ids=list(ids))))


def ack_call(results: Sequence[RecordResult]) -> Call[AckAnswer]:
    """`POST /v1/outbox/ack`."""
    return Call("/v1/outbox/ack", reader(AckAnswer), _body(AckRequest(results=list(results))))


def receipts_call(receipts: Sequence[UseReceipt], cursor: int) -> Call[ReceiptsAnswer]:
    """`POST /v1/outbox/receipts`."""
    body = ReceiptsRequest(receipts=list(receipts), cursor=cursor)
    return Call("/v1/outbox/receipts", reader(ReceiptsAnswer), _body(body))


def epoch_call(server_epoch: int, server_seq: int) -> Call[EpochAnswer]:
    """`POST /v1/outbox/epoch`."""
    body = EpochRequest(server_epoch=server_epoch, server_seq=server_seq)
    return Call("/v1/outbox/epoch", reader(EpochAnswer), _body(body))


def dead_call(limit: int) -> Call[DeadAnswer]:
    """`GET /v1/outbox/dead`."""
    return Call(_query("/v1/outbox/dead", limit=limit), reader(DeadAnswer))


def redrive_call(ids: Sequence[str] | None) -> Call[RedriveAnswer]:
    """`POST /v1/outbox/redrive`."""
    body = RedriveRequest(ids=None if ids is None else list(ids))
    return Call("/v1/outbox/redrive", reader(RedriveAnswer), _body(body))


def corrections_call(
    after: int, limit: int, label: str | None, kind: str | None
) -> Call[CorrectionsAnswer]:
    """`GET /v1/corrections`."""
    path = _query("/v1/corrections", after=after, limit=limit, label=label, kind=kind)
    return Call(path, reader(CorrectionsAnswer))


def detail_call(correction_id: str) -> Call[CorrectionDetail]:
    """`GET /v1/corrections/{id}` of `admin.sock`."""
    return Call(_correction_path(correction_id), reader(CorrectionDetail))


def erase_call(correction_id: str) -> Call[ErasedAnswer]:
    """`DELETE /v1/corrections/{id}`."""
    return Call(_correction_path(correction_id), reader(ErasedAnswer), method="DELETE")


def erase_text_call(text: str) -> Call[ErasedAnswer]:
    """`POST /v1/corrections/erase`."""
    return Call("/v1/corrections/erase", reader(ErasedAnswer), _json({"text": text}))


def _correct(fields: Mapping[str, Any]) -> Call[CorrectionAnswer]:
    return Call("/v1/corrections", reader(CorrectionAnswer), _json(fields))


def _given(options: ConfirmOptions) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if value is not None}
    if options.get("labels") is not None:
        given["labels"] = list(options["labels"] or ())
    return given


def _json(fields: Mapping[str, Any]) -> bytes:
    # It judges nothing; surrogates pass, and are refused by the daemon with a message that says so.
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _body(message: BaseModel) -> bytes:
    return message.model_dump_json().encode()


def _query(path: str, **parameters: object) -> str:
    given = {key: value for key, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}"


def _correction_path(correction_id: str) -> str:
    return f"/v1/corrections/{quote(correction_id, safe='')}"
