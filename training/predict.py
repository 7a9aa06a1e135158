"""What a bundle answers to rows, through the edge's own predictor: the only place that asks one.

One text, one run, as the daemon does it: on a dynamically quantised graph neighbours change scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import Bundle, Task, read_bundle, read_manifest
from edge.errors import EdgeError
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from training.errors import DataRefused
from training.rows import Row

__all__ = [
    "Answer",
    "Model",
    "as_record",
    "ask_rows",
    "bundle_bytes",
    "check_rows",
    "open_model",
    "own_labels",
]

KEPT_SCORES = 5
DIGITS = 6
_NOTHING = LabelSet(name="", version="", intents=())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one text."""

    label: str | None
    """None below the threshold."""
    raw_label: str
    """The best label, whatever its score."""
    score: float
    """Of the best label, in [0, 1], to six digits."""
    scores: tuple[tuple[str, float], ...]
    """The best few labels, best first."""
    truncated: bool
    ms: float
    """Reading and running."""


@dataclass(frozen=True, slots=True)
class Model:
    """One loaded bundle, with the labels that it is asked for."""

    predictor: Predictor
    label_set: LabelSet
    bundle: Bundle

    @property
    def title(self) -> str:
        """For people."""
        manifest = self.bundle.manifest
        return f"{manifest.name} {manifest.version} ({self.bundle.digest[:12]})"

    def ask(self, text: str, content: str | None = None) -> Answer:
        """Answer one text.

        Raises:
            InvalidRequest: The text cannot be used with this bundle.
        """
        found = self.predictor.predict(Query(text, self.label_set, content=content))
        return Answer(
            label=found.label,
            raw_label=found.raw_label,
            score=round(found.scores[0][1], DIGITS),
            scores=tuple((name, round(s, DIGITS)) for name, s in found.scores[:KEPT_SCORES]),
            truncated=found.truncated,
            ms=found.tokenize_ms + found.infer_ms,
        )


def open_model(
    path: Path,
    labels: Sequence[str],
    label_set: LabelSet | None,
    *,
    option: str = "--bundle",
) -> Model:
    """Load a bundle.

    Args:
        path: The bundle.
        labels: What it is to tell apart.
        label_set: Their wording, for a bundle that is asked for labels; None means the plain names.
        option: Where another one would be named, for the message.

    Raises:
        EdgeError: It is no bundle, or does not run here.
        DataRefused: Its labels are others.
    """
    bundle = read_bundle(path)
    is_fixed = bundle.manifest.task is Task.SEQUENCE_CLASSIFICATION
    # More labels than a request may bring are fine for a bundle that has its own.
    wording = label_set or (_NOTHING if is_fixed else LabelSet.from_names(labels))
    predictor = Predictor(bundle, wording)
    model = Model(predictor, predictor.label_set if is_fixed else wording, bundle)
    _check_labels(model, labels, option)
    return model


def own_labels(path: Path) -> tuple[str, ...]:
    """The labels that a bundle was trained for; empty where it takes any."""
    manifest = read_manifest(path)
    return manifest.labels if manifest.task is Task.SEQUENCE_CLASSIFICATION else ()


def ask_rows(
    model: Model,
    rows: Iterable[Row],
    track: Callable[[Iterable[Row]], Iterable[Row]] = lambda items: items,
) -> Iterator[Answer]:
    """Answer rows in their order.

    Raises:
        DataRefused: A row cannot be answered; the message names it, not its text.
    """
    for row in track(rows):
        try:
            yield model.ask(row.text, row.content)
        except EdgeError as error:
            raise DataRefused(
                f"{model.title}: expected to answer every row, but not {row.id}: {error}"
            ) from None


def check_rows(rows: Sequence[Row], labels: Sequence[str], what: str, *, mixed: bool) -> None:
    """Refuse labelled rows that this label set cannot judge.

    Args:
        rows: Each with its right label, or none.
        labels: The label set.
        what: What the rows are, for the message.
        mixed: Whether rows of several wordings may stand together.

    Raises:
        DataRefused: A label is outside the set, or rows were labelled under several wordings.
    """
    strange = sorted({row.label for row in rows if row.label is not None} - set(labels))
    if strange:
        raise DataRefused(
            f"{what}: expected rows of the labels {_list(labels)}, found {_list(strange)} too; "
            "freeze a set of these labels, or name the right bundle with --bundle"
        )
    wordings = sorted({row.label_set for row in rows if row.label_set})
    if len(wordings) > 1 and not mixed:
        raise DataRefused(
            f"{what}: expected rows labelled under one label set, found {len(wordings)} "
            f"({', '.join(name[:12] for name in wordings)}); if the labels mean the same in all of "
            "them, --set build.mixed_label_sets=keep"
        )


def bundle_bytes(bundle: Bundle) -> int:
    """What it takes on a disk."""
    return sum(entry.size for entry in bundle.manifest.files.values())


def as_record(answer: Answer) -> dict[str, Any]:
    """For JSON; without the time, which is another one every time."""
    return {
        "said": answer.label,
        "raw_label": answer.raw_label,
        "score": answer.score,
        "scores": dict(answer.scores),
        "truncated": answer.truncated,
    }


def _check_labels(model: Model, labels: Sequence[str], option: str) -> None:
    found = model.label_set.names
    if set(found) != set(labels):
        raise DataRefused(
            f"{model.bundle.path}: expected a bundle of the labels {_list(labels)}, found one of "
            f"{_list(found)}; fit and export it again, or name another with {option}"
        )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown}, … ({len(names)})"
