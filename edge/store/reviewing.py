"""Chooses what a person should look at next. Reads only, but for the mark "reviewed"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappush, heappushpop
from itertools import cycle

from edge.store.database import Database
from edge.store.prediction_rows import AUDIT_BELOW, prediction_of
from edge.store.records import SHADOW, Override, ReviewItem, Why

__all__ = ["choose", "mark_reviewed"]

# Of five items two are doubtful, two disputed, one drawn by lot, while there are such.
TURNS = (Why.LOW_CONFIDENCE, Why.DISAGREEMENT, Why.LOW_CONFIDENCE, Why.DISAGREEMENT, Why.AUDIT)
# What a candidate said in the shadow disputes an answer, and is none itself.
NEWEST = f"""
    SELECT seq, text_key, label_set, raw_label, labels, margin, audit FROM prediction
    WHERE reviewed = 0 AND text IS NOT NULL AND seq IN (
        SELECT max(seq) FROM prediction WHERE reason <> '{SHADOW}' GROUP BY text_key, label_set
    )
"""  # noqa: S608 - a constant
DISPUTED = """
    SELECT text_key, label_set FROM prediction GROUP BY text_key, label_set
    HAVING count(DISTINCT model) > 1 AND count(DISTINCT raw_label) > 1
"""


@dataclass(frozen=True, slots=True)
class _Candidate:
    seq: int
    text_key: bytes
    label_set: str
    raw_label: str | None
    labels: str
    margin: float | None
    audit: int


def choose(db: Database, limit: int, overrides: Iterable[Override]) -> list[ReviewItem]:
    """At most `limit` predictions, one a text; texts that were corrected already stay away."""
    queues = _queues(db, list(overrides), max(limit, 0))
    chosen = list(_take_turns(queues, limit))
    return [
        ReviewItem(prediction_of(row), why)
        for seq, why in chosen
        for row in db.query("SELECT * FROM prediction WHERE seq = ?", [seq])
    ]


def _queues(db: Database, overrides: list[Override], limit: int) -> dict[Why, list[int]]:
    """The numbers of the best `limit` of each reason; only so many are ever held in memory."""
    settled = {(said.text_key, said.label_set) for said in overrides}
    elsewhere = {said.text_key: said.label for said in overrides}
    disputed = set(db.execute(DISPUTED).fetchall())
    heaps: dict[Why, list[tuple[float, int]]] = {why: [] for why in Why}
    for row in db.execute(NEWEST):
        candidate = _Candidate(*row)
        key = (candidate.text_key, candidate.label_set)
        if key not in settled:
            is_disputed = key in disputed or _contradicts(candidate, elsewhere)
            why = _why(candidate, is_disputed)
            entry = (-_rank(why, candidate), -candidate.seq)
            push = heappush if len(heaps[why]) < limit else heappushpop  # drops the worst
            push(heaps[why], entry)
    return {why: [-seq for _, seq in sorted(heap, reverse=True)] for why, heap in heaps.items()}


def _rank(why: Why, candidate: _Candidate) -> float:
    """Lower comes first: the closest call, the newest dispute, the first of the lot."""
    if why is Why.LOW_CONFIDENCE:
        return 1.0 if candidate.margin is None else candidate.margin
    return -candidate.seq if why is Why.DISAGREEMENT else candidate.audit


def _contradicts(candidate: _Candidate, elsewhere: dict[bytes, str | None]) -> bool:
    """Under another label set a person said a label that this model did not say, but could."""
    said = elsewhere.get(candidate.text_key)
    return said is not None and said != candidate.raw_label and f'"{said}"' in candidate.labels


def _why(candidate: _Candidate, is_disputed: bool) -> Why:
    if candidate.audit < AUDIT_BELOW:  # before all else, or the audit would miss the hard ones
        return Why.AUDIT
    return Why.DISAGREEMENT if is_disputed else Why.LOW_CONFIDENCE


def _take_turns(queues: dict[Why, list[int]], limit: int) -> Iterator[tuple[int, Why]]:
    waiting = {why: iter(queue) for why, queue in queues.items()}
    left = min(limit, sum(len(queue) for queue in queues.values()))
    for why in cycle(TURNS):
        if left <= 0:
            return
        seq = next(waiting[why], None)
        if seq is not None:
            left -= 1
            yield seq, why


def mark_reviewed(db: Database, ids: Iterable[str]) -> int:
    """Mark these and every row of the same text and label set; returns how many."""
    return sum(
        db.conn.execute(
            "UPDATE prediction SET reviewed = 1 WHERE reviewed = 0 AND (text_key, label_set) IN"
            " (SELECT text_key, label_set FROM prediction WHERE id = ?)",
            (id,),
        ).rowcount
        for id in ids
    )
