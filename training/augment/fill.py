"""The stage `augment`: fills every class up towards the target, and says which one it cannot.

It adds rows to the training part alone, each with the row that it stems from. It never reads a
golden row but to keep away from it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.report import Reporter
from training.augment.noise import distort
from training.augment.synonyms import SYNONYMS, Synonyms, open_wordnet, read_synonyms, reword
from training.augment.templates import TEMPLATES, Templates, fill, read_templates
from training.card import class_table
from training.embed import embed_texts
from training.fold import fold
from training.golden import read_frozen
from training.leaks import Guard
from training.rows import Origin, Row, read_rows, write_rows
from training.settings import AugmentSettings, Settings
from training.stage import Outcome, Stage, require

__all__ = ["augment", "augment_stage", "describe_short"]

TRAIN = "train.jsonl"
DRAWS_PER_CHILD = 6
NO_TEMPLATES = Templates({}, {}, {})
PASSAGE_SHARE = 0.3
MIN_WORDS = 3
"""Of a row that is reworded or misspelt: in a shorter one, little is left of it."""

Draw = tuple[str, str]
"""A text, and what made it."""


@dataclass(frozen=True, slots=True)
class Means:
    """What rows are made with."""

    templates: Templates
    synonyms: Synonyms
    protected: frozenset[str]
    options: AugmentSettings


@dataclass(slots=True)
class _Class:
    """One class on its way to the target."""

    label: str
    rows: list[Row]
    """Real ones first."""
    made: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Made rows that were too like a golden one."""


def augment_stage(settings: Settings) -> Stage:
    """The stage, with what it reads.

    Raises:
        StageMissing: Nothing was built.
    """
    work_dir = Path(settings.work_dir)
    inputs = {"train": require(work_dir / "build", TRAIN)}
    if frozen := read_frozen(work_dir):
        inputs["golden"] = frozen
    for name in ("templates", "synonyms"):
        given = getattr(settings.augment, name)
        if given not in ("", "default"):
            inputs[name] = Path(given)
    config = settings.section("augment") | {
        "leak_jaccard": settings.build.leak_jaccard,
        "leak_cosine": settings.build.leak_cosine,
    }
    code = ("augment", "embed.py", "fold.py", "leaks.py", "dedupe.py", "rows.py")
    return Stage("augment", work_dir / "augment", inputs, config, code, ("datasketch",))


def augment(settings: Settings, reporter: Reporter, *, force: bool = False) -> Outcome:
    """Fill the classes up into augment/train.jsonl.

    Raises:
        TrainingError: An input is missing or damaged.
    """
    stage = augment_stage(settings)

    def work(folder: Path) -> dict[str, Any]:
        real = list(read_rows(stage.inputs["train"]))
        golden = list(read_rows(stage.inputs["golden"])) if "golden" in stage.inputs else []
        guard = Guard(golden, settings.build.leak_jaccard, settings.build.leak_cosine)
        means = _open_means(settings.augment)
        labels = sorted({row.label for row in real if row.label is not None})
        taken = {fold(row.text, row.content) for row in real}
        classes = []
        for label in reporter.track("filling classes", labels):
            one = _Class(label, [row for row in real if row.label == label])
            _fill(one, means, guard, taken, bool(golden))
            classes.append(one)
        outside = [row for row in real if row.label is None]
        rows = [row for one in classes for row in one.rows] + outside
        if golden:
            rows = _without_paraphrases(rows, classes, guard, golden, reporter)
        write_rows(folder / TRAIN, rows)
        counts = _counts(classes, rows, len(outside), settings.augment.target)
        _write_card(folder / "CARD.md", rows, labels, counts)
        return counts

    return stage.run(work, force=force)


def describe_short(counts: dict[str, Any]) -> Iterator[str]:
    """A line for every class that did not get to the target, with the reason."""
    for label, found in counts["short"].items():
        yield (
            f"{label}: {found['rows']} of {counts['target']} rows: {found['real']} real roots, "
            f"{found['template']} from templates, {found['synonym']} reworded, {found['noise']} "
            f"misspelt, {found['refused']} refused as too like a golden row; more would be the "
            "same rows again: collect real ones"
        )


def _open_means(options: AugmentSettings) -> Means:
    templates = NO_TEMPLATES
    if options.templates:
        chosen = TEMPLATES if options.templates == "default" else Path(options.templates)
        templates = read_templates(chosen)
    table: dict[str, tuple[str, ...]] = {}
    if options.synonyms:
        chosen = SYNONYMS if options.synonyms == "default" else Path(options.synonyms)
        table = dict(read_synonyms(chosen))
    wordnet = open_wordnet() if options.wordnet else None

    def find(word: str) -> tuple[str, ...]:
        return table.get(word) or (() if wordnet is None else wordnet(word))

    protected = frozenset(word for words in templates.protected.values() for word in words)
    return Means(templates, find, protected, options)


