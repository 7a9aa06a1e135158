"""The use cases: classify, and say what is loaded. It speaks `edge.wire` and knows no framework.

Each request is answered by the model that it began with, whatever is put in its place meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.answers import build_answer, describe_intents, describe_model
from edge.bundle import Bundle, read_bundle
from edge.corrections import Corrections
from edge.cpu import default_threads
from edge.errors import (
    BundleIncompatible,
    ClientGone,
    EdgeError,
    InvalidValue,
    ModelFailed,
    NotReady,
)
from edge.labels import LabelSet, read_label_set
from edge.metrics import Metrics
from edge.predictor import Prediction, Predictor
from edge.query import Query, Scores
from edge.runtime import RuntimeOptions
from edge.scheduler import Outcome
from edge.settings import Settings
from edge.shadow import Asked, Observer, milliseconds
from edge.slot import LoadedModel, Slot
from edge.store.keys import override_key
from edge.text import check_text
from edge.window import Window, fit_window
from edge.wire import (
    ClassifyAnswer,
    ClassifyRequest,
    IntentsAnswer,
    ModelAnswer,
)

__all__ = ["Service", "build_answer", "open_predictor"]

IsGone = Callable[[], Awaitable[bool]]
VECTORS = "vectors"  # in the state directory
GONE_CHECK_S = 0.5  # how often a long wait looks whether its client is still there


class _Judged(NamedTuple):
    """One answered query."""

    query: Query
    said: Prediction
    """By the model."""
    prediction: Prediction
    """By the model, and then by people."""
    text_key: bytes
    window: Window
    is_repeat: bool
    """Whether what the model said was still in memory."""


class _Question(NamedTuple):
    """One text of a request, and what its scores are kept under."""

    query: Query
    window: Window
    key: bytes | None


class Service:
    """One model in a slot, and what people said of its answers. Use it from one event loop."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        metrics: Metrics,
        corrections: Corrections | None = None,
    ) -> None:
        """Starts the model's thread.

        Args:
            predictor: The loaded bundle.
            settings: Limits and times.
            metrics: Counts what is answered.
            corrections: None means: answer as the model does, and keep nothing.
        """
        self._settings = settings
        self._metrics = metrics
        self._corrections = corrections
        self._is_open = False
        self.slot = Slot(self._hold(predictor), self._introduce)
        self.observers: set[Observer] = set()
        """Told of every answer."""
        self.last_used = time.monotonic()
        """When the last request came or went, on the monotonic clock."""
        self.is_on_probation: Callable[[], bool] = lambda: False
        """Asked whether the bundle that answers still has to prove itself."""
        metrics.watch_queue(self._depth)
        metrics.watch_model(lambda: self.slot.model is not None)

    async def classify(self, request: ClassifyRequest, is_gone: IsGone) -> list[ClassifyAnswer]:
        """Answer each text of the request, in order.

        Args:
            request: A decoded request.
            is_gone: Tells whether the client went away, so that work for nobody is dropped.

        Raises:
            InvalidRequest: A text, label or option cannot be used.
            Unavailable: The queue is full, the deadline passed, or there is no model just now.
            ClientGone: The client went away.
        """
        self.last_used = started = time.monotonic()
        patience_s = None if request.deadline_ms is None else request.deadline_ms / 1e3
        async with self.slot.use(patience_s) as model:
            questions = self._questions(model, request)
            if (repeated := self._find_repeated(model, questions)) is not None:
                await asyncio.sleep(0)  # whoever asks in a loop lets the others have their turn
                return self._answers(model, repeated, request)
            steps = [partial(self._judge, model, question) for question in questions]
            waited_ms = int((time.monotonic() - started) * 1e3)
            left_ms = None if request.deadline_ms is None else request.deadline_ms - waited_ms
            try:
                outcome = await self._run(model, steps, left_ms, is_gone)
            except Exception as error:
                if not isinstance(error, EdgeError) or isinstance(error, ModelFailed):
                    self._tell_failed(model)
                raise
            finally:
                self.last_used = time.monotonic()
            return self._answers(model, outcome, request)

    @property
    def label_set(self) -> LabelSet:
        """The labels of a request that brings none."""
        return self._label_set

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered now: true after a warm inference."""
        return self._is_open and self.slot.is_ready

    def describe_intents(self) -> IntentsAnswer:
        """The default label set, with the thresholds that hold for the loaded bundle."""
        return self._intents

    def describe_model(self) -> ModelAnswer:
        """The bundle that answers."""
        is_loaded, is_new = self.slot.model is not None, self.is_on_probation()
        return self._model.model_copy(update={"loaded": is_loaded, "probation": is_new})

    def is_healthy(self) -> bool:
        """Whether the model's thread lives and makes progress."""
        model = self.slot.model
        return model is None or model.scheduler.is_healthy()

    async def load(self, path: Path) -> LoadedModel:
        """Another model, in memory and warm; nothing is answered with it yet.

        Raises:
            CannotStart: The bundle or the label set cannot be used.
        """
        predictor = await asyncio.to_thread(_open_warm, self._settings, path)
        return self._hold(predictor)

    def switch(self, model: LoadedModel) -> LoadedModel | None:
        """Answer with this one from now on; returns the one before, which is to be retired."""
        return self.slot.put(model)

    async def warm_up(self) -> None:
        """One inference through the whole path; the daemon is ready only after it."""
        async with self.slot.use() as model:
            question = self._question(model, Query("warm up", model.predictor.label_set), None)
            question = question._replace(key=None)  # or a model that runs no more would be warm
            await self._run(model, [partial(self._judge, model, question)], None, _never)
        self._is_open = True

    def close(self) -> None:
        """Drain the queue, then stop. Blocks for at most the settings' drain time."""
        self._is_open = False
        model = self.slot.clear(NotReady("the daemon is stopping; try again when it is back"))
        if model is not None:
            model.scheduler.close(self._settings.drain_timeout_s)

    def _introduce(self, model: LoadedModel) -> None:
        """Say from now on what this one is."""
        predictor = model.predictor
        self.bundle = predictor.bundle
        """The bundle that answers, or will when it is loaded again."""
        self._label_set = predictor.label_set
        self._intents = describe_intents(predictor)
        self._model = describe_model(predictor, _runs_at_once(self._settings, predictor))
        self._metrics.set_model(predictor.bundle)

    def _depth(self) -> int:
        model = self.slot.model
        return 0 if model is None else model.scheduler.depth

    def _hold(self, predictor: Predictor) -> LoadedModel:
        settings = self._settings
        runs = _runs_at_once(settings, predictor)
        return LoadedModel(predictor, settings.queue_size, settings.repeat_cache, runs)

    def _questions(self, model: LoadedModel, request: ClassifyRequest) -> list[_Question]:
        names = request.labels
        label_set = model.predictor.label_set if names is None else LabelSet.from_names(names)
        queries = [
            self._query(request, text, label_set, field) for field, text in self._texts_of(request)
        ]
        budget_ms = self._budget_ms(request)
        return [self._question(model, query, budget_ms) for query in queries]

    def _question(self, model: LoadedModel, query: Query, budget_ms: int | None) -> _Question:
        predictor = model.predictor
        own = predictor.bundle.manifest.max_tokens
        query, window = fit_window(query, own, budget_ms, model.pace, predictor.shape)
        # What is judged or compared must show what it can, also on what it has said before.
        is_judged = bool(self.observers) or self.is_on_probation()
        key = None if is_judged else model.repeats.key_of(query)
        return _Question(query, window, key)

    def _budget_ms(self, request: ClassifyRequest) -> int | None:
        """The smaller of the daemon's and the request's; None if there is neither."""
        budgets = (self._settings.latency_budget_ms, request.latency_budget_ms)
        return min(filter(None, budgets), default=None)

    def _find_repeated(
        self, model: LoadedModel, questions: list[_Question]
    ) -> Outcome[_Judged] | None:
        """The outcome without the model's thread, for a lone text whose scores are in memory."""
        if len(questions) != 1:
            return None  # what a batch repeats is found in the thread, which takes turns
        (question,) = questions
        scores = model.repeats.find(question.key)
        if scores is None:
            return None
        return Outcome((self._conclude(model, question, scores, is_repeat=True),), 0.0)

    def _judge(self, model: LoadedModel, question: _Question) -> _Judged:
        """What the model says or said, and then people; runs in the model's thread."""
        known = model.repeats.find(question.key)  # it may have come while this one waited
        if known is not None:
            return self._conclude(model, question, known, is_repeat=True)
        scores = model.predictor.score(question.query)
        rows = model.predictor.shape(question.query).rows
        model.pace.add(rows, scores.tokens_used, scores.tokenize_ms + scores.infer_ms)
        if not np.isfinite(scores.values).all():
            raise ModelFailed("the model's scores are no numbers; try again, or tell the admin")
        model.repeats.keep(question.key, scores)
        return self._conclude(model, question, scores, is_repeat=False)

    def _conclude(
        self, model: LoadedModel, question: _Question, scores: Scores, is_repeat: bool
    ) -> _Judged:
        query = question.query
        said = model.predictor.conclude(query, scores)
        if self._corrections is None:
            return _Judged(query, said, said, b"", question.window, is_repeat)
        text_key = override_key(query.text, query.content)
        prediction = self._corrections.apply(query, said, text_key)
        return _Judged(query, said, prediction, text_key, question.window, is_repeat)

    def _answers(
        self, model: LoadedModel, outcome: Outcome[_Judged], request: ClassifyRequest
    ) -> list[ClassifyAnswer]:
        answers = []
        for judged in outcome.results:
            answers.append(self._answer(model, judged, outcome.queue_ms, request.top_k))
            self._tell_answered(model, judged, request.labels is None)
        return answers

    def _answer(
        self, model: LoadedModel, judged: _Judged, queue_ms: float, top_k: int | None
    ) -> ClassifyAnswer:
        """The answer in its wire form, counted and kept."""
        query, prediction = judged.query, judged.prediction
        answer = build_answer(
            model.predictor,
            prediction,
            query.label_set,
            queue_ms,
            top_k,
            judged.is_repeat,
            judged.window,
        )
        self._metrics.count_answer(answer)
        if self._corrections is not None:
            self._corrections.keep(answer, query, prediction, judged.text_key)
        return answer

    def _tell_answered(self, model: LoadedModel, judged: _Judged, is_default: bool) -> None:
        took_ms = milliseconds(judged.said)
        if not judged.is_repeat:
            model.times_ms.append(took_ms)
        asked = Asked(judged.query, is_default, judged.text_key, judged.said.raw_label, took_ms)
        for observer in tuple(self.observers):
            observer.answered(model, asked)

    def _tell_failed(self, model: LoadedModel) -> None:
        for observer in tuple(self.observers):
            observer.failed(model)

    async def _run(
        self,
        model: LoadedModel,
        steps: list[partial[_Judged]],
        deadline_ms: int | None,
        is_gone: IsGone,
    ) -> Outcome[_Judged]:
        job = model.scheduler.submit(steps, deadline_ms)
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


