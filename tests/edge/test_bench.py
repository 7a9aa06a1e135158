"""`intentd bench`: a daemon of its own is measured, and nobody else's is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge import cli
from edge.bench import run_bench
from edge.bundle import STARTER, read_manifest
from edge.errors import CannotStart
from edge.settings import Settings
from tests.commands import Done, run_command
from tests.daemons import clean_environment


def bench(home: Path, *args: str) -> Done:
    """The command, in a home of its own."""
    return run_command(cli.main, "intentd", "bench", *args, env=clean_environment(home))


def test_a_box_is_measured_as_json(tmp_path: Path) -> None:
    """Names carry their units, and the tail is never below the middle."""
    done = bench(tmp_path, "--json", "--requests", "3")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [speed["text"] for speed in found["speeds"]] == ["short", "long"]
    assert all(0 < speed["p50_ms"] <= speed["p99_ms"] for speed in found["speeds"])
    assert all(speed["requests"] == 3 for speed in found["speeds"])
    assert found["model"].split()[0] == read_manifest(STARTER).name
    assert found["start_s"] > 0 < found["ready_rss_mib"] <= found["used_rss_mib"] + 64


def test_a_box_is_measured_as_a_table(tmp_path: Path) -> None:
    """And nothing of it stays: no state, no socket."""
    done = bench(tmp_path, "--requests", "3", "--threads", "1")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("through the socket   p50, ms   p99, ms")
    assert ", 1 threads" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_three_requests_are_made_however_little_time_there_is() -> None:
    """A slow model is measured too, and no longer than need be."""
    result = run_bench(Settings(), requests=50, seconds=0.0)

    assert [speed.requests for speed in result.speeds] == [3, 3]


def test_a_bundle_that_cannot_be_served_is_refused_in_the_daemons_words(tmp_path: Path) -> None:
    """With its exit code."""
    done = bench(tmp_path, "--bundle", str(tmp_path / "nothing"))

    assert done.returncode == CannotStart.exit_code
    assert "found no manifest.json" in done.stderr


def test_the_settings_reach_the_daemon_and_its_places_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is what would be served; what is kept stays where it is."""
    from edge.bench import _environment

    monkeypatch.setenv("INTENTD_SOCKET", "/nowhere/api.sock")
    settings = Settings(threads=1, socket=tmp_path / "s", state_dir=tmp_path / "state")
    ours = {k: v for k, v in _environment(settings).items() if k.startswith("INTENTD_")}

    assert ours == {"INTENTD_THREADS": "1"}
