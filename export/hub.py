"""Fetches a model: from a directory, or from the Hugging Face hub at one pinned commit.

The only file that imports huggingface_hub. It asks for config, tokenizer and safetensors, and for
nothing that could run; the model card is read for the licence.
"""

from __future__ import annotations

from pathlib import Path

from export.checkpoint import Checkpoint, open_checkpoint
from export.errors import SourceInvalid, SourceUnreachable

__all__ = ["open_source"]

WANTED = (
    "README.md",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "1_Pooling/config.json",
    "*.safetensors",
    "model.safetensors.index.json",
)


def open_source(source: str, revision: str = "main") -> Checkpoint:
    """A checked model directory, fetched first if it is an id on the hub.

    Args:
        source: A directory that exists, else a Hugging Face id.
        revision: Branch, tag or commit; the commit it means now is recorded.

    Raises:
        SourceInvalid: Neither a usable directory nor a known id.
        SourceUnreachable: The hub does not answer, and the files are not on this machine.
    """
    path = Path(source)
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        return open_checkpoint(path.expanduser())
    return _fetch(source, revision)


def _fetch(model: str, revision: str) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        path = Path(snapshot_download(model, revision=revision, allow_patterns=list(WANTED)))
    except GatedRepoError as error:
        raise SourceInvalid(
            f"{model}: expected a public model, found a gated one; accept its terms on the hub, "
            "fetch it there, and give the directory"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise SourceInvalid(
            f"{model}: expected a directory, or a model on the hub with a revision {revision}, "
            "found neither; check the spelling"
        ) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(model, "it cannot be reached") from error
    except (HfHubHTTPError, OSError) as error:
        raise _unreachable(model, f"it failed ({type(error).__name__})") from error
    # The library names a snapshot's directory after its commit, from its cache too.
    return open_checkpoint(path, model, path.name)


def _unreachable(model: str, why: str) -> SourceUnreachable:
    return SourceUnreachable(
        f"{model}: expected the hub to send the model, but {why}, and not all of it is in "
        "the local cache; connect and try again, or copy the model here and give its directory"
    )
