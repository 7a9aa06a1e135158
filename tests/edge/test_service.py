"""`edge.service` with the real starter: answers, refusals, and clients that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge import service as module
from edge.bundle import Task
from edge.cpu import default_threads
from edge.errors import ClientGone, InvalidText, InvalidValue, NotReady
from edge.metrics import Metrics
from edge.predictor import Predictor
from edge.query import Query
from edge.service import Service, build_answer, open_predictor
from edge.settings import Settings
from edge.shadow import Asked
from edge.slot import LoadedModel
from edge.wire import ClassifyAnswer, ClassifyRequest, Reason
from tests.models import INTENTS

TEXT = "sum this article up"
SETTINGS = Settings(max_texts=3, drain_timeout_s=0.0)


@pytest.fixture(scope="module")
def predictor(load: Any) -> Predictor:
    """The starter bundle with four plain labels."""
    loaded: Predictor = load(Settings().bundle)
    return loaded


@pytest.fixture
def service(predictor: Predictor) -> Iterator[Service]:
    """A service of its own for each test, with a scheduler that ends with it."""
    service = Service(predictor, SETTINGS, Metrics())
    yield service
    service.close()


async def never() -> bool:
    """A client that stays."""
    return False


async def at_once() -> bool:
    """A client that has left."""
    return True


def classify(service: Service, **message: Any) -> list[ClassifyAnswer]:
    """The answers to a request whose client waits."""
    return asyncio.run(service.classify(ClassifyRequest(**message), never))


def test_each_text_gets_its_answer_in_order(service: Service, predictor: Predictor) -> None:
    """What the predictor says is what the client hears."""
    texts = [TEXT, "find papers", "why?"]
    answers = classify(service, texts=texts)
    for text, answer in zip(texts, answers, strict=True):
        prediction = predictor.predict(Query(text, predictor.label_set))
        assert [(s.label, s.score) for s in answer.scores] == list(prediction.scores)
        assert (answer.label, answer.raw_label) == (prediction.label, prediction.raw_label)


def test_too_many_texts_are_refused_before_any_work(service: Service) -> None:
    """The message says how many fit."""
    with pytest.raises(InvalidValue, match="at most 3, found 4; send them in several requests"):
        classify(service, texts=[TEXT] * 4)


def test_bad_text_is_named_by_its_position(service: Service) -> None:
    """In a batch the client must know which one."""
    with pytest.raises(InvalidText, match=r"texts\.2: "):
        classify(service, texts=[TEXT, TEXT, " "])


def test_client_that_left_is_not_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asked for is dropped, and nothing is counted as answered."""
    monkeypatch.setattr(module, "GONE_CHECK_S", 0.0)
    model, is_over = service.slot.model, threading.Event()
    assert model is not None
    for _ in range(service.describe_model().parallel_runs):
        model.scheduler.submit([is_over.wait])  # every worker is at something else
    with pytest.raises(ClientGone):
        asyncio.run(service.classify(ClassifyRequest(texts=[TEXT] * 3), at_once))
    is_over.set()
    lines = service._metrics.render().decode().splitlines()
    counted = [line for line in lines if line.startswith("intentd_predictions_total{")]
    assert counted
    assert all(line.endswith(" 0.0") for line in counted)


def test_cancelling_is_passed_on(service: Service) -> None:
    """Ctrl-C in a program that classifies by itself must stop it."""

    async def cancel() -> None:
        request = ClassifyRequest(texts=[TEXT] * 3)
        task = asyncio.create_task(service.classify(request, never))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


def test_ready_only_between_warm_up_and_close(service: Service) -> None:
    """A first inference must have run, and the daemon must not be on its way out."""
    assert not service.is_ready
    asyncio.run(service.warm_up())
    assert service.is_ready
    assert service.is_healthy()
    service.close()
    assert not service.is_ready
    with pytest.raises(NotReady):
        classify(service, text=TEXT)


def test_intents_show_the_thresholds_that_hold(service: Service, predictor: Predictor) -> None:
    """A label without a threshold of its own has the bundle's."""
    shown = service.describe_intents().intents
    assert tuple(intent.name for intent in shown) == INTENTS
    own = predictor.label_set.intents
    assert [i.threshold for i in shown] == [predictor.threshold(intent) for intent in own]


