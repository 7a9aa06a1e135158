"""Model directories: whole, free of code and pickles, or turned away in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.checkpoint import open_checkpoint
from export.errors import SourceInvalid
from tests.export.checkpoints import checkpoint_files, safetensors


def write(path: Path, files: dict[str, bytes]) -> Path:
    """A directory with these files."""
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def refusal(path: Path) -> str:
    """Why it is turned away: one line."""
    with pytest.raises(SourceInvalid) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_directory_is_opened(tmp_path: Path) -> None:
    """With its config, its licence, the size of its weights and a revision by content."""
    found = open_checkpoint(write(tmp_path / "m", checkpoint_files()))

    assert found.name == "m"
    assert found.licence == "mit"
    assert found.weight_bytes == len(safetensors())
    assert json.loads(found.read_tokenizer()) == {"truncation": None, "padding": None, "model": {}}


def test_revision_is_of_everything_that_is_read(tmp_path: Path) -> None:
    """Another tokenizer with the same weights is another model."""
    one = open_checkpoint(write(tmp_path / "a", checkpoint_files()))
    same = open_checkpoint(write(tmp_path / "b", checkpoint_files()))
    files = checkpoint_files() | {"tokenizer.json": b"{}"}
    other = open_checkpoint(write(tmp_path / "c", files))

    assert one.revision == same.revision != other.revision


def test_shards_are_found_by_their_index(tmp_path: Path) -> None:
    """Every shard is checked; one that is missing is named."""
    files = checkpoint_files()
    files["a.safetensors"] = files["b.safetensors"] = files.pop("model.safetensors")
    index = {"weight_map": {"w": "a.safetensors", "v": "../x/b.safetensors"}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    path = write(tmp_path / "m", files)

    assert open_checkpoint(path).weight_bytes == 2 * len(safetensors())
    (path / "b.safetensors").unlink()
    assert "b.safetensors" in refusal(path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """Each of the three that nothing works without."""
    files = checkpoint_files()
    del files[name]

    assert f"expected {name}" in refusal(write(tmp_path / "m", files))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_pickled_weights_are_not_read(tmp_path: Path, name: str) -> None:
    """The message names the file, the reason and the way to convert it."""
    files = checkpoint_files() | {name: b"\x80\x04"}
    del files["model.safetensors"]
    message = refusal(write(tmp_path / "m", files))

    assert name in message
    assert "can run code" in message
    assert "safe_serialization" in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10",
        bytes(8),
        safetensors()[:-1],
        safetensors() + b"x",
        safetensors()[:20],
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
        (7).to_bytes(8, "little") + b'{"w":1}',
    ],
)
def test_weights_that_were_cut_off_are_noticed(tmp_path: Path, data: bytes) -> None:
    """By their header alone, before anything is loaded."""
    files = checkpoint_files() | {"model.safetensors": data}

    assert "fetch" in refusal(write(tmp_path / "m", files))


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_damaged_json_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    """The file, and what was expected of it."""
    message = refusal(write(tmp_path / "m", checkpoint_files() | {name: data}))

    assert name in message
    assert "expected" in message


def test_code_from_the_repository_is_refused(tmp_path: Path) -> None:
    """`auto_map` asks for it."""
    files = checkpoint_files(auto_map={"AutoModel": "modeling_evil.Model"})

    assert "auto_map" in refusal(write(tmp_path / "m", files))


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """A file, or nothing at all."""
    (tmp_path / "file").touch()

    assert "found a file" in refusal(tmp_path / "file")
    assert "found nothing" in refusal(tmp_path / "gone")


@pytest.mark.parametrize("card", [b"# no front matter", b"---\nlicense:\n---\n", b"license: mit"])
def test_card_without_a_licence_states_none(tmp_path: Path, card: bytes) -> None:
    """Only the front matter counts."""
    files = checkpoint_files() | {"README.md": card}

    assert open_checkpoint(write(tmp_path / "m", files)).licence is None
