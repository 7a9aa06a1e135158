"""intent4: what a person has on the first day, and what 5, 15 and 35 real rows a class add to it.

The sixty seed examples and what `augment` makes of them are trained on, with the settings below for
all of it. Those settings were chosen on `rehearse`, which sees no row of dev.jsonl.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.bench import Experiment, ask_bundle
from benchmarks.results.numbers import share, spread
from edge.labels import DEFAULT_INTENTS, read_label_set
from export.report import Reporter
from training.augment.fill import augment
from training.build import build
from training.datasets import read_intent4
from training.rows import Origin, Row, write_rows

__all__ = ["FORMS", "curve", "rehearse", "seeds"]

FORMS = ("text", "request")
EACH = (5, 15, 35)
FOLDS = 5
SEED = 0
OPTIONS = {
    "build.seeds": False,
    "build.suspects": False,
    "fit.head": "full",
    "fit.window": 128,
    "fit.epochs": 3,
    "fit.learning_rate": 5e-5,
}
PASSAGE_WORDS = (15, 40, 90, 200, 400)
TAIL_SHARE = 0.2


def seeds(data: Path, out: Path, encoder: str, reporter: Reporter) -> dict[str, Any]:
    """Seed examples, templates and synonyms: no real row at all."""
    trial = _fit(out / "intent4-seeds", encoder, _seed_rows(data), reporter)
    bundle = trial.export(reporter)
    return {
        form: share(ask_bundle(bundle, rows).correct).as_dict()
        for form, rows in _dev_rows(data).items()
    }


def curve(data: Path, out: Path, encoder: str, reporter: Reporter) -> dict[str, Any]:
    """Five folds: so many rows a class of four of them are added, and the fifth is asked.

    A real row comes as it would be sent, with its passage and without; both are of one root.
    """
    forms = _dev_rows(data)
    folds = _fold([row.label for row in forms["text"]])
    found: dict[str, Any] = {}
    for each in EACH:
        correct: dict[str, list[np.ndarray]] = defaultdict(list)
        for fold in range(FOLDS):
            places = _draw(forms["text"], folds != fold, each, fold)
            real = [_as_correction(forms[form][i], form, i) for i in places for form in FORMS]
            folder = out / f"intent4-{each}-{fold}"
            trial = _fit(folder, encoder, [*_seed_rows(data), *real], reporter)
            bundle = trial.export(reporter)
            for form in FORMS:
                held = [row for i, row in enumerate(forms[form]) if folds[i] == fold]
                correct[form].append(ask_bundle(bundle, held).correct)
        found[str(each)] = {
            form: share(np.concatenate(parts)).as_dict()
            | {"folds": spread([float(part.mean()) for part in parts])}
            for form, parts in correct.items()
        }
    return found


def rehearse(
    data: Path, out: Path, encoder: str, reporter: Reporter, novel: str, **options: Any
) -> dict[str, Any]:
    """Choose settings without dev.jsonl: train on the shipped examples, ask the seed examples.

    For `text`, pages of a novel stand around them.
    """
    trial = _fit(out, encoder, _shipped_rows(), reporter, **options)
    asked = _seed_rows(data)
    bundle = trial.export(reporter)
    wrapped = [_wrap(row, novel, n) for n, row in enumerate(asked)]
    return {
        "request": share(ask_bundle(bundle, asked).correct).as_dict(),
        "text": share(ask_bundle(bundle, wrapped).correct).as_dict(),
    }


def _fit(
    folder: Path, encoder: str, rows: Sequence[Row], reporter: Reporter, **options: Any
) -> Experiment:
    """build, augment and fit, as the commands do it."""
    folder.mkdir(parents=True, exist_ok=True)
    extra = folder / "rows.jsonl"
    given = OPTIONS | {"build.extra": [str(extra)]} | options
    trial = Experiment(folder, encoder, given)
    if not trial.is_fitted:
        write_rows(extra, rows)
        build(trial.settings, reporter)
        augment(trial.settings, reporter)
    trial.fit(reporter)
    return trial


def _seed_rows(data: Path) -> list[Row]:
    rows = read_intent4(data / "intent4" / "seed_examples.jsonl")
    return [row.model_copy(update={"origin": Origin.SEED}) for row in rows]


def _dev_rows(data: Path) -> dict[str, list[Row]]:
    path = data / "intent4" / "dev.jsonl"
    return {form: list(read_intent4(path, request=form == "request")) for form in FORMS}


def _shipped_rows() -> list[Row]:
    return [
        Row(id=f"{i.name}-{n}", text=text, label=i.name, origin=Origin.SEED, source="seed")
        for i in read_label_set(DEFAULT_INTENTS).intents
        for n, text in enumerate(i.examples)
    ]


def _as_correction(row: Row, form: str, place: int) -> Row:
    changes = {"id": f"{row.id}-{form}", "root": row.id, "origin": Origin.CORRECTION}
    return row.model_copy(update=changes | {"source": f"{place:016}"})


def _fold(labels: Sequence[str | None]) -> np.ndarray:
    """int64 [rows]: which fold a row is held out in; every label is in each."""
    order = list(range(len(labels)))
    random.Random(SEED).shuffle(order)
    folds = np.zeros(len(labels), dtype=np.int64)
    seen: dict[str | None, int] = defaultdict(int)
    for i in order:
        folds[i] = seen[labels[i]] % FOLDS
        seen[labels[i]] += 1
    return folds


def _draw(rows: Sequence[Row], usable: np.ndarray, each: int, fold: int) -> Iterator[int]:
    """Places of so many rows of each label, or of all there are."""
    chance = random.Random(f"{SEED}:{fold}")
    order = chance.sample(range(len(rows)), len(rows))
    taken: dict[str | None, int] = defaultdict(int)
    for i in order:
        if usable[i] and taken[rows[i].label] < each:
            taken[rows[i].label] += 1
            yield i


def _wrap(row: Row, novel: str, number: int) -> Row:
    """Half of the rows alone, half with a page before or after."""
    chance = random.Random(number)
    if chance.random() < 1 / 2:
        return row
    words = novel.split()
    start = chance.randrange(10_000, len(words) - 1000)
    page = " ".join(words[start : start + chance.choice(PASSAGE_WORDS)])
    parts = (page, row.text) if chance.random() < TAIL_SHARE else (row.text, page)
    return row.model_copy(update={"text": "\n\n".join(parts)})
