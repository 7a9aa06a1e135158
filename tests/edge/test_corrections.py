"""`edge.corrections` with real stores and the real starter: what people say, and its effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edge import corrections as module
from edge import ledger as ledger_module
from edge.corrections import Corrections
from edge.curation import Curation
from edge.errors import (
    EdgeError,
    InvalidText,
    InvalidValue,
    KeyReused,
    NotFound,
    Overloaded,
    StoreUnavailable,
    UnknownLabel,
)
from edge.ledger import Ledger, open_ledger
from edge.metrics import Metrics
from edge.predictor import Predictor
from edge.service import Service
from edge.settings import Settings
from edge.wire import (
    ClassifyAnswer,
    ClassifyRequest,
    CorrectionAnswer,
    CorrectionRequest,
    EraseRequest,
    Reason,
)
from tests.models import INTENTS

TEXT = "sum this article up for the xyzzyplugh"
OTHER = INTENTS[-1]

Result = TypeVar("Result")


@dataclass
class Box:
    """A daemon's insides: stores, service and use cases, and one event loop for them."""

    service: Service
    corrections: Corrections
    ledger: Ledger
    metrics: Metrics
    loop: asyncio.AbstractEventLoop

    def classify(self, text: str = TEXT, **options: Any) -> ClassifyAnswer:
        """The answer to one text."""
        return self.classify_all(text=text, **options)[0]

    def classify_all(self, **options: Any) -> list[ClassifyAnswer]:
        """The answers to a request."""
        return self.run(self.service.classify(ClassifyRequest(**options), never))

    def correct(self, **fields: Any) -> CorrectionAnswer:
        """What a correction is answered."""
        return self.send(**fields)[0]

    def send(self, **fields: Any) -> tuple[CorrectionAnswer, bool]:
        """The same, and whether it is new."""
        request = CorrectionRequest(**fields)
        return self.run(self.corrections.correct(request, self.service.label_set))

    def erase(self, **fields: Any) -> list[str]:
        """The corrections that an erasure took."""
        return self.run(Curation(self.ledger).erase_all(EraseRequest(**fields))).erased

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)


async def never() -> bool:
    """A client that stays."""
    return False


def _same(future: Future[None]) -> Future[None]:
    return future


@pytest.fixture
def make_box(tmp_path: Path, load: Any) -> Iterator[Callable[..., Box]]:
    """Makes boxes over one state directory; each closes the one before."""
    predictor: Predictor = load(Settings().bundle)
    boxes: list[Box] = []

    def close() -> None:
        while boxes:
            box = boxes.pop()
            box.service.close()
            box.ledger.close()
            box.loop.close()

    def make(**changes: Any) -> Box:
        close()
        settings = replace(Settings(state_dir=tmp_path / "state", drain_timeout_s=0.0), **changes)
        ledger, metrics = open_ledger(settings), Metrics()
        keeps = settings.predictions != "off"
        corrections = Corrections(ledger, metrics, settings.corrections_apply, keeps)
        service = Service(predictor, settings, metrics, corrections)
        boxes.append(Box(service, corrections, ledger, metrics, asyncio.new_event_loop()))
        return boxes[-1]

    yield make
    close()


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    """A box with default settings."""
    return make_box()


def test_a_correction_takes_what_the_log_knows_of_its_prediction(box: Box) -> None:
    """The id of an answer is enough: text, labels, wording, model and score are joined to it."""
    answer = box.classify()
    made = box.correct(prediction_id=answer.id, label=OTHER, source="photos")

    [kept] = box.ledger.store.list().result()
    assert (made.id, made.seq, made.kind, made.state) == (kept.id, 1, "correction", "durable")
    assert (made.label, made.predicted_label) == (OTHER, answer.label)
    assert (kept.text, kept.content, kept.labels) == (TEXT, None, INTENTS)
    assert (kept.label_set, kept.model) == (answer.label_set.digest, answer.model.digest)
    assert (kept.phase, kept.source, kept.prediction_id) == ("starter", "photos", answer.id)
    assert kept.score == answer.scores[0].score


