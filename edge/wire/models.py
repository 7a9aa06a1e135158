"""What is said about bundles on `admin.sock`: listing, activation, probation, shadow."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from edge.wire.base import AnswerModel, RequestModel

__all__ = [
    "CONFIGURED",
    "ActivateRequest",
    "ActivationAnswer",
    "ActivationState",
    "BundleDetail",
    "BundleFacts",
    "ChangeInfo",
    "ComparisonReport",
    "DiffAnswer",
    "KeepAnswer",
    "KeepRequest",
    "ModelsAnswer",
    "RemovedAnswer",
    "ShadowAnswer",
    "ShadowRequest",
    "SwapMode",
    "VerifyAnswer",
]

CONFIGURED = "configured"
"""Stands where a digest may for the bundle that the settings name."""
MAX_PROBATION_REQUESTS = 100_000
MAX_KEEP_S = 10 * 365 * 86_400

DigestPrefix = Annotated[str, Field(pattern=r"^([0-9a-f]{6,64}|configured)$")]


class SwapMode(StrEnum):
    """Where the old model is while the new one is loaded."""

    AUTO = "auto"
    """Chosen from the free memory."""
    AVAILABLE = "available"
    """Both in memory: every request is answered all the time."""
    LOW_MEMORY = "low-memory"
    """The old one is unloaded first; meanwhile requests get 503 and when to come back."""


class ActivationState(StrEnum):
    """How far an activation has come."""

    TRIAL = "trial"
    """A child process loads the candidate and lets it answer."""
    SWITCHING = "switching"
    """The candidate is loaded, or requests are moved to it."""
    PROBATION = "probation"
    """Its answers are compared; see the report."""
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    """It did not pass its probation, or was taken back by hand; the old one answers."""
    REFUSED = "refused"
    """It never answered anybody; the old one does."""


class ComparisonReport(AnswerModel):
    """How a candidate compares with the model that answers."""

    requests: int
    """Texts that the candidate was asked."""
    wanted: int
    """How many decide; 0 means that nothing is decided."""
    agreement: float | None
    """Share of compared texts with the same best label, in [0, 1]; null before the first."""
    disagreements: int
    old_p50_ms: float | None
    new_p50_ms: float | None
    old_p95_ms: float | None
    new_p95_ms: float | None
    new_errors: int
    """Texts that the candidate failed on, or answered with something that is no number."""
    replayed: int = 0
    """Of `requests`, those that were not live: recent texts, or the bundle's own."""
    dropped: int = 0
    """Live texts that were not compared because the candidate was behind."""
    rss_bytes: int = 0
    """Memory of the whole daemon."""


class ChangeInfo(AnswerModel):
    """A value before and after."""

    name: str
    old: str | float | None
    new: str | float | None


class DiffAnswer(AnswerModel):
    """From one bundle to another, as a client notices it."""

    labels_added: list[str]
    labels_vanished: list[str]
    fixes_labels: bool
    """Requests cannot bring their own labels any more: those that do get 422 `unknown_label`."""
    frees_labels: bool
    changes: list[ChangeInfo]
    breaks_clients: bool


class ActivationAnswer(AnswerModel):
    """The activation that goes on, or the last one."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True
    )

    digest: str
    """`configured` for the bundle of the settings."""
    from_: Annotated[str, Field(alias="from", serialization_alias="from")]
    """What answered before."""
    state: ActivationState
    mode: SwapMode
    manual: bool
    started_utc: str
    detail: str
    """For people: what goes on, or why it ended so."""
    changes: DiffAnswer
    report: ComparisonReport | None = None


class BundleFacts(AnswerModel):
    """One bundle on this machine."""

    digest: str
    name: str | None
    version: str | None
    task: str | None
    phase: str | None
    labels: list[str] | None
    """Fixed labels; null where requests bring their own."""
    max_tokens: int | None
    bytes: int
    recipe: str | None
    origin: str
    """`installed`, `configured` or `built-in`."""
    state: str
    """`serving`, `probation`, `previous`, `installed` or `broken`."""
    installed_utc: str | None
    note: str = ""


class BundleDetail(BundleFacts):
    """One bundle with its manifest."""

    manifest: dict[str, Any] | None


class ModelsAnswer(AnswerModel):
    """Answer of `GET /v1/models`."""

    serving: str
    previous: str | None
    """What a rollback goes back to; null where there is nothing."""
    models: list[BundleFacts]
    activation: ActivationAnswer | None


class VerifyAnswer(AnswerModel):
    """What a bundle's hashes and self-test say on this machine."""

    digest: str
    ok: bool
    detail: str
    agreement: float | None
    """Share of the self-test's labels, in [0, 1]; null where it did not come to that."""
    cases: int | None


class RemovedAnswer(AnswerModel):
    """Answer of `DELETE /v1/models/{digest}`."""

    removed: str


class ActivateRequest(RequestModel):
    """Body of `POST /v1/models/activate`."""

    digest: DigestPrefix
    mode: Annotated[SwapMode, Field(strict=False)] = SwapMode.AUTO
    manual: bool = False
    """Stay on probation until somebody commits or rolls back."""
    probation_requests: Annotated[int, Field(ge=0, le=MAX_PROBATION_REQUESTS)] | None = None
    """How many texts decide; null means the setting's; 0 commits at once."""
    force: bool = False
    """Go on although the memory seems too small, or the model answers already."""


class ShadowRequest(RequestModel):
    """Body of `POST /v1/shadow/start`."""

    digest: DigestPrefix


class ShadowAnswer(AnswerModel):
    """The model that answers in the shadow, if one does."""

    state: str
    """`on` or `off`."""
    digest: str | None = None
    since_utc: str | None = None
    report: ComparisonReport | None = None
    detail: str = ""


class KeepRequest(RequestModel):
    """Body of `POST /v1/model/keep`."""

    seconds: Annotated[float, Field(ge=0, le=MAX_KEEP_S)] | None = None
    """How long the model stays in memory, asked or not; null is for good, 0 ends it."""


class KeepAnswer(AnswerModel):
    """Whether the model is in memory, and how long it is kept there."""

    loaded: bool
    kept: bool
    until_utc: str | None
    """Null where it is not kept, or for good."""