@pytest.mark.parametrize(
    ("asked", "threads", "runs"),
    [
        ({"threads": 3}, 3, 3),
        ({"threads": 3, "parallel_runs": 2}, 3, 2),
        ({}, 1, default_threads()),
    ],
)
def test_thread_count_is_the_one_in_use(asked: dict[str, int], threads: int, runs: int) -> None:
    """As set; zero in the settings means: found out, which for the starter is one for a run."""
    settings = Settings(drain_timeout_s=0.0, **asked)  # type: ignore[arg-type]
    service = Service(open_predictor(settings), settings, Metrics())
    shown = service.describe_model()
    service.close()

    assert (shown.threads, shown.parallel_runs) == (threads, runs)


def test_top_k_cuts_scores_alone(predictor: Predictor) -> None:
    """The decision is made on all of them."""
    prediction = predictor.predict(Query(TEXT, predictor.label_set))
    answer = build_answer(predictor, prediction, predictor.label_set, 1.23456, top_k=1)
    assert len(answer.scores) == 1
    assert answer.raw_label == prediction.raw_label
    assert answer.timings.queue_ms == 1.235
    is_reached = answer.reason is Reason.ABOVE_THRESHOLD
    assert is_reached == (answer.label is not None)


class Ear:
    """Hears what observers are told."""

    def __init__(self) -> None:
        self.heard: list[Asked] = []

    def answered(self, model: LoadedModel, asked: Asked) -> None:
        """A model answered a text."""
        self.heard.append(asked)

    def failed(self, model: LoadedModel) -> None:
        """A model failed on a text."""


def test_repeated_text_is_answered_from_memory(service: Service) -> None:
    """The same scores to the last bit, another id, and no time spent."""
    (first,), (again,) = classify(service, text=TEXT), classify(service, text=TEXT)

    assert (first.cached, again.cached) == (False, True)
    assert again.scores == first.scores
    assert (again.tokens, again.label, again.reason) == (first.tokens, first.label, first.reason)
    assert again.id != first.id
    assert (again.timings.tokenize_ms, again.timings.infer_ms) == (0, 0)


def test_repeats_within_a_batch_are_answered_from_memory(predictor: Predictor) -> None:
    """Also what came while the first of them still waited."""
    service = Service(predictor, replace(SETTINGS, parallel_runs=1), Metrics())
    answers = classify(service, texts=[TEXT, "why?", TEXT])
    service.close()

    assert [answer.cached for answer in answers] == [False, False, True]
    assert answers[2].scores == answers[0].scores


def test_whatever_changes_the_question_asks_the_model(service: Service) -> None:
    """Labels, and how they are scored."""
    classify(service, text=TEXT)

    for other in ({"labels": ["a", "b"]}, {"multi_label": True}, {"max_tokens": 8}):
        assert not classify(service, text=TEXT, **other)[0].cached
        assert classify(service, text=TEXT, **other)[0].cached


def test_repeats_can_be_switched_off(predictor: Predictor) -> None:
    """For measurements, or where every byte counts."""
    service = Service(predictor, replace(SETTINGS, repeat_cache=0), Metrics())
    answers = [classify(service, text=TEXT)[0] for _ in range(2)]
    service.close()

    assert not any(answer.cached for answer in answers)


def test_another_model_begins_with_nothing(service: Service, load: Any) -> None:
    """And the one that is retired forgets what it said."""
    classify(service, text=TEXT)
    before = service.slot.model

    async def swap() -> None:
        old = service.switch(await service.load(Settings().bundle))
        assert old is not None
        await old.retire(1.0)

    asyncio.run(swap())
    assert before is not None
    assert len(before.repeats) == 0
    assert not classify(service, text=TEXT)[0].cached


def test_on_probation_nothing_is_repeated(service: Service) -> None:
    """A model that fails must be seen to fail, also on what it has answered before."""
    classify(service, text=TEXT)
    service.is_on_probation = lambda: True
    during = classify(service, text=TEXT)
    service.is_on_probation = lambda: False

    assert not during[0].cached
    assert classify(service, text=TEXT)[0].cached


