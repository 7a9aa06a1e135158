"""The model that answers, behind one reference: switched in one step, drained, unloaded.

A request keeps the model that it began with. It decides nothing; `edge.swap.activation` does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from edge.errors import NotReady
from edge.memory import release_memory
from edge.pace import Pace
from edge.predictor import Predictor
from edge.repeats import RepeatCache
from edge.scheduler import Scheduler

__all__ = ["LoadedModel", "Slot"]

KEPT_TIMES = 1000
LOAD_PATIENCE_S = 60.0  # how long a request without a deadline waits for a model to come back


class LoadedModel:
    """One predictor with its threads, and who uses it. Use it from one event loop."""

    def __init__(
        self, predictor: Predictor, queue_size: int, repeats: int = 0, runs: int = 1
    ) -> None:
        """Starts its threads.

        Args:
            predictor: The loaded bundle.
            queue_size: Requests that may wait.
            repeats: Questions whose scores are kept for when they come again.
            runs: Texts that are read at once.
        """
        self.predictor = predictor
        self.digest = predictor.bundle.digest
        self.scheduler: Scheduler[Any] = Scheduler(queue_size, runs)
        self.repeats = RepeatCache(repeats)
        """What it said of recent texts."""
        self.pace = Pace(predictor.bundle.manifest.max_tokens)
        """What its runs cost on this machine."""
        self.times_ms: deque[float] = deque(maxlen=KEPT_TIMES)
        """What recent answers took: reading and running, not waiting."""
        self._numbers = itertools.count()
        self._users: dict[int, None] = {}
        self._released = asyncio.Event()

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Use the model; it is not taken down meanwhile."""
        number = next(self._numbers)
        self._users[number] = None
        try:
            yield
        finally:
            del self._users[number]
            self._released.set()

    async def until_free(self) -> None:
        """Wait until nobody uses it."""
        await self._until(lambda: not self._users)

    async def until_passed(self) -> None:
        """Wait until everybody who uses it now is done; newcomers are not waited for."""
        newest = next(reversed(self._users), -1)
        await self._until(lambda: next(iter(self._users), newest + 1) > newest)

    @property
    def is_used(self) -> bool:
        """Whether a request is being answered with it."""
        return bool(self._users)

    async def retire(self, drain_s: float) -> None:
        """Let its users finish, stop its thread, and give its memory back.

        Users have `drain_s` seconds; then the rest are turned away.
        """
        with suppress(TimeoutError):  # closing turns away whoever still waits
            await asyncio.wait_for(self.until_free(), drain_s)
        await asyncio.to_thread(self.scheduler.close, 0.0)
        self.repeats.clear()
        del self.predictor  # what still refers to this model must not keep its memory
        await asyncio.to_thread(release_memory, is_model=True)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._released.clear()
            await self._released.wait()


class Slot:
    """Where the model that answers is. Use it from one event loop."""

    def __init__(self, model: LoadedModel, on_put: Callable[[LoadedModel], None]) -> None:
        """Answer with this model.

        Args:
            model: The first one.
            on_put: Called with each model that comes to answer, the first one included.
        """
        self._model: LoadedModel | None = model
        self._on_put = on_put
        self._absence = NotReady("the daemon is starting")
        self._reload: Callable[[], Awaitable[LoadedModel]] | None = None
        self._loading: asyncio.Task[None] | None = None
        on_put(model)

    @property
    def model(self) -> LoadedModel | None:
        """The model that answers; None while there is none in memory."""
        return self._model

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered: at once, or after the model is loaded again."""
        return self._model is not None or self._reload is not None

    @asynccontextmanager
    async def use(self, timeout_s: float | None = None) -> AsyncIterator[LoadedModel]:
        """The model for one request, to its end, whatever is put in its place meanwhile.

        Args:
            timeout_s: How long to wait for a model that is being loaded again.

        Raises:
            NotReady: There is none, and none came in time.
        """
        model = self._model or await self._wait(timeout_s)
        with model.lease():
            yield model

    def put(self, model: LoadedModel) -> LoadedModel | None:
        """Answer with this one from now on; returns the one before, which is to be retired."""
        before, self._model = self._model, model
        self._reload = None
        self._on_put(model)
        return before

    def clear(
        self, absence: NotReady, reload: Callable[[], Awaitable[LoadedModel]] | None = None
    ) -> LoadedModel | None:
        """Have no model for a while; returns the one before, which is to be retired.

        Args:
            absence: What requests are told meanwhile.
            reload: Loads it again when the next request comes, which waits for it.
        """
        before, self._model = self._model, None
        self._absence, self._reload = absence, reload
        return before

    async def wake(self) -> None:
        """Load what was unloaded, if anything was.

        Raises:
            NotReady: There is nothing to load, or it cannot be.
        """
        while self._model is None:
            if self._reload is None:
                raise self._absence
            if self._loading is None:
                self._loading = asyncio.create_task(self._load(self._reload))
            await asyncio.shield(self._loading)

    async def _wait(self, timeout_s: float | None) -> LoadedModel:
        try:
            # No `wait_for`: it looks on from another task, and the model may be gone again by then.
            async with asyncio.timeout(LOAD_PATIENCE_S if timeout_s is None else timeout_s):
                await self.wake()
        except TimeoutError:
            raise NotReady("the model is being loaded, and was not in time; ask again") from None
        if self._model is None:
            raise self._absence
        return self._model

    async def _load(self, reload: Callable[[], Awaitable[LoadedModel]]) -> None:
        try:
            model = await reload()
            if self._reload is reload:
                self.put(model)
            else:  # something else was put here meanwhile
                await model.retire(0.0)
        finally:
            self._loading = None
