"""`intentd-train fit` on tiny encoders: what it writes, what it refuses, and that it goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.models import TinyModel
from tests.training.samples import (
    LABELS,
    QUIET,
    collected,
    frozen,
    lines_of,
    real_rows,
    row,
    run_train,
    settings_for,
)
from training.augment.fill import augment
from training.build import build
from training.fit.stage import fit
from training.rows import Row
from training.stage import read_manifest

OUTSIDE = ("hi there", "good morning", "ok then", "never mind", "what a day", "see you")
DEADLINE_S = 100.0
MAIN = [sys.executable, "-m", "training.cli"]
LONG = ("--set", "fit.epochs=20", "--set", "fit.patience=99")
FULL = ("--head", "full", "--set", "fit.learning_rate=0.001")


@pytest.fixture
def source(tiny: Callable[[str], TinyModel]) -> Path:
    """A tiny DistilBERT."""
    return tiny("spam").source


@pytest.fixture
def built(work_dir: Path) -> Path:
    """A working directory with a data set of 16 rows a label, and six of none."""
    rows = [*real_rows(16), *(row(f"out-{n}", text, None) for n, text in enumerate(OUTSIDE))]
    make_set(work_dir, rows)
    return work_dir


def make_set(work_dir: Path, rows: Iterable[Row]) -> None:
    """As `collect` and `build` leave it."""
    collected(work_dir, rows)
    build(settings_for(work_dir, "build.suspects=false"), QUIET)


def read(path: Path) -> Any:
    """A file of JSON."""
    return json.loads(path.read_text("utf-8"))


def test_a_head_for_few_rows_is_fitted_and_says_so(built: Path, source: Path) -> None:
    """`auto` takes it, with the reason; the folder holds what the next stages read."""
    done = run_train(built, "fit", "--encoder", str(source), "--set", "fit.contrast_epochs=2")
    folder = built / "fit"
    calibration = read(folder / "calibration.json")

    assert done.returncode == 0
    assert (
        "setfit (12 rows of 12 sources in the smallest class; a full fit takes 500" in done.stderr
    )
    assert {path.name for path in folder.iterdir()} == {
        *("model", "calibration.json", "dev.json", "history.jsonl", "manifest.json")
    }
    assert calibration["labels"] == list(LABELS)
    assert calibration["n"] == 8
    assert calibration["n_out_of_scope"] == 1
    assert calibration["fitted_on"] == "build/calibration.jsonl"
    assert read(folder / "model" / "config.json")["id2label"] == dict(
        zip("0123", LABELS, strict=True)
    )
    assert read(folder / "dev.json")["n"] == 8


def test_an_unchanged_fit_is_skipped_and_a_changed_one_is_not(built: Path, source: Path) -> None:
    """Settings, rows and encoder count."""
    words = ("fit", "--encoder", str(source), "--head", "frozen")

    assert "written in" in run_train(built, *words).stdout
    assert "unchanged" in run_train(built, *words).stdout
    assert "to be run" in run_train(built, *words, "--set", "fit.seed=1", "--dry-run").stdout
    assert "written in" in run_train(built, *words, "--set", "fit.window=32").stdout
    assert read_manifest(built / "fit")["counts"]["window"] == 32
    assert read(built / "fit" / "model" / "tokenizer_config.json")["model_max_length"] == 32


def test_what_was_made_up_is_trained_on_too(work_dir: Path, source: Path) -> None:
    """augment/ where there is one; one of an older build is refused."""
    make_set(work_dir, real_rows(8))
    settings = settings_for(
        work_dir, "build.suspects=false", "augment.target=20", f'fit.encoder="{source}"',
        "fit.head=frozen",
    )  # fmt: skip
    augment(settings, QUIET)
    outcome = fit(settings, QUIET)
    assert outcome is not None
    assert outcome.manifest["counts"]["rows"] == 80

    make_set(work_dir, real_rows(9))
    done = run_train(work_dir, "fit", "--encoder", str(source))
    assert done.returncode == 2
    assert "rows made of the last build" in done.stderr


def test_the_golden_set_is_never_read(built: Path, source: Path) -> None:
    """It is no input, and there is no golden row in what is."""
    frozen(built, [row(f"g{n}", f"{n} golden requests", LABELS[n % 4]) for n in range(8)])
    run_train(built, "fit", "--encoder", str(source), "--head", "frozen")

    assert set(read_manifest(built / "fit")["inputs"]) == {"train", "dev", "calibration", "encoder"}


def test_a_full_fit_chooses_an_epoch_by_dev(built: Path, source: Path) -> None:
    """The history has every evaluation; the manifest says which epoch it is, and on what it ran."""
    done = run_train(
        built,
        "fit",
        "--encoder",
        str(source),
        *FULL,
        "--set",
        "fit.epochs=3",
        "--set",
        "fit.patience=9",
    )
    history = lines_of(built / "fit" / "history.jsonl")
    counts = read_manifest(built / "fit")["counts"]
    best = max(history, key=lambda entry: (entry["macro_f1"], -entry["epoch"]))

    assert done.returncode == 0
    assert [entry["epoch"] for entry in history] == [1.0, 2.0, 3.0]
    assert set(history[0]) == {"epoch", "step", "loss", "accuracy", "macro_f1"}
    assert counts["best_epoch"] == best["epoch"]
    assert counts["dev"]["macro_f1"] == pytest.approx(best["macro_f1"], abs=1e-3)
    assert (counts["precision"], counts["processes"]) == ("fp32", 1)


def test_it_stops_when_dev_has_nothing_to_gain(built: Path, source: Path) -> None:
    """A warm start is right on dev at once: two more epochs without a gain, of twenty."""
    run_train(
        built, "fit", "--encoder", str(source), "--head", "full", "--set", "fit.epochs=20",
        "--set", "fit.min_gain=0.5",
    )  # fmt: skip

    assert len(lines_of(built / "fit" / "history.jsonl")) == 3


def test_a_killed_fit_goes_on(built: Path, source: Path) -> None:
    """Killed at once after its first checkpoint, the same command goes on from there.

    What it then writes is as good as without; another setting starts anew. No half is left.
    """
    words = ("fit", "--encoder", str(source), *FULL, *LONG)
    command = [*MAIN, *words, "--work-dir", str(built)]
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(checkpoints(built)), started)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert not (built / "fit").exists()
    half = built / ".fit.partial" / "checkpoints" / "checkpoint-9999"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_')

    done = run_train(built, *words)

    assert done.returncode == 0, done.stderr
    assert read_manifest(built / "fit")["counts"]["resumed_at"] > 0
    assert not (built / ".fit.partial").exists()
    assert len(lines_of(built / "fit" / "history.jsonl")) == 20


def checkpoints(work_dir: Path) -> list[Path]:
    """Whole ones."""
    return list((work_dir / ".fit.partial" / "checkpoints").glob("*/trainer_state.json"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it holds; the process must not end before."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_fit_beside_the_first_is_one_line_and_takes_nothing(
    built: Path, source: Path
) -> None:
    """The first one has no checkpoint yet: what it has begun is not swept away as left over."""
    begun = built / ".fit.partial" / "begun"
    begun.parent.mkdir()
    begun.touch()
    first = os.open(built, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    try:
        done = run_train(built, "fit", "--encoder", str(source), "--set", "fit.head=frozen")
    finally:
        os.close(first)

    assert (done.returncode, done.stdout) == (3, "")
    assert "found another intentd-train at work" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert begun.exists()


def test_checkpoints_of_other_settings_are_not_gone_on_from(built: Path, source: Path) -> None:
    """They would be another model."""
    partial = built / ".fit.partial"
    (partial / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (partial / "checkpoints" / "checkpoint-3" / "trainer_state.json").write_text("{}")
    (partial / "key.json").write_text("{}")
    done = run_train(built, "fit", "--encoder", str(source), *FULL, "--set", "fit.epochs=1")

    assert done.returncode == 0, done.stderr
    assert read_manifest(built / "fit")["counts"]["resumed_at"] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--encoder", "./absent"), 2, "absent: expected a model directory, found nothing"),
        (("--set", "fit.heads=full"), 2, "did you mean fit.head?"),
        (("--set", "fit.window=4"), 2, "fit.window"),
        (("--encoder", "{empty}"), 2, "expected config.json, found none"),
        (("--encoder", "{notes}"), 2, "found a file"),
    ],
)
def test_a_bad_call_is_one_line(
    built: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """And the folder is not there."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").write_text("hello")
    places = {"empty": tmp_path / "empty", "notes": tmp_path / "notes"}
    done = run_train(built, "fit", *(word.format(**places) for word in words))

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in built.iterdir()) == ["build", "collect"]


