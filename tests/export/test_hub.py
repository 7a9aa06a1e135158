"""Fetching from the hub: what is asked for, what is pinned, and what a person is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.export.checkpoints import checkpoint_files
from tests.export.fake_hub import FakeHub, serve_hub
from tests.models import TinyModel

MODEL = "someone/some-nli"
NEVER = ("modeling_evil.py", "pytorch_model.bin", "flax_model.msgpack", "training_args.bin")
CODE = """
import json, sys
from export.hub import open_source
from export.errors import ExportError
try:
    found = open_source(*sys.argv[1:])
    print(json.dumps([found.name, found.revision, found.licence, str(found.path)]))
except ExportError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub with one model, and with files that must not be fetched."""
    files = checkpoint_files() | dict.fromkeys(NEVER, b"run me")
    with serve_hub(FakeHub(MODEL, files)) as running:
        yield running


def fetch(home: Path, url: str, *arguments: str, offline: bool = False) -> list[str]:
    """Open a source in a fresh process, as the library reads its endpoint when imported."""
    result = call(home, url, "-c", CODE, *arguments, offline=offline)
    reply: list[str] = json.loads(result.stdout)
    return reply


def call(
    home: Path, url: str, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Python with the stand-in for a hub, and a cache of its own."""
    environment = os.environ | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "127.0.0.1",
    }
    result = subprocess.run(
        [sys.executable, *arguments],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def test_model_is_fetched_at_a_commit_and_nothing_that_could_run(
    hub: FakeHub, tmp_path: Path
) -> None:
    """The branch is resolved once; config, tokenizer, card and safetensors are all that is read."""
    name, revision, licence, path = fetch(tmp_path, hub.url, MODEL)

    assert (name, revision, licence) == (MODEL, hub.commit, "mit")
    assert sorted(file.name for file in Path(path).iterdir()) == sorted(checkpoint_files())
    assert not [line for line in hub.asked if line.endswith(NEVER)]


def test_fetched_model_opens_offline_with_the_same_revision(hub: FakeHub, tmp_path: Path) -> None:
    """The cache is enough, and gives the same bundle."""
    online = fetch(tmp_path, hub.url, MODEL)
    asked = len(hub.asked)

    assert fetch(tmp_path, hub.url, MODEL, offline=True) == online
    assert fetch(tmp_path, hub.url, MODEL, hub.commit, offline=True) == online
    assert len(hub.asked) == asked


def test_build_from_the_hub_records_the_commit_and_is_the_same_offline(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """From an id to a bundle, as a person does it; the branch's commit is in the manifest."""
    files = {path.name: path.read_bytes() for path in tiny("intents").source.iterdir()}
    command = ["-m", "export.cli", "build", MODEL, "--phase", "b", "--recipe", "fp32", "--no-fuse"]
    online, offline = tmp_path / "online", tmp_path / "offline"
    with serve_hub(FakeHub(MODEL, files)) as hub:
        first = call(tmp_path / "home", hub.url, *command, "--out", str(online))
    again = call(tmp_path / "home", hub.url, *command, "--out", str(offline), offline=True)
    source = json.loads((online / "manifest.json").read_text())["source"]

    assert source == {"model": MODEL, "revision": hub.commit}
    assert hub.commit in first.stderr
    assert first.stdout == again.stdout
    assert "GET /storage/model.safetensors" in hub.asked


def test_fetched_model_opens_when_the_hub_is_down(hub: FakeHub, tmp_path: Path) -> None:
    """A refused connection is no worse than being offline."""
    online = fetch(tmp_path, hub.url, MODEL)

    assert fetch(tmp_path, "http://127.0.0.1:9", MODEL) == online


@pytest.mark.parametrize("offline", [False, True])
def test_unfetched_model_without_a_hub_says_what_to_do(tmp_path: Path, offline: bool) -> None:
    """Connect, or bring the files."""
    kind, message = fetch(tmp_path, "http://127.0.0.1:9", MODEL, offline=offline)

    assert kind == "SourceUnreachable"
    assert "give its directory" in message
    assert "\n" not in message


@pytest.mark.parametrize("arguments", [("someone/else",), (MODEL, "v9")])
def test_unknown_model_or_revision_is_named(
    hub: FakeHub, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """A misspelt id, or a branch that is not there."""
    kind, message = fetch(tmp_path, hub.url, *arguments)

    assert kind == "SourceInvalid"
    assert arguments[-1] in message
    assert "check the spelling" in message


def test_gated_model_is_named_as_such(hub: FakeHub, tmp_path: Path) -> None:
    """Its terms are to be accepted by a person."""
    hub.gated = True

    kind, message = fetch(tmp_path, hub.url, MODEL)

    assert kind == "SourceInvalid"
    assert "accept its terms" in message


def test_directory_is_opened_without_asking_anybody(hub: FakeHub, tmp_path: Path) -> None:
    """Local files come first; their revision is their hash."""
    directory = tmp_path / "a" / "model"
    directory.mkdir(parents=True)
    for name, data in checkpoint_files().items():
        (directory / name).write_bytes(data)

    name, revision, licence, _ = fetch(tmp_path, hub.url, str(directory))

    assert name == "model"
    assert revision.startswith("sha256:")
    assert licence == "mit"
    assert not hub.asked
