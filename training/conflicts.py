"""One text, several people: merges what they agree on, and decides by rule where they do not. Pure.

The rule: every source has one voice, its newest word on that text; most voices win, and among
equals the newest word. Every disagreement is listed, with what was decided.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from training.fold import fold
from training.rows import FEEDBACK, Origin, Row

__all__ = ["Resolved", "resolve"]

PREFERENCE = (Origin.AUDIT, Origin.CONFIRMATION, Origin.CORRECTION)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is left of some rows."""

    rows: list[Row]
    """One a text, in the order in which texts first came."""
    conflicts: list[dict[str, Any]]
    """Every text with two labels: what was said, and what holds."""
    merged: int
    """Rows that said again what another one says."""


def resolve(rows: Iterable[Row]) -> Resolved:
    """Leave one row for each text."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[fold(row.text, row.content)].append(row)
    kept, conflicts, merged = [], [], 0
    for group in groups.values():
        label = _decide(group)
        agreeing = [row for row in group if row.label == label]
        kept.append(min(agreeing, key=_preference))
        merged += len(agreeing) - 1
        if len(agreeing) < len(group):
            conflicts.append(_listed(group, label))
    return Resolved(kept, conflicts, merged)


def _decide(group: list[Row]) -> str | None:
    voices: dict[str, Row] = {}
    for row in sorted(group, key=_age):
        voices[row.source or row.id] = row
    votes = Counter(row.label for row in voices.values())
    most = max(votes.values())
    last = max((row for row in voices.values() if votes[row.label] == most), key=_age)
    return last.label


def _age(row: Row) -> tuple[str, str]:
    """By time, then by id, so that the order of the files does not matter."""
    return row.created_utc or "", row.id


def _preference(row: Row) -> tuple[int, str, str]:
    """A person's word before an example; an audited one first, for it stands for all traffic."""
    rank = PREFERENCE.index(row.origin) if row.origin in FEEDBACK else len(PREFERENCE)
    return rank, *_age(row)


def _listed(group: list[Row], label: str | None) -> dict[str, Any]:
    said = [
        {"id": r.id, "label": r.label, "source": r.source, "created_utc": r.created_utc}
        for r in sorted(group, key=_age)
    ]
    return {"text": group[0].text, "content": group[0].content, "label": label, "said": said}
