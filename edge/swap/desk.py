"""All that the daemon does with models, put together.

Each part has a module of its own; this one knows which there are.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import Request

from edge.body_pipe import receive
from edge.errors import EdgeError, InvalidValue
from edge.ledger import Ledger
from edge.metrics import Metrics
from edge.service import Service
from edge.settings import Settings
from edge.swap.activation import Activator
from edge.swap.catalog import Catalog, Choice
from edge.swap.long_shadow import LongShadow
from edge.swap.replay import Replay
from edge.swap.start import Start
from edge.swap.warmth import Warmth
from edge.wire.models import (
    ActivateRequest,
    ActivationAnswer,
    BundleDetail,
    BundleFacts,
    DiffAnswer,
    ModelsAnswer,
    RemovedAnswer,
)

__all__ = ["ModelDesk", "open_desk"]

log = logging.getLogger("intentd.models")


@dataclass(frozen=True, slots=True)
class ModelDesk:
    """All that is done with models."""

    catalog: Catalog
    activator: Activator
    shadow: LongShadow
    warmth: Warmth
    max_bundle_bytes: int
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self, start: Start) -> None:
        """Go on with what the last run left: a probation, a shadow."""
        if start.on_probation and start.key is not None:
            new = await asyncio.to_thread(self.catalog.choose_key, start.key)
            old = await asyncio.to_thread(self._find_last_good, new)
            self.activator.resume(old, new)
        await self.shadow.resume()
        self._tasks.append(asyncio.create_task(self.warmth.run()))

    def _find_last_good(self, otherwise: Choice) -> Choice:
        """What a probation falls back to, if that can still be read."""
        try:
            return self.catalog.choose_key(self.catalog.store.journal().last_good)
        except EdgeError as error:
            log.warning("%s", error)
            return otherwise

    async def close(self) -> None:
        """End what goes on; the next start goes on with it."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.activator.close()
        await self.shadow.close()

    async def reload(self) -> None:
        """Serve what `current` points to; what cannot be done is logged."""
        try:
            if await self.activator.reload():
                await self._end_shadow()
        except EdgeError as error:
            log.error("reload: %s", error)

    async def facts(self, name: str) -> BundleDetail:
        """One bundle with its manifest."""
        act = self.activator
        found = self.catalog.detail
        return await asyncio.to_thread(found, name, act.serving, act.is_answering_on_probation)

    async def list(self) -> ModelsAnswer:
        """Every bundle on this machine, and the last activation."""
        act = self.activator
        is_new = act.is_answering_on_probation
        models = await asyncio.to_thread(self.catalog.facts, act.serving, is_new)
        previous = next((one.digest for one in models if one.state == "previous"), None)
        return ModelsAnswer(
            serving=act.serving_digest, previous=previous, models=models, activation=act.last()
        )

    async def install(self, request: Request, is_older_fine: bool) -> tuple[BundleFacts, bool]:
        """Take in what the body holds; tells whether it is new."""
        bundle, is_new = await receive(
            request,
            self.max_bundle_bytes,
            lambda source: self.catalog.install(source, is_older_fine),
        )
        found = await self.facts(bundle.digest)
        return BundleFacts(**found.model_dump(exclude={"manifest"})), is_new

    async def remove(self, name: str) -> RemovedAnswer:
        """Take a bundle away for good."""
        choice = await asyncio.to_thread(self.catalog.choose, name)
        if choice.key is None:
            raise InvalidValue("digest: the bundle of the settings is not ours to remove")
        if choice.digest == self.shadow.tell().digest:
            raise InvalidValue("digest: this model is in the shadow; intentd shadow stop ends that")
        act = self.activator.last()
        if self.activator.is_busy and act is not None and act.digest == choice.digest:
            raise InvalidValue("digest: this model is being activated; roll that back first")
        await asyncio.to_thread(self.catalog.store.remove, choice.key)
        return RemovedAnswer(removed=choice.digest)

    async def compare(self, old: str, new: str) -> DiffAnswer:
        """What changes for clients from one bundle to another."""

        def read() -> DiffAnswer:
            return self.catalog.compare(self.catalog.choose(old), self.catalog.choose(new))

        return await asyncio.to_thread(read)

    async def activate(self, body: ActivateRequest) -> ActivationAnswer:
        """Begin an activation; it ends the shadow, whose memory it needs."""
        answer = await self.activator.activate(body)
        await self._end_shadow()
        return answer

    async def roll_back(self) -> ActivationAnswer:
        """Give up the activation that goes on, else go back to the previous model."""
        answer = await self.activator.roll_back()
        await self._end_shadow()
        return answer

    async def _end_shadow(self) -> None:
        if self.shadow.is_on:
            await self.shadow.stop()


def open_desk(
    settings: Settings, service: Service, ledger: Ledger, metrics: Metrics, start: Start
) -> ModelDesk:
    """Wire the parts to one service."""
    catalog, replay = Catalog(start.store, settings), Replay(ledger.predictions)
    activator = Activator(service, catalog, replay, settings, metrics, start.key)
    shadow = LongShadow(service, catalog, replay)
    warmth = Warmth(service, settings.idle_unload_s, lambda: activator.is_busy or shadow.is_on)
    service.is_on_probation = lambda: activator.is_answering_on_probation
    metrics.watch_swaps(lambda: activator.is_busy, shadow.standing)
    return ModelDesk(catalog, activator, shadow, warmth, settings.max_bundle_bytes)
