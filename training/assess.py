"""The stage `assess`: the quantised bundle answers the golden set, and the gate says yes or no.

It asks the bundle through the edge's predictor, as a box would. A no is written down like a yes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export.report import Reporter
from training.build import PARTS
from training.drift import compare_profiles, profile
from training.gate import GateDecision, Measured, Thresholds, decide
from training.judging import Bench, Judged, candidate_bundle, golden_file, judge, open_bench
from training.metrics import (
    accuracy,
    auroc,
    bootstrap,
    class_scores,
    confusion,
    ece,
    macro_f1,
    reliability,
)
from training.predict import Answer, Model, as_record, ask_rows, open_model
from training.report_assess import GATES, proof_line, write_assessment
from training.rows import Row, new_file, read_rows
from training.settings import Settings
from training.stage import MANIFEST, Outcome, Stage, read_manifest, require, sha256_of

__all__ = ["ASSESSMENT", "assess", "assess_stage", "say_gates"]

ASSESSMENT = "assessment.json"
PREDICTIONS = "predictions.jsonl"
DRIFT = "drift.json"
CODE = (
    *("assess.py", "drift.py", "embed.py", "fold.py", "gate.py", "judging.py", "metrics.py"),
    *("plots.py", "predict.py", "proof.py", "report_assess.py", "report_page.py", "rows.py"),
)


def assess_stage(settings: Settings, bundle: Path | None = None) -> Stage:
    """The stage, with what it reads.

    Raises:
        StageMissing: There is no bundle, or no golden set, or one was changed by hand.
    """
    work_dir = Path(settings.work_dir)
    inputs = {"bundle": candidate_bundle(settings, bundle), "golden": golden_file(settings)}
    if (work_dir / "build" / MANIFEST).exists():
        inputs |= {name.removesuffix(".jsonl"): require(work_dir / "build", name) for name in PARTS}
    config = settings.section("assess") | {
        "accuracy": settings.golden.gate,
        "intents": settings.build.intents,
        "mixed_label_sets": settings.build.mixed_label_sets,
    }
    return Stage("assess", work_dir / "assess", inputs, config, CODE, ("onnxruntime", "matplotlib"))


def assess(
    settings: Settings, reporter: Reporter, bundle: Path | None = None, *, force: bool = False
) -> Outcome:
    """Judge a bundle in assess/. Whether it passed is in the counts; a no is no error here.

    Args:
        settings: Of the run.
        reporter: Shows how far it is.
        bundle: Which one; None means the exported one.
        force: Do it again, even if nothing has changed.

    Raises:
        DataRefused: The golden set cannot judge this bundle.
        TrainingError: An input is missing or damaged.
        EdgeError: The bundle is damaged, or does not run here.
    """
    stage = assess_stage(settings, bundle)

    def work(folder: Path) -> dict[str, Any]:
        bench = open_bench(settings, stage.inputs["bundle"])
        model = open_model(stage.inputs["bundle"], bench.labels, bench.label_set)
        answers = list(
            ask_rows(model, bench.rows, lambda rows: reporter.track("golden rows", rows))
        )
        before = _read_before(stage.folder)
        found = _assess(settings, bench, model, answers, before)
        drift = _drift(stage.inputs, found, bench, answers, before, reporter)
        _write_json(folder / ASSESSMENT, found)
        _write_json(folder / DRIFT, drift)
        _write_predictions(folder / PREDICTIONS, bench.rows, answers)
        with reporter.step("drawing the report"):
            write_assessment(folder, found, drift, bench.rows, answers)
        return _counts(found)

    return stage.run(work, force=force)


def say_gates(counts: Mapping[str, Any]) -> Iterator[str]:
    """A line for every gate that was not passed, or not by all; and what cannot be told yet."""
    for gate in counts["gates"]:
        if not gate["passed"]:
            name, sign = GATES[gate["name"]]
            value = "no number" if gate["found"] is None else f"{gate['found']:.3f}"
            detail = f" ({gate['detail']})" if gate["detail"] else ""
            yield f"expected {name} {sign} {gate['expected']:g}, found {value}{detail}"
        elif gate["detail"]:
            yield gate["detail"]
    yield proof_line(counts)


def _assess(
    settings: Settings,
    bench: Bench,
    model: Model,
    answers: Sequence[Answer],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    judged = judge(bench.rows, answers, bench.labels)
    options, classes = settings.assess, len(bench.labels)
    table = confusion(judged.truth, judged.said, classes)
    per_class = list(zip(bench.labels, class_scores(table), strict=True))
    measured = Measured(
        accuracy=accuracy(judged.right),
        macro_f1=bootstrap(
            lambda rows: macro_f1(judged.truth[rows], judged.said[rows], classes),
            len(judged.truth),
            options.seed,
        ),
        classes=per_class,
        ece=ece(judged.confidence, judged.right),
        n=len(judged.truth),
    )
    thresholds = Thresholds(settings.golden.gate, options.macro_f1, options.class_f1, options.ece)
    decision = decide(measured, thresholds)
    golden = sha256_of(bench.path)
    manifest = model.bundle.manifest
    return {
        "bundle": model.bundle.digest,
        "name": manifest.name,
        "version": manifest.version,
        "recipe": manifest.quantization.recipe,
        "golden": golden,
        "golden_file": bench.path.name,
        "golden_uses": _uses(before, golden, model.bundle.digest),
        "n": measured.n,
        "n_oos": len(judged.outside),
        "labels": list(bench.labels),
        "accuracy": measured.accuracy.as_dict(),
        "macro_f1": measured.macro_f1.as_dict(),
        "per_class": [_class_record(label, asdict(score)) for label, score in per_class],
        "ece": round(measured.ece, 6),
        **_outside(judged, options.seed),
        "answered": _answered(judged),
        "confusions": _confusions(table, bench.labels),
        "reliability": [asdict(part) for part in reliability(judged.confidence, judged.right)],
        "truncated": sum(answer.truncated for answer in answers),
        "latency_ms": _latency(answers),
        **_verdict(decision),
    }


def _class_record(label: str, score: dict[str, float]) -> dict[str, Any]:
    return {"label": label} | {name: round(value, 6) for name, value in score.items()}


def _outside(judged: Judged, seed: int) -> dict[str, Any]:
    """How well rows of no label are told from the others."""
    area = auroc(judged.confidence, judged.outside)
    return {
        "oos_auroc": None if area is None else round(area, 6),
        "oos_rejected": accuracy(judged.rejected).as_dict() if len(judged.rejected) else None,
        "served": bootstrap(
            lambda rows: float(judged.served[rows].mean()), len(judged.served), seed
        ).as_dict(),
    }


def _answered(judged: Judged) -> dict[str, float]:
    """Of the rows with a label: how many reach the threshold, and how many of those are right."""
    share = float(judged.answered.mean()) if len(judged.answered) else 0.0
    right = judged.right[judged.answered]
    return {
        "share": round(share, 6),
        "accuracy": round(float(right.mean()) if len(right) else 0.0, 6),
    }


def _confusions(table: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Every cell that is not empty, the fullest first."""
    cells = [
        {"asked": labels[i], "answered": labels[j], "n": int(table[i, j])}
        for i, j in np.argwhere(table > 0)
    ]
    return sorted(cells, key=lambda cell: (-cell["n"], cell["asked"], cell["answered"]))