def test_saying_what_the_model_said_is_a_confirmation(box: Box) -> None:
    """With its label, or without: agreement counts either way, and tells how good the model is."""
    answer = box.classify()
    named = box.correct(prediction_id=answer.id, label=answer.label)
    nodded = box.correct(prediction_id=answer.id, confirm=True)

    assert {named.kind, nodded.kind} == {"confirmation"}
    assert named.label == nodded.label == answer.label
    assert b'intentd_corrections_total{kind="confirmation"} 2.0' in box.metrics.render()


def test_a_corrected_text_is_answered_from_its_correction(box: Box) -> None:
    """At once, also for other white space; the model's own opinion stays to be seen."""
    before = box.classify()
    box.correct(prediction_id=before.id, label=OTHER)
    after = box.classify(TEXT.replace(" ", "  ") + "\n")

    assert (after.label, after.labels, after.reason) == (OTHER, [OTHER], Reason.CORRECTED)
    assert after.raw_label == before.raw_label
    assert after.scores == before.scores


def test_none_of_these_is_an_answer_too(box: Box) -> None:
    """Null says that no label fits; the next answer has none."""
    made = box.correct(prediction_id=box.classify().id, label=None)
    after = box.classify()

    assert (made.kind, made.label) == ("correction", None)
    assert (after.label, after.labels, after.reason) == (None, [], Reason.CORRECTED)


def test_another_label_set_is_another_question(box: Box) -> None:
    """A correction holds under the wording that it was made under, whoever asks in it."""
    labels = ["in short", "in full"]
    made = box.correct(prediction_id=box.classify(labels=labels).id, label="in full")

    assert box.classify(labels=labels).reason is Reason.CORRECTED
    assert box.classify().reason is not Reason.CORRECTED
    assert box.classify(labels=["in short", "in fall"]).reason is not Reason.CORRECTED
    assert made.label == "in full"


def test_content_is_part_of_what_was_corrected(box: Box) -> None:
    """The same words about another article are another text."""
    box.correct(prediction_id=box.classify(content="of cats").id, label=OTHER)

    assert box.classify(content="of  cats").reason is Reason.CORRECTED
    assert box.classify(content="of dogs").reason is not Reason.CORRECTED
    assert box.classify().reason is not Reason.CORRECTED


def test_several_labels_keep_those_that_the_model_found(box: Box) -> None:
    """With `multi_label` a correction adds what was missed; it takes nothing away."""
    asked = box.classify(multi_label=True)
    box.correct(prediction_id=asked.id, label=OTHER)
    after = box.classify(multi_label=True)

    assert after.labels == [OTHER, *(name for name in asked.labels if name != OTHER)]


def test_the_texts_of_a_batch_are_corrected_one_by_one(box: Box) -> None:
    """As if each had been asked alone."""
    box.correct(prediction_id=box.classify().id, label=OTHER)
    reasons = [one.reason for one in box.classify_all(texts=["why?", TEXT, "find papers"])]

    assert [reason is Reason.CORRECTED for reason in reasons] == [False, True, False]


def test_corrections_hold_after_a_restart(make_box: Callable[..., Box]) -> None:
    """The daemon reads them before it answers anything."""
    first = make_box()
    first.correct(prediction_id=first.classify().id, label=OTHER)

    assert make_box().classify().label == OTHER


def test_corrections_can_be_kept_without_being_applied(make_box: Callable[..., Box]) -> None:
    """Who wants to see the model alone switches them off; they are kept all the same."""
    box = make_box(corrections_apply=False)
    before = box.classify()
    box.correct(prediction_id=before.id, label=OTHER)

    assert box.classify().label == before.label
    assert make_box().classify().label == OTHER


