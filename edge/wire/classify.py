"""What `/v1/classify`, `/v1/intents` and `/v1/model` take and give."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from edge.wire.base import AnswerModel, RequestModel, Strings

__all__ = [
    "MAX_DEADLINE_MS",
    "MAX_TOP_K",
    "BatchAnswer",
    "ClassifyAnswer",
    "ClassifyRequest",
    "IntentInfo",
    "IntentsAnswer",
    "LabelSetInfo",
    "ModelAnswer",
    "ModelInfo",
    "Reason",
    "Score",
    "Template",
    "Timings",
    "TokenInfo",
    "WindowReason",
]

MAX_DEADLINE_MS = 600_000
MAX_TOP_K = 1024  # more than any model has labels
MAX_TEMPLATE_CHARS = 1024

Template = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS)]


class Reason(StrEnum):
    """Why an answer carries the label that it carries."""

    ABOVE_THRESHOLD = "above_threshold"
    """The best label reached its threshold."""
    BELOW_THRESHOLD = "below_threshold"
    """It did not: `label` is null, `raw_label` still names it."""
    CORRECTED = "corrected"
    """Somebody corrected this very text under this label set; the scores stay the model's own."""


class ClassifyRequest(RequestModel):
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
    latency_budget_ms: Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS)] | None = None
    """Milliseconds that reading the text may take: the window is lowered to what this machine can
    read in time, so that it depends on the machine. It can never raise the daemon's own budget."""
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


class WindowReason(StrEnum):
    """What the window was given by."""

    MODEL = "model"
    """It is the bundle's own."""
    MAX_TOKENS = "max_tokens"
    """The request lowered it."""
    LATENCY_BUDGET = "latency_budget"
    """It was lowered to what could be read in time on this machine."""


class Score(AnswerModel):
    """One label's score."""

    label: str
    score: float
    """In [0, 1]."""


class TokenInfo(AnswerModel):
    """What the model read of the text."""

    used: int
    """Tokens of the longest row, special tokens included."""
    truncated: bool
    """Whether the text (or its content) was longer than the window."""
    window: int | None = None
    """How many tokens could have been read, special tokens included."""
    window_reason: WindowReason = WindowReason.MODEL


class Timings(AnswerModel):
    """Where the time went, in milliseconds."""

    queue_ms: float
    tokenize_ms: float
    infer_ms: float


class ModelInfo(AnswerModel):
    """The bundle that answered."""

    name: str
    version: str
    phase: str
    """`starter`, `A` (zero-shot NLI) or `B` (fine-tuned classifier)."""
    digest: str
    """sha256 of the bundle's manifest."""


class LabelSetInfo(AnswerModel):
    """The label set that was scored."""

    name: str
    version: str
    digest: str
    """sha256 over intents and wording: what a correction is joined to."""


class ClassifyAnswer(AnswerModel):
    """Answer of `POST /v1/classify` for one text."""

    id: str
    """UUIDv7 of this prediction."""
    label: str | None
    """The best label, null if its score is below its threshold; or what it was corrected to."""
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
    cached: bool = False
    """Whether the model had been asked the very same, and what it said was still in memory."""


class BatchAnswer(AnswerModel):
    """Answer of `POST /v1/classify` for `texts`: one prediction a text, in their order."""

    predictions: list[ClassifyAnswer]


class IntentInfo(AnswerModel):
    """One intent, as `GET /v1/intents` shows it."""

    name: str
    description: str
    threshold: float
    """Score in [0, 1] below which the loaded bundle does not give this label."""
    examples: list[str]


class IntentsAnswer(AnswerModel):
    """Answer of `GET /v1/intents`."""

    label_set: LabelSetInfo
    fixed: bool
    """Whether the bundle has fixed labels, so that a request cannot bring its own."""
    intents: list[IntentInfo]


class ModelAnswer(AnswerModel):
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
    """For one run."""
    runtime: str
    parallel_runs: int = 1
    """Texts that are read at once."""
    probation: bool = False
    """Whether this bundle still has to prove itself: it may be taken back."""
    loaded: bool = True
    """Whether it is in memory; if not, the next request waits for it."""
