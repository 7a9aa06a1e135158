"""The use cases of corrections: correct, confirm, fate, review; and their effect on answers.

A correction says what a text should have been; it joins what the log of answers knows of it. It is
answered only when it is durable. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from edge.errors import EdgeError, InvalidValue, KeyReused, NotFound, StoreUnavailable, UnknownLabel
from edge.forms import correction_answer, describe_fate, describe_review
from edge.labels import LabelSet
from edge.ledger import Ledger
from edge.metrics import Metrics
from edge.predictor import Prediction
from edge.query import Query
from edge.store.keys import override_key
from edge.store.records import (
    Correction,
    Kind,
    NewCorrection,
    PredictionRow,
    Recorded,
)
from edge.text import check_text
from edge.wire import (
    ClassifyAnswer,
    CorrectionAnswer,
    CorrectionFate,
    CorrectionRequest,
    Reason,
    ReviewAnswer,
)

__all__ = ["Corrections"]

METRICS_TIMEOUT_S = 1.0  # a hanging disk must not keep the metrics from telling so
SEND_TEXT = "send the text too, as it was classified"


class Corrections:
    """What people said of answers. Use it from one event loop, except for `apply`."""

    def __init__(
        self, ledger: Ledger, metrics: Metrics, applies: bool = True, logs: bool = True
    ) -> None:
        """What people said so far is in effect at once.

        Args:
            ledger: Where corrections and answers are kept.
            metrics: Counts new corrections, and shows how the stores do.
            applies: Whether a corrected text is answered from its correction.
            logs: Whether answers are kept at all.
        """
        self._ledger = ledger
        self._metrics = metrics
        self._applies = applies
        self._logs = logs
        metrics.watch_store(
            lambda: ledger.store.health().ok, lambda: float(ledger.predictions.dropped)
        )

    def apply(self, query: Query, prediction: Prediction, text_key: bytes) -> Prediction:
        """The prediction, with the label that people gave this very text under this label set.

        From memory, in a microsecond; scores and `raw_label` stay the model's. Of a question with
        `multi_label` the other labels that reached their threshold stay.
        """
        if not self._applies:
            return prediction
        override = self._ledger.store.find_override(text_key, query.label_set.digest)
        if override is None:
            return prediction
        label = override.label
        others = [name for name in prediction.labels if query.multi_label and name != label]
        labels = () if label is None else (label, *others)
        return replace(prediction, label=label, labels=labels, reason=Reason.CORRECTED)

    def keep(
        self, answer: ClassifyAnswer, query: Query, prediction: Prediction, text_key: bytes
    ) -> None:
        """Keep an answer for a while; never blocks, never raises, and may be dropped."""
        if not self._logs:
            return
        ranked = prediction.scores
        row = PredictionRow(
            id=answer.id,
            created_ms=time.time_ns() // 1_000_000,
            text=query.text,
            content=query.content,
            text_key=text_key,
            label=prediction.label,
            raw_label=prediction.raw_label,
            score=ranked[0][1],
            margin=ranked[0][1] - ranked[1][1] if len(ranked) > 1 else None,
            reason=prediction.reason.value,
            labels=query.label_set.names,
            label_set=query.label_set.digest,
            model=answer.model.digest,
            phase=answer.model.phase,
            scores=dict(ranked),
        )
        self._ledger.predictions.add(row)

    async def correct(
        self, request: CorrectionRequest, default: LabelSet
    ) -> tuple[CorrectionAnswer, bool]:
        """Make a correction or confirmation durable.

        Args:
            request: A decoded request.
            default: The labels of a text that brings none.

        Returns:
            The answer, and whether it is new: not so if its client key came before.

        Raises:
            InvalidRequest: No such prediction, an unknown label, a text that is not the
                prediction's, a client key that was used for something else.
            StoreUnavailable: It could not be made durable.
            Overloaded: Too many wait for the disk.
        """
        try:
            new = await self._join(request, default)
            recorded = await self._ledger.ask(partial(self._ledger.store.record, new))
        except (NotFound, InvalidValue, KeyReused) as error:
            recorded = await self._find_repeated(request, error)
        if recorded.is_new:
            made = recorded.correction
            self._metrics.count_correction(made.kind.value)
            if made.prediction_id is not None:
                self._ledger.predictions.mark_reviewed([made.prediction_id])
        return correction_answer(recorded), recorded.is_new

    async def fate(self, correction_id: str) -> CorrectionFate:
        """How far a correction has come.

        Raises:
            NotFound: There never was one of this id.
            StoreUnavailable: The store cannot be read.
        """
        found = await self._ledger.ask(partial(self._ledger.store.find, correction_id))
        if found is None:
            raise NotFound("no correction of this id was ever made here; look at the id")
        return describe_fate(found)

    async def review(self, limit: int) -> ReviewAnswer:
        """What a person should look at next, at most `limit`."""
        ledger = self._ledger
        items = await ledger.ask(lambda: ledger.predictions.review(limit, ledger.store.overrides()))
        return ReviewAnswer(items=[describe_review(item) for item in items if item.prediction.text])

    async def measure(self) -> None:
        """Bring the metrics up to date, as far as the store answers in time."""
        try:
            async with asyncio.timeout(METRICS_TIMEOUT_S):
                found = await self._ledger.ask(partial(self._ledger.store.outbox, 0))
        except (EdgeError, TimeoutError):
            return  # `intentd_store_ok` tells; the last size stands
        self._metrics.set_outbox(found.remaining)

    async def _join(self, request: CorrectionRequest, default: LabelSet) -> NewCorrection:
        """The correction with what is known of its prediction."""
        row = await self._find_prediction(request.prediction_id)
        subject = _subject_of(request, default) if row is None else _subject_of_row(request, row)
        label = subject.shown if request.confirm else request.label
        if label is not None and label not in subject.labels:
            offered = ", ".join(subject.labels)
            raise UnknownLabel(
                f"label: expected one that was offered ({offered}), or null for none of these"
            )
        is_same = row is not None and label == subject.predicted
        return NewCorrection(
            text=subject.text,
            content=subject.content,
            label=label,
            kind=Kind.CONFIRMATION if is_same else Kind.CORRECTION,
            predicted_label=subject.predicted,
            score=row.score if row else None,
            prediction_id=request.prediction_id,
            labels=subject.labels,
            label_set=subject.label_set,
            model=row.model if row else "",
            phase=row.phase if row else "",
            source=request.source,
            client_key=request.client_key,
        )

    async def _find_prediction(self, prediction_id: str | None) -> PredictionRow | None:
        if prediction_id is None:
            return None
        try:
            return await self._ledger.ask(partial(self._ledger.predictions.find, prediction_id))
        except StoreUnavailable:
            return None  # the log may be lost; the correction must not be

    async def _find_repeated(self, request: CorrectionRequest, error: EdgeError) -> Recorded:
        """The correction that this request made before; else raise the error.

        The log of answers may have forgotten the prediction meanwhile: what counts is whether the
        request says the same.
        """
        key = request.client_key
        if key is None:
            raise error
        found = await self._ledger.ask(partial(self._ledger.store.find_key, key))
        if found is None:
            raise error
        if not _says_the_same(request, found):
            raise KeyReused(
                "client_key: this key came before, with another correction; "
                "take a new key for each, and repeat one only as it was"
            ) from None
        return Recorded(found, is_new=False)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is corrected."""

    text: str
    content: str | None
    labels: tuple[str, ...]
    label_set: str
    predicted: str | None = None
    """What the model said, if that is known."""
    shown: str | None = None
    """What was answered: the same, unless the answer was corrected already."""