def open_predictor(settings: Settings, bundle: Bundle | None = None) -> Predictor:
    """The predictor that these settings describe.

    Args:
        settings: The label set, and how to run.
        bundle: What to load; None means the settings' own bundle.

    Raises:
        CannotStart: The bundle or the label set cannot be used.
    """
    options = RuntimeOptions(
        settings.threads, settings.spinning, settings.arena, settings.state_dir / VECTORS
    )
    label_set = read_label_set(settings.intents)
    return Predictor(bundle or read_bundle(settings.bundle), label_set, options)


def _runs_at_once(settings: Settings, predictor: Predictor) -> int:
    """Texts that are read at once: as set, else what is best with the threads to use."""
    threads = settings.threads or default_threads()
    return settings.parallel_runs or predictor.runs_at_once(threads)


def _open_warm(settings: Settings, path: Path) -> Predictor:
    predictor = open_predictor(settings, read_bundle(path))
    try:
        predictor.predict(Query("warm up", predictor.label_set))
    except Exception as error:  # onnxruntime's own unrelated types, and MemoryError
        raise BundleIncompatible(
            f"{path}: expected an answer to a first text, found that the graph fails: {error}; "
            "build the bundle for this machine, or take another"
        ) from error
    return predictor


async def _never() -> bool:
    return False
