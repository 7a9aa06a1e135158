"""How much each person's word counts: only mistakes are corrected, so corrections alone mislead.

Pure. Whoever trains on corrections alone teaches that the old model is always wrong.
Confirmations and audited answers are the other side; the audit, drawn at random, tells how large
each side is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training.rows import FEEDBACK, Origin, Row

__all__ = ["Bias", "limit_zeal", "weigh"]

DAY_CHARS = len("2026-11-22")


@dataclass(frozen=True, slots=True)
class Bias:
    """What was found about the feedback, and done about it."""

    wrong: int
    """Rows in which the person differs from the model."""
    right: int
    audited: int
    share_wrong: float | None
    """Of all answers, by the audit; None where too few were audited."""
    weight_wrong: float
    weight_right: float
    note: str
    """In words, for the card."""


def weigh(rows: Sequence[Row], min_audit: int, max_weight: float) -> tuple[list[Row], Bias]:
    """Give the two sides of the feedback the weight that they have in the traffic.

    With enough audited answers, `wrong` rows together get the share of wrong answers among those,
    and `right` rows the rest. With fewer, corrections together weigh no more than confirmations.
    With corrections alone nothing can be balanced, and the note says so.

    Args:
        rows: All; only feedback is weighed.
        min_audit: Audited rows from which their share is believed.
        max_weight: Bound of a weight, and of its inverse.
    """
    feedback = [row for row in rows if row.origin in FEEDBACK]
    audited = [row for row in feedback if row.origin is Origin.AUDIT]
    wrong = sum(map(_is_wrong, feedback))
    right = len(feedback) - wrong
    share = (
        sum(map(_is_wrong, audited)) / len(audited) if len(audited) >= max(min_audit, 1) else None
    )
    target, note = _target(wrong, right, share)
    weight_wrong = _bounded(target * len(feedback) / wrong if wrong else 1.0, max_weight)
    weight_right = _bounded((1 - target) * len(feedback) / right if right else 1.0, max_weight)
    if share is None and right == 0:
        weight_wrong = 1.0
    weighed = [
        row
        if row.origin not in FEEDBACK
        else row.model_copy(update={"weight": weight_wrong if _is_wrong(row) else weight_right})
        for row in rows
    ]
    return weighed, Bias(wrong, right, len(audited), share, weight_wrong, weight_right, note)


def limit_zeal(rows: Sequence[Row], most: int) -> tuple[list[Row], int]:
    """At most so many rows of one source and day, the first ones; returns how many were left out.

    Args:
        rows: All; only feedback is limited.
        most: 0 means no limit.
    """
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for row in rows:
        key = (row.source, (row.created_utc or "")[:DAY_CHARS])
        seen[key] += row.origin in FEEDBACK
        if most == 0 or row.origin not in FEEDBACK or seen[key] <= most:
            kept.append(row)
    return kept, len(rows) - len(kept)


def _is_wrong(row: Row) -> bool:
    return row.label != row.predicted_label


def _target(wrong: int, right: int, share: float | None) -> tuple[float, str]:
    """The share that wrong answers shall have, and why."""
    total = wrong + right
    if not total:
        return 0.0, "no feedback"
    if share is not None:
        return share, f"the audit says that {share:.0%} of the answers were wrong; weighed to that"
    if not right:
        return 1.0, (
            "corrections alone, no confirmation and no audit: nothing balances them; confirm right "
            "answers too, or work through `intentd review`"
        )
    if wrong <= right:
        return wrong / total, "too few audited answers to tell the share of wrong ones; not weighed"
    return 0.5, "more corrections than confirmations and too few audited: both sides weigh the same"


def _bounded(weight: float, most: float) -> float:
    return round(min(max(weight, 1 / most), most), 4)