def _latency(answers: Sequence[Answer]) -> dict[str, float]:
    times = [answer.ms for answer in answers] or [0.0]
    return {f"p{q}": round(float(np.percentile(times, q)), 3) for q in (50, 95)}


def _verdict(decision: GateDecision) -> dict[str, Any]:
    return {
        "gates": [check.as_dict() for check in decision.checks],
        "passed": decision.passed,
        "proven": decision.proven,
        "more_rows": decision.more_rows,
    }


def _counts(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("bundle", "golden", "n", "n_oos", "accuracy", "macro_f1", "ece", "oos_auroc")
    return {name: found[name] for name in (*names, "gates", "passed", "proven", "more_rows")}


def _uses(before: Mapping[str, Any], golden: str, bundle: str) -> int:
    """How many bundles this golden set has judged here: what is chosen by it is fitted to it."""
    last = before.get(ASSESSMENT, {})
    if last.get("golden") != golden:
        return 1
    return int(last["golden_uses"]) + int(last["bundle"] != bundle)


def _read_before(folder: Path) -> dict[str, Any]:
    """What the last assessment wrote; empty where it cannot be read: it is only compared with."""
    try:
        files = read_manifest(folder)["outputs"]
        found = {
            name: json.loads((folder / name).read_text("utf-8")) for name in (ASSESSMENT, DRIFT)
        }
        lines = (folder / PREDICTIONS).read_text("utf-8").splitlines()
        found[PREDICTIONS] = {row["id"]: row for row in map(json.loads, lines)}
    except Exception:  # noqa: BLE001 - whatever it is, it is no reason not to judge
        return {}
    return found if files else {}


def _drift(
    inputs: Mapping[str, Path],
    found: Mapping[str, Any],
    bench: Bench,
    answers: Sequence[Answer],
    before: Mapping[str, Any],
    reporter: Reporter,
) -> dict[str, Any]:
    """Against the last other build, and against the last other bundle's answers."""
    last = before.get(DRIFT, {})
    drift = {"now": None, "before": last.get("now"), "data": None}
    drift["answers"] = _answers_drift(found, bench.rows, answers, before) or last.get("answers")
    names = [name.removesuffix(".jsonl") for name in PARTS]
    if not set(names) <= inputs.keys():
        return drift
    build = "-".join(sha256_of(inputs[name])[:12] for name in names)
    if last.get("now") and last["now"]["build"] == build:
        return drift | {name: last.get(name) for name in ("now", "before", "data")}
    with reporter.step("comparing with the last build"):
        drift["now"] = profile([row for name in names for row in read_rows(inputs[name])], build)
    if drift["before"]:
        drift["data"] = compare_profiles(drift["before"], drift["now"])
    return drift


def _answers_drift(
    found: Mapping[str, Any],
    rows: Sequence[Row],
    answers: Sequence[Answer],
    before: Mapping[str, Any],
) -> dict[str, Any] | None:
    last = before.get(ASSESSMENT)
    if last is None or last["bundle"] == found["bundle"]:
        return None
    said = before[PREDICTIONS]
    flips: Counter[str] = Counter()
    for row, answer in zip(rows, answers, strict=True):
        if row.label is not None and row.id in said:
            was, now = said[row.id]["raw_label"] == row.label, answer.raw_label == row.label
            flips["mended" if now and not was else "broken" if was and not now else "same"] += 1
    return {
        "bundle": last["bundle"],
        "same_golden": last["golden"] == found["golden"],
        "accuracy": [last["accuracy"]["value"], found["accuracy"]["value"]],
        "macro_f1": [last["macro_f1"]["value"], found["macro_f1"]["value"]],
        "ece": [last["ece"], found["ece"]],
        "mended": flips["mended"],
        "broken": flips["broken"],
        "compared": flips.total(),
    }


def _write_predictions(path: Path, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
    with new_file(path) as stream:
        for row, answer in zip(rows, answers, strict=True):
            record = {"id": row.id, "label": row.label} | as_record(answer)
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def _write_json(path: Path, value: Any) -> None:
    with new_file(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")
