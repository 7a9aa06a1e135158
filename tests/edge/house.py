"""A service with its models in this process, as the daemon has it, without sockets.

What is activated is really loaded and tried in a child process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.corrections import Corrections
from edge.ledger import Ledger, open_ledger
from edge.metrics import Metrics
from edge.models.versions import VersionStore
from edge.service import Service
from edge.settings import Settings
from edge.swap.desk import ModelDesk, open_desk
from edge.swap.progress import ENDED
from edge.swap.start import start_on
from edge.wire import ClassifyAnswer, ClassifyRequest
from edge.wire.models import ActivateRequest, ActivationAnswer, ActivationState

__all__ = ["House", "house"]


@dataclass(frozen=True, slots=True)
class House:
    """All that answers."""

    service: Service
    desk: ModelDesk
    metrics: Metrics
    ledger: Ledger

    @property
    def store(self) -> VersionStore:
        """Where bundles are kept."""
        return self.desk.catalog.store

    async def ask(self, text: str = "gulls", **fields: Any) -> ClassifyAnswer:
        """One answer."""
        return (await self.service.classify(ClassifyRequest(text=text, **fields), _never))[0]

    async def activate(self, digest: str, **fields: Any) -> ActivationAnswer:
        """Begin an activation and wait for its end, asking nothing meanwhile."""
        await self.desk.activate(ActivateRequest(digest=digest, **fields))
        return await self.end()

    async def end(self) -> ActivationAnswer:
        """How the activation ends."""
        task = self.desk.activator._task
        assert task is not None
        await task
        answer = self.desk.activator.last()
        assert answer is not None
        return answer

    async def until(self, state: ActivationState, act: Callable[[], Awaitable[Any]]) -> None:
        """Do something again and again until the activation has come so far."""
        while (last := self.desk.activator.last()) is None or last.state is not state:
            assert last is None or last.state not in ENDED, last
            await act()


@asynccontextmanager
async def house(directory: Path, bundle: Path, **settings: Any) -> AsyncIterator[House]:
    """A house in this state directory, which starts on this bundle unless another is current."""
    known = {"probation_s": 0.0, "probation_requests": 3, "trial_timeout_s": 120.0}
    chosen = Settings(state_dir=directory, bundle=bundle, **known | settings)
    metrics, ledger = Metrics(), open_ledger(chosen)
    start, predictor = start_on(chosen)
    service = Service(predictor, chosen, metrics, Corrections(ledger, metrics))
    del predictor
    desk = open_desk(chosen, service, ledger, metrics, start)
    try:
        await service.warm_up()
        await desk.begin(start)
        yield House(service, desk, metrics, ledger)
    finally:
        await desk.close()
        service.close()
        ledger.close()


async def _never() -> bool:
    return False