def test_an_erased_correction_has_no_effect_any_more(box: Box) -> None:
    """At once, and its prediction is gone as well."""
    answer = box.classify()
    made = box.correct(prediction_id=answer.id, label=OTHER)
    assert box.erase(ids=[made.id]) == [made.id]

    assert box.classify().reason is not Reason.CORRECTED
    fate = box.run(box.corrections.fate(made.id))
    assert (fate.state, fate.label, fate.created_utc) == ("erased", None, None)
    assert fate.erased_utc
    with pytest.raises(NotFound):
        box.correct(prediction_id=answer.id, label=OTHER)
    assert box.erase(ids=[made.id]) == []


def test_erasing_a_text_takes_its_predictions_along(box: Box) -> None:
    """Also those that nobody ever corrected."""
    asked = [box.classify(), box.classify(TEXT + " ")]
    made = box.correct(text=TEXT, label=OTHER)
    assert box.erase(text=f" {TEXT}") == [made.id]

    for one in asked:
        assert box.ledger.predictions.find(one.id).result() is None


def test_a_text_can_be_corrected_without_a_prediction(box: Box) -> None:
    """An app that kept no id sends the text; labels of its own with it."""
    plain = box.correct(text=TEXT, label=OTHER)
    own = box.correct(text=TEXT, content="of cats", labels=["x", "y"], label="y")

    assert (plain.kind, plain.predicted_label) == ("correction", None)
    assert box.classify().label == OTHER
    assert box.classify(content="of cats", labels=["x", "y"]).label == "y"
    assert own.seq == 2


def test_a_correction_outlives_what_is_known_of_its_prediction(
    make_box: Callable[..., Box],
) -> None:
    """The log keeps answers for a while, or not at all: the text is enough."""
    box = make_box(predictions="off")
    answer = box.classify()
    with pytest.raises(NotFound, match="send the text too"):
        box.correct(prediction_id=answer.id, label=OTHER)
    with pytest.raises(NotFound, match="send the text and the label too"):
        box.correct(prediction_id=answer.id, text=TEXT, confirm=True)
    made = box.correct(prediction_id=answer.id, text=TEXT, label=OTHER)

    assert (made.kind, made.predicted_label) == ("correction", None)
    assert box.ledger.store.list().result()[0].prediction_id == answer.id


def test_hashed_predictions_need_the_text_and_prove_it(make_box: Callable[..., Box]) -> None:
    """What is kept says whether it is the same text, and what the model had said of it."""
    box = make_box(predictions="hash")
    answer = box.classify(content="of cats")
    with pytest.raises(InvalidValue, match="not kept; send the text too"):
        box.correct(prediction_id=answer.id, label=OTHER)
    with pytest.raises(InvalidValue, match="text: not the text"):
        box.correct(prediction_id=answer.id, text=TEXT, label=OTHER)
    made = box.correct(prediction_id=answer.id, text=TEXT, content="of cats", label=OTHER)

    assert made.predicted_label == answer.label


def test_a_request_must_not_contradict_its_prediction(box: Box) -> None:
    """Another text, content or other labels are a mistake; a known content may be left out."""
    answer = box.classify(content="of cats")
    for wrong in ({"text": "why?"}, {"text": TEXT, "content": "of dogs"}):
        with pytest.raises(InvalidValue, match="text: not the text"):
            box.correct(prediction_id=answer.id, label=OTHER, **wrong)
    with pytest.raises(InvalidValue, match="labels: expected those"):
        box.correct(prediction_id=answer.id, text=TEXT, labels=["a", OTHER], label=OTHER)
    box.correct(prediction_id=answer.id, text=TEXT, label=OTHER)

    assert box.ledger.store.list().result()[0].content == "of cats"


@pytest.mark.parametrize("subject", ["prediction", "text"])
def test_a_label_that_was_not_offered_is_refused(box: Box, subject: str) -> None:
    """The message lists those that were, and does not repeat the one that came."""
    named = {"prediction": {"prediction_id": box.classify().id}, "text": {"text": TEXT}}
    with pytest.raises(UnknownLabel) as caught:
        box.correct(label="xyzzyplugh", **named[subject])

    assert all(name in str(caught.value) for name in INTENTS)
    assert "xyzzyplugh" not in str(caught.value)