def test_a_hub_that_cannot_be_reached_is_one_line(built: Path, tmp_path: Path) -> None:
    """Exit code 3: connected, the same command goes through."""
    env = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [*MAIN, "fit", "--work-dir", str(built), "--encoder", "someone/some-encoder"],
        env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip

    assert done.returncode == 3
    assert "expected the hub to send the model" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_labels_of_another_make_are_refused(built: Path, source: Path) -> None:
    """A train set that was changed by hand is none; one with strange labels is named."""
    train = built / "build" / "train.jsonl"
    train.write_text(train.read_text().replace('"EXTRACT"', '"DANCE"'))
    assert "run it again with --force" in run_train(built, "fit").stderr

    manifest = read(built / "build" / "manifest.json")
    manifest["outputs"]["train.jsonl"] = sha256(train)
    (built / "build" / "manifest.json").write_text(json.dumps(manifest))
    done = run_train(built, "fit", "--encoder", str(source))
    assert done.returncode == 1
    assert "found 'DANCE' (12 rows)" in done.stderr


def sha256(path: Path) -> str:
    """Of a file."""
    from training.stage import sha256_of

    return sha256_of(path)


def test_a_full_fit_needs_rows_to_choose_by(work_dir: Path, source: Path) -> None:
    """Four rows a label leave none for dev; a head does without."""
    make_set(work_dir, real_rows(4))
    refused = run_train(work_dir, "fit", "--encoder", str(source), "--head", "full")
    head = run_train(work_dir, "fit", "--encoder", str(source), "--head", "frozen")

    assert refused.returncode == 1
    assert "--head frozen" in refused.stderr.splitlines()[-1]
    assert head.returncode == 0
    assert read(work_dir / "fit" / "calibration.json")["threshold"] == 0.0


def test_a_full_disk_is_one_line_and_can_be_gone_on_from(
    built: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room is said before the first step; a write that fails is said as well."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    words = ("fit", "--encoder", str(source), *FULL, "--set", "fit.epochs=1")
    before = run_train(built, *words)
    assert before.returncode == 3
    assert "expected room for checkpoints" in before.stderr.splitlines()[-1]
    monkeypatch.undo()

    done = limited(built, source)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "goes on from the last whole checkpoint" in done.stderr.splitlines()[-1]
    assert not (built / "fit").exists()

    assert run_train(built, *words).returncode == 0


def test_a_disk_that_fills_while_the_model_is_written_is_one_line(
    built: Path, source: Path
) -> None:
    """A head without checkpoints: nothing half-written is left, and there is no traceback."""
    done = limited(built, source, "--head", "frozen")

    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "expected room for the model" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in built.iterdir()) == ["build", "collect"]


def limited(work_dir: Path, source: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With files of at most 3 MB, where weights have 4: the writer fails as on a full disk."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
        "sys.argv[0] = 'intentd-train'\nfrom training.cli import main\nmain()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "fit", "--work-dir", str(work_dir), "--encoder", str(source),
         *(words or (*FULL, "--set", "fit.epochs=1"))],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
