"""A candidate answers what the model in the slot was asked, in the background; nobody hears it.

Live requests go first: each waits beside at most one text of the shadow's. What the candidate is
too slow for is dropped. One that answers clients itself is only watched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from edge.errors import EdgeError, InvalidRequest, Unavailable
from edge.predictor import Prediction
from edge.probation import Tally, is_finite
from edge.query import Query
from edge.slot import LoadedModel, Slot

__all__ = ["Asked", "Observer", "Shadow", "ask"]

QUEUE_TEXTS = 64
STUCK_AFTER_S = 120.0  # as `edge.scheduler`: longer than any run on the slowest CPU


@dataclass(frozen=True, slots=True)
class Asked:
    """One text, and what the model that answered said of it."""

    query: Query
    is_default: bool
    """Whether the labels were the model's own default, so that another model uses its own."""
    text_key: bytes
    raw_label: str | None = None
    """What was said; None where it is not known."""
    ms: float | None = None
    """What that took: reading and running."""


class Observer(Protocol):
    """Somebody who is told of every answer, and must not block."""

    def answered(self, model: LoadedModel, asked: Asked) -> None:
        """A model answered a text."""
        ...

    def failed(self, model: LoadedModel) -> None:
        """A model failed on a text, through no fault of the client's."""
        ...


OnDispute = Callable[[Asked, Prediction, LoadedModel], None]


class Shadow:
    """Compares a candidate with the model in the slot. Use it from one event loop."""

    def __init__(
        self,
        slot: Slot,
        candidate: LoadedModel,
        tally: Tally,
        on_dispute: OnDispute,
        may_refuse: bool = False,
    ) -> None:
        """Begins when `run` does.

        Args:
            slot: Where the model is that answers.
            candidate: The one in the shadow.
            tally: Where answers are counted.
            on_dispute: Told of each text that both give another label.
            may_refuse: It is known that it takes no labels of a request, and wanted so.
        """
        self.tally = tally
        self.changed = asyncio.Event()
        """Set whenever something was counted."""
        self._slot, self._candidate, self._on_dispute = slot, candidate, on_dispute
        self._may_refuse = may_refuse
        self._waiting: deque[Asked] = deque()
        self._came = asyncio.Event()
        self._turn = asyncio.Lock()

    def answered(self, model: LoadedModel, asked: Asked) -> None:
        """Take a live text, if there is room; count one that the candidate itself answered."""
        if model is self._candidate:
            self.tally.add(None, asked.ms or 0.0)
            self.changed.set()
            return
        if len(self._waiting) >= QUEUE_TEXTS:
            self.tally.dropped += 1
            return
        self._waiting.append(asked)
        self._came.set()

    def failed(self, model: LoadedModel) -> None:
        """Count what the candidate itself failed on; where the other one fails is no measure."""
        if model is self._candidate:
            self.tally.fail()
            self.changed.set()

    async def run(self) -> None:
        """Compare what comes, until cancelled."""
        while True:
            while self._waiting:
                async with self._turn:
                    await self._let_pass()
                    await self._compare(self._waiting.popleft())
            self._came.clear()
            await self._came.wait()

    async def replay(self, texts: Iterable[Asked]) -> None:
        """Compare texts that nobody asks just now.

        Another model in the slot answers them anew; without one, what was said of them counts.
        """
        for asked in texts:
            async with self._turn:
                await self._let_pass()
                self.tally.replayed += 1
                await self._compare(await self._answer_live(asked))

    async def _let_pass(self) -> None:
        """Wait until every live request that is under way is done."""
        model = self._slot.model
        if model is not None:
            await model.until_passed()

    async def _answer_live(self, asked: Asked) -> Asked:
        model = self._slot.model
        if model is None or model is self._candidate:
            return asked
        with model.lease():
            query = _query_for(model, asked)
            try:
                prediction = await ask(model, query)
            except (EdgeError, TimeoutError):
                return asked
        return replace(
            asked, query=query, raw_label=prediction.raw_label, ms=milliseconds(prediction)
        )

    async def _compare(self, asked: Asked) -> None:
        query = _query_for(self._candidate, asked)
        try:
            prediction = await ask(self._candidate, query)
        except InvalidRequest:
            self.tally.refuse(counts=not self._may_refuse)
        except Unavailable:
            return  # it is being taken down
        except Exception:  # noqa: BLE001 — whatever a model does wrong counts against it
            self.tally.fail()
        else:
            self._count(asked, prediction, query.label_set.names)
        self.changed.set()

    def _count(self, asked: Asked, prediction: Prediction, labels: Sequence[str]) -> None:
        """What only the old model can say is no disagreement: that the label goes was agreed to."""
        if not is_finite(prediction):
            self.tally.fail()
            return
        is_known = asked.raw_label in labels
        agrees = asked.raw_label == prediction.raw_label if is_known else None
        self.tally.add(agrees, milliseconds(prediction), asked.ms)
        if agrees is False:
            self._on_dispute(asked, prediction, self._candidate)


async def ask(model: LoadedModel, query: Query) -> Prediction:
    """One text in the model's own thread.

    Raises:
        TimeoutError: The model is stuck.
    """
    job = model.scheduler.submit([partial(model.predictor.predict, query)])
    future = asyncio.wrap_future(job.future)
    try:
        # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
        if not (await asyncio.wait((future,), timeout=STUCK_AFTER_S))[0]:
            raise TimeoutError(f"the model did not answer within {STUCK_AFTER_S:g} s")
    finally:
        job.is_abandoned = True
        future.cancel()
    prediction: Prediction = future.result().results[0]
    return prediction


def milliseconds(prediction: Prediction) -> float:
    """What reading and running took."""
    return prediction.tokenize_ms + prediction.infer_ms


def _query_for(model: LoadedModel, asked: Asked) -> Query:
    if not asked.is_default:
        return asked.query
    return replace(asked.query, label_set=model.predictor.label_set)
