"""The daemon's two stores, and how its event loop waits for them: never blocked, and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, cast

from edge.errors import Overloaded
from edge.settings import Settings
from edge.store import CorrectionStore, PredictionLog
from edge.store.predictions import Mode

__all__ = ["DIRECTORY_MODE", "Ledger", "open_ledger"]

log = logging.getLogger("intentd.store")

MAX_WAITING = 256  # a correction takes milliseconds: so many wait only when the disk hangs
DIRECTORY_MODE = 0o700

Result = TypeVar("Result")


class Ledger:
    """Corrections for good, and recent predictions. Use it from one event loop."""

    def __init__(self, store: CorrectionStore, predictions: PredictionLog) -> None:
        self.store = store
        self.predictions = predictions
        self._waiting = 0

    async def ask(self, begin: Callable[[], Future[Result]]) -> Result:
        """Begin a request to a store, and wait for it without blocking the loop.

        Whoever waits may be cancelled; what was begun goes on.

        Raises:
            Overloaded: Too many wait already; this one was not begun.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(
                f"{self._waiting} requests wait for the disk already, which is the limit; "
                "try again later"
            )
        self._waiting += 1
        try:
            return await asyncio.shield(asyncio.wrap_future(begin()))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Write what is not written yet, and close both files. Blocks."""
        self.predictions.close()
        self.store.close()


def open_ledger(settings: Settings) -> Ledger:
    """Open both stores in the state directory, which is made, and kept from other users.

    Never raises: a daemon whose disk is broken still classifies.
    """
    try:
        settings.state_dir.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("%s: cannot make the state directory: %s", settings.state_dir, error.strerror)
    store = CorrectionStore.open(settings.state_dir)
    health = store.health()
    if not health.ok:
        log.warning("corrections cannot be kept: %s", health.detail)
    elif health.quarantined:
        log.warning("a damaged store was set aside: %s", health.detail)
    predictions = PredictionLog.open(
        settings.state_dir,
        cast(Mode, settings.predictions),
        settings.predictions_days,
        settings.predictions_mb * 2**20,
    )
    return Ledger(store, predictions)
