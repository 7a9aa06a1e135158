"""What models are judged by: the frozen golden rows, the labels, and the answers laid beside them.

`assess` and `shadow` share it. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.labels import LabelSet
from training.collect import SUPPRESSED
from training.errors import DataRefused, StageMissing
from training.gather import check_golden, read_labels
from training.golden import read_frozen
from training.metrics import Numbers, Scores
from training.predict import Answer, check_rows, own_labels
from training.rows import Row, read_rows
from training.settings import Settings
from training.stage import MANIFEST, read_manifest

__all__ = ["Bench", "Judged", "candidate_bundle", "golden_file", "judge", "open_bench"]


@dataclass(frozen=True, slots=True)
class Bench:
    """The golden rows and the labels that they are about."""

    path: Path
    rows: list[Row]
    labels: tuple[str, ...]
    """In the order of the build."""
    label_set: LabelSet | None
    """Their wording, for models that are asked for labels; None where there is none."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's answers beside what is right. Labels are positions in the label set."""

    truth: Numbers
    """int64 [rows with a label]."""
    said: Numbers
    """The best label, whatever its score."""
    answered: npt.NDArray[np.bool_]
    """Whether its score reached the threshold."""
    confidence: Scores
    """float64, of the best label."""
    outside: Scores
    """float64 [rows without a label], of the best label."""
    rejected: npt.NDArray[np.bool_]
    """Of those, whether no label was given."""

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the best label is the right one."""
        return np.equal(self.truth, self.said)

    @property
    def served(self) -> npt.NDArray[np.bool_]:
        """Of all rows, those with a label first: whether an app got the right answer.

        A row of no label is answered right where no label is given.
        """
        return np.concatenate([self.right & self.answered, self.rejected])


def golden_file(settings: Settings) -> Path:
    """The newest frozen set.

    Raises:
        StageMissing: There is none, or it was changed by hand.
    """
    found = read_frozen(Path(settings.work_dir))
    if found is None:
        raise StageMissing(
            f"{Path(settings.work_dir) / 'golden'}: expected a frozen golden set to judge by, "
            "found none; make one with `intentd-train golden import`, `review` and `freeze`"
        )
    return found


def candidate_bundle(settings: Settings, given: Path | None, option: str = "--bundle") -> Path:
    """The bundle to be judged: the one that `option` names, else the exported one.

    Raises:
        StageMissing: There is none.
    """
    path = given or Path(settings.work_dir) / "export" / "bundle"
    if not (path / MANIFEST).is_file():
        raise StageMissing(
            f"{path}: expected a bundle, found none; run `intentd-train export`, or name one with "
            f"{option}"
        )
    return path


def open_bench(settings: Settings, bundle: Path) -> Bench:
    """Read the golden rows, and check that a bundle of the build's labels can be judged by them.

    Raises:
        StageMissing: No golden set is frozen, or it was changed.
        DataRefused: It is of other labels, of several wordings, or holds erased rows.
    """
    path = golden_file(settings)
    rows = list(read_rows(path))
    erased = Path(settings.work_dir) / "collect" / SUPPRESSED
    check_golden(rows, {"suppressed": erased} if erased.exists() else {})
    wording = read_labels(settings.build)
    labels = _labels(settings, bundle, wording)
    mixed = settings.build.mixed_label_sets == "keep"
    check_rows(rows, labels, f"{path.name}", mixed=mixed)
    fits = wording is not None and set(wording.names) == set(labels)
    return Bench(path, rows, labels, wording if fits else None)


def judge(rows: Sequence[Row], answers: Sequence[Answer], labels: Sequence[str]) -> Judged:
    """Lay answers beside what is right."""
    places = {label: i for i, label in enumerate(labels)}
    pairs = list(zip(rows, answers, strict=True))
    inside = [(row, answer) for row, answer in pairs if row.label is not None]
    outside = [answer for row, answer in pairs if row.label is None]
    return Judged(
        truth=np.array([places[row.label or ""] for row, _ in inside], dtype=np.int64),
        said=np.array([places[answer.raw_label] for _, answer in inside], dtype=np.int64),
        answered=np.array([answer.label is not None for _, answer in inside], dtype=np.bool_),
        confidence=np.array([answer.score for _, answer in inside], dtype=np.float64),
        outside=np.array([answer.score for answer in outside], dtype=np.float64),
        rejected=np.array([answer.label is None for answer in outside], dtype=np.bool_),
    )


def _labels(settings: Settings, bundle: Path, wording: LabelSet | None) -> tuple[str, ...]:
    """Of the build; where nothing was built, those that the bundle, or the label set, names."""
    build = Path(settings.work_dir) / "build"
    if (build / MANIFEST).exists():
        counts: dict[str, Any] = read_manifest(build)["counts"]
        return tuple(counts["labels"])
    labels = own_labels(bundle) or (wording.names if wording is not None else ())
    if not labels:
        raise DataRefused(
            f"{bundle}: expected to know which labels to tell apart, found no build and no label "
            "set; run `intentd-train build`, or set build.intents"
        )
    return labels