def test_a_blank_text_is_refused(box: Box) -> None:
    """As when it is to be classified."""
    with pytest.raises(InvalidText):
        box.correct(text="  ", label=OTHER)


def test_a_repetition_is_the_same_correction(box: Box) -> None:
    """The same key with the same body: one row, one answer, however often."""
    said: dict[str, Any] = {"prediction_id": box.classify().id, "label": OTHER, "client_key": "k"}
    first, is_new = box.send(**said)
    second, is_new_again = box.send(**said)

    assert (is_new, is_new_again) == (True, False)
    assert first == second
    assert len(box.ledger.store.list().result()) == 1
    assert b'intentd_corrections_total{kind="correction"} 1.0' in box.metrics.render()


def test_a_repetition_is_known_when_its_prediction_is_forgotten(
    make_box: Callable[..., Box],
) -> None:
    """A retry after a restart that lost the log must not be told that it never was."""
    first = make_box()
    answer = first.classify()
    said: list[dict[str, Any]] = [
        {"prediction_id": answer.id, "label": OTHER, "client_key": "a"},
        {"prediction_id": answer.id, "confirm": True, "client_key": "b"},
        {"prediction_id": answer.id, "text": TEXT, "label": OTHER, "client_key": "c"},
    ]
    made = [first.correct(**one) for one in said]
    later = make_box(predictions="off")

    assert [later.send(**one) for one in said] == [(one, False) for one in made]


@pytest.mark.parametrize(
    "change", [{"label": INTENTS[0]}, {"text": "why?"}, {"source": "x"}, {"content": "of cats"}]
)
def test_a_key_cannot_be_used_twice(box: Box, change: dict[str, str]) -> None:
    """Another correction under an old key is a mistake of the app, and is told."""
    said: dict[str, Any] = {"text": TEXT, "label": OTHER, "client_key": "k"}
    box.correct(**said)
    with pytest.raises(KeyReused, match="take a new key"):
        box.correct(**said | change)

    assert len(box.ledger.store.list().result()) == 1


def test_confirming_a_corrected_answer_confirms_what_was_shown(box: Box) -> None:
    """The person agreed with the correction; that the model says something else stays known."""
    first = box.classify()
    box.correct(prediction_id=first.id, label=OTHER)
    made = box.correct(prediction_id=box.classify().id, confirm=True)

    assert (made.label, made.predicted_label, made.kind) == (OTHER, first.raw_label, "correction")


def test_what_was_judged_leaves_the_review(box: Box) -> None:
    """The queue shows a doubtful answer until somebody said what is right, and never again."""
    text = "hm"
    answer = box.classify(text, labels=["a", "a "])
    [item] = box.run(box.corrections.review(5)).items
    assert (item.prediction_id, item.text) == (answer.id, text)
    assert item.reason in ("low_confidence", "audit")  # one in some is drawn by lot, by its id
    assert [s.label for s in item.scores] == [s.label for s in answer.scores]
    made = box.correct(prediction_id=answer.id, label=None)
    box.ledger.store.erase([made.id]).result()  # what is known of it must not hang on the effect

    assert box.run(box.corrections.review(5)).items == []


def test_nothing_is_reviewed_where_no_text_is_kept(make_box: Callable[..., Box]) -> None:
    """A person cannot judge a hash."""
    box = make_box(predictions="hash")
    box.classify("hm", labels=["a", "a "])

    assert box.run(box.corrections.review(5)).items == []


def test_a_correction_that_never_was_has_no_fate(box: Box) -> None:
    """404, not an empty answer."""
    with pytest.raises(NotFound):
        box.run(box.corrections.fate("01a20569-6f30-7000-83ae-b56ff51078cd"))