def _subject_of(request: CorrectionRequest, default: LabelSet) -> _Subject:
    """From the request alone."""
    if request.text is None or request.confirm:
        missing = "the text and the label" if request.confirm else "the text"
        raise NotFound(f"prediction_id: not kept here (any more); send {missing} too")
    offered = default if request.labels is None else LabelSet.from_names(request.labels)
    return _Subject(check_text(request.text), request.content, offered.names, offered.digest)


def _subject_of_row(request: CorrectionRequest, row: PredictionRow) -> _Subject:
    """From what the log knows of the prediction, which the request must not contradict."""
    if request.labels is not None and tuple(request.labels) != row.labels:
        raise InvalidValue("labels: expected those that this prediction was offered, or none")
    text, content = _text_of(request, row)
    was_corrected = row.reason == Reason.CORRECTED
    return _Subject(
        text=text,
        content=content,
        labels=row.labels,
        label_set=row.label_set,
        predicted=row.raw_label if was_corrected else row.label,
        shown=row.label,
    )


def _text_of(request: CorrectionRequest, row: PredictionRow) -> tuple[str, str | None]:
    if request.text is None:
        if row.text is None:
            raise InvalidValue(f"text: the text of this prediction is not kept; {SEND_TEXT}")
        return row.text, row.content
    if override_key(request.text, request.content) == row.text_key:
        return request.text, request.content
    is_kept = row.text is not None and request.content is None
    if is_kept and override_key(request.text, None) == override_key(row.text or "", None):
        return row.text or "", row.content  # the same text, and its content is known here
    raise InvalidValue(
        "text: not the text (with its content) of this prediction; send it as it was"
    )


def _says_the_same(request: CorrectionRequest, found: Correction) -> bool:
    """Whether the request, sent again, means the correction that its key made."""
    said: Iterable[tuple[object, object]] = (
        (request.text, found.text),
        (request.content, found.content),
        (request.labels and tuple(request.labels), found.labels),
    )
    is_label = request.confirm or request.label == found.label
    is_rest = (request.prediction_id, request.source) == (found.prediction_id, found.source)
    return is_label and is_rest and all(given is None or given == kept for given, kept in said)
