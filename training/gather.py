"""Gathers the rows of a build, and refuses those that make no data set: empty or strange classes.

It reads; merging, weighing and splitting come after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from edge.labels import DEFAULT_INTENTS, LabelSet, read_label_set
from training.collect import read_suppressed
from training.errors import DataRefused
from training.rows import Origin, Row, read_rows
from training.settings import BuildSettings

__all__ = ["check_classes", "check_golden", "gather", "intents_path", "labels_of", "read_labels"]

SHOWN = 3
MIN_CLASSES = 2


def read_labels(settings: BuildSettings) -> LabelSet | None:
    """The label set that the data set is for; None where the labels are those that occur."""
    path = intents_path(settings)
    return None if path is None else read_label_set(path)


def intents_path(settings: BuildSettings) -> Path | None:
    """The label set's file; None where the labels are those that occur."""
    if settings.intents == "default":
        return DEFAULT_INTENTS
    return Path(settings.intents) if settings.intents else None


def gather(
    options: BuildSettings, inputs: Mapping[str, Path], label_set: LabelSet | None
) -> tuple[list[Row], dict[str, int]]:
    """Rows of all files and the label set's examples, and why others were left out → how many.

    Raises:
        DataRefused: They are of several label sets, or have labels outside it.
    """
    files = [
        path for name, path in inputs.items() if name == "collect" or name.startswith("extra ")
    ]
    erased = read_suppressed(inputs["suppressed"]) if "suppressed" in inputs else set()
    seeds = _seeds(label_set) if label_set is not None and options.seeds else []
    read = list(chain(*map(read_rows, files), seeds))
    _check_judged(read)
    rows = [row for row in read if row.id not in erased and row.root not in erased]
    dropped = Counter({"erased": len(read) - len(rows)})
    rows = _one_wording(rows, options, dropped)
    if label_set is not None:
        rows = _known_labels(rows, label_set, options, dropped)
    return rows, {reason: n for reason, n in dropped.items() if n}


def check_golden(golden: Sequence[Row], inputs: Mapping[str, Path]) -> None:
    """Refuse a golden set that holds erased rows."""
    erased = read_suppressed(inputs["suppressed"]) if "suppressed" in inputs else set()
    gone = [row.id for row in golden if {row.id, row.root} & erased]
    if gone:
        raise DataRefused(
            f"build: expected a golden set without erased rows, found {len(gone)} ({gone[0]}); run "
            "`intentd-train golden freeze`, which leaves them out"
        )


def labels_of(rows: Sequence[Row], label_set: LabelSet | None) -> tuple[str, ...]:
    """The labels of the data set, in their order."""
    occurring = sorted({row.label for row in rows if row.label is not None})
    return tuple(occurring) if label_set is None else label_set.names


def check_classes(rows: Sequence[Row], labels: Sequence[str]) -> None:
    """Refuse fewer than two labels, and a label without a row."""
    per_label = Counter(row.label for row in rows)
    empty = [label for label in labels if not per_label[label]]
    if empty or len(labels) < MIN_CLASSES:
        found = f"none of {', '.join(empty)}" if empty else f"{len(labels)} ({', '.join(labels)})"
        raise DataRefused(
            f"build: expected rows of at least {MIN_CLASSES} labels and of every label, found "
            f"{found}; collect more, add files with --set build.extra, or shorten the label set"
        )


def _seeds(label_set: LabelSet) -> list[Row]:
    """The label set's examples; its background means none of the labels."""
    groups = [(intent.name, intent.examples) for intent in label_set.intents]
    named: Iterable[tuple[str | None, tuple[str, ...]]] = [*groups, (None, label_set.background)]
    return [
        Row(id=f"seed:{label or ''}:{n}", text=text, label=label, origin=Origin.SEED, source="seed")
        for label, examples in named
        for n, text in enumerate(examples)
    ]


def _check_judged(rows: Sequence[Row]) -> None:
    waiting = [row.id for row in rows if row.origin is Origin.SHADOW]
    if waiting:
        raise DataRefused(
            f"build: expected rows that somebody judged, found {len(waiting)} that two models "
            f"disagree about ({waiting[0]}); `intentd-train golden import --unlabelled` takes "
            "them, and `golden review` asks"
        )


def _one_wording(rows: list[Row], options: BuildSettings, dropped: Counter[str]) -> list[Row]:
    sets = Counter(row.label_set for row in rows if row.label_set)
    if len(sets) < 2 or options.mixed_label_sets == "keep":
        return rows
    found = ", ".join(f"{digest[:12]} ({n} rows)" for digest, n in sets.most_common())
    if options.mixed_label_sets == "refuse":
        raise DataRefused(
            f"build: expected rows labelled under one label set, found {found}; if the labels mean "
            "the same in all of them, --set build.mixed_label_sets=keep, else drop (keeps the "
            "first)"
        )
    main = sets.most_common(1)[0][0]
    kept = [row for row in rows if row.label_set in ("", main)]
    dropped["another label set"] += len(rows) - len(kept)
    return kept


def _known_labels(
    rows: list[Row], label_set: LabelSet, options: BuildSettings, dropped: Counter[str]
) -> list[Row]:
    strange = Counter(row.label for row in rows if row.label not in {None, *label_set.names})
    if not strange:
        return rows
    if options.unknown_labels == "refuse":
        found = ", ".join(f"{label!r} ({n} rows)" for label, n in strange.most_common(SHOWN))
        raise DataRefused(
            f"build: expected the labels {', '.join(label_set.names)}, found {found}; name the "
            "label set with --set build.intents=FILE, or leave them out with "
            "--set build.unknown_labels=drop"
        )
    kept = [row for row in rows if row.label not in strange]
    dropped["a label outside the set"] += len(rows) - len(kept)
    return kept