def test_a_store_that_fails_refuses_corrections_and_nothing_else(
    make_box: Callable[..., Box], tmp_path: Path
) -> None:
    """The state directory is a file: answers go on, corrections are told that they are not kept."""
    (tmp_path / "file").write_bytes(b"")
    box = make_box(state_dir=tmp_path / "file" / "state")
    answer = box.classify()
    box.run(box.corrections.measure())

    assert answer.label
    assert b"intentd_store_ok 0.0" in box.metrics.render()
    for subject in ({"prediction_id": answer.id, "text": TEXT}, {"text": TEXT}):
        with pytest.raises(StoreUnavailable, match="state_dir"):
            box.correct(label=OTHER, **subject)


def test_waiting_for_the_disk_is_bounded(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs fills neither memory nor the log; who comes too late is told at once."""
    monkeypatch.setattr(ledger_module, "MAX_WAITING", 2)

    async def crowd() -> list[BaseException]:
        hanging: list[Future[None]] = [Future() for _ in range(3)]
        tasks = [asyncio.create_task(box.ledger.ask(partial(_same, f))) for f in hanging]
        await asyncio.wait((tasks[2],))
        for one in hanging[:2]:
            one.set_result(None)
        return [e for e in await asyncio.gather(*tasks, return_exceptions=True) if e]

    [refused] = box.run(crowd())
    assert isinstance(refused, Overloaded)
    box.correct(text=TEXT, label=OTHER)


def test_who_stops_waiting_does_not_stop_the_correction(box: Box) -> None:
    """A client that leaves, or a drain that ends, cannot take back what the store has begun."""
    began: Future[int] = Future()

    async def leave() -> None:
        task = asyncio.create_task(box.ledger.ask(lambda: began))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    box.run(leave())
    assert not began.cancelled()
    began.set_result(1)


def test_metrics_do_not_wait_for_a_disk_that_hangs(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read to find out about it."""
    monkeypatch.setattr(module, "METRICS_TIMEOUT_S", 0.01)
    monkeypatch.setattr(box.ledger.store, "outbox", lambda _: Future())
    box.run(box.corrections.measure())
    box.correct(text=TEXT, label=OTHER)
    monkeypatch.undo()
    box.run(box.corrections.measure())

    assert b"intentd_outbox_records 1.0" in box.metrics.render()


@pytest.mark.parametrize("predictions", ["hash", "off"])
def test_texts_that_are_not_to_be_kept_never_touch_the_disk(
    make_box: Callable[..., Box], tmp_path: Path, predictions: str
) -> None:
    """Neither in the databases nor in their write-ahead logs."""
    box = make_box(predictions=predictions)
    box.classify(content="of the frobozz")
    box.ledger.close()

    found = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"xyzzyplugh" not in found
    assert b"frobozz" not in found


def test_texts_are_kept_by_default_and_privately(box: Box, tmp_path: Path) -> None:
    """The test above would see them; nobody else may."""
    box.classify()
    box.ledger.close()

    state = tmp_path / "state"
    assert b"xyzzyplugh" in b"".join(path.read_bytes() for path in state.iterdir())
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in state.iterdir()} == {0}


def test_a_text_far_beyond_the_window_is_the_same_as_what_can_be_read_of_it(box: Box) -> None:
    """What a text costs must not grow with its length: its key is of a bounded part, too."""
    text = TEXT + " and so on" * 7000
    box.correct(text=text, label=OTHER)

    assert box.classify(text + " of frobozz").reason is Reason.CORRECTED
    assert box.classify("frobozz " + text).reason is not Reason.CORRECTED


def test_errors_never_repeat_the_text(box: Box) -> None:
    """They are answered, and may be logged by whoever gets them."""
    answer = box.classify()
    wrong: list[dict[str, Any]] = [
        {"prediction_id": answer.id, "text": "xyzzyplugh", "label": OTHER},
        {"prediction_id": "xyzzyplugh", "label": OTHER},
        {"text": "xyzzyplugh", "label": "xyzzyplugh"},
        {"text": "a", "labels": ["xyzzyplugh", "xyzzyplugh"], "label": "a"},
    ]
    for fields in wrong:
        with pytest.raises(EdgeError) as caught:
            box.correct(**fields)
        assert "xyzzyplugh" not in str(caught.value)
