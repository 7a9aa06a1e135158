"""Reads what a collector answers, and believes no more of it than it must."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from edge.sync.retry import AnswerBroken
from edge.sync.target import Receipts, Seen
from edge.wire import Problem, RecordResult, UseReceipt
from edge.wire.base import AnswerModel

__all__ = ["read_problem", "read_receipts", "read_results", "read_seen"]

DELIVERED_OR_REFUSED = frozenset({"accepted", "duplicate", "parked", "rejected"})
MAX_DETAIL_CHARS = 300


class _Result(AnswerModel):
    id: str | None = None
    status: str
    code: str | None = None
    message: str | None = None


class _BatchAnswer(AnswerModel):
    results: list[_Result]


class _Seen(AnswerModel):
    epoch: int
    seq: int


class _Receipts(AnswerModel):
    receipts: list[UseReceipt]
    next: int


Message = TypeVar("Message", bound=AnswerModel)


def read_results(body: bytes, sent: Iterable[str]) -> Sequence[RecordResult]:
    """What became of the records that were sent.

    Ids that were not sent, statuses that are not known and ids with two different statuses are left
    out: those records count as not answered, and are sent again.

    Raises:
        AnswerBroken: Not the answer to a batch.
    """
    expected = set(sent)
    found: dict[str, _Result] = {}
    for result in _read(_BatchAnswer, body).results:
        if result.id is None or result.status not in DELIVERED_OR_REFUSED:
            continue
        if found.setdefault(result.id, result).status != result.status:
            expected.discard(result.id)
    return [
        RecordResult.model_validate(result.model_dump())
        for record_id, result in found.items()
        if record_id in expected
    ]


def read_seen(body: bytes) -> Seen | None:
    """The cursor; None before the first record."""
    seen = _read(_Seen, body)
    return Seen(seen.epoch, seen.seq) if (seen.epoch, seen.seq) > (0, 0) else None


def read_receipts(body: bytes) -> Receipts:
    """One page of receipts."""
    page = _read(_Receipts, body)
    return Receipts(page.receipts, page.next)


def read_problem(body: bytes) -> str | None:
    """What a problem+json says, shortened; None if it is not one."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return None
    return f"{problem.code}: {problem.detail}"[:MAX_DETAIL_CHARS]


def _read(model: type[Message], body: bytes) -> Message:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        raise AnswerBroken("an answer that is cut off, or not a collector's") from None
