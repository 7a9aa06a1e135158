"""What promoting is tested with: stages as export, assess and shadow leave them, and MLflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from edge.bundle import Bundle
from tests.commands import Done
from tests.edge.models.bundles import make_bundle
from tests.training.samples import run_train
from training.stage import Stage

__all__ = [
    "CHAMPION",
    "WHY",
    "assessed",
    "exported",
    "produce",
    "promote",
    "ready",
    "running_mlflow",
    "shadowed",
    "write_stage",
]

CHAMPION = "c" * 64
WHY = ("--why", "better on golden-3", "--who", "ann")
DEADLINE_S = 90.0  # MLflow takes 5 s to start on an idle machine


def write_stage(work_dir: Path, name: str, files: dict[str, Any], **inputs: Path) -> None:
    """A finished stage that holds these JSON documents."""

    def work(folder: Path) -> dict[str, Any]:
        for file, value in files.items():
            (folder / file).write_text(json.dumps(value))
        return {}

    Stage(name, work_dir / name, inputs, {}, ("rows.py",), live=True).run(work)


def exported(work_dir: Path, version: str = "1", **changes: Any) -> Bundle:
    """As if `export` had run; the bundle is sound, and no model."""
    made: list[Bundle] = []

    def work(folder: Path) -> dict[str, Any]:
        made.append(make_bundle(folder / "bundle", version, **changes))
        return {}

    model = work_dir / "fit" / "model"
    inputs = {"model": model} if model.exists() else {}
    Stage("export", work_dir / "export", inputs, {}, ("rows.py",), live=True).run(work)
    return Bundle(work_dir / "export" / "bundle", made[0].manifest, made[0].digest)


def assessed(work_dir: Path, digest: str, *, accuracy: float = 0.93) -> None:
    """As if `assess` had run."""
    gate = {"name": "accuracy", "expected": 0.9, "found": accuracy, "passed": accuracy >= 0.9}
    report = {"bundle": digest, "golden": "f" * 64, "gates": [gate], "passed": gate["passed"]}
    write_stage(work_dir, "assess", {"assessment.json": report})


def shadowed(work_dir: Path, digest: str, verdict: str = "better") -> None:
    """As if `shadow` had run."""
    report = {"champion": CHAMPION, "candidate": digest, "verdict": verdict}
    write_stage(work_dir, "shadow", {"shadow.json": report})


def ready(work_dir: Path, version: str = "1", **changes: Any) -> Bundle:
    """A bundle that has earned production."""
    bundle = exported(work_dir, version, **changes)
    assessed(work_dir, bundle.digest)
    shadowed(work_dir, bundle.digest)
    return bundle


def promote(work_dir: Path, *words: str, to: str = "staging") -> Done:
    """Run it, with a reason."""
    return run_train(work_dir, "promote", "--to", to, *WHY, *words)


def produce(work_dir: Path, bundle: Bundle, *words: str) -> None:
    """Both steps, confirmed."""
    for to in ("staging", "production"):
        done = promote(work_dir, "--confirm", bundle.digest, *words, to=to)
        assert done.returncode == 0, done.stderr


@contextmanager
def running_mlflow(directory: Path) -> Iterator[str]:
    """A real tracking server on a free port of this machine; yields its address."""
    port = _free_port()
    log = directory / "mlflow.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{directory / 'server.db'}"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | quiet,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # its workers are of its group
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"MLflow did not start\n{log.read_text()}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
