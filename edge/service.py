"""The use cases: classify, and say what is loaded. It speaks `edge.wire` and knows no framework."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from edge.bundle import read_bundle
from edge.cpu import default_threads
from edge.errors import ClientGone, InvalidValue
from edge.labels import LabelSet, read_label_set
from edge.metrics import Metrics
from edge.predictor import Prediction, Predictor
from edge.query import Query
from edge.runtime import RuntimeOptions, runtime_version
from edge.scheduler import Outcome, Scheduler
from edge.settings import Settings
from edge.text import check_text
from edge.wire import (
    ClassifyAnswer,
    ClassifyRequest,
    IntentInfo,
    IntentsAnswer,
    LabelSetInfo,
    ModelAnswer,
    ModelInfo,
    Score,
    Timings,
    TokenInfo,
)

__all__ = ["Service", "build_answer", "open_predictor"]

IsGone = Callable[[], Awaitable[bool]]
GONE_CHECK_S = 0.5  # how often a long wait looks whether its client is still there


class Service:
    """One predictor behind one scheduler."""

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        self._predictor = predictor
        self._settings = settings
        self._metrics = metrics
        self._scheduler: Scheduler[Prediction] = Scheduler(settings.queue_size)
        self.is_ready = False
        """Set after a warm inference; until then `/readyz` says no."""
        metrics.watch_queue(lambda: self._scheduler.depth)
        metrics.set_model(predictor.bundle)

    async def classify(self, request: ClassifyRequest, is_gone: IsGone) -> list[ClassifyAnswer]:
        """Answer each text of the request, in order.

        Args:
            request: A decoded request.
            is_gone: Tells whether the client went away, so that work for nobody is dropped.

        Raises:
            InvalidRequest: A text, label or option cannot be used.
            Unavailable: The queue is full, the deadline passed, or the daemon is stopping.
            ClientGone: The client went away.
        """
        label_set = self._label_set_of(request)
        steps = [
            partial(self._predictor.predict, self._query(request, text, label_set, field))
            for field, text in self._texts_of(request)
        ]
        outcome = await self._run(steps, request.deadline_ms, is_gone)
        answers = [
            build_answer(self._predictor, prediction, label_set, outcome.queue_ms, request.top_k)
            for prediction in outcome.results
        ]
        for answer in answers:
            self._metrics.count_answer(answer)
        return answers

    def describe_intents(self) -> IntentsAnswer:
        """The default label set, with the thresholds that hold for the loaded bundle."""
        label_set = self._predictor.label_set
        return IntentsAnswer(
            label_set=_label_set_info(label_set),
            fixed=self._predictor.fixed_labels,
            intents=[
                IntentInfo(
                    name=intent.name,
                    description=intent.description,
                    threshold=self._predictor.threshold(intent),
                    examples=list(intent.examples),
                )
                for intent in label_set.intents
            ],
        )

    def describe_model(self) -> ModelAnswer:
        """The loaded bundle."""
        manifest = self._predictor.bundle.manifest
        return ModelAnswer(
            model=_model_info(self._predictor),
            task=manifest.task.value,
            architecture=manifest.architecture,
            max_tokens=manifest.max_tokens,
            quantization=manifest.quantization.recipe,
            batch_invariant=manifest.quantization.batch_invariant,
            licence=manifest.licence,
            source=f"{manifest.source.model}@{manifest.source.revision}",
            threads=self._settings.threads or default_threads(),
            runtime=f"onnxruntime {runtime_version()}",
        )

    def is_healthy(self) -> bool:
        """Whether the model's thread lives and makes progress."""
        return self._scheduler.is_healthy()

    async def warm_up(self) -> None:
        """One inference through the whole path; the daemon is ready only after it."""
        query = Query("warm up", self._predictor.label_set)
        await self._run([partial(self._predictor.predict, query)], None, _never)
        self.is_ready = True

    def close(self) -> None:
        """Drain the queue, then stop. Blocks for at most the settings' drain time."""
        self.is_ready = False
        self._scheduler.close(self._settings.drain_timeout_s)

    async def _run(
        self, steps: list[partial[Prediction]], deadline_ms: int | None, is_gone: IsGone
    ) -> Outcome[Prediction]:
        job = self._scheduler.submit(steps, deadline_ms)
        future = asyncio.wrap_future(job.future)
        try:
            while not (await asyncio.wait((future,), timeout=GONE_CHECK_S))[0]:
                if await is_gone():
                    raise ClientGone("the client closed its connection")
        finally:
            job.is_abandoned = True
            future.cancel()
        return future.result()

    def _texts_of(self, request: ClassifyRequest) -> list[tuple[str, str]]:
        """The texts, each with the name of its field."""
        if request.text is not None:
            return [("text", request.text)]
        texts = request.texts or []
        if len(texts) > self._settings.max_texts:
            raise InvalidValue(
                f"texts: expected at most {self._settings.max_texts}, found {len(texts)}; "
                "send them in several requests"
            )
        return [(f"texts.{position}", text) for position, text in enumerate(texts)]

    def _query(self, request: ClassifyRequest, text: str, labels: LabelSet, field: str) -> Query:
        return Query(
            text=check_text(text, field),
            content=request.content,
            label_set=labels,
            multi_label=request.multi_label,
            hypothesis_template=request.hypothesis_template,
            max_tokens=request.max_tokens,
        )

    def _label_set_of(self, request: ClassifyRequest) -> LabelSet:
        if request.labels is None:
            return self._predictor.label_set
        return LabelSet.from_names(request.labels)


def open_predictor(settings: Settings) -> Predictor:
    """The predictor that these settings describe.

    Raises:
        CannotStart: The bundle or the label set cannot be used.
    """
    options = RuntimeOptions(settings.threads, settings.spinning, settings.arena)
    return Predictor(read_bundle(settings.bundle), read_label_set(settings.intents), options)


def build_answer(
    predictor: Predictor,
    prediction: Prediction,
    label_set: LabelSet,
    queue_ms: float,
    top_k: int | None = None,
) -> ClassifyAnswer:
    """The wire form of a prediction."""
    return ClassifyAnswer(
        id=str(_uuid7()),
        label=prediction.label,
        labels=list(prediction.labels),
        raw_label=prediction.raw_label,
        reason=prediction.reason,
        scores=[Score(label=name, score=score) for name, score in prediction.scores[:top_k]],
        model=_model_info(predictor),
        label_set=_label_set_info(label_set),
        tokens=TokenInfo(used=prediction.tokens_used, truncated=prediction.truncated),
        timings=Timings(
            queue_ms=round(queue_ms, 3),
            tokenize_ms=round(prediction.tokenize_ms, 3),
            infer_ms=round(prediction.infer_ms, 3),
        ),
    )


def _model_info(predictor: Predictor) -> ModelInfo:
    manifest = predictor.bundle.manifest
    return ModelInfo(
        name=manifest.name,
        version=manifest.version,
        phase=manifest.task.phase,
        digest=predictor.bundle.digest,
    )


def _label_set_info(label_set: LabelSet) -> LabelSetInfo:
    return LabelSetInfo(name=label_set.name, version=label_set.version, digest=label_set.digest)


def _uuid7() -> uuid.UUID:
    """Time-ordered UUID: 48 bits of Unix milliseconds, then random. Source: RFC 9562, 5.7."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76  # version
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # variant


async def _never() -> bool:
    return False
