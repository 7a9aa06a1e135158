"""One activation: from what to what, how far it has come, and what somebody said of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from edge.errors import InvalidValue
from edge.memory import free_bytes, needed_bytes
from edge.probation import Tally
from edge.swap.catalog import Choice
from edge.wire.models import (
    ActivateRequest,
    ActivationAnswer,
    ActivationState,
    DiffAnswer,
    SwapMode,
)

__all__ = ["ENDED", "Swap", "choose_mode"]

ENDED = frozenset({ActivationState.COMMITTED, ActivationState.ROLLED_BACK, ActivationState.REFUSED})


@dataclass(slots=True)
class Swap:
    """One activation."""

    old: Choice
    new: Choice
    answer: ActivationAnswer
    wanted: int
    """Texts that decide."""
    word: asyncio.Future[bool]
    """By hand: True commits, False takes it back."""
    is_known: bool = False
    """It answered here before, so that it needs no trial."""
    tally: Tally | None = None

    @property
    def state(self) -> ActivationState:
        """How far it has come."""
        return self.answer.state

    @classmethod
    def plan(
        cls,
        old: Choice,
        new: Choice,
        request: ActivateRequest,
        mode: SwapMode,
        wanted: int,
        changes: DiffAnswer,
    ) -> Swap:
        """One that is about to begin."""
        answer = ActivationAnswer.model_validate(
            {
                "digest": new.digest,
                "from": old.digest,
                "state": ActivationState.TRIAL,
                "mode": mode,
                "manual": request.manual,
                "started_utc": datetime.now(UTC).isoformat(timespec="seconds")[:19] + "Z",
                "detail": f"{new.title} is tried in a process of its own",
                "changes": changes,
            }
        )
        return cls(old, new, answer, wanted, asyncio.get_running_loop().create_future())

    def tell(self, state: ActivationState, detail: str) -> None:
        """Go on to another state."""
        self.answer = self.answer.model_copy(update={"state": state, "detail": detail})

    def show(self) -> ActivationAnswer:
        """As the API shows it."""
        report = None if self.tally is None else self.tally.report()
        return self.answer.model_copy(update={"report": report})


def choose_mode(request: ActivateRequest, new: Choice, asleep_bytes: int = 0) -> SwapMode:
    """Where the old model is meanwhile.

    Args:
        request: What is wished.
        new: The candidate.
        asleep_bytes: What the old one will take beside it; 0 where it is in memory already.

    Raises:
        InvalidValue: Both were to stay in memory, and do not fit.
    """
    needed, free = needed_bytes(new.size) + asleep_bytes, free_bytes()
    if request.mode is SwapMode.AUTO:
        return SwapMode.AVAILABLE if needed <= free else SwapMode.LOW_MEMORY
    if request.mode is SwapMode.AVAILABLE and needed > free and not request.force:
        raise InvalidValue(
            f"mode: expected {needed >> 20} MiB free to load it beside the other, found "
            f"{free >> 20}; choose low-memory, or say force"
        )
    return request.mode
