"""What stays in memory while nobody asks: never the remains of a load, and the model as told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from edge.errors import EdgeError, NotReady
from edge.memory import release_memory
from edge.service import Service
from edge.slot import LoadedModel
from edge.wire.models import KeepAnswer

__all__ = ["Warmth"]

log = logging.getLogger("intentd.models")

QUIET_S = 10.0  # without a request after which free memory goes back to the kernel


class Warmth:
    """Unloads the model of one service. Use it from one event loop."""

    def __init__(
        self, service: Service, idle_unload_s: float, is_needed: Callable[[], bool]
    ) -> None:
        """Does nothing until `run`.

        Args:
            service: Whose model.
            idle_unload_s: Seconds without a request after which it goes; 0 keeps it.
            is_needed: Whether something else needs it just now.
        """
        self._service, self._idle_s, self._is_needed = service, idle_unload_s, is_needed
        self._kept_until: float | None = 0.0
        self._tidied = 0.0  # when the request was made that was tidied up after last

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(min(self._idle_s / 4 or QUIET_S, QUIET_S))
            if self._idle_s and self._is_idle():
                await self._unload()
            elif self._is_to_tidy():
                self._tidied = self._service.last_used
                await asyncio.to_thread(release_memory)

    async def keep(self, seconds: float | None) -> KeepAnswer:
        """Keep the model in memory so long (None: for good; 0: no longer), and have it there.

        Raises:
            NotReady: It cannot be loaded now.
        """
        self._kept_until = None if seconds is None else time.monotonic() + seconds
        if seconds != 0:
            await self._service.slot.wake()
        until = None
        if seconds:
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            until = end.isoformat(timespec="seconds")[:19] + "Z"
        is_loaded = self._service.slot.model is not None
        return KeepAnswer(loaded=is_loaded, kept=seconds != 0, until_utc=until)

    def _is_idle(self) -> bool:
        model, now = self._service.slot.model, time.monotonic()
        if model is None or model.is_used or self._is_needed():
            return False
        if self._kept_until is None or now < self._kept_until:
            return False
        return now - self._service.last_used > self._idle_s

    def _is_to_tidy(self) -> bool:
        last = self._service.last_used
        return last != self._tidied and time.monotonic() - last > QUIET_S

    async def _unload(self) -> None:
        model = self._service.slot.model
        if model is None:
            return
        path = model.predictor.bundle.path

        async def load_again() -> LoadedModel:
            try:
                return await self._service.load(path)
            except EdgeError as error:
                log.error("the model cannot be loaded again: %s", error)
                raise NotReady("the model cannot be loaded again; the log says why") from error

        absence = NotReady("the model is being loaded; ask again")
        before = self._service.slot.clear(absence, load_again)
        log.info("nobody asked for %g s: the model is unloaded", self._idle_s)
        if before is not None:
            await before.retire(0.0)
