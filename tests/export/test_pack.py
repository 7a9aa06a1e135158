"""Putting a bundle in its place."""

from __future__ import annotations

import errno
from pathlib import Path

import onnx
import pytest

from edge.bundle import CARD, MODEL, SELFTEST, TOKENIZER, Manifest, Quantization, Source, Task
from edge.errors import BundleCorrupt
from export.pack import pack_bundle

GRAPH = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString()
FILES = {MODEL: GRAPH, TOKENIZER: b"{}", SELFTEST: b"", CARD: b"# card\n"}


def manifest(version: str = "1") -> Manifest:
    """A manifest for files that nobody loads."""
    return Manifest(
        name="packed",
        version=version,
        task=Task.ZERO_SHOT_EMBEDDING,
        architecture="BertModel",
        max_tokens=64,
        quantization=Quantization(recipe="fp32", batch_invariant=True),
        opset=18,
        source=Source(model="tests", revision="1"),
        licence="Apache-2.0",
        created_utc="2026-11-22T00:00:00Z",
    )


def test_bundle_is_written_and_read_back(tmp_path: Path) -> None:
    """What is packed is a verified bundle, and nothing is left beside it."""
    bundle = pack_bundle(tmp_path / "out", manifest(), FILES)

    assert bundle.path == tmp_path / "out"
    assert (bundle.path / MODEL).read_bytes() == GRAPH
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_large_file_is_copied_and_stays_where_it_was(tmp_path: Path) -> None:
    """A graph need not pass through memory."""
    graph = tmp_path / "graph"
    graph.write_bytes(GRAPH)
    bundle = pack_bundle(tmp_path / "out", manifest(), FILES | {MODEL: graph})

    assert (bundle.path / MODEL).read_bytes() == graph.read_bytes() == GRAPH
    assert bundle.digest == pack_bundle(tmp_path / "same", manifest(), FILES).digest


def test_same_files_give_the_same_digest(tmp_path: Path) -> None:
    """The identity of a bundle is its content, not where or when it was packed."""
    one, other = (pack_bundle(tmp_path / name, manifest(), FILES) for name in ("a", "b"))

    assert one.digest == other.digest


def test_new_bundle_replaces_the_old_one_whole(tmp_path: Path) -> None:
    """No file of the old bundle stays behind."""
    pack_bundle(tmp_path / "out", manifest(), FILES)
    (tmp_path / "out" / "stray").touch()
    bundle = pack_bundle(tmp_path / "out", manifest("2"), FILES)

    assert bundle.manifest.version == "2"
    assert not (bundle.path / "stray").exists()


def test_incomplete_bundle_leaves_the_old_one(tmp_path: Path) -> None:
    """A build that forgot a file does not cost the bundle that is there."""
    old = pack_bundle(tmp_path / "out", manifest(), FILES)

    with pytest.raises(BundleCorrupt, match=MODEL):
        pack_bundle(tmp_path / "out", manifest("2"), {CARD: b""})

    assert pack_bundle(tmp_path / "check", manifest(), FILES).digest == old.digest
    assert (tmp_path / "out" / MODEL).read_bytes() == GRAPH


def test_failing_rename_puts_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk refuses the last step, `out` is as it was."""
    pack_bundle(tmp_path / "out", manifest(), FILES)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, "disk trouble")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk trouble"):
        pack_bundle(tmp_path / "out", manifest("2"), FILES)

    assert '"version": "1"' in (tmp_path / "out" / "manifest.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
