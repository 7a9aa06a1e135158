"""The stage `report`: one page over all stages, as far as they have run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from export.report import Reporter
from training.ablation import ablate, ablation_inputs
from training.build import PARTS
from training.card import NO_LABEL
from training.errors import InvalidRows
from training.metrics import say_p
from training.report_assess import assessment_blocks, data_drift_blocks, percent
from training.report_page import Badge, Block, Facts, Figure, Heading, Page, Table, Text, write_page
from training.report_shadow import shadow_blocks
from training.rows import Row, read_rows
from training.settings import Settings
from training.stage import MANIFEST, Outcome, Stage, read_manifest, require

__all__ = ["report", "report_stage"]

STAGES = ("collect", "golden", "build", "augment", "fit", "export", "assess", "shadow")
FILES: Mapping[str, tuple[str, ...]] = {
    "build": PARTS,
    "fit": ("history.jsonl", "dev.json", "calibration.json"),
    "assess": ("assessment.json", "drift.json"),
    "shadow": ("shadow.json",),
}
PROMOTIONS = "promotions.jsonl"
ABLATION = "ablation.json"
CODE = (
    *("ablation.py", "metrics.py", "plots.py", "report_all.py", "report_assess.py"),
    *("report_page.py", "report_shadow.py"),
)
MOST_POINTS = 400
MOST_LABELS = 40


def report_stage(settings: Settings, *, ablation: bool = True) -> Stage:
    """The stage, with what there is to read: stages that have not run are left out.

    Raises:
        StageMissing: A file was changed by hand.
    """
    work_dir = Path(settings.work_dir)
    inputs = {}
    for name in STAGES:
        if not (work_dir / name / MANIFEST).exists():
            continue
        outputs = read_manifest(work_dir / name)["outputs"]
        inputs[name] = work_dir / name / MANIFEST
        inputs |= {
            f"{name}/{file}": require(work_dir / name, file)
            for file in FILES.get(name, ())
            if file in outputs
        }
    if (work_dir / PROMOTIONS).exists():
        inputs[PROMOTIONS] = work_dir / PROMOTIONS
    if ablation:
        inputs |= {f"ablation {n}": p for n, p in ablation_inputs(settings).items()}
    config = {"seed": settings.assess.seed, "ablation": ablation}
    return Stage("report", work_dir / "report", inputs, config, CODE, ("matplotlib",))


def report(
    settings: Settings, reporter: Reporter, *, ablation: bool = True, force: bool = False
) -> Outcome:
    """Write report/report.html and report.md.

    Raises:
        TrainingError: A stage's files are damaged.
    """
    stage = report_stage(settings, ablation=ablation)

    def work(folder: Path) -> dict[str, Any]:
        page = Page("From corrections to a model")
        page.add(*_overview(stage.inputs))
        found = _ablate(settings, stage.inputs, reporter)
        if found is not None:
            (folder / ABLATION).write_text(json.dumps(found, indent=2) + "\n")
        with reporter.step("drawing the report"):
            for name in STAGES:
                if name in stage.inputs:
                    page.add(*SECTIONS[name](stage.inputs))
                if name == "augment" and found is not None:
                    page.add(*_ablation_blocks(found))
            page.add(*_promotions(stage.inputs))
            write_page(folder, page)
        return {"stages": [name for name in STAGES if name in stage.inputs]}

    return stage.run(work, force=force)


def _ablate(
    settings: Settings, inputs: Mapping[str, Path], reporter: Reporter
) -> dict[str, Any] | None:
    names = ("with", "without", "test")
    given = {n: inputs[f"ablation {n}"] for n in names if f"ablation {n}" in inputs}
    if not given:
        return None
    labels = _counts(inputs["build"])["labels"]
    return ablate(given, labels, settings.assess.seed, reporter)


def _overview(inputs: Mapping[str, Path]) -> Iterator[Block]:
    if "assess/assessment.json" in inputs:
        passed = _json(inputs["assess/assessment.json"])["passed"]
        yield Badge("Every gate is passed" if passed else "Not every gate is passed", passed)
    if "shadow/shadow.json" in inputs:
        verdict = _json(inputs["shadow/shadow.json"])["verdict"]
        good = {"better": True, "not worse": True, "worse": False}.get(verdict)
        yield Badge(f"In the shadow of the champion: {verdict}", good)
    yield Table(("stage", "when", "took"), [_stage_row(name, inputs) for name in STAGES])


def _stage_row(name: str, inputs: Mapping[str, Path]) -> tuple[str, str, str]:
    if name not in inputs:
        return name, "not run yet", "–"
    found = _json(inputs[name])
    return name, found["created_utc"], f"{found['seconds']:.1f} s"


def _plain(name: str) -> Callable[[Mapping[str, Path]], Iterator[Block]]:
    """A section of a stage's counts."""

    def section(inputs: Mapping[str, Path]) -> Iterator[Block]:
        counts = _counts(inputs[name])
        tables = {n: v for n, v in counts.items() if _is_table(v)}
        yield Heading(name.capitalize())
        yield Facts(list(_facts({n: v for n, v in counts.items() if n not in tables})))
        for title, table in tables.items():
            names = list(next(iter(table.values())))
            rows = [
                (row, *(_say(cells.get(n, "–")) for n in names)) for row, cells in table.items()
            ]
            yield Table((title.replace("_", " "), *names), rows)

    return section


