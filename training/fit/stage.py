"""The stage `fit`: a data set becomes model, calibration and history.

It trains on augment/, or on build/ where nothing was made up; chooses on dev; never sees golden.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from export.report import Reporter
from training.errors import StageBusy, StageMissing
from training.fit.encoder import Encoder, local_path, open_encoder
from training.fit.examples import read_examples
from training.fit.learn import FULL, Fitted, Parts, Run, choose_head, learn
from training.fit.names import CALIBRATION, CALIBRATION_ROWS, DEV, HISTORY, MODEL
from training.fit.processes import read_place
from training.fit.room import needing_room
from training.settings import Settings
from training.stage import Outcome, Stage, read_manifest, require

__all__ = ["fit", "fit_stage", "read_labels"]

TRAIN = "train.jsonl"
CHECKPOINTS = "checkpoints"
KEY = "key.json"
PATIENCE_S, POLL_S = 120.0, 0.05


def fit_stage(settings: Settings) -> Stage:
    """The stage, with what it reads.

    Raises:
        StageMissing: Nothing was built.
    """
    work_dir = Path(settings.work_dir)
    made = (work_dir / "augment").exists()
    inputs = {
        "train": require(work_dir / ("augment" if made else "build"), TRAIN),
        "dev": require(work_dir / "build", "dev.jsonl"),
        "calibration": require(work_dir / "build", CALIBRATION_ROWS),
    }
    if encoder := local_path(settings.fit.encoder):
        inputs["encoder"] = encoder
    return Stage(
        name="fit",
        folder=work_dir / "fit",
        inputs=inputs,
        config=settings.section("fit") | {"labels": list(read_labels(work_dir))},
        code=("fit", "metrics.py", "regression.py", "rows.py"),
        versions=("accelerate", "scikit-learn", "torch", "transformers"),
        resumable=True,
    )


def read_labels(work_dir: Path) -> tuple[str, ...]:
    """The label set, in the order of the logits.

    Raises:
        StageMissing: Nothing was built.
    """
    return tuple(read_manifest(work_dir / "build")["counts"]["labels"])


def fit(settings: Settings, reporter: Reporter, *, force: bool = False) -> Outcome | None:
    """Train into fit/.

    Under a launcher every process calls this; the main one alone writes. All of them see the same
    files before the first step, so they come to the same decisions without asking each other; and
    what an interrupted fit left is looked at by the others when the main one has gone over it.

    Returns:
        None on the processes that only reckon.

    Raises:
        TrainingError: The data cannot be used, or the disk is full.
        ExportError: The encoder cannot be used, or the hub cannot be reached.
    """
    run = Run(settings.fit, read_place(), _partial(settings) / CHECKPOINTS, reporter)
    stage = fit_stage(settings)
    _check_order(settings)
    if not run.place.is_main:
        if force or not stage.is_current():
            _reckon(settings, stage.inputs, stage.needs(), run)
        return None

    def work(folder: Path) -> dict[str, Any]:
        _keep_or_clear(folder, stage.needs())
        parts = _read_parts(settings, stage.inputs)
        with open_encoder(settings.fit.encoder, settings.fit.revision) as encoder:
            fitted = learn(encoder, parts, run)
        with needing_room(folder, "the model"):
            _write(folder, fitted, settings)
        return _counts(fitted, encoder)

    try:
        return stage.run(work, force=force)
    except StageBusy:
        raise  # what lies there is another's
    except BaseException:
        _forget_beginnings(_partial(settings))
        raise


def _forget_beginnings(folder: Path) -> None:
    """What has no checkpoint yet is nothing to go on from."""
    if not any((folder / CHECKPOINTS).glob("checkpoint-*")):
        shutil.rmtree(folder, ignore_errors=True)


def _partial(settings: Settings) -> Path:
    """Where the stage works before it is done; what an interruption leaves lies there."""
    return Path(settings.work_dir) / ".fit.partial"


def _reckon(
    settings: Settings, inputs: Mapping[str, Path], needs: Mapping[str, Any], run: Run
) -> None:
    """Train beside the main process. A head for few rows is the main one's alone."""
    parts = _read_parts(settings, inputs)
    if choose_head(parts.train, parts.labels, settings.fit).head == FULL:
        _await_key(_partial(settings), needs)
        with open_encoder(settings.fit.encoder, settings.fit.revision) as encoder:
            learn(encoder, parts, run)


def _check_order(settings: Settings) -> None:
    """Refuse an augmented set of an older build."""
    work_dir = Path(settings.work_dir)
    if not (work_dir / "augment").exists():
        return
    seen = read_manifest(work_dir / "augment")["inputs"].get("train")
    if seen != read_manifest(work_dir / "build")["outputs"].get(TRAIN):
        raise StageMissing(
            f"{work_dir / 'augment'}: expected rows made of the last build, found those of "
            "another; run `intentd-train augment` again, or remove the folder to train without it"
        )


def _read_parts(settings: Settings, inputs: Mapping[str, Path]) -> Parts:
    labels = read_labels(Path(settings.work_dir))
    return Parts(
        labels,
        train=read_examples(inputs["train"], labels),
        dev=read_examples(inputs["dev"], labels),
        calibration=read_examples(inputs["calibration"], labels),
    )


def _keep_or_clear(folder: Path, needs: Mapping[str, Any]) -> None:
    """What an interrupted fit left is gone on from only if it is of these inputs and settings.

    The old checkpoints go before the new key comes: whoever looks in between finds nothing.
    """
    if not _is_of(folder, needs):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / KEY).write_text(_key(needs), "utf-8")


def _await_key(folder: Path, needs: Mapping[str, Any]) -> None:
    """Until the main process has cleared away what is of another fit.

    Raises:
        StageMissing: It does not; then this process does not see its folder, or it has ended.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not _is_of(folder, needs):
        if time.monotonic() > deadline:
            raise StageMissing(
                f"{folder}: expected the main process to work there, found nothing of it after "
                f"{PATIENCE_S:.0f} s; put --work-dir on a disk that all hosts share"
            )
        time.sleep(POLL_S)


def _is_of(folder: Path, needs: Mapping[str, Any]) -> bool:
    try:
        return (folder / KEY).read_text("utf-8") == _key(needs)
    except OSError:
        return False


def _key(needs: Mapping[str, Any]) -> str:
    return json.dumps(needs, sort_keys=True)


def _write(folder: Path, fitted: Fitted, settings: Settings) -> None:
    """All that a reader is to find, and nothing else."""
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    fitted.network.save(folder / MODEL)
    labels = read_labels(Path(settings.work_dir))
    found = fitted.calibration.as_dict(labels, f"build/{CALIBRATION_ROWS}")
    _write_json(folder / CALIBRATION, found)
    _write_json(folder / DEV, fitted.dev)
    _write_lines(folder / HISTORY, fitted.history)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / KEY).unlink()


def _counts(fitted: Fitted, encoder: Encoder) -> dict[str, Any]:
    found = fitted.calibration
    facts = fitted.facts | {"licence": encoder.licence}
    return {
        "encoder": encoder.name,
        "revision": encoder.revision,
        **{name: value for name, value in facts.items() if value is not None},
        "dev": {name: fitted.dev[name] for name in ("n", "accuracy", "macro_f1")},
        "temperature": found.temperature,
        "threshold": found.threshold,
        "calibrated_on": found.n,
        "out_of_scope_rows": found.n_out_of_scope,
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _write_lines(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
