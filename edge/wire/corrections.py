"""What is said about corrections on `api.sock`: making one, its fate, and what to label next."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from edge.wire.base import AnswerModel, RequestModel, Strings
from edge.wire.classify import Score

__all__ = [
    "CorrectionAnswer",
    "CorrectionFate",
    "CorrectionRequest",
    "ReviewAnswer",
    "ReviewItem",
]

MAX_NAME_CHARS = 200  # of an id, a key, or an app's name

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]


class CorrectionRequest(RequestModel):
    """Body of `POST /v1/corrections`."""

    prediction_id: Name | None = None
    """The `id` of the answer that is judged; either this or `text`, or both."""
    text: str | None = None
    """The text that was classified; needed when the daemon does not keep it."""
    content: str | None = None
    """The content that was classified with `text`."""
    label: str | None = None
    """The right label; null says: none of these. Either this or `confirm`."""
    confirm: bool = False
    """Says that the answer to `prediction_id` was right."""
    labels: Strings | None = None
    """The labels that were offered, if the request brought its own; with `text` only."""
    source: Annotated[str, Field(max_length=MAX_NAME_CHARS)] = ""
    """The name of the app that sends this."""
    client_key: Name | None = None
    """Makes a repetition harmless: the same key with the same body is the same correction."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prediction_id is None and self.text is None:
            raise ValueError("expected prediction_id, text or both")
        if self.text is None and (self.content is not None or self.labels is not None):
            raise ValueError("content and labels go with text; send the text too")
        if self.confirm and self.label is not None:
            raise ValueError("expected one of label and confirm, found both")
        if not self.confirm and "label" not in self.model_fields_set:
            raise ValueError("expected label (null for none of these) or confirm: true")
        if self.confirm and self.prediction_id is None:
            raise ValueError("confirm goes with prediction_id; send a label instead")
        return self


class CorrectionAnswer(AnswerModel):
    """Answer of `POST /v1/corrections`: it is durable."""

    id: str
    """UUIDv7 of this correction."""
    seq: int
    """Its place among this device's corrections, without gaps."""
    kind: str
    """`correction`, or `confirmation` if the model had said the same."""
    label: str | None
    """Null: none of these."""
    predicted_label: str | None
    """What the model had said; null also if no prediction is known."""
    state: str
    """As in `CorrectionFate`."""
    created_utc: str


class CorrectionFate(AnswerModel):
    """Answer of `GET /v1/corrections/{id}`: how far it has come; never its text."""

    id: str
    kind: str | None = None
    """Null once it is erased, as are the labels and `created_utc`."""
    label: str | None = None
    predicted_label: str | None = None
    state: str
    """`durable` → `sent` → `accepted` → `used`; or `dead` (upstream refused it), or `erased`."""
    created_utc: str | None = None
    sent_utc: str | None = None
    accepted_utc: str | None = None
    used_utc: str | None = None
    build: str | None = None
    """The build of training data that used it."""
    erased_utc: str | None = None
    error: str | None = None
    """What upstream last said against it."""


class ReviewItem(AnswerModel):
    """One prediction that is worth a person's look."""

    prediction_id: str
    text: str
    content: str | None
    label: str | None
    raw_label: str
    scores: list[Score]
    labels: list[str]
    """The labels that were offered."""
    reason: str
    """`low_confidence`, `disagreement` or `audit` (a random one)."""
    created_utc: str


class ReviewAnswer(AnswerModel):
    """Answer of `GET /v1/review`: what to label next."""

    items: list[ReviewItem]
