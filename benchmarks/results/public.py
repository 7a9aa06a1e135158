"""CLINC150 and BANKING77: full training sets on the official test sets, and ten rows a class."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results.bench import Answers, Experiment, Split, ask_bundle, ask_original
from benchmarks.results.numbers import auroc, share, spread
from export.report import Reporter
from training.datasets import read_banking77, read_clinc150
from training.rows import Row

__all__ = ["banking77", "banking77_ten", "clinc150"]

FULL = {
    "fit.head": "full",
    "fit.window": 128,
    "fit.epochs": 3,
    "fit.learning_rate": 1e-4,
    "fit.min_gain": 0.0,
}
"""The encoder is small and starts from a fitted head: a higher rate, and few epochs."""
TEN = {"fit.head": "setfit", "fit.window": 128}
SEEDS = (0, 1, 2)
EACH = 10


def clinc150(data: Path, out: Path, encoder: str, reporter: Reporter) -> dict[str, Any]:
    """150 intents; out of scope by the score that the edge gives the best label.

    Half of val chooses the epoch; the other half, and val's own rows of no label, calibrate. No
    such row is trained on.
    """
    path = data / "clinc150" / "data_full.json"
    val = list(read_clinc150(path, "val"))
    known = [row for row in val if row.label is not None]
    outside = [row for row in val if row.label is None]
    train = list(read_clinc150(path, "train", oos=False))
    trial = Experiment(out / "clinc150", encoder, FULL | {"fit.label_smoothing": 0.0})
    trial.build(Split(train, known[::2], [*known[1::2], *outside]))
    fitted = trial.fit(reporter)
    bundle = trial.export(reporter)
    test = list(read_clinc150(path, "test"))
    inside = [row for row in test if row.label is not None]
    asked = ask_bundle(bundle, inside)
    turned = ask_bundle(bundle, [row for row in test if row.label is None])
    before = ask_original(trial.model, bundle.manifest.labels, inside)
    return {
        "rows": len(train),
        "accuracy": share(asked.correct).as_dict(),
        "accuracy_fp32": share(before.correct).as_dict(),
        "oos_auroc": round(auroc(asked.best, turned.best), 4),
        "oos_turned_away": share(~turned.answered).as_dict(),
        "in_scope_answered": share(asked.answered).as_dict(),
        "accuracy_of_answered": share(asked.correct[asked.answered]).as_dict(),
        **_made(fitted, bundle),
    }


def banking77(data: Path, out: Path, encoder: str, reporter: Reporter) -> dict[str, Any]:
    """77 intents; every tenth row of a class chooses the epoch, and another tenth calibrates."""
    rows = list(read_banking77(data / "banking77" / "train.csv"))
    parts: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for place, row in _numbered(rows):
        parts[{4: 1, 9: 2}.get(place % 10, 0)].append(row)
    trial = Experiment(out / "banking77", encoder, FULL)
    trial.build(Split(*parts))
    fitted = trial.fit(reporter)
    bundle = trial.export(reporter)
    test = list(read_banking77(data / "banking77" / "test.csv"))
    asked = ask_bundle(bundle, test)
    before = ask_original(trial.model, bundle.manifest.labels, test)
    return {
        "rows": len(parts[0]),
        "accuracy": share(asked.correct).as_dict(),
        "accuracy_fp32": share(before.correct).as_dict(),
        **_made(fitted, bundle),
    }


def banking77_ten(data: Path, out: Path, encoder: str, reporter: Reporter) -> dict[str, Any]:
    """Ten rows a class and none beside them: nothing is chosen, and nothing calibrated."""
    rows = list(read_banking77(data / "banking77" / "train.csv"))
    test = list(read_banking77(data / "banking77" / "test.csv"))
    found: dict[str, list[Answers]] = defaultdict(list)
    for seed in SEEDS:
        train = _draw(rows, seed)
        for head in ("setfit", "frozen"):
            options = TEN | {"fit.head": head, "fit.seed": seed}
            trial = Experiment(out / f"banking77-ten-{head}-{seed}", encoder, options)
            trial.build(Split(train, [], []))
            trial.fit(reporter)
            found[head].append(ask_bundle(trial.export(reporter), test))
    by_head = {head: [float(a.correct.mean()) for a in each] for head, each in found.items()}
    return {
        "rows": EACH * len({row.label for row in rows}),
        "test": len(test),
        **{head: spread(values) | {"values": values} for head, values in by_head.items()},
    }


def _draw(rows: Sequence[Row], seed: int) -> list[Row]:
    by_label: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    chance = random.Random(seed)
    return [row for _, each in sorted(by_label.items()) for row in chance.sample(each, EACH)]


def _numbered(rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Each row with its place among those of its label."""
    seen: dict[str | None, int] = defaultdict(int)
    found = []
    for row in rows:
        found.append((seen[row.label], row))
        seen[row.label] += 1
    return found


def _made(fitted: dict[str, Any], bundle: Any) -> dict[str, Any]:
    counts = fitted["counts"]
    return {
        "dev": counts["dev"],
        "epochs": counts["epochs"],
        "best_epoch": counts["best_epoch"],
        "temperature": counts["temperature"],
        "recipe": bundle.manifest.quantization.recipe,
        "megabytes": round(bundle.manifest.files["model.onnx"].size / 1e6, 1),
    }
