"""Whether a candidate is better than the champion, on rows whose right label is known. Pure.

Without labels there is only agreement, and that never says who is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from training.judging import Judged
from training.metrics import (
    accuracy,
    auroc,
    bootstrap,
    class_scores,
    confusion,
    ece,
    macro_f1,
    mcnemar,
    paired_accuracy,
    paired_macro_f1,
    rows_for_mcnemar,
    say_p,
)
from training.settings import ShadowSettings

__all__ = ["Verdict", "compare", "decide_verdict"]

FALLEN = 0.05
"""By how much a class's recall must have fallen to be named."""


class Verdict(StrEnum):
    """What a comparison comes to."""

    BETTER = "better"
    NOT_WORSE = "not worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


def compare(
    first: Judged, second: Judged, labels: Sequence[str], seed: int
) -> dict[str, dict[str, Any]]:
    """Champion and candidate on the golden rows: `golden`, `mcnemar` and `bootstrap`.

    Args:
        first: The champion's answers.
        second: The candidate's, to the same rows.
        labels: Their names, by position.
        seed: Of the draws.
    """
    classes = len(labels)
    test = mcnemar(first.right, second.right)
    served = mcnemar(first.served, second.served)
    return {
        "golden": {
            "n": len(first.truth),
            "n_oos": len(first.outside),
            "champion": _card(first, classes, seed),
            "candidate": _card(second, classes, seed),
            "fallen": _fallen(first, second, labels),
        },
        "mcnemar": _rounded(asdict(test))
        | {
            "rows_for_80_percent": rows_for_mcnemar(
                test.only_first, test.only_second, len(first.truth)
            ),
            "served": _rounded(asdict(served)),
        },
        "bootstrap": {
            "accuracy": paired_accuracy(first.right, second.right, seed).as_dict(),
            "macro_f1": paired_macro_f1(
                first.truth, first.said, second.said, classes, seed
            ).as_dict(),
            "served": paired_accuracy(first.served, second.served, seed).as_dict(),
        },
    }


def decide_verdict(
    found: Mapping[str, Mapping[str, Any]],
    settings: ShadowSettings,
    live: Mapping[str, Any] | None = None,
) -> tuple[Verdict, str]:
    """The verdict, and why, for people.

    Args:
        found: Of `compare`.
        settings: The margin, and from where a difference is no chance.
        live: What a box's live shadow saw of the candidate.
    """
    if live is not None and live["errors"]:
        return Verdict.WORSE, f"it failed on {live['errors']} of {live['requests']} live texts"
    test, gain = found["mcnemar"], found["bootstrap"]["accuracy"]
    ahead = test["only_second"] - test["only_first"]
    counts = (
        f"{test['only_second']} rows right that the champion gets wrong, {test['only_first']} the "
        f"other way round (McNemar, mid-{say_p(test['mid_p'])})"
    )
    if test["mid_p"] < settings.significance and ahead:
        return (Verdict.BETTER if ahead > 0 else Verdict.WORSE), counts
    spread = f"{gain['low']:+.1%} to {gain['high']:+.1%}"
    if gain["low"] >= -settings.margin:
        return Verdict.NOT_WORSE, f"{counts}; accuracy {spread}, margin {settings.margin:.1%}"
    needed = test["rows_for_80_percent"]
    more = (
        f"you need {max(needed - found['golden']['n'], 0)} more golden rows to see it"
        if needed
        else "the golden set shows no difference, and is too small to exclude one"
    )
    return Verdict.CANNOT_TELL, f"{counts}; accuracy {spread}: {more}"


def _card(judged: Judged, classes: int, seed: int) -> dict[str, Any]:
    area = auroc(judged.confidence, judged.outside)
    answered = judged.answered
    return {
        "accuracy": accuracy(judged.right).as_dict(),
        "macro_f1": bootstrap(
            lambda rows: macro_f1(judged.truth[rows], judged.said[rows], classes),
            len(judged.truth),
            seed,
        ).as_dict(),
        "ece": round(ece(judged.confidence, judged.right), 6),
        "oos_auroc": None if area is None else round(area, 6),
        "answered": round(float(answered.mean()) if len(answered) else 0.0, 6),
        "served": accuracy(judged.served).as_dict(),
    }


def _fallen(first: Judged, second: Judged, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Classes whose recall has fallen, the deepest fall first."""
    before, after = (
        class_scores(confusion(judged.truth, judged.said, len(labels)))
        for judged in (first, second)
    )
    falls = [
        {"label": label, "n": old.n, "recall": [round(old.recall, 4), round(new.recall, 4)]}
        for label, old, new in zip(labels, before, after, strict=True)
        if old.recall - new.recall > FALLEN
    ]
    return sorted(falls, key=lambda fall: fall["recall"][1] - fall["recall"][0])


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: round(v, 6) if isinstance(v, float) else v for n, v in values.items()}
