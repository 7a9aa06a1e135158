"""The network: an encoder with a new head, as any pipeline of `transformers` reads it.

With `training.fit.trainer` the only file that imports transformers; it trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    set_seed,
)

from export.quiet import quiet
from training.errors import InvalidConfig
from training.fit.encoder import Encoder
from training.fit.pooling import add_mean_layer

__all__ = ["Network", "make_network"]

Floats = npt.NDArray[np.float64]
READ_ROWS = 64
MIN_WINDOW = 8
SANE_WINDOW = 1 << 20  # tokenizers without a window say 10^30


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Model and tokenizer; every text is cut to the window at the tokenizer."""

    model: Any
    tokenizer: Any
    window: int
    """Tokens, special ones included."""
    head: nn.Linear
    """The last layer: features to logits."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    def encode(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        """Ids of each text by itself, unpadded; a special token in a text is text."""
        if not texts:
            return []  # the tokenizer itself fails on none
        found = self.tokenizer(list(texts), truncation=True, max_length=self.window)
        names = list(found)
        return [{name: found[name][i] for name in names} for i in range(len(texts))]

    def batch(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Rows side by side, padded to the longest."""
        found = self.tokenizer.pad(list(rows), return_tensors="pt")
        return {name: values.to(self.device) for name, values in found.items()}

    def features(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head reads, and what it says: [rows, dim] and [rows, labels]."""
        seen: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            logits = self.model(**inputs).logits
        finally:
            hook.remove()
        return seen[0], logits

    def read(
        self, texts: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> tuple[npt.NDArray[np.float32], Floats]:
        """Features float32 [texts, dim] and logits float64 [texts, labels], without dropout."""
        rows = self.encode(texts)
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), i))
        features = np.zeros((len(rows), self.head.in_features), dtype=np.float32)
        logits = np.zeros((len(rows), self.head.out_features))
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), READ_ROWS):
                chunk = order[start : start + READ_ROWS]
                found = self.features(self.batch([rows[i] for i in chunk]))
                features[chunk], logits[chunk] = (x.float().cpu().numpy() for x in found)
                on_progress(start + len(chunk))
        return features, logits

    def save(self, folder: Path) -> None:
        """As `save_pretrained` writes it; what `intentd-export build --phase b` takes."""
        with quiet():
            self.model.save_pretrained(folder, safe_serialization=True)
            self.tokenizer.save_pretrained(folder)


def make_network(
    encoder: Encoder, labels: Sequence[str], *, window: int, mean: bool, seed: int
) -> Network:
    """Load an encoder and give it a new head.

    Args:
        encoder: A checked one.
        labels: In the order of the logits.
        window: Most tokens; the model's own window if that is smaller.
        mean: Whether the head is to read the mean of the tokens.
        seed: Of the head's first weights, and of all chance after it.

    Raises:
        InvalidConfig: `transformers` cannot load it, or cannot make a classifier of it.
    """
    set_seed(seed)
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                encoder.path, local_files_only=True, split_special_tokens=True
            )
            model = AutoModelForSequenceClassification.from_pretrained(
                encoder.path,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                torch_dtype=torch.float32,
                ignore_mismatched_sizes=True,
                num_labels=len(labels),
                id2label=dict(enumerate(labels)),
                label2id={label: i for i, label in enumerate(labels)},
                problem_type="single_label_classification",
            )
        except Exception as error:  # the library raises whatever its parts do
            lines = str(error).strip().splitlines() or [""]
            raise InvalidConfig(
                f"{encoder.name}: expected an encoder that transformers makes a classifier of, but "
                f"{type(error).__name__}: {lines[0]}; choose another with --encoder"
            ) from error
    if mean:
        add_mean_layer(model)
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = (
        True  # rows share no batch yet
    )
    tokenizer.model_max_length = _window(model, tokenizer, window)
    return Network(model, tokenizer, tokenizer.model_max_length, _head(model, len(labels), encoder))


def _window(model: Any, tokenizer: Any, wanted: int) -> int:
    """The smallest of what is asked for, what the tokenizer was set to, and the positions."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(model.config.pad_token_id or 0) + 1
    limits = [wanted, tokenizer.model_max_length, positions]
    return min(int(n) for n in limits if n and MIN_WINDOW <= n <= SANE_WINDOW)


def _head(model: Any, classes: int, encoder: Encoder) -> nn.Linear:
    """The last layer with a logit for each label: under whatever name the family keeps it."""
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    fitting = [part for part in linear if part.out_features == classes]
    if not fitting:
        raise InvalidConfig(
            f"{encoder.name}: expected a classifier that ends in a linear layer, found none in a "
            f"{type(model).__name__}; choose another with --encoder"
        )
    return fitting[-1]
