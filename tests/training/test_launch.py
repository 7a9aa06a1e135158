"""The same command under a launcher, on two processes: as good a model, written by one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models import TinyModel
from tests.training.samples import QUIET, collected, real_rows, settings_for
from training.build import build
from training.errors import InvalidConfig
from training.fit.processes import Place, read_place

DEADLINE_S = 200.0
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no")
PLAIN = ("--dynamo_backend", "no", "--main_process_port", "0")


def run_fit(work_dir: Path, source: Path, launcher: list[str]) -> dict[str, Any]:
    """The command, cold: what it wrote about itself."""
    words = ("fit", "--work-dir", str(work_dir), "--encoder", str(source), "--head", "full")
    options = ("fit.epochs=8", "fit.patience=99", "fit.learning_rate=0.001")
    settings = [word for option in options for word in ("--set", option)]
    done = subprocess.run(
        [*launcher, "-m", "training.cli", *words, *settings, "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(420)  # three cold starts of torch
def test_two_processes_train_as_well_as_one(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """On the CPU, by gloo: as many steps, the same quality to two rows; one prints."""
    source = tiny("spam").source
    found = {}
    for name, launcher in (("one", [sys.executable]), ("two", [*ACCELERATE, *TWO, *PLAIN])):
        work_dir = tmp_path / name
        work_dir.mkdir()
        collected(work_dir, real_rows(16))
        build(settings_for(work_dir, "build.suspects=false", "build.dev=0.4"), QUIET)
        found[name] = run_fit(work_dir, source, launcher)
    one, two = found["one"]["counts"], found["two"]["counts"]
    rows = one["dev"]["n"]

    assert (one["processes"], two["processes"]) == (1, 2)
    assert steps_of(tmp_path / "one") == steps_of(tmp_path / "two")
    assert abs(two["dev"]["accuracy"] - one["dev"]["accuracy"]) <= 2 / rows
    assert two["dev"]["accuracy"] > 0.6
    assert found["one"]["outputs"].keys() == found["two"]["outputs"].keys()
    assert not (tmp_path / "two" / ".fit.partial").exists()


def steps_of(work_dir: Path) -> list[int]:
    """After which step each evaluation was."""
    lines = (work_dir / "fit" / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_process_knows_its_place() -> None:
    """From the launcher's variables; without one, it is alone and writes."""
    assert read_place({}) == Place(0, 1)
    assert read_place({}).is_main
    assert not read_place({"RANK": "1", "WORLD_SIZE": "2"}).is_main
    with pytest.raises(InvalidConfig, match="RANK, WORLD_SIZE"):
        read_place({"RANK": "first"})
