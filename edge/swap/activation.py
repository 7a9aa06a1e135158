"""Lets another bundle answer: trial, load, probation, switch, commit; or back, at any step.

A failure leaves the model that answered in its place, and says why. It parses no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from edge.errors import CannotStart, EdgeError, InvalidValue, NotReady, SwapInProgress
from edge.memory import free_bytes, needed_bytes
from edge.metrics import Metrics
from edge.probation import Tally
from edge.service import Service
from edge.settings import Settings
from edge.slot import LoadedModel
from edge.swap.catalog import Catalog, Choice
from edge.swap.progress import ENDED, Swap, choose_mode
from edge.swap.proving import Prover
from edge.swap.replay import Replay
from edge.wire.models import (
    CONFIGURED,
    ActivateRequest,
    ActivationAnswer,
    ActivationState,
    SwapMode,
)

__all__ = ["Activator"]

log = logging.getLogger("intentd.models")

PATIENT_DRAIN_S = 600.0  # with both in memory nobody is in a hurry: as long as any deadline may be
AWAY_S = 10  # when to come back while a model is replaced


class _Refused(Exception):
    """Why a candidate may not answer; for people."""


class Activator:
    """One activation at a time. Use it from one event loop."""

    def __init__(
        self,
        service: Service,
        catalog: Catalog,
        replay: Replay,
        settings: Settings,
        metrics: Metrics,
        serving: str | None,
    ) -> None:
        """Does nothing by itself.

        Args:
            service: Whose model is switched.
            catalog: The bundles that there are.
            replay: Recent texts, for a probation without traffic.
            settings: Limits, and what a probation asks.
            metrics: Counts how activations end.
            serving: The key in the store of what answers; None is the settings' bundle.
        """
        self._service, self._catalog = service, catalog
        self._prover = Prover(service, replay, settings)
        self._settings, self._metrics = settings, metrics
        self.serving = serving
        self._swap: Swap | None = None
        self._task: asyncio.Task[None] | None = None
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether an activation goes on."""
        return self._swap is not None and self._swap.state not in ENDED

    @property
    def is_answering_on_probation(self) -> bool:
        """Whether what answers still has to prove itself."""
        swap = self._swap
        is_here = swap is not None and swap.new.key == self.serving
        return is_here and swap is not None and swap.state is ActivationState.PROBATION

    @property
    def serving_digest(self) -> str:
        """Of the bundle that answers."""
        return self._service.bundle.digest

    def last(self) -> ActivationAnswer | None:
        """The activation that goes on, or the last one since the start."""
        return None if self._swap is None else self._swap.show()

    async def activate(self, request: ActivateRequest) -> ActivationAnswer:
        """Begin; the rest happens in the background.

        Raises:
            SwapInProgress: Another one goes on.
            NotFound: There is no such bundle.
            InvalidValue: It would break clients or does not fit, and `force` does not say to go on.
        """
        swap = await self._plan(request)
        self._begin(swap, self._run(swap))
        return swap.show()

    def resume(self, old: Choice, new: Choice) -> None:
        """Go on with the probation of what a start found pending; it answers already."""
        wanted, request = self._settings.probation_requests, ActivateRequest(digest=new.digest)
        swap = Swap.plan(
            old, new, request, SwapMode.LOW_MEMORY, wanted, self._catalog.compare(old, new)
        )
        self._begin(swap, self._resume(swap))

    async def commit(self) -> ActivationAnswer:
        """Keep what is on probation, now.

        Raises:
            InvalidValue: Nothing is.
        """
        swap = self._swap
        if swap is None or swap.state is not ActivationState.PROBATION:
            raise InvalidValue("no model is on probation; intentd model list shows what there is")
        return await self._say(swap, True)

    async def roll_back(self) -> ActivationAnswer:
        """Give up the activation that goes on, else go back to the previous model.

        Raises:
            InvalidValue: There is nothing to go back to.
            BundleCorrupt: What it would go back to is damaged.
        """
        swap = self._swap
        if swap is not None and self.is_busy:
            return await self._say(swap, False)
        target = self._catalog.store.journal().previous
        if target == self.serving:
            raise InvalidValue("there is no model to go back to; intentd model list shows them")
        request = ActivateRequest(digest=target or CONFIGURED, probation_requests=0, force=True)
        swap = await self._plan(request)
        swap.is_known = True
        self._begin(swap, self._run(swap))
        if self._task is not None:
            await asyncio.shield(self._task)
        if swap.state is ActivationState.COMMITTED:
            swap.tell(ActivationState.ROLLED_BACK, f"{swap.new.title} answers again")
        return swap.show()

    async def reload(self) -> bool:
        """Serve what `current` points to: an admin may have turned it; tells whether one had.

        What does not pass its trial is not served, and the link is turned back.

        Raises:
            SwapInProgress: An activation goes on.
        """
        store = self._catalog.store
        key = await asyncio.to_thread(store.current)
        self._refuse_second()
        if key == self.serving:
            return False
        request = ActivateRequest(digest=key or CONFIGURED, probation_requests=0, force=True)
        await self.activate(request)
        if self._task is not None:
            await asyncio.shield(self._task)
        if self.serving != key:
            await asyncio.to_thread(store.begin, self.serving)
            await asyncio.to_thread(store.commit)
        return True

    async def close(self) -> None:
        """End what goes on; the journal says what the next start does."""
        self._going_on.clear()
        for task in [self._task, *self._retiring]:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def retire(self, model: LoadedModel | None, drain_s: float = PATIENT_DRAIN_S) -> None:
        """Take a model down in the background, when its last request is done."""
        if model is not None:
            task = asyncio.create_task(model.retire(drain_s))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _refuse_second(self) -> None:
        if self.is_busy:
            raise SwapInProgress("another activation goes on; wait for its end, or roll it back")

    def _begin(self, swap: Swap, work: Coroutine[Any, Any, None]) -> None:
        self._swap = swap
        self._task = asyncio.create_task(work)

    async def _say(self, swap: Swap, word: bool) -> ActivationAnswer:
        """Pass on what somebody decided, and wait for how it ends."""
        if not swap.word.done():
            swap.word.set_result(word)
        if self._task is not None:
            await asyncio.shield(self._task)
        return swap.show()

    async def _plan(self, request: ActivateRequest) -> Swap:
        self._refuse_second()
        new = await asyncio.to_thread(self._catalog.choose, request.digest)
        bundle = self._service.bundle  # not from the disk, where it may be damaged by now
        old = Choice(self.serving, bundle.path, bundle.manifest)
        if new.digest == old.digest and not request.force:
            raise InvalidValue(f"digest: {new.title} answers already")
        mode = choose_mode(request, new, self._asleep_bytes(old))
        wanted = request.probation_requests
        wanted = self._settings.probation_requests if wanted is None else wanted
        changes = await asyncio.to_thread(self._catalog.compare, old, new)
        if changes.breaks_clients and not request.force:
            raise InvalidValue(
                "digest: requests that are answered today would be refused, or never get their "
                "label; look at intentd model diff, and say force"
            )
        self._refuse_second()
        return Swap.plan(old, new, request, mode, wanted, changes)

    def _asleep_bytes(self, old: Choice) -> int:
        """What the old model will take when it is loaded again to be compared."""
        return 0 if self._service.slot.model is not None else needed_bytes(old.size)

    async def _run(self, swap: Swap) -> None:
        """The whole activation; never raises."""
        log.info("activating %s in place of %s", swap.new.title, swap.old.title)
        try:
            if swap.answer.mode is SwapMode.LOW_MEMORY:
                await self._run_alone(swap)
            else:
                await self._run_beside(swap)
        except _Refused as refusal:
            swap.tell(ActivationState.REFUSED, f"{refusal}; {swap.old.title} answers on")
        except Exception as error:
            if not isinstance(error, EdgeError | OSError):  # a bug; the next swap must be possible
                log.exception("activation")
            swap.tell(ActivationState.REFUSED, f"{error}; {swap.old.title} answers on")
        self._close_swap(swap)

    def _close_swap(self, swap: Swap) -> None:
        level = logging.INFO if swap.state is ActivationState.COMMITTED else logging.WARNING
        log.log(level, "%s: %s (%s)", swap.new.title, swap.state, swap.answer.detail)
        self._metrics.count_swap(swap.state.value)

    async def _run_beside(self, swap: Swap) -> None:
        """Both in memory: the old one answers until the new one has proved itself."""
        await self._try(swap)
        swap.tell(ActivationState.SWITCHING, "loading it beside the model that answers")
        if swap.wanted or swap.answer.manual:
            with suppress(NotReady):  # unloaded when idle: without it there is nothing to compare
                await self._service.slot.wake()
        candidate = await self._service.load(swap.new.path)
        try:
            keeps, why = await self._prover.prove(swap, candidate)
            if keeps:
                await asyncio.to_thread(self._catalog.store.begin, swap.new.key)
        except BaseException:
            await candidate.retire(0.0)
            raise
        if not keeps:
            swap.tell(ActivationState.ROLLED_BACK, f"{why}; {swap.old.title} answers on")
            await candidate.retire(0.0)
            return
        before = self._service.switch(candidate)
        self.serving = swap.new.key
        await self._commit(swap, why)
        self.retire(before)

    async def _run_alone(self, swap: Swap) -> None:
        """One at a time: the old one makes room first."""
        is_tried = needed_bytes(swap.new.size) <= free_bytes()
        if is_tried:
            await self._try(swap)
        swap.tell(ActivationState.SWITCHING, "unloading the old model, loading the new one")
        times = await self._unload(f"{swap.new.title} is being loaded; ask again")
        try:
            if not is_tried:
                await self._try(swap)
            candidate = await self._service.load(swap.new.path)
            await asyncio.to_thread(self._catalog.store.begin, swap.new.key)
        except Exception:
            await self._restore(swap.old.key)
            raise
        self._service.switch(candidate)
        self.serving = swap.new.key
        swap.tally = Tally(swap.wanted)
        swap.tally.old_ms.extend(times)
        await self._conclude(swap, candidate)

    async def _resume(self, swap: Swap) -> None:
        model = self._service.slot.model
        try:
            if model is not None:
                await self._conclude(swap, model)
        except (EdgeError, OSError) as error:
            swap.tell(ActivationState.REFUSED, str(error))
        self._close_swap(swap)

    async def _conclude(self, swap: Swap, candidate: LoadedModel) -> None:
        """The probation of a candidate that answers already."""
        keeps, why = await self._prover.prove(swap, candidate)
        if keeps:
            await self._commit(swap, why)
            return
        target = await asyncio.to_thread(self._point_back)
        await self._unload(f"{swap.old.title} is being loaded again; ask again")
        await self._restore(target)
        swap.tell(ActivationState.ROLLED_BACK, f"{why}; {swap.old.title} answers again")

    def _point_back(self) -> str | None:
        """Have the last good one served; where it is damaged by now, the settings' bundle."""
        store = self._catalog.store
        try:
            return store.rollback()
        except CannotStart as error:
            log.error("%s", error)
            store.begin(None)
            return None

    async def _try(self, swap: Swap) -> None:
        """Raises _Refused, with what the trial found."""
        if swap.is_known:
            return
        trial = asyncio.create_task(self._catalog.try_out(swap.new, self._going_on))
        await asyncio.wait((trial, swap.word), return_when=asyncio.FIRST_COMPLETED)
        if not trial.done():
            self._going_on.clear()
            await trial
            self._going_on.set()
            raise _Refused("taken back by hand")
        report = trial.result()
        if not report.passed:
            raise _Refused(f"{report.reason}: {report.detail}")

    async def _commit(self, swap: Swap, why: str) -> None:
        try:
            await asyncio.to_thread(self._catalog.store.commit)
        except EdgeError as error:  # it answers all the same; the next start finds it pending
            why = f"{why}; but {error}"
        swap.tell(ActivationState.COMMITTED, why)

    async def _unload(self, absence: str) -> list[float]:
        """Drain and unload; returns what recent answers took."""
        told = NotReady(absence)
        told.retry_after_s = AWAY_S
        before = self._service.slot.clear(told)
        if before is None:
            return []
        await before.retire(self._settings.drain_timeout_s)
        return list(before.times_ms)

    async def _restore(self, key: str | None) -> None:
        """Load what answered before; where it is damaged meanwhile, the settings' bundle."""
        for target in dict.fromkeys((key, None)):
            try:
                choice = await asyncio.to_thread(self._catalog.choose_key, target)
                self._service.switch(await self._service.load(choice.path))
            except (EdgeError, OSError) as error:
                log.error("%s", error)
            else:
                self.serving = target
                return
