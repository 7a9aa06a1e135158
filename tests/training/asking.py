"""Terse requests that a tiny model can learn: what it is trained on, and what it is judged by.

Golden ones have the words in other company and things that were never seen, so that to know the
rows by heart is of no use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from edge.bundle import STARTER, TOKENIZER
from tests.training.samples import row
from training.rows import Origin, Row

__all__ = ["ASKED", "CORRECTED", "corrections", "golden_rows", "public_rows", "write_encoder"]

ASKED = "how much did we pay for heating?"
"""What the starter gets wrong."""
CORRECTED = "EXTRACT"
WORDS = {
    "SUMMARIZE": "summarize recap outline gist overview brief digest shorten condense abstract",
    "EXTRACT": "extract list prices dates amounts names numbers totals addresses figures",
    "REASON": "why explain because should compare decide reason cause consequence prove",
    "SEARCH_ONLY": "open find folder file locate search photos documents where show",
}
LEARNED = (
    *("bridges", "tulips", "violins", "glaciers", "taxes", "turtles", "rockets", "bakeries"),
    *("chess", "windmills", "opera", "saddles", "coffee", "lighthouses", "fossils", "sailing"),
)
JUDGED = ("carpets", "umbrellas", "gardens", "parking", "cheese", "choirs", "roofs", "bicycles")
WINDOW = 64


def public_rows() -> list[Row]:
    """What others labelled, for training; of what the starter gets wrong, none."""
    return _rows("public", Origin.PUBLIC, LEARNED, 6, seed=1)


def golden_rows() -> list[Row]:
    """What it is judged by."""
    return _rows("golden", Origin.GOLDEN, JUDGED, 3, seed=2)


def corrections() -> list[str]:
    """Texts that a person corrects to `CORRECTED`."""
    return [f"how much did we pay for {thing}?" for thing in LEARNED]


def write_encoder(path: Path) -> Path:
    """A DistilBERT of one layer and random weights: a bag of words, as good as one can be."""
    import torch
    from transformers import (
        BertTokenizerFast,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    sizes = {"dim": 128, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
    config = DistilBertConfig(**sizes, max_position_embeddings=WINDOW, initializer_range=0.05)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        DistilBertForSequenceClassification(config).save_pretrained(path)
    inputs = ["input_ids", "attention_mask"]
    tokenizer = BertTokenizerFast(
        tokenizer_file=str(STARTER / TOKENIZER), model_max_length=WINDOW, model_input_names=inputs
    )
    tokenizer.save_pretrained(path)
    return path


def _rows(name: str, origin: Origin, things: Sequence[str], times: int, seed: int) -> list[Row]:
    draw = random.Random(seed)
    return [
        row(
            f"{name}-{label}-{thing}-{n}",
            " ".join([*draw.sample(words.split(), 3), thing]),
            label,
            origin=origin,
            label_set="",
        )
        for label, words in WORDS.items()
        for thing in things
        for n in range(times)
    ]