def _fill(one: _Class, means: Means, guard: Guard, taken: set[str], guarded: bool) -> None:
    """Templates first, for they bring new things; then rewording; noise last."""
    options = means.options
    chance = random.Random(f"{options.seed}:{one.label}")  # noqa: S311 - not a secret
    real = list(one.rows)
    target = options.target
    most_templates = min(target, len(real) + int(options.max_template_share * target))
    makers: tuple[tuple[Origin, Iterator[tuple[Draw, Row | None]], int], ...] = (
        (Origin.TEMPLATE, _from_templates(one.label, means, chance), most_templates),
        (Origin.SYNONYM, _from_synonyms(real, means, chance), target),
        (Origin.NOISE, _from_noise(real, means, chance), target),
    )
    for origin, draws, most in makers:
        for (text, how), parent in draws:
            if len(one.rows) >= most:
                break
            row = _child(one, origin, text, how, parent)
            key = fold(text, row.content)
            if key in taken and origin is not Origin.NOISE:  # a typo may be of case alone
                continue
            if guarded and guard.check(row) is not None:
                one.refused += 1
                continue
            taken.add(key)
            one.rows.append(row)
            one.made[origin] += 1


def _child(one: _Class, origin: Origin, text: str, how: str, parent: Row | None) -> Row:
    """A made row; one of a template stems from the template, and from no person."""
    number = sum(one.made.values())
    root = f"template:{one.label}:{how}" if parent is None else parent.root
    return Row(
        id=f"{origin}:{one.label}:{number}",
        text=text,
        content=None if parent is None else parent.content,
        label=one.label,
        origin=origin,
        root=root,
        source="augment",
        weight=1.0 if parent is None else parent.weight,
        label_set="" if parent is None else parent.label_set,
        template=how,
    )


def _from_templates(
    label: str, means: Means, chance: random.Random
) -> Iterator[tuple[Draw, Row | None]]:
    passages = means.templates.passages if label in means.templates.with_passage else ()
    for text, template in fill(means.templates, label, means.options.max_per_template, chance):
        shown = _with_passage(text, passages, chance)
        yield (shown, template), None


def _with_passage(text: str, passages: Sequence[str], chance: random.Random) -> str:
    """As people send it: the request before or after what it is about, or alone."""
    if not passages or chance.random() >= PASSAGE_SHARE:
        return text
    passage = chance.choice(passages)
    return f"{text}\n\n{passage}" if chance.random() < 1 / 2 else f"{passage}\n\n{text}"


def _from_synonyms(
    real: Sequence[Row], means: Means, chance: random.Random
) -> Iterator[tuple[Draw, Row | None]]:
    def draw(row: Row) -> Draw | None:
        made = next(reword(row.text, means.synonyms, means.protected, chance), None)
        return None if made is None else (made, "synonym")

    yield from _children(real, means.options.max_children, draw)


def _from_noise(
    real: Sequence[Row], means: Means, chance: random.Random
) -> Iterator[tuple[Draw, Row | None]]:
    if means.options.noise:
        yield from _children(
            real, means.options.max_children, lambda r: distort(r.text, means.protected, chance)
        )


def _children(
    real: Sequence[Row], most: int, draw: Callable[[Row], Draw | None]
) -> Iterator[tuple[Draw, Row | None]]:
    """One child of each row in turns, each another text, at most `most` of each."""
    made = {row.id: {row.text} for row in real}
    for _ in range(most):
        for row in real:
            if len(row.text.split()) < MIN_WORDS:
                continue
            for _try in range(DRAWS_PER_CHILD):
                found = draw(row)
                if found is None or found[0] in made[row.id]:
                    continue
                made[row.id].add(found[0])
                yield found, row
                break


def _without_paraphrases(
    rows: list[Row],
    classes: Sequence[_Class],
    guard: Guard,
    golden: Sequence[Row],
    reporter: Reporter,
) -> list[Row]:
    """Leave out the made rows that mean what a golden one asks."""
    made = [row for row in rows if not row.is_real]
    if not made:
        return rows
    with reporter.step(f"comparing {len(made)} made rows with {len(golden)} golden ones"):
        vectors = embed_texts([row.text for row in [*made, *golden]])
    found = guard.check_meaning(made, vectors[: len(made)], vectors[len(made) :])
    refused = {made[i].id for i in found}
    for one in classes:
        for row in one.rows:
            one.refused += row.id in refused
            one.made[row.origin] -= row.id in refused
        one.rows = [row for row in one.rows if row.id not in refused]
    return [row for row in rows if row.id not in refused]


def _counts(
    classes: Sequence[_Class], rows: Sequence[Row], outside: int, target: int
) -> dict[str, Any]:
    table = {
        one.label: {
            "rows": len(one.rows),
            "real": len({row.root for row in one.rows if row.is_real}),
            "template": one.made[Origin.TEMPLATE],
            "synonym": one.made[Origin.SYNONYM],
            "noise": one.made[Origin.NOISE],
            "refused": one.refused,
        }
        for one in classes
    }
    short = {label: found for label, found in table.items() if found["rows"] < target}
    return {
        "train": len(rows),
        "out_of_scope": outside,
        "target": target,
        "classes": table,
        "short": short,
    }


def _write_card(
    path: Path, rows: Sequence[Row], labels: Sequence[str], counts: dict[str, Any]
) -> None:
    lines = ["# Augmented training set\n", *class_table(rows, [*labels, None]), ""]
    lines += [f"- {line}" for line in describe_short(counts)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
