"""The guards of a build: how many planted wrong labels and planted golden rows they find."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.report import Reporter
from tests.training.paraphrases import PAIRS
from tests.training.samples import row as make_row
from training.datasets import read_clinc150
from training.embed import embed_texts
from training.leaks import find_leaks
from training.rows import Origin, Row
from training.settings import BuildSettings
from training.suspects import find_suspects

__all__ = ["leakage", "noise", "plant_noise"]

NOISE = 0.2
SEED = 0


def plant_noise(rows: Sequence[Row]) -> tuple[list[Row], set[str]]:
    """The rows with every fifth one's label drawn from the other labels, and the ids of those."""
    names = sorted({row.label or "" for row in rows})
    chance = random.Random(SEED)
    wrong = set(chance.sample([row.id for row in rows], round(NOISE * len(rows))))

    def spoil(row: Row) -> Row:
        others = [name for name in names if name != row.label]
        return row.model_copy(update={"label": chance.choice(others)}) if row.id in wrong else row

    return [spoil(row) for row in rows], wrong


def noise(data: Path, _out: Path, _encoder: str, reporter: Reporter) -> dict[str, Any]:
    """Wrong labels planted in all of CLINC150's train, and what the build calls suspect of it."""
    path = data / "clinc150" / "data_full.json"
    rows, wrong = plant_noise(list(read_clinc150(path, "train", oos=False)))
    options = BuildSettings()
    with reporter.step("embedding"):
        vectors = embed_texts([row.text for row in rows])
    found = {s["id"] for s in find_suspects(rows, vectors, options.folds, SEED)}
    hits = len(found & wrong)
    return {
        "rows": len(rows),
        "planted": len(wrong),
        "suspects": len(found),
        "recall": round(hits / len(wrong), 4),
        "precision": round(hits / len(found), 4),
    }


def leakage(_data: Path, _out: Path, _encoder: str, _reporter: Reporter) -> dict[str, Any]:
    """Golden rows planted in train, word for word and reworded, and which of them stop a build."""
    golden = [
        make_row(f"g{n}", text, label, origin=Origin.GOLDEN)
        for n, (label, text, _) in enumerate(PAIRS)
    ]
    exact = [make_row(f"x{n}", text, label) for n, (label, text, _) in enumerate(PAIRS)]
    reworded = [make_row(f"p{n}", text, label) for n, (label, _, text) in enumerate(PAIRS)]
    rows, options = [*exact, *reworded], BuildSettings()
    mine, theirs = (embed_texts([row.text for row in some]) for some in (rows, golden))
    found = find_leaks(rows, golden, mine, theirs, options.leak_jaccard, options.leak_cosine)
    return {
        "planted": len(PAIRS),
        "exact": sum(n < len(exact) for n in found),
        "paraphrases": sum(n >= len(exact) for n in found),
    }
