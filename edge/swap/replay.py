"""Texts for a probation that nobody asks anything: recent ones, else the bundle's own.

It also puts what two models disagree about up for review. It asks no model.
"""

from __future__ import annotations

import asyncio
import time

from edge.bundle import read_bundle
from edge.errors import EdgeError
from edge.ids import uuid7
from edge.labels import LabelSet
from edge.predictor import Prediction
from edge.query import Query
from edge.shadow import Asked
from edge.slot import LoadedModel
from edge.store import PredictionLog
from edge.store.keys import override_key
from edge.store.records import SHADOW, PredictionRow
from edge.swap.catalog import Choice

__all__ = ["Replay"]


class Replay:
    """Recent texts of the prediction log. Use it from one event loop."""

    def __init__(self, predictions: PredictionLog) -> None:
        self._predictions = predictions

    async def texts(
        self, most: int, default: LabelSet, choice: Choice, old_digest: str
    ) -> list[Asked]:
        """At most so many texts, the newest first.

        Args:
            most: How many.
            default: The label set of requests that bring none.
            choice: The candidate, whose self-test stands in where no text is kept.
            old_digest: The model whose recorded answers count.
        """
        try:
            rows = await asyncio.wrap_future(self._predictions.recent(most))
        except EdgeError:
            rows = []
        asked = [one for row in rows if (one := _from_row(row, default, old_digest)) is not None]
        return asked or (await asyncio.to_thread(_from_selftest, choice, default))[:most]

    def dispute(self, asked: Asked, prediction: Prediction, candidate: LoadedModel) -> None:
        """Keep what the candidate would have said; never blocks, and may be dropped."""
        manifest, ranked = candidate.predictor.bundle.manifest, prediction.scores
        query = asked.query
        row = PredictionRow(
            id=str(uuid7()),
            created_ms=time.time_ns() // 1_000_000,
            text=query.text,
            content=query.content,
            text_key=asked.text_key,
            label=prediction.label,
            raw_label=prediction.raw_label,
            score=ranked[0][1],
            margin=ranked[0][1] - ranked[1][1] if len(ranked) > 1 else None,
            reason=SHADOW,
            labels=query.label_set.names,
            label_set=query.label_set.digest,
            model=candidate.digest,
            phase=manifest.task.phase,
            scores=dict(ranked),
        )
        self._predictions.add(row)


def _from_row(row: PredictionRow, default: LabelSet, old_digest: str) -> Asked | None:
    """None where the text is not kept, or the labels cannot be had as they were."""
    if row.text is None:
        return None
    is_default = row.label_set == default.digest
    label_set = default if is_default else LabelSet.from_names(row.labels)
    if label_set.digest != row.label_set:
        return None
    query = Query(row.text, label_set, content=row.content)
    said = row.raw_label if row.model == old_digest else None
    return Asked(query, is_default, row.text_key, said)


def _from_selftest(choice: Choice, default: LabelSet) -> list[Asked]:
    texts = []
    for case in read_bundle(choice.path).read_selftest():
        label_set = LabelSet.from_names(case.labels) if case.labels else default
        query = Query(case.text, label_set)
        texts.append(Asked(query, not case.labels, override_key(case.text, None)))
    return texts
