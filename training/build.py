"""The stage `build`: collected rows and examples become train, dev, calibration; or an honest no.

It judges, merges, weighs and splits. It makes up nothing (`augment` does), and deletes no label.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.report import Reporter
from training.card import write_card
from training.collect import ROWS, SUPPRESSED
from training.conflicts import Resolved, resolve
from training.embed import Vectors, embed_texts
from training.errors import LeakFound
from training.fold import fold
from training.gather import (
    check_classes,
    check_golden,
    gather,
    intents_path,
    labels_of,
    read_labels,
)
from training.golden import read_frozen
from training.leaks import Leak, find_leaks
from training.rows import Origin, Row, new_file, read_rows, write_rows
from training.settings import BuildSettings, Settings
from training.split import Splits, split
from training.stage import Outcome, Stage, require
from training.weigh import Bias, limit_zeal, weigh

__all__ = ["LEAKS", "PARTS", "Made", "build", "build_stage"]

PARTS = ("train.jsonl", "dev.jsonl", "calibration.jsonl")
LEAKS = "leaks.jsonl"
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Made:
    """What a build came to, for the card and the manifest."""

    labels: tuple[str, ...]
    splits: Splits
    resolved: Resolved
    near_duplicates: int
    dropped: dict[str, int]
    """Why rows were left out → how many."""
    leaks: list[Leak]
    """Left out, because the settings say so."""
    suspects: list[dict[str, Any]]
    bias: Bias
    golden: int

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        parts = (self.splits.train, self.splits.dev, self.splits.calibration)
        return {
            **{
                name.removesuffix(".jsonl"): len(rows)
                for name, rows in zip(PARTS, parts, strict=True)
            },
            "labels": list(self.labels),
            "conflicts": len(self.resolved.conflicts),
            "merged": self.resolved.merged,
            "near_duplicates": self.near_duplicates,
            "leaks_dropped": len(self.leaks),
            "suspects": len(self.suspects),
            "dropped": self.dropped,
            "golden": self.golden,
            "bias": asdict(self.bias),
        }


def build_stage(settings: Settings) -> Stage:
    """The stage, with what it reads.

    Raises:
        StageMissing: There is nothing to build from.
    """
    work_dir = Path(settings.work_dir)
    inputs = {"intents": path} if (path := intents_path(settings.build)) else {}
    inputs |= {f"extra {name}": Path(name) for name in settings.build.extra}
    if (work_dir / "collect").exists() or not settings.build.extra:
        inputs["collect"] = require(work_dir / "collect", ROWS)
        inputs["suppressed"] = require(work_dir / "collect", SUPPRESSED)
    if frozen := read_frozen(work_dir):
        inputs["golden"] = frozen
    return Stage(
        name="build",
        folder=work_dir / "build",
        inputs=inputs,
        config=settings.section("build"),
        code=(
            *(
                "build.py",
                "card.py",
                "conflicts.py",
                "dedupe.py",
                "embed.py",
                "fold.py",
                "gather.py",
            ),
            *("leaks.py", "regression.py", "rows.py", "split.py", "suspects.py", "weigh.py"),
        ),
        versions=("cleanlab", "datasketch", "scikit-learn"),
    )


def build(settings: Settings, reporter: Reporter, *, force: bool = False) -> Outcome:
    """Make the data set in build/.

    Raises:
        LeakFound: Rows hold what the golden set asks; they are listed beside build/.
        DataRefused: The rows make no data set.
        TrainingError: An input is missing or damaged.
    """
    stage = build_stage(settings)

    def work(folder: Path) -> dict[str, Any]:
        made = _make(settings, stage.inputs, reporter)
        parts = (made.splits.train, made.splits.dev, made.splits.calibration)
        for name, rows in zip(PARTS, parts, strict=True):
            write_rows(folder / name, rows)
        _write_lines(folder / "conflicts.jsonl", made.resolved.conflicts)
        _write_lines(folder / "suspects.jsonl", made.suspects)
        _write_lines(folder / LEAKS, [leak.as_dict() for leak in made.leaks])
        write_card(folder / "CARD.md", made.counts(), parts)
        return made.counts()

    outcome = stage.run(work, force=force)
    _leaks_beside(settings).unlink(missing_ok=True)
    return outcome


def _make(settings: Settings, inputs: Mapping[str, Path], reporter: Reporter) -> Made:
    options = settings.build
    label_set = read_labels(options)
    golden = list(read_rows(inputs["golden"])) if "golden" in inputs else []
    rows, dropped = gather(options, inputs, label_set)
    check_golden(golden, inputs)
    labels = labels_of(rows, label_set)
    check_classes(rows, labels)
    rows, zeal = limit_zeal(rows, options.max_rows_per_source_day)
    dropped |= {"one source, one day, too many": zeal} if zeal else {}
    vectors, golden_vectors = _embed(rows, golden, reporter)
    rows, vectors, leaks = _guard(settings, rows, golden, vectors, golden_vectors)
    resolved = resolve(rows)
    rows, near = _thin(resolved.rows, options, reporter)
    rows, bias = weigh(rows, options.min_audit, options.max_weight)
    check_classes(rows, labels)
    found = _suspects(rows, vectors, options, reporter)
    splits = split(rows, options.dev, options.calibration, options.seed)
    return Made(labels, splits, resolved, near, dropped, leaks, found, bias, len(golden))


def _embed(
    rows: Sequence[Row], golden: Sequence[Row], reporter: Reporter
) -> tuple[dict[str, Any], Vectors]:
    """Vectors by folded text, so that they outlive merging; those of the golden rows in order."""
    texts = list(dict.fromkeys(row.text for row in rows))
    with reporter.step(f"reading {len(texts) + len(golden)} texts"):
        vectors = embed_texts([*texts, *(row.text for row in golden)])
    return dict(zip(texts, vectors, strict=False)), vectors[len(texts) :]


def _guard(
    settings: Settings,
    rows: list[Row],
    golden: Sequence[Row],
    vectors: dict[str, Any],
    golden_vectors: Vectors,
) -> tuple[list[Row], dict[str, Any], list[Leak]]:
    if not golden:
        return rows, vectors, []
    options = settings.build
    found = find_leaks(
        rows,
        golden,
        _stack(rows, vectors),
        golden_vectors,
        options.leak_jaccard,
        options.leak_cosine,
    )
    if found and options.leaks == "fail":
        _refuse(settings, list(found.values()))
    kept = [row for i, row in enumerate(rows) if i not in found]
    return kept, vectors, list(found.values())


def _refuse(settings: Settings, leaks: list[Leak]) -> None:
    path = _leaks_beside(settings)
    _write_lines(path, [leak.as_dict() for leak in leaks])
    kinds = ", ".join(f"{n} {why}" for why, n in Counter(leak.why for leak in leaks).most_common())
    shown = "; ".join(f"{leak.id} ~ {leak.golden_id} ({leak.why})" for leak in leaks[:SHOWN])
    raise LeakFound(
        f"build: expected no row that gives the golden set away, found {len(leaks)} ({kinds}): "
        f"{shown}{'; …' if len(leaks) > SHOWN else ''}; all in {path}: take them out of the golden "
        "set or of the rows, or leave such rows out with --set build.leaks=drop"
    )


def _thin(rows: list[Row], options: BuildSettings, reporter: Reporter) -> tuple[list[Row], int]:
    """Without near duplicates of the same label; people's words stay before examples."""
    from training.dedupe import drop_near_duplicates

    ordered = sorted(rows, key=lambda row: row.origin in (Origin.SEED, Origin.PUBLIC))
    dropped = drop_near_duplicates(
        [fold(row.text, row.content) for row in ordered],
        [row.label for row in ordered],
        options.near_duplicate,
        lambda numbers: reporter.track("near duplicates", numbers),
    )
    return [row for i, row in enumerate(ordered) if i not in dropped], len(dropped)


def _suspects(
    rows: Sequence[Row], vectors: dict[str, Any], options: BuildSettings, reporter: Reporter
) -> list[dict[str, Any]]:
    if not options.suspects:
        return []
    from training.suspects import find_suspects

    return find_suspects(
        rows,
        _stack(rows, vectors),
        options.folds,
        options.seed,
        lambda parts: reporter.track("probable label errors", parts),
    )


def _stack(rows: Sequence[Row], vectors: dict[str, Any]) -> Vectors:
    import numpy as np

    return np.stack([vectors[row.text] for row in rows])


def _write_lines(path: Path, items: Iterable[dict[str, Any]]) -> None:
    with new_file(path) as stream:
        stream.writelines(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)


def _leaks_beside(settings: Settings) -> Path:
    """Where a refused build says why: its own folder is as it was."""
    return Path(settings.work_dir) / f"build-{LEAKS}"