def _facts(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in counts.items():
        if value not in ({}, [], None, ""):
            yield name.replace("_", " "), _say(value)


def _say(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_say(each)}" for name, each in list(value.items())[:MOST_LABELS])
    if isinstance(value, list):
        shown = ", ".join(map(_say, value[:MOST_LABELS]))
        return shown if len(value) <= MOST_LABELS else f"{shown}, … ({len(value)})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_table(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(row, Mapping) and row for row in value.values())
    )


def _build(inputs: Mapping[str, Path]) -> Iterator[Block]:
    """The counts, and the card's classes: real roots and lengths."""
    yield from _plain("build")(inputs)
    rows = [row for name in PARTS for row in read_rows(inputs[f"build/{name}"])]
    per_label: dict[str, list[Row]] = {}
    for row in rows:
        per_label.setdefault(row.label or NO_LABEL, []).append(row)
    yield Table(
        ("label", "real roots", "rows", "sources", "words, median", "words, longest"),
        [_class_row(label, mine) for label, mine in sorted(per_label.items())[:MOST_LABELS]],
    )


def _class_row(label: str, rows: Sequence[Row]) -> tuple[str, ...]:
    words = sorted(len(row.text.split()) for row in rows)
    numbers = (len({row.root for row in rows}), len(rows), len({row.source for row in rows}))
    return (label, *map(str, numbers), f"{median(words):g}", str(words[-1]))


def _fit(inputs: Mapping[str, Path]) -> Iterator[Block]:
    yield from _plain("fit")(inputs)
    if "fit/dev.json" in inputs:
        yield Text("On dev, the chosen epoch:")
        yield Facts(list(_facts(_json(inputs["fit/dev.json"]))))
    if "fit/calibration.json" in inputs:
        found = _json(inputs["fit/calibration.json"])
        yield Text("Calibration:")
        yield Facts(list(_facts({k: v for k, v in found.items() if k != "labels"})))
    if "fit/history.jsonl" in inputs:
        yield from _history(_lines(inputs["fit/history.jsonl"]))


def _history(points: list[dict[str, Any]]) -> Iterator[Block]:
    """Curves of what every point of the history has in common with its epoch."""
    from training.plots import draw_curves

    points = points[:MOST_POINTS]
    names = sorted(
        {
            name
            for point in points
            for name, value in point.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    )
    for title, wanted in (("loss", ("loss",)), ("quality", ("accuracy", "f1", "macro_f1"))):
        curves = []
        for name in names:
            if any(name == part or name.endswith(f"_{part}") for part in wanted):
                known = [(p["epoch"], p[name]) for p in points if name in p and "epoch" in p]
                if known:
                    epochs, values = zip(*known, strict=True)
                    curves.append((name.replace("_", " "), list(epochs), list(values)))
        if curves:
            svg = draw_curves(curves[:3], "epoch")
            yield Figure(f"history-{title}", svg, f"While fitting: {title}")


def _assessment(inputs: Mapping[str, Path]) -> Iterator[Block]:
    yield Heading("Assess")
    if "assess/assessment.json" in inputs:
        yield from assessment_blocks(_json(inputs["assess/assessment.json"]))
    if "assess/drift.json" in inputs:
        data = _json(inputs["assess/drift.json"])["data"]
        if data is not None:
            yield Heading("Since the last build")
            yield from data_drift_blocks(data)


def _shadow(inputs: Mapping[str, Path]) -> Iterator[Block]:
    yield Heading("Shadow")
    if "shadow/shadow.json" in inputs:
        yield from shadow_blocks(_json(inputs["shadow/shadow.json"]))


def _golden(inputs: Mapping[str, Path]) -> Iterator[Block]:
    yield Heading("Golden set")
    counts = _counts(inputs["golden"])
    yield Text(f"Version {counts['version']}, {counts['rows']} rows.")
    yield Table(("label", "rows"), [(k, str(n)) for k, n in counts["labels"].items()])


def _ablation_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("With and without the made rows")
    yield Text(
        "A stand-in for the model that is fitted: logistic regression on the starter's vectors, "
        f"trained with and without what augment made, tested on {found['n']} rows of "
        f"{found['test']}. It tells the direction, not the size."
    )
    yield Table(
        ("trained", "on rows", "accuracy", "macro-F1"),
        [
            (name, str(found[name]["rows"]), *(percent(found[name][k]) for k in KEYS))
            for name in ("without", "with")
        ],
    )
    gain = found["gain"]
    yield Text(
        f"Made rows change accuracy by {gain['value']:+.1%} ({gain['low']:+.1%} to "
        f"{gain['high']:+.1%}, McNemar mid-{say_p(found['mid_p'])})."
    )


def _promotions(inputs: Mapping[str, Path]) -> Iterator[Block]:
    yield Heading("Promotions")
    if PROMOTIONS not in inputs:
        yield Text("None yet.")
        return
    rows = _lines(inputs[PROMOTIONS])
    names = list(dict.fromkeys(name for row in rows for name in row))[:8]
    yield Table(names, [tuple(_say(row.get(name, "")) for name in names) for row in rows[-20:]])


KEYS = ("accuracy", "macro_f1")
SECTIONS: Mapping[str, Callable[[Mapping[str, Path]], Iterator[Block]]] = {
    "collect": _plain("collect"),
    "golden": _golden,
    "build": _build,
    "augment": _plain("augment"),
    "fit": _fit,
    "export": _plain("export"),
    "assess": _assessment,
    "shadow": _shadow,
}


def _counts(manifest: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_manifest(manifest.parent)["counts"]
    return found


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise InvalidRows(
                f"{path}:{number}: expected a JSON object, found something else; mend the line"
            ) from None
    return found
