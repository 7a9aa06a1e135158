"""What goes into the store and comes out of it, as plain dataclasses. No SQL, no JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "SHADOW",
    "Ack",
    "AckStatus",
    "Acknowledged",
    "Correction",
    "Counts",
    "Cursor",
    "Erasure",
    "Kind",
    "NewCorrection",
    "Outbox",
    "Override",
    "PredictionRow",
    "Receipt",
    "Recorded",
    "ReviewItem",
    "State",
    "StoreHealth",
    "Why",
]

SHADOW = "shadow"
"""The reason of a row that nobody was answered: what a candidate would have said."""


class Kind(StrEnum):
    """What a person said about an answer."""

    CORRECTION = "correction"
    """The label differs from the model's, or no prediction is known."""
    CONFIRMATION = "confirmation"
    """The label is the model's: "this was right"."""


class State(StrEnum):
    """How far a correction has come."""

    DURABLE = "durable"
    """On this disk, after an fsync."""
    SENT = "sent"
    """Handed to the network at least once; no answer known."""
    ACCEPTED = "accepted"
    """Upstream said that it has it."""
    USED = "used"
    """A training build took it in."""
    DEAD = "dead"
    """Upstream refused it; it waits in the dead letter."""
    ERASED = "erased"
    """Only its id is left."""


class AckStatus(StrEnum):
    """What upstream says of one record."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    PARKED = "parked"
    REJECTED = "rejected"


class Why(StrEnum):
    """Why a prediction is shown for review."""

    LOW_CONFIDENCE = "low_confidence"
    """The best label was hardly better than the second."""
    DISAGREEMENT = "disagreement"
    """Two models, or the model and a person, say different things of the same text."""
    AUDIT = "audit"
    """Drawn by its id alone, so that what is reviewed is not only mistakes."""


@dataclass(frozen=True, slots=True)
class NewCorrection:
    """A correction or confirmation, as the caller gives it."""

    text: str
    """What was classified, as it came."""
    content: str | None
    """The article that the text was about, if any."""
    label: str | None
    """What it should have been; None means "none of these"."""
    kind: Kind
    predicted_label: str | None
    """What the model answered; None where it abstained or no prediction is known."""
    score: float | None
    """The score of the model's best label, in [0, 1]; None where no prediction is known."""
    prediction_id: str | None
    """The prediction that this is about; None where it is about a text alone."""
    labels: tuple[str, ...]
    """The labels that were offered."""
    label_set: str
    """Digest of the label set."""
    model: str
    """Digest of the bundle; empty where unknown."""
    phase: str
    """Phase of the bundle; empty where unknown."""
    source: str = ""
    """The app's name, if it gave one."""
    client_key: str | None = None
    """The caller's own name for this correction, which makes a repetition harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(NewCorrection):
    """A correction as it is stored. Times are Unix milliseconds."""

    id: str
    """UUID of version 7."""
    seq: int
    """Gap-free number on this device, from 1."""
    epoch: int
    """Grows when the store was restored from a backup, so that (epoch, seq) stays unique."""
    created_ms: int
    sent_ms: int | None = None
    accepted_ms: int | None = None
    used_ms: int | None = None
    build: str | None = None
    """The training build that used it."""
    attempts: int = 0
    """How often it was handed to the network."""
    last_error: str | None = None
    """What upstream said when it refused it."""
    dead: bool = False

    @property
    def state(self) -> State:
        """How far it has come."""
        if self.dead:
            return State.DEAD
        if self.used_ms is not None:
            return State.USED
        if self.accepted_ms is not None:
            return State.ACCEPTED
        return State.DURABLE if self.sent_ms is None else State.SENT


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a new correction."""

    correction: Correction
    is_new: bool
    """False when the same client key came before, with the same content."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The tombstone of an erased correction: that it was, and no more. Times are Unix ms."""

    id: str
    seq: int
    epoch: int
    erased_ms: int
    sent_ms: int | None = None
    accepted_ms: int | None = None
    attempts: int = 0
    last_error: str | None = None
    dead: bool = False

    state = State.ERASED
    """Wherever the tombstone itself has got to."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """What upstream does not have yet; tombstones first, then corrections, oldest first."""

    device_id: str
    epoch: int
    corrections: tuple[Correction, ...]
    erasures: tuple[Erasure, ...]
    remaining: int
    """Undelivered records beyond those in here."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Upstream's word on one record."""

    id: str
    status: AckStatus
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a list of acks did."""

    acknowledged: int
    """Records newly known to be delivered."""
    dead: int
    """Records newly in the dead letter."""
    remaining: int
    """Records still to be delivered."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Upstream's word that a training build used a correction."""

    id: str
    build: str
    used_ms: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where this device stands towards upstream."""

    receipts_cursor: int
    device_id: str
    epoch: int
    last_seq: int
    """The highest number given out; 0 before the first."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers for people."""

    per_label: dict[str | None, tuple[int, int]]
    """Label → (corrections, confirmations); None stands for "none of these"."""
    by_day: tuple[tuple[str, int, int], ...]
    """(UTC day, confirmations, all that had a prediction), oldest first."""
    outbox: int
    """Undelivered, tombstones included, dead ones not."""
    dead: int
    total: int


@dataclass(frozen=True, slots=True)
class Override:
    """What a person said last of one text under one label set."""

    text_key: bytes
    """See `edge.store.keys.override_key`."""
    label_set: str
    label: str | None
    id: str
    """Of the correction or confirmation."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the store is, without asking the disk for more than its free space."""

    ok: bool
    """Corrections can be recorded, as far as is known."""
    detail: str
    """What is wrong, or worth knowing, and what to do; empty when all is well."""
    quarantined: tuple[str, ...] = ()
    """Names of damaged files that were set aside."""
    salvaged: int = 0
    """Corrections and tombstones saved from damaged files since this process began."""
    journal_mode: str = ""
    synchronous: str = ""
    free_bytes: int = 0
    sqlite_version: str = ""
    filesystem: str = ""


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One answer, as the prediction log keeps it."""

    id: str
    created_ms: int
    """Unix milliseconds."""
    text: str | None
    """None where texts are not kept, or this one was too long to keep."""
    content: str | None
    text_key: bytes
    """See `edge.store.keys.override_key`."""
    label: str | None
    raw_label: str | None
    score: float | None
    margin: float | None
    """Best score less the second best; None with fewer than two labels."""
    reason: str
    labels: tuple[str, ...]
    label_set: str
    model: str
    phase: str
    scores: dict[str, float] = field(default_factory=dict)
    """Label → score."""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """A prediction that a person should look at."""

    prediction: PredictionRow
    why: Why
