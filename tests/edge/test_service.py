"""`edge.service` with the real starter: answers, refusals, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from edge import service as module
from edge.errors import ClientGone, InvalidText, InvalidValue, NotReady
from edge.metrics import Metrics
from edge.predictor import Predictor
from edge.query import Query
from edge.service import Service, build_answer
from edge.settings import Settings
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
    with pytest.raises(ClientGone):
        asyncio.run(service.classify(ClassifyRequest(texts=[TEXT] * 3), at_once))
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


def test_thread_count_is_the_one_in_use(predictor: Predictor) -> None:
    """Zero in the settings means: found out; the number shown is never zero."""
    for threads in (0, 3):
        service = Service(predictor, Settings(threads=threads, drain_timeout_s=0.0), Metrics())
        assert service.describe_model().threads == threads or threads == 0
        assert service.describe_model().threads >= 1
        service.close()


def test_top_k_cuts_scores_alone(predictor: Predictor) -> None:
    """The decision is made on all of them."""
    prediction = predictor.predict(Query(TEXT, predictor.label_set))
    answer = build_answer(predictor, prediction, predictor.label_set, 1.23456, top_k=1)
    assert len(answer.scores) == 1
    assert answer.raw_label == prediction.raw_label
    assert answer.timings.queue_ms == 1.235
    is_reached = answer.reason is Reason.ABOVE_THRESHOLD
    assert is_reached == (answer.label is not None)
