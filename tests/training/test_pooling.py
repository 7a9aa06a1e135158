"""The layer that stands for a mean: a plain classifier then reads as a sentence encoder does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import TinyModel
from training.fit.encoder import open_encoder
from training.fit.network import Network, make_network

LABELS = ("A", "B", "C")
TEXTS = ("gulls", "Pull the invoice number out of this e-mail.", "why did it fail?")


def network_of(source: Path, *, mean: bool, seed: int = 0) -> Network:
    """A fresh classifier on a tiny encoder."""
    with open_encoder(str(source), "main") as encoder:
        return make_network(encoder, LABELS, window=64, mean=mean, seed=seed)


def means(network: Network, source: Path) -> np.ndarray:
    """What `transformers` itself says: the mean over each text's tokens, standardised."""
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(source).eval()
    found = []
    for text in TEXTS:
        inputs = network.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            mean = encoder(**inputs).last_hidden_state[0].mean(dim=0).numpy()
        found.append((mean - mean.mean()) / mean.std())
    return np.stack(found)


@pytest.mark.parametrize("name", ["encoder", "spam"])
def test_the_head_reads_the_mean(tiny: Callable[[str], TinyModel], name: str) -> None:
    """BERT and DistilBERT: to 2 %, whatever the batch is padded to."""
    source = tiny(name).source
    network = network_of(source, mean=True)
    expected = means(network, source)

    together = network.read(TEXTS)[0]
    alone = np.concatenate([network.read([text])[0] for text in TEXTS])
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(together, expected, strict=True)]

    assert min(likeness) > 0.98
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_without_it_the_head_reads_the_first_token(tiny: Callable[[str], TinyModel]) -> None:
    """What the layer is for: the first token alone is another thing."""
    source = tiny("encoder").source
    network = network_of(source, mean=False)
    expected = means(network, source)
    likeness = [
        np.corrcoef(a, b)[0, 1] for a, b in zip(network.read(TEXTS)[0], expected, strict=True)
    ]

    assert max(likeness) < 0.9


@pytest.mark.parametrize("name", ["encoder", "spam"])
def test_any_pipeline_reads_it(tiny: Callable[[str], TinyModel], tmp_path: Path, name: str) -> None:
    """What is saved is a plain classifier of one layer more: no code of ours is needed."""
    from transformers import pipeline

    network = network_of(tiny(name).source, mean=True)
    network.save(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu")
    logits = network.read(TEXTS)[1]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    for text, row in zip(TEXTS, shares, strict=True):
        found = {entry["label"]: entry["score"] for entry in classify(text, top_k=None)}
        assert [found[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-5)


def test_all_of_it_can_learn(tiny: Callable[[str], TinyModel]) -> None:
    """Queries of 0 and keys of 0 would bar each other's slope for ever."""
    network = network_of(tiny("encoder").source, mean=True)
    layer = network.model.bert.encoder.layer[-1].attention.self
    inputs = network.batch(network.encode(TEXTS))
    network.model(**inputs).logits[:, 0].sum().backward()

    assert float(layer.key.weight.grad.abs().max()) > 0
    assert float(layer.value.weight.grad.abs().max()) > 0
