"""A directory as `transformers` saves it: which files it must hold, and whether they are whole.

It reads headers and JSON, loads no weights and runs no code of the model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import SourceInvalid

__all__ = ["CONFIG", "TOKENIZER", "TOKENIZER_CONFIG", "Checkpoint", "open_checkpoint"]

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
CARD = "README.md"
TOKENIZER_CONFIG = "tokenizer_config.json"
SHARDS = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
LENGTH_BYTES = 8  # a safetensors file starts with the length of its header, little-endian
MAX_HEADER_BYTES = 100_000_000  # as the library's own reader


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model directory whose files are all there and whole."""

    path: Path
    name: str
    """What the manifest calls the source: a Hugging Face id, or the directory's name."""
    revision: str
    """What pins the weights: the hub's commit, or the sha256 of every file that is read."""
    config: dict[str, Any]
    tokenizer_config: dict[str, Any]
    weight_bytes: int
    licence: str | None = None
    """As the model card states it."""

    def read_tokenizer(self) -> bytes:
        """`tokenizer.json` without the truncation and padding that some exports leave in it."""
        return json.dumps(
            _read_json(self.path / TOKENIZER) | {"truncation": None, "padding": None},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()


def open_checkpoint(
    path: Path,
    name: str | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Check a model directory.

    Args:
        path: The directory.
        name: A Hugging Face id; None means the directory's name.
        revision: The commit it was fetched at; None means a hash of the files.

    Raises:
        SourceInvalid: Something is missing, damaged, pickled or asks for code of its own.
    """
    if not path.is_dir():
        raise SourceInvalid(
            f"{path}: expected a model directory, found "
            f"{'a file' if path.exists() else 'nothing'}; "
            "give a directory with config.json, or a Hugging Face id such as owner/name"
        )
    if not (path / CONFIG).is_file():
        raise SourceInvalid(
            f"{path}: expected {CONFIG}, found none; give the directory that save_pretrained wrote"
        )
    config = _read_json(path / CONFIG)
    _refuse_code(path, config)
    weights = _find_weights(path)
    for file in weights:
        _check_whole(file)
    _check_tokenizer(path)
    options = _read_json(path / TOKENIZER_CONFIG) if (path / TOKENIZER_CONFIG).is_file() else {}
    return Checkpoint(
        path=path,
        name=name or path.resolve().name,
        revision=revision or _hash_files([path / CONFIG, path / TOKENIZER, *weights]),
        config=config,
        tokenizer_config=options,
        weight_bytes=sum(file.stat().st_size for file in weights),
        licence=_licence(path / CARD),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceInvalid(
            f"{path}: expected JSON, cannot read it ({error}); fetch the file again"
        ) from error
    if not isinstance(data, dict):
        raise SourceInvalid(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    if "auto_map" in config:
        raise SourceInvalid(
            f"{path / CONFIG}: expected a model that transformers itself implements, "
            "found auto_map, which runs code from the model's repository; no such code is ever run"
        )


def _find_weights(path: Path) -> list[Path]:
    if (path / SHARDS).is_file():
        shards = _read_json(path / SHARDS).get("weight_map", {})
        # Only names: a shard is never looked for outside of the directory.
        files = sorted({path / Path(str(shard)).name for shard in shards.values()})
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise SourceInvalid(f"{path}: expected the shards of {SHARDS}, found no {missing[0]}")
        return files
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if pickles:
        raise SourceInvalid(
            f"{path}: expected model.safetensors, found only {pickles[0]}, a format that is not "
            "read because loading it can run code; convert it on a machine you trust it on: "
            "model.save_pretrained(out, safe_serialization=True)"
        )
    raise SourceInvalid(f"{path}: expected model.safetensors, found no weights; fetch them as well")


def _check_whole(path: Path) -> None:
    """Compare the size that the header promises with the file's own."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 0 < length <= min(size, MAX_HEADER_BYTES):
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        expected = LENGTH_BYTES + length + max(ends)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SourceInvalid(
            f"{path}: expected safetensors, but {error}; fetch the file again"
        ) from error
    if expected != size:
        raise SourceInvalid(
            f"{path}: expected {expected} bytes as its header says, found {size}; "
            "the file was cut off or changed: fetch it again"
        )


def _check_tokenizer(path: Path) -> None:
    if not (path / TOKENIZER).is_file():
        raise SourceInvalid(
            f"{path}: expected {TOKENIZER}, found none; write it with "
            f"transformers.AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained({str(path)!r})"
        )
    _read_json(path / TOKENIZER)


def _licence(card: Path) -> str | None:
    """What the model card's front matter says, if there is one."""
    try:
        text = card.read_text("utf-8", errors="replace")
    except OSError:
        return None
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:[ ]*[\"']?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else None


def _hash_files(files: Sequence[Path]) -> str:
    """One sha256 over names and contents."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as data:
            whole.update(file.name.encode() + hashlib.file_digest(data, "sha256").digest())
    return f"sha256:{whole.hexdigest()}"
