"""`intentd-export build`, `keygen` and `sign` as a person runs them, on full disks too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.export.checkpoints import checkpoint_files
from tests.export.test_export_cli import run
from tests.models import TinyModel

Sources = Callable[..., Path]

MOUNT = 'mount -t tmpfs -o size={size} none {place} && exec "$@"'


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., Path]:
    """A model directory with some files changed (bytes), or left out (None)."""

    def make(changes: dict[str, bytes | None] | None = None, **config: Any) -> Path:
        path = tmp_path / "source"
        path.mkdir()
        for name, data in (checkpoint_files(**config) | (changes or {})).items():
            if data is not None:
                (path / name).write_bytes(data)
        return path

    return make


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "not NLI": ({"id2label": {"0": "good", "1": "bad"}}, (), "--phase b"),
    "no entailment": ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, (), "entailment"),
    "generative": ({"architectures": ["GPT2LMHeadModel"]}, (), "generative"),
    "wrong architecture": ({"architectures": ["BertModel"]}, (), "ForSequenceClassification"),
    "remote code": ({"auto_map": {"AutoModel": "x.Y"}}, (), "auto_map"),
    "no tokenizer": ({"changes": {"tokenizer.json": None}}, (), "save_pretrained"),
    "pickle only": (
        {"changes": {"model.safetensors": None, "pytorch_model.bin": b"\x80"}},
        (),
        "safe_serialization",
    ),
    "cut off": (
        {"changes": {"model.safetensors": checkpoint_files()["model.safetensors"][:-3]}},
        (),
        "fetch it again",
    ),
    "no such tokenizer": ({}, (), "tokenizer.json"),
    "bad template": ({}, ("--template", "no place"), "one {}"),
    "bad recipe": ({}, ("--recipe", "int4"), "int8-mixed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    broken: Callable[..., Path], tmp_path: Path, case: str
) -> None:
    """What was expected and what to do; exit code 2 or 3, and no traceback."""
    config, options, expected = BAD[case]
    source = broken(**config)
    result = run("build", source, "--out", tmp_path / "out", *options)
    messages = [line for line in result.stderr.splitlines() if line.startswith("intentd-export: ")]

    assert result.returncode in (2, 3)
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert len(messages) == 1 or "Usage" in result.stderr
    assert not result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that is no model id."""
    result = run("build", tmp_path / "gone", "--out", tmp_path / "out")

    assert result.returncode == 2
    assert "found nothing" in result.stderr


def test_build_verify_and_sign_in_a_row(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """What the documentation shows; stdout holds what a script needs."""
    out, key = tmp_path / "out", tmp_path / "release.key"
    built = run(
        "build", tiny("intents").source, "--phase", "b", "--out", out, "--recipe", "fp32",
        "--name", "mine", "--version", "7", "--licence", "MIT",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    unsigned = run("verify", out, "--key", run("keygen", key).stdout.strip())
    signed = run("sign", out, "--key", key)
    report = json.loads(run("verify", out, "--key", f"{key}.pub", "--json").stdout)

    assert (manifest["name"], manifest["version"], manifest["licence"]) == ("mine", "7", "MIT")
    assert "sequence-classification" in built.stderr
    assert "batch-invariant" in built.stderr
    assert unsigned.returncode == 1
    assert "found none" in unsigned.stderr
    assert signed.stdout.strip() == str(out / "manifest.sig")
    assert report["digest"] == built.stdout.strip()
    assert report["passed"]
    assert report["signature"] == "valid"


def test_forced_recipe_outside_the_gate_exits_with_1(planted: Sources, tmp_path: Path) -> None:
    """An honest no, with the numbers."""
    source = planted("distilbert", 1)
    result = run("build", source, "--out", tmp_path / "out", "--recipe", "int8")

    assert result.returncode == 1
    assert "int8: expected label agreement ≥ 0.99" in result.stderr
    assert "failed" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "work_elsewhere"), [("300k", True), ("8m", False)])
def test_full_disk_is_an_error_and_leaves_nothing(
    tiny: Callable[[str], TinyModel], tmp_path: Path, size: str, work_elsewhere: bool
) -> None:
    """Wherever the room ends: under the bundle when it is packed, or before the work starts."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["unshare", "-Urm", "sh", "-c", MOUNT.format(size=size, place=place), "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    command = [sys.executable, "-m", "export.cli", "build", str(tiny("intents").source)]
    command += ["--phase", "b", "--recipe", "fp32", "--no-fuse", "--out", str(place / "out")]
    command += ["--work-dir", str(tmp_path / "work")] if work_elsewhere else []
    # The listing is made inside: outside of its namespace the disk is not there.
    listing = f'"$@"; code=$?; ls -A {place}; exit $code'
    result = subprocess.run(
        [*mounted, "sh", "-c", listing, "sh", *command],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert result.returncode == 3, result.stderr
    assert "room" in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout.split()


@pytest.mark.parametrize("kilobytes", [20, 100, 1000])
def test_disk_that_fills_during_the_work_is_an_error_and_leaves_nothing(
    tiny: Callable[[str], TinyModel], tmp_path: Path, kilobytes: int
) -> None:
    """There was room when the work began; whichever library then meets the end of it.

    A limit on the size of a file stands for the full disk: it comes to every writer as it does.
    """
    command = [sys.executable, "-m", "export.cli", "build", str(tiny("intents").source)]
    command += ["--phase", "b", "--recipe", "fp32", "--no-fuse", "--out", str(tmp_path / "out")]
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash"]
    result = subprocess.run(
        [*limited, *command], capture_output=True, text=True, timeout=100, check=False
    )

    assert result.returncode == 3, result.stderr
    assert "make room" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_build_leaves_nothing(
    planted: Sources, tmp_path: Path, number: signal.Signals
) -> None:
    """Systemd and a closed terminal end a program so."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "export.cli", "build", str(planted("bart", 1)), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("converting"):
            break
    process.send_signal(number)
    rest = process.communicate(timeout=60)[1]

    assert process.returncode == 128 + number
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())


def test_build_killed_in_its_search_goes_on_where_it_was(planted: Sources, tmp_path: Path) -> None:
    """By a power cut, say: no clean-up, and the same command makes only what was not there yet."""
    command = [sys.executable, "-m", "export.cli", "build", str(planted("bart", 1)), "--no-fuse"]
    command += ["--out", str(tmp_path / "out"), "--work-dir", str(tmp_path / "work")]
    command += ["--recipe", "int8-mixed", "--max-delta", "0.01"]  # takes several trials
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    trials = []
    for line in process.stderr:
        trials += [line] if line.startswith("asking int8-mixed") else []
        if len(trials) == 3:
            break
    process.kill()
    process.communicate(timeout=60)
    again = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    asked = [line for line in again.stderr.splitlines(keepends=True) if line.startswith("asking")]

    assert again.returncode in (0, 1), again.stderr
    assert asked[0] == trials[2]
    assert "asking PyTorch" not in again.stderr
    assert "searching: at most 12 trials" in again.stderr


def test_phase_b_has_no_default_model(tmp_path: Path) -> None:
    """BART judges labels of a request's; as a classifier it would give its own three."""
    result = run("build", "--phase", "b", "--out", tmp_path / "out")

    assert result.returncode == 2
    assert "directory that the training wrote" in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
