"""What a contender gives back for one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and how long it took."""

    ms: float
    scores: Mapping[str, float]
    """By label; empty where a contender runs without any."""
