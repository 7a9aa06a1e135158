"""What a trial can find: the words that the child reports with, and its parent reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["TrialFailure", "TrialReport"]


class TrialFailure(StrEnum):
    """Why a bundle was refused."""

    CORRUPT = "corrupt"
    """Its files are not what its manifest says, or cannot be read."""
    INCOMPATIBLE = "incompatible"
    """This program, or its runtime, cannot load it."""
    SATURATION = "saturation"
    """This CPU adds int8 products up wrongly, whatever the runtime was told."""
    LABELS = "labels"
    """Its scores are not those of the labels that it names, or that are asked for."""
    NOT_A_NUMBER = "not_a_number"
    """A score is NaN or infinite."""
    SELF_TEST = "self_test"
    """It does not answer here as it did on the workstation."""
    MEMORY = "memory"
    """It needs more than it may have."""
    TIMEOUT = "timeout"
    """It was not done in time."""
    CRASH = "crash"
    """Its process was ended by a signal."""
    STOPPED = "stopped"
    """Nobody wanted to know any more."""
    ERROR = "error"
    """Something else went wrong."""


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What the trial found."""

    reason: TrialFailure | None
    """None: nothing speaks against it."""
    detail: str
    """For people; what to do, if something is to be done."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Measured; names carry their unit."""

    @property
    def passed(self) -> bool:
        """Whether the bundle may be served here."""
        return self.reason is None
