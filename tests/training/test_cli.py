"""`intentd-train`: quick to help, and every failure one line and an exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_command
from tests.daemons import ROOT
from tests.training.samples import collected, real_rows, run_train
from training.cli import main

DEADLINE_S = 60.0
HEAVY = {"torch", "transformers", "sklearn", "cleanlab", "datasketch", "onnxruntime", "sqlalchemy"}
HEAVY |= {"matplotlib", "mlflow", "ray", "pyarrow"}


def test_help_loads_nothing_heavy() -> None:
    """What makes it slow is what it imports; the modules are counted, not the time."""
    code = (
        "import sys\nfrom training.cli import app\n"
        f"print(*sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "words",
    [("--help",)]
    + [(name, "--help") for name in ("collect", "build", "augment", "fit", "export")]
    + [(name, "--help") for name in ("run", "promote", "publish")]
    + [(name, "--help") for name in ("assess", "shadow", "report")]
    + [("golden", name, "--help") for name in ("add", "import", "review", "status", "freeze")],
)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    """With an example, but for the lists of commands."""
    done = run_command(main, "intentd-train", *words, env={})

    assert done.returncode == 0
    assert words == ("--help",) or "Example: intentd-train" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("build", "--set", "build.sed=1"), 2, "did you mean build.seed?"),
        (("build", "--config", "absent.toml"), 2, "absent.toml"),
        (("build",), 2, "intentd-train collect"),
        (("augment",), 2, "intentd-train build"),
        (("collect", "absent.ndjson"), 3, "absent.ndjson"),
        (("golden", "import", "absent.jsonl"), 3, "absent.jsonl"),
        (("assess",), 2, "intentd-train export"),
        (("shadow", "--engine", "spark"), 2, "shadow.engine"),
        (("shadow", "--live", "absent.sock"), 3, "absent.sock"),
        (("promote", "--to", "staging", "--why", "x"), 2, "intentd-train export"),
        (("publish",), 2, "publish.to"),
    ],
)
def test_a_failure_is_one_line(
    work_dir: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """No traceback, the right exit code, and what to do next."""
    done = run_train(work_dir, *words)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.endswith("…")][1:] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_one_line(work_dir: Path, number: signal.Signals, code: int) -> None:
    """While it reads: nothing was written, and no exit code of an honest no."""
    pipe = work_dir / "rows.jsonl"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "training.cli", "golden", "import", str(pipe)]
    started = subprocess.Popen(
        [*command, "--work-dir", str(work_dir)], stderr=subprocess.PIPE, text=True
    )
    with pipe.open("w"):  # opens when it has begun to read
        started.send_signal(number)
        said = started.communicate(timeout=DEADLINE_S)[1]

    assert (started.returncode, len(said.splitlines())) == (code, 1), said
    assert "interrupted; nothing is half-written" in said
    assert list(work_dir.iterdir()) == [pipe]


def test_a_dry_run_says_what_is_to_be_done(work_dir: Path) -> None:
    """And once it is done, that nothing is."""
    collected(work_dir, real_rows())
    fast = ("--set", "build.seeds=false", "--set", "build.suspects=false")

    assert "build: to be run" in run_train(work_dir, "build", *fast, "--dry-run").stdout
    assert not (work_dir / "build").exists()
    assert run_train(work_dir, "build", *fast).returncode == 0
    assert "build: nothing to do" in run_train(work_dir, "build", *fast, "--dry-run").stdout
    assert '"skipped": true' in run_train(work_dir, "build", *fast, "--json").stdout


def test_mlflow_is_imported_in_one_file() -> None:
    """What it costs to load, and what it does to logging, is paid there alone."""
    users = [
        path.name
        for path in (ROOT / "training").rglob("*.py")
        if re.search(r"^\s*(from|import) mlflow\b", path.read_text("utf-8"), re.MULTILINE)
    ]

    assert users == ["tracking.py"]
