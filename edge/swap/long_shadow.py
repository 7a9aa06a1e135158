"""One bundle in the shadow for days: started, stopped, and started again with the daemon.

It never answers anybody. What was counted is kept in a small file beside the journal.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.errors import EdgeError, InvalidValue, StoreUnavailable
from edge.memory import free_bytes, needed_bytes
from edge.models.durable import disk_errors, replace_file
from edge.models.journal import Digest
from edge.probation import Tally
from edge.service import Service
from edge.shadow import Shadow
from edge.slot import LoadedModel
from edge.swap.catalog import Catalog, Choice
from edge.swap.replay import Replay
from edge.wire.models import ShadowAnswer

__all__ = ["LongShadow"]

log = logging.getLogger("intentd.models")

FILE = "shadow.json"
MAX_BYTES = 1 << 16
MAX_TRIES = 2  # starts that were not followed by a stop: it may be the shadow that crashes it
SAVE_EVERY_S = 60.0


class _Kept(BaseModel):
    """What a restart must know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    since_utc: str
    tries: int = 0
    requests: int = 0
    compared: int = 0
    agreeing: int = 0
    errors: int = 0
    dropped: int = 0


class LongShadow:
    """At most one shadow. Use it from one event loop."""

    def __init__(self, service: Service, catalog: Catalog, replay: Replay) -> None:
        self._service, self._catalog, self._replay = service, catalog, replay
        self._kept: _Kept | None = None
        self._tally = Tally(0)
        self._detail = ""
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether a bundle is in the shadow, or on its way there."""
        return self._task is not None and not self._task.done()

    def standing(self) -> tuple[int, float | None]:
        """How many texts were compared, and the share with the same label."""
        return (self._tally.requests, self._tally.agreement) if self.is_on else (0, None)

    def tell(self) -> ShadowAnswer:
        """How the two compare so far."""
        kept = self._kept
        if kept is None:
            return ShadowAnswer(state="off", detail=self._detail)
        return ShadowAnswer(
            state="on" if self.is_on else "off",
            digest=kept.digest,
            since_utc=kept.since_utc,
            report=self._tally.report(),
            detail=self._detail,
        )

    async def start(self, name: str) -> ShadowAnswer:
        """Put a bundle in the shadow, in place of the one that is there.

        Raises:
            NotFound: There is no such bundle.
            InvalidValue: It answers already, or does not fit into memory beside the other.
            StoreUnavailable: That it was started cannot be written down.
        """
        choice = await asyncio.to_thread(self._catalog.choose, name)
        model = self._service.slot.model
        if choice.key is None or (model is not None and model.digest == choice.digest):
            raise InvalidValue("digest: expected an installed bundle that does not answer already")
        needed, free = needed_bytes(choice.size), free_bytes()
        if needed > free:
            raise InvalidValue(
                f"digest: expected {needed >> 20} MiB free to load it too, found {free >> 20}"
            )
        await self.stop()
        now = datetime.now(UTC).isoformat(timespec="seconds")[:19] + "Z"
        self._kept, self._tally = _Kept(digest=choice.digest, since_utc=now), Tally(0)
        await asyncio.to_thread(self._save)
        self._go(choice)
        return self.tell()

    async def resume(self) -> None:
        """Go on with what a start finds; one that was followed by crashes is left alone."""
        self._kept = await asyncio.to_thread(self._read)
        if self._kept is None:
            return
        kept = self._kept
        self._tally = Tally(
            0,
            requests=kept.requests,
            compared=kept.compared,
            agreeing=kept.agreeing,
            errors=kept.errors,
            dropped=kept.dropped,
        )
        try:
            choice = await asyncio.to_thread(self._catalog.choose, kept.digest)
            if kept.tries >= MAX_TRIES:
                raise InvalidValue(f"{choice.title}: the daemon ended {kept.tries} times with it")
            self._kept = kept.model_copy(update={"tries": kept.tries + 1})
            await asyncio.to_thread(self._save)
        except EdgeError as error:
            self._detail = f"the shadow is off: {error}"
            log.warning("%s", self._detail)
            return
        self._go(choice)

    async def stop(self) -> ShadowAnswer:
        """End the comparison for good; tells how it stood."""
        if self.is_on:
            self._detail = ""
        await self._halt()
        told = self.tell()
        if self._kept is not None:
            await asyncio.to_thread(self._forget)
            self._kept = None
        return told

    async def close(self) -> None:
        """Stop for now: the next start goes on."""
        is_on = self.is_on
        await self._halt()
        if is_on and self._kept is not None:
            self._kept = self._kept.model_copy(update={"tries": 0})
            with suppress(StoreUnavailable):
                await asyncio.to_thread(self._save)

    def _go(self, choice: Choice) -> None:
        self._detail = f"{choice.title} is tried in a process of its own"
        self._wanted.set()
        self._task = asyncio.create_task(self._run(choice))

    async def _halt(self) -> None:
        self._wanted.clear()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self, choice: Choice) -> None:
        try:
            report = await self._catalog.try_out(choice, self._wanted)
            if not report.passed:
                raise InvalidValue(report.detail)
            candidate = await self._service.load(choice.path)
        except (EdgeError, OSError) as error:
            self._detail = f"the shadow is off: {error}"
            log.warning("%s", self._detail)
            return
        self._detail = f"{choice.title} answers in the shadow"
        log.info("%s", self._detail)
        await self._compare(candidate)

    async def _compare(self, candidate: LoadedModel) -> None:
        shadow = Shadow(self._service.slot, candidate, self._tally, self._replay.dispute)
        self._service.observers.add(shadow)
        comparing = asyncio.create_task(shadow.run())
        try:
            while True:
                await asyncio.sleep(SAVE_EVERY_S)
                with suppress(StoreUnavailable):
                    await asyncio.to_thread(self._save)
        finally:
            self._service.observers.discard(shadow)
            comparing.cancel()
            with suppress(asyncio.CancelledError):
                await comparing
            await candidate.retire(0.0)

    @property
    def _path(self) -> Path:
        return self._catalog.store.directory / FILE

    def _read(self) -> _Kept | None:
        try:
            with self._path.open("rb") as file:
                return _Kept.model_validate_json(file.read(MAX_BYTES))
        except (OSError, ValidationError, StoreUnavailable):
            return None  # none was started, or nobody can tell any more which

    def _save(self) -> None:
        if self._kept is None:
            return
        tally = self._tally
        self._kept = self._kept.model_copy(
            update={
                "requests": tally.requests,
                "compared": tally.compared,
                "agreeing": tally.agreeing,
                "errors": tally.errors,
                "dropped": tally.dropped,
            }
        )
        data = json.dumps(self._kept.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
        with disk_errors(self._path.parent):
            replace_file(self._path, data.encode())

    def _forget(self) -> None:
        with disk_errors(self._path.parent):
            self._path.unlink(missing_ok=True)
