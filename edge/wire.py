"""What goes over the socket, as frozen models; the only place where field names are spelt.

The Hugging Face and text-embeddings-inference formats live here too, so that one file shows every
wire format.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.errors import InvalidValue, MalformedBody

__all__ = [
    "BatchAnswer",
    "ClassifyAnswer",
    "ClassifyRequest",
    "HubRequest",
    "IntentInfo",
    "IntentsAnswer",
    "LabelSetInfo",
    "ModelAnswer",
    "ModelInfo",
    "Problem",
    "Reason",
    "Score",
    "TeiRequest",
    "Timings",
    "TokenInfo",
    "decode",
]

MAX_DEADLINE_MS = 600_000
MAX_TOP_K = 1024  # more than any model has labels
MAX_TEMPLATE_CHARS = 1024

# A field name is shown in an error only if it looks like one; anything else may be the user's text.
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

Message = TypeVar("Message", bound=BaseModel)


class Reason(StrEnum):
    """Why an answer carries the label that it carries."""

    ABOVE_THRESHOLD = "above_threshold"
    """The best label reached its threshold."""
    BELOW_THRESHOLD = "below_threshold"
    """It did not: `label` is null, `raw_label` still names it."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Answer(BaseModel):
    """An answer: lenient to read, so that a newer daemon may add fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# Fail fast: 1 MiB of wrong items must not become half a million errors (measured: 11 s and 800 MB).
Strings = Annotated[list[str], Field(min_length=1, fail_fast=True)]
Template = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS)]


class ClassifyRequest(_Message):
    """Body of `POST /v1/classify`."""

    text: str | None = None
    """The request to be understood; either this or `texts`."""
    texts: Strings | None = None
    """Several requests, answered in order."""
    content: str | None = None
    """What the request is about (an article, a mail). The window is spent on `text` first."""
    labels: Strings | None = None
    """Labels for this request; none means the daemon's own intents."""
    multi_label: bool = False
    """Score each label by itself, instead of sharing 1 among them."""
    hypothesis_template: Template | None = None
    """English sentence with one `{}` for the label (zero-shot NLI bundles only)."""
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None = None
    """How many scores to return; none means all."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Lowers the model's window for this request; it can never raise it."""
    deadline_ms: Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS)] | None = None
    """Milliseconds after which an answer is of no use; checked before the work on each text."""

    @model_validator(mode="after")
    def _check_one_of(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("expected exactly one of text and texts")
        if self.texts is not None and self.content is not None:
            raise ValueError(
                "content goes with text; send one request for each text that has content"
            )
        return self


class Score(_Answer):
    """One label's score."""

    label: str
    score: float
    """In [0, 1]."""


class TokenInfo(_Answer):
    """What the model read of the text."""

    used: int
    """Tokens of the longest row, special tokens included."""
    truncated: bool
    """Whether the text (or its content) was longer than the window."""


class Timings(_Answer):
    """Where the time went, in milliseconds."""

    queue_ms: float
    tokenize_ms: float
    infer_ms: float


class ModelInfo(_Answer):
    """The bundle that answered."""

    name: str
    version: str
    phase: str
    """`starter`, `A` (zero-shot NLI) or `B` (fine-tuned classifier)."""
    digest: str
    """sha256 of the bundle's manifest."""


class LabelSetInfo(_Answer):
    """The label set that was scored."""

    name: str
    version: str
    digest: str
    """sha256 over intents and wording: what a correction is joined to."""


class ClassifyAnswer(_Answer):
    """Answer of `POST /v1/classify` for one text."""

    id: str
    """UUIDv7 of this prediction."""
    label: str | None
    """The best label, or null if its score is below its threshold."""
    labels: list[str]
    """Every label at or above its threshold, best first; at most one unless `multi_label`."""
    raw_label: str
    """The best label whatever its score."""
    reason: Reason
    scores: list[Score]
    """Best first, at most `top_k`."""
    model: ModelInfo
    label_set: LabelSetInfo
    tokens: TokenInfo
    timings: Timings


class BatchAnswer(_Answer):
    """Answer of `POST /v1/classify` for `texts`: one prediction a text, in their order."""

    predictions: list[ClassifyAnswer]


class IntentInfo(_Answer):
    """One intent, as `GET /v1/intents` shows it."""

    name: str
    description: str
    threshold: float
    """Score in [0, 1] below which the loaded bundle does not give this label."""
    examples: list[str]


class IntentsAnswer(_Answer):
    """Answer of `GET /v1/intents`."""

    label_set: LabelSetInfo
    fixed: bool
    """Whether the bundle has fixed labels, so that a request cannot bring its own."""
    intents: list[IntentInfo]


class ModelAnswer(_Answer):
    """Answer of `GET /v1/model`."""

    model: ModelInfo
    task: str
    architecture: str
    max_tokens: int
    quantization: str
    batch_invariant: bool
    licence: str
    source: str
    threads: int
    runtime: str


class Problem(_Answer):
    """`application/problem+json` (RFC 9457) with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


class HubParameters(BaseModel):
    """`parameters` of the Hugging Face inference format; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    candidate_labels: Strings | str | None = None
    """A list, or one comma-separated string."""
    multi_label: bool | None = None
    hypothesis_template: Template | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class HubRequest(BaseModel):
    """Body of `POST /` in the Hugging Face inference format."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    inputs: str | Strings
    parameters: HubParameters = HubParameters()


Pair = Annotated[list[str], Field(min_length=1, max_length=2, fail_fast=True)]


class TeiRequest(BaseModel):
    """Body of `POST /predict` in the text-embeddings-inference format.

    A string is one text; a list of one-element lists is a batch. Pairs are refused: no bundle
    scores them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    inputs: str | Annotated[list[Pair | str], Field(min_length=1, fail_fast=True)]
    truncate: bool | None = None
    raw_scores: bool = False


def decode(model: type[Message], body: bytes) -> Message:
    """Read a JSON body.

    Raises:
        MalformedBody: Not JSON, not UTF-8, nested too deeply, or holding lone surrogates.
        InvalidValue: JSON, but a field is unknown, missing, of the wrong type or out of range.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _explain(model, error) from None  # pydantic's own message repeats the user's text


def _explain(model: type[BaseModel], error: ValidationError) -> MalformedBody | InvalidValue:
    details: list[Any] = error.errors(include_url=False, include_input=False, include_context=False)
    # Where a field may be one of two types, the deepest error is that of the type that was meant.
    worst = max(details, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
    if worst["type"] == "json_invalid":
        return MalformedBody(f"{worst['msg']}; send one JSON object in UTF-8")
    if worst["type"] == "extra_forbidden":
        name = worst["loc"][-1] if _FIELD_NAME.fullmatch(worst["loc"][-1]) else "body"
        return InvalidValue(f"{name}: unknown field; known are {', '.join(model.model_fields)}")
    where = ".".join(str(part) for part in worst["loc"] if not _is_type_name(part)) or "body"
    return InvalidValue(f"{where}: {worst['msg'].removeprefix('Value error, ')}")


def _is_type_name(part: str | int) -> bool:
    """Whether a part of an error's place is pydantic's name for a type, not a field or position."""
    return isinstance(part, str) and (part == "str" or "[" in part)
