"""What unlabelled texts can tell of two models: how often they agree, and where they part.

It works on whole columns, for there may be millions of texts; only disagreements become rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.contest import SIDES, Pair, find_texts
from training.judging import Bench
from training.metrics import Interval
from training.proof import wilson
from training.rows import Origin, Row

__all__ = ["count_agreement", "list_disagreements"]

MOST_FLIPS = 50
RAW = [f"{side}_raw_label" for side in SIDES]


def count_agreement(answers: Any, skipped: Mapping[str, int]) -> dict[str, Any]:
    """How often both say the same.

    Args:
        answers: The table of logged texts, of `training.contest`; None means there are none.
        skipped: Why records were left out → how many.
    """
    total = 0 if answers is None else len(answers)
    pairs = _count_pairs(answers) if total else {}
    both = {pair: n for pair, n in pairs.items() if None not in pair}
    compared = sum(both.values())
    same = sum(n for (old, new), n in both.items() if old == new)
    flips = sorted(
        ((old, new, n) for (old, new), n in both.items() if old != new),
        key=lambda flip: (-flip[2], flip[:2]),
    )
    spread = Interval(same / compared, *wilson(same, compared)) if compared else None
    return {
        "texts": total,
        "compared": compared,
        "failed": {
            side: sum(n for pair, n in pairs.items() if pair[i] is None)
            for i, side in enumerate(SIDES)
        },
        "agreement": None if spread is None else spread.as_dict(),
        "disagreements": compared - same,
        "answered": _answered(answers) if compared else [],
        "flips": [
            {"champion": old, "candidate": new, "n": n} for old, new, n in flips[:MOST_FLIPS]
        ],
        "skipped": dict(sorted(skipped.items())),
    }


def list_disagreements(answers: Any, parts: Path, bench: Bench, pair: Pair) -> Iterator[Row]:
    """Rows for `golden import`, without a label unless they are golden; the surer, the earlier.

    Args:
        answers: The table of all texts, the golden rows first.
        parts: Where the texts lie.
        bench: The golden rows.
        pair: Who was asked.
    """
    import pyarrow.compute as pc

    if answers is None:
        return
    # Null, where one has no answer, is neither the same nor another: `filter` leaves it out.
    found = answers.filter(pc.not_equal(answers[RAW[0]], answers[RAW[1]])).to_pylist()
    found.sort(key=lambda row: (-min(row[f"{side}_score"] for side in SIDES), row["position"]))
    golden = len(bench.rows)
    texts = find_texts(parts, {row["position"] for row in found if row["position"] >= golden})
    wording = "" if bench.label_set is None else bench.label_set.digest
    for row in found:
        position = row["position"]
        one = bench.rows[position] if position < golden else texts[position]
        yield Row.model_validate(
            {
                "id": one.id,
                "text": one.text,
                "content": one.content,
                "label": one.label if isinstance(one, Row) else None,
                "origin": Origin.GOLDEN if isinstance(one, Row) else Origin.SHADOW,
                "label_set": wording,
                "model": pair.champion.bundle.digest,
                "predicted_label": row["champion_raw_label"],
                "reason": "shadow",
                "champion": _said(row, "champion"),
                "candidate": _said(row, "candidate") | {"model": pair.candidate.bundle.digest},
            }
        )


def _count_pairs(answers: Any) -> dict[tuple[str | None, str | None], int]:
    """(Champion's label, candidate's label) → texts; None where one has no answer."""
    grouped = answers.group_by(RAW).aggregate([([], "count_all")])
    return {(row[RAW[0]], row[RAW[1]]): row["count_all"] for row in grouped.to_pylist()}


def _answered(answers: Any) -> list[float]:
    """Of the texts that both could take, the share that each gives a label."""
    import pyarrow.compute as pc

    taken = pc.and_(*(pc.is_valid(answers[name]) for name in RAW))
    some = answers.filter(taken)
    shares = (np.mean(pc.is_valid(some[f"{side}_label"]).to_numpy()) for side in SIDES)
    return [round(float(share), 6) for share in shares]


def _said(row: Mapping[str, Any], side: str) -> dict[str, Any]:
    return {name: row[f"{side}_{name}"] for name in ("label", "raw_label", "score")}
