"""Full-size BART-large-MNLI and DistilBERT with seeded random weights: real speed, no knowledge.

What a graph costs depends on its shapes alone, so these stand in for the originals where no model
hub is in reach. They say nothing of accuracy.

The quick ones are smaller: enough to tell whether a path is fast, not how fast a user's model is.

    python -m benchmarks.random_models
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["BART", "DISTILBERT", "NAMES", "Scale", "default_cache", "random_model"]

TOKENIZERS = Path(__file__).parents[2] / "shared" / "data" / "tokenizers"
BART, DISTILBERT = NAMES = ("bart-large-mnli", "distilbert-base-uncased-mnli")
SEED = 7
GAIN = 1.0
"""Standard deviation of a matrix times sqrt(inputs). At 1 a layer keeps the scale of what it is
given, and LayerNorm does the rest; the configs' own 0.02 would give every text the same logits."""
JITTER = 0.05


class Scale(StrEnum):
    """How large."""

    FULL = "full"
    """As published: BART-large 407 M parameters, DistilBERT 67 M."""
    QUICK = "quick"
    """A few layers a quarter as wide, which a test can afford."""


QUICK_SIZES: Mapping[str, Mapping[str, int]] = {
    BART: {"d_model": 256, "num_hidden_layers": 3}
    | {
        f"{part}_{size}": value
        for part in ("encoder", "decoder")
        for size, value in (("layers", 3), ("attention_heads", 4), ("ffn_dim", 1024))
    },
    DISTILBERT: {"dim": 256, "hidden_dim": 1024, "n_layers": 3, "n_heads": 4},
}


def default_cache() -> Path:
    """Where 2 GB of weights may lie: never inside the repository."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "intentd" / "random-models"


def random_model(name: str, cache: Path, scale: Scale = Scale.FULL) -> Path:
    """The `transformers` directory of one of `NAMES`, made if it is not there yet.

    Raises:
        FileNotFoundError: The configuration and tokenizer of that name are not on this machine.
    """
    out = cache / f"{name}{'' if scale is Scale.FULL else f'-{scale}'}-seed{SEED}"
    if out.is_dir():
        return out
    source = TOKENIZERS / name
    if not (source / "config.json").is_file():
        raise FileNotFoundError(
            f"{source}: expected config.json and tokenizer.json of {name}, found none; "
            "they lie beside the repository, in ../shared/data/tokenizers"
        )
    unfinished = out.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for file in source.glob("[!.]*"):
        shutil.copyfile(
            file, unfinished / file.name
        )  # contents only: the shared files are read-only
    sizes = QUICK_SIZES[name] if scale is Scale.QUICK else {}
    _make(source, sizes).save_pretrained(unfinished)
    unfinished.rename(out)
    return out


def _make(source: Path, sizes: Mapping[str, int]) -> Any:
    """The architecture that the config names, in these sizes, every weight redrawn.

    Gains and biases are jittered: the exporter stores equal tensors once, which no trained model
    has.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source, local_files_only=True, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.ndim == 2:
                    weights.normal_(0, GAIN / math.sqrt(weights.shape[1]))
                else:
                    weights.add_(torch.randn_like(weights), alpha=JITTER)
    return model


def main() -> None:
    """Make both, and say where they lie."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache())
    options = parser.parse_args()
    for name in NAMES:
        print(random_model(name, options.cache))


if __name__ == "__main__":
    main()