def test_repeats_let_others_have_their_turn(service: Service) -> None:
    """Whoever asks the same in a loop does not keep the event loop to itself."""
    classify(service, text=TEXT)

    async def ask_until(others: asyncio.Task[None]) -> None:
        for _ in range(1000):
            if others.done():
                return
            await service.classify(ClassifyRequest(text=TEXT), never)
        raise AssertionError("1000 repeats, and no other task has run")

    async def act() -> None:
        await ask_until(asyncio.create_task(asyncio.sleep(0)))

    asyncio.run(act())


def test_while_models_are_compared_nothing_is_repeated(service: Service) -> None:
    """Or the first time that a text took, when all was cold, would be the old model's speed."""
    ear = Ear()
    classify(service, text=TEXT)
    service.observers.add(ear)
    during = classify(service, text=TEXT)
    service.observers.discard(ear)

    assert not during[0].cached
    assert len(ear.heard) == 1
    assert classify(service, text=TEXT)[0].cached


def test_repeats_are_no_samples_of_the_models_speed(service: Service) -> None:
    """The model's times and the metrics count what was run, and repeats apart."""
    for _ in range(2):
        classify(service, text=TEXT)
    model = service.slot.model

    assert model is not None
    assert len(model.times_ms) == 1
    metrics = service._metrics.render()
    assert b"intentd_repeats_total 1.0" in metrics
    assert b'intentd_stage_seconds_count{stage="infer"} 1.0' in metrics


def test_a_budget_lowers_the_window_and_the_answer_says_so(predictor: Predictor) -> None:
    """The smaller of both holds; the same window gives the scores that `max_tokens` gives."""
    text = "why did the harbour freeze over in the winter of the great storm " * 60
    service = Service(predictor, replace(SETTINGS, latency_budget_ms=1), Metrics())
    asyncio.run(service.warm_up())
    ((tight,), (loose,)) = (classify(service, text=text, latency_budget_ms=b) for b in (1, 600_000))
    service.close()
    window = tight.tokens.window

    assert loose.tokens == tight.tokens
    assert tight.tokens.window_reason == "latency_budget"
    assert tight.tokens.truncated
    assert window is not None
    assert tight.tokens.used == window < predictor.bundle.manifest.max_tokens
    free = Service(predictor, SETTINGS, Metrics())
    ((same,), (whole,)) = (classify(free, text=text, max_tokens=n) for n in (window, None))
    free.close()
    assert same.scores == tight.scores != whole.scores
    assert (same.tokens.window_reason, whole.tokens.window_reason) == ("max_tokens", "model")
    assert whole.tokens.window == predictor.bundle.manifest.max_tokens


def test_every_run_teaches_what_runs_cost(service: Service) -> None:
    """So that a budget that comes later finds a machine that is known; repeats teach nothing."""
    model = service.slot.model
    assert model is not None
    assert model.pace.cost_ms(1, 8) is None
    for _ in range(2):
        classify(service, text=TEXT)
    cost_ms = model.pace.cost_ms(1, 8)

    assert cost_ms is not None
    assert cost_ms == pytest.approx(model.times_ms[0])


def test_a_bad_template_is_refused_with_a_budget_too(service: Service) -> None:
    """As without one."""
    with pytest.raises(InvalidValue, match="hypothesis_template"):
        classify(service, text=TEXT, hypothesis_template="no place", latency_budget_ms=5)


@pytest.mark.parametrize(
    ("task", "threads", "runs"),
    [
        (Task.ZERO_SHOT_EMBEDDING, 8, 8),
        (Task.SEQUENCE_CLASSIFICATION, 8, 4),
        (Task.SEQUENCE_CLASSIFICATION, 2, 2),
        (Task.ZERO_SHOT_NLI, 8, 1),
    ],
)
def test_as_many_runs_at_once_as_memory_allows(task: Task, threads: int, runs: int) -> None:
    """Long rows, or a row for each label, must not add up."""
    bundle = SimpleNamespace(manifest=SimpleNamespace(task=task))

    assert Predictor.runs_at_once(cast(Any, SimpleNamespace(bundle=bundle)), threads) == runs
