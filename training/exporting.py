"""The stage `export`: what was fitted becomes a quantised bundle, by the export's own build.

It hands over temperature, thresholds and the data set's hash, and asks texts of the calibration
part beside the built-in ones. None of those texts is packed, and none is golden.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from edge.bundle import Bundle
from edge.errors import InvalidRequest
from edge.query import join
from edge.text import check_text
from export.checkpoint import open_checkpoint
from export.examine import Phase, examine
from export.gate import Gate
from export.report import Reporter
from export.settings import BuildOptions, Limits
from training.errors import StageMissing
from training.fit.names import CALIBRATION, CALIBRATION_ROWS, MODEL
from training.rows import Row, new_file, read_rows
from training.settings import Settings
from training.stage import Outcome, Stage, read_manifest, require

__all__ = ["BUNDLE", "export", "export_stage"]

BUNDLE = "bundle"
PROBES = "probes.jsonl"


def export_stage(settings: Settings) -> Stage:
    """The stage, with what it reads.

    Raises:
        StageMissing: Nothing was fitted.
    """
    work_dir = Path(settings.work_dir)
    inputs = {
        "model": require(work_dir / "fit", f"{MODEL}/config.json").parent,
        "calibration": require(work_dir / "fit", CALIBRATION),
        "probes": require(work_dir / "build", CALIBRATION_ROWS),
    }
    return Stage(
        name="export",
        folder=work_dir / "export",
        inputs=inputs,
        config=settings.section("export"),
        code=("exporting.py",),
        versions=("onnxruntime", "optimum-onnx", "torch", "transformers"),
    )


def export(settings: Settings, reporter: Reporter, *, force: bool = False) -> Outcome:
    """Make export/bundle.

    Raises:
        ExportError: The model cannot be converted, or no recipe keeps its answers.
        TrainingError: An input is missing or damaged.
    """
    stage = export_stage(settings)
    fitted = read_manifest(Path(settings.work_dir) / "fit")

    def work(folder: Path) -> dict[str, Any]:
        probes = folder / PROBES
        try:
            asked = _write_probes(probes, stage.inputs["probes"], settings.export.probes)
            bundle = _build(settings, stage, fitted, folder / BUNDLE, probes, reporter)
        finally:
            probes.unlink(missing_ok=True)
        return _counts(bundle, asked)

    return stage.run(work, force=force)


def _build(
    settings: Settings,
    stage: Stage,
    fitted: dict[str, Any],
    out: Path,
    probes: Path,
    reporter: Reporter,
) -> Bundle:
    from export.build import build_bundle

    found = _read_calibration(stage.inputs["calibration"])
    checkpoint = open_checkpoint(stage.inputs["model"], fitted["counts"]["encoder"])
    traits = dataclasses.replace(
        examine(checkpoint, Phase.B), temperature=float(found["temperature"])
    )
    options = settings.export
    reporter.facts({"source": checkpoint.name, "revision": checkpoint.revision} | traits.facts())
    return build_bundle(
        checkpoint,
        traits,
        BuildOptions(
            out=out,
            recipe=options.recipe,
            name=options.name,
            version=options.version,
            licence=options.licence or fitted["counts"].get("licence"),
            probes=probes,
            private_probes=True,
            threshold=float(found["threshold"]),
            thresholds={name: float(value) for name, value in found["thresholds"].items()},
            dataset_sha256=fitted["inputs"]["train"],
            gate=Gate(options.min_agreement, options.max_delta),
            limits=Limits(minutes=options.minutes),
        ),
        reporter,
    )


def _read_calibration(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    missing = {"temperature", "threshold", "thresholds"} - found.keys()
    if missing:
        raise StageMissing(
            f"{path}: expected {', '.join(sorted(missing))}, found none; run `intentd-train fit` "
            "again with --force"
        )
    return dict(found)


def _write_probes(path: Path, rows: Path, most: int) -> int:
    """Some of the calibration part, drawn by a hash of their ids; returns how many.

    What the daemon would refuse to read is no question to ask.
    """
    drawn = sorted(read_rows(rows), key=lambda row: hashlib.sha256(row.id.encode()).digest())
    texts = [text for row in drawn if (text := _usable(row)) is not None][:most]
    with new_file(path) as stream:
        stream.writelines(json.dumps({"text": text}).encode() + b"\n" for text in texts)
    return len(texts)


def _usable(row: Row) -> str | None:
    text = join(row.text, row.content)
    try:
        check_text(text)
    except InvalidRequest:
        return None
    return text


def _counts(bundle: Bundle, probes: int) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "digest": bundle.digest,
        "recipe": manifest.quantization.recipe,
        "megabytes": round(sum(file.size for file in manifest.files.values()) / 1e6, 1),
        "window": manifest.max_tokens,
        "temperature": manifest.temperature,
        "threshold": manifest.threshold,
        "thresholds": manifest.thresholds,
        "own_probes": probes,
        "parity": manifest.quantization.parity,
    }
