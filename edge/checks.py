"""The form of what `intentd doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Check", "Verdict"]


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing, and no fault."""
    FAILED = "failed"
    """Something to repair."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    verdict: Verdict
    detail: str
    """For people; what to do, if something is to be done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For programs; names carry their unit."""
