"""The probation of a candidate: its answers beside the old model's, until it can be decided.

It switches nothing. Without traffic it takes recent texts, so that it always ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from edge.probation import Policy, Tally, decide
from edge.service import Service
from edge.settings import Settings
from edge.shadow import Shadow
from edge.slot import LoadedModel
from edge.swap.progress import Swap
from edge.swap.replay import Replay
from edge.wire.models import ActivationState

__all__ = ["Prover"]


class Prover:
    """Proves candidates against the model of one service. Use it from one event loop."""

    def __init__(self, service: Service, replay: Replay, settings: Settings) -> None:
        self._service, self._replay, self._settings = service, replay, settings

    async def prove(self, swap: Swap, candidate: LoadedModel) -> tuple[bool, str]:
        """Compare until it can be decided; True keeps it."""
        tally = swap.tally = swap.tally or Tally(swap.wanted)
        swap.tell(ActivationState.PROBATION, "its answers are compared")
        is_agreed = swap.answer.changes.fixes_labels  # nobody gets here without having said so
        slot, dispute = self._service.slot, self._replay.dispute
        shadow = Shadow(slot, candidate, tally, dispute, may_refuse=is_agreed)
        self._service.observers.add(shadow)
        background = [asyncio.create_task(shadow.run())]
        try:
            return await self._watch(swap, shadow, background)
        finally:
            self._service.observers.discard(shadow)
            for task in background:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _watch(
        self, swap: Swap, shadow: Shadow, background: list[asyncio.Task[None]]
    ) -> tuple[bool, str]:
        loop, policy = asyncio.get_running_loop(), self._policy(swap)
        ends, replaying = loop.time() + self._settings.probation_s, None
        while not swap.word.done():
            is_complete = replaying is not None and replaying.done()
            if is_complete:
                shadow.tally.wanted = shadow.tally.requests
            verdict = decide(shadow.tally, policy, is_complete)
            if verdict is not None and not (verdict[0] and swap.answer.manual):
                return verdict
            if replaying is None and loop.time() >= ends:
                replaying = asyncio.create_task(self._replay_rest(swap, shadow))
                replaying.add_done_callback(lambda _: shadow.changed.set())
                background.append(replaying)
            shadow.changed.clear()
            patience = ends - loop.time() if replaying is None else None
            await _first(swap.word, shadow.changed, patience)
        return swap.word.result(), "decided by hand"

    async def _replay_rest(self, swap: Swap, shadow: Shadow) -> None:
        """Too little traffic: recent texts stand in for it, else the bundle's own."""
        missing = swap.wanted - shadow.tally.requests
        model = self._service.slot.model
        if missing > 0 and model is not None:
            label_set = model.predictor.label_set
            texts = await self._replay.texts(missing, label_set, swap.new, swap.old.digest)
            await shadow.replay(texts)

    def _policy(self, swap: Swap) -> Policy:
        settings, is_same = self._settings, swap.old.manifest.task is swap.new.manifest.task
        return Policy(
            wanted=swap.wanted,
            min_agreement=settings.probation_agreement,
            max_slowdown=settings.probation_slowdown if is_same else None,
        )


async def _first(word: asyncio.Future[bool], event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait for the first of them, or for the time to pass."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((word, waiting), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
