"""The Ray engine: on a cluster of two nodes it finds what one machine finds, to the last byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge.predictor import Predictor
from tests.daemons import ROOT, clean_environment, short_directory
from tests.e2e.talk import wait_until
from tests.models import TinyModel, change_bundle
from tests.training.judged import freeze_told
from tests.training.samples import THINGS, run_train
from training.contest import PART_ROWS
from training.stage import read_manifest

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [ray]")


@pytest.fixture
def words(
    work_dir: Path,
    tiny: Callable[[str], TinyModel],
    load: Callable[[Path], Predictor],
) -> list[str]:
    """A shadow run over a golden set and enough logged texts, in Parquet, for several parts."""
    models = tiny("intents")
    freeze_told(work_dir, load(models.int8))
    texts = [f"say {n} words on {THINGS[n % len(THINGS)]}" for n in range(3 * PART_ROWS)]
    path = work_dir / "logged.parquet"
    pq.write_table(pa.table({"id": [str(n) for n in range(len(texts))], "text": texts}), path)
    champion = change_bundle(models.bundle, work_dir / "champion", temperature=2.0).path
    options = ["--champion", str(champion), "--bundle", str(models.int8)]
    return ["shadow", str(path), *options, "--work-dir", str(work_dir)]


def result(work_dir: Path) -> tuple[dict[str, Any], bytes]:
    """shadow.json without the time that this machine took, and every disagreement."""
    folder = work_dir / "shadow"
    found = json.loads((folder / "shadow.json").read_text())
    for side in ("champion", "candidate"):
        del found["cost"][side]["p50_ms"], found["cost"][side]["p95_ms"]
    return found, (folder / "disagreements.jsonl").read_bytes()


@needs_ray
@pytest.mark.timeout(400)
def test_two_nodes_find_what_one_machine_finds(work_dir: Path, words: list[str]) -> None:
    """Both nodes take part; nothing runs on afterwards."""
    assert run_train(work_dir, *words[:-2]).returncode == 0
    local = result(work_dir)
    assert local[0]["logged"]["disagreements"] > 0
    with short_directory() as directory:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.training.two_nodes", str(directory)),
                *(*words, "--engine", "ray", "--force"),
            ],
            cwd=ROOT,
            env=clean_environment(directory),
            capture_output=True,
            text=True,
            timeout=380,
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not _processes(directory), "Ray has ended")

    counts = read_manifest(work_dir / "shadow")["counts"]
    assert (counts["engine"], counts["nodes"]) == ("ray", 2), done.stderr
    assert result(work_dir) == local


def test_without_ray_one_line_says_what_to_install(
    work_dir: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it can be done here."""
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run_train(work_dir, *words[:-2], "--engine", "ray")

    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'intentd[ray]'" in done.stderr
    assert "--engine local" in done.stderr
    assert not (work_dir / "shadow").exists()


def test_the_engine_makes_no_difference_to_what_is_current(
    work_dir: Path, words: list[str]
) -> None:
    """What one engine has found, the other need not find again."""
    assert run_train(work_dir, *words[:-2]).returncode == 0
    done = run_train(work_dir, *words[:-2], "--engine", "ray")

    assert (done.returncode, "unchanged" in done.stdout) == (0, True)


def _processes(directory: Path) -> list[int]:
    """Processes that were started with this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory) in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found
