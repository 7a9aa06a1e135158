"""Small classifiers with planted outlier channels, as trained BARTs grow them.

A few channels that a matrix product writes, or a LayerNorm scales, get a large gain, and whatever
reads them is divided by it. In fp32 nothing changes, to the bit, as gains are powers of two; int8,
which has one scale for a whole activation, loses all other channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edge.bundle import Bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.examine import Traits
from export.probes import make_probes
from tests.models import BART, DISTILBERT

__all__ = ["Kind", "plant_outliers", "worst_delta", "write_model"]

Kind = Literal["bart", "distilbert"]

GAIN = 512.0
CHANNELS = 2
HEAD_GAIN = 4.0  # clear answers, and a |Δscore| to measure


def write_model(kind: Kind, seed: int, out: Path, *, gain: float = GAIN) -> Path:
    """Save a small random NLI model with outliers; `gain` 1 plants none.

    Its weights are drawn so that it tells texts apart, and int8 without outliers keeps its answers.
    """
    import torch
    from transformers import AutoTokenizer

    directory = {"bart": BART, "distilbert": DISTILBERT}[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make(kind).eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.ndim == 2:
                    weights.normal_(0, 1 / math.sqrt(weights.shape[1]))
            _head(model).weight.mul_(HEAD_GAIN)
    plant_outliers(model, seed, gain)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(directory).save_pretrained(out)
    return out


def _make(kind: Kind) -> Any:
    from transformers import (
        BartConfig,
        BartForSequenceClassification,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    if kind == "distilbert":
        sizes = {"dim": 128, "hidden_dim": 256, "n_layers": 2, "n_heads": 4}
        return DistilBertForSequenceClassification(
            DistilBertConfig.from_pretrained(DISTILBERT, **sizes)
        )
    sizes = {
        f"{part}_{size}": value
        for part in ("encoder", "decoder")
        for size, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 192))
    }
    config = BartConfig.from_pretrained(BART, d_model=96, num_hidden_layers=1, **sizes)
    return BartForSequenceClassification(config)


def _head(model: Any) -> Any:
    if model.config.model_type == "distilbert":
        return model.classifier
    return model.classification_head.out_proj


def plant_outliers(model: Any, seed: int, gain: float) -> None:
    """Multiply channels where they are written, and divide where they are read, in place."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for writer, readers in _pairs(model):
            chosen = torch.randperm(writer.bias.numel(), generator=generator)[:CHANNELS]
            writer.weight[chosen] *= gain  # a row of a matrix, or a gain of a LayerNorm
            writer.bias[chosen] *= gain
            for reader in readers:
                reader.weight[:, chosen] /= gain


def _pairs(model: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Layers whose output nothing but some linear layers reads.

    Attention mixes values over tokens, never over channels, so a value's gain reaches the output
    projection as it is.
    """
    if model.config.model_type == "distilbert":
        for layer in model.distilbert.transformer.layer:
            yield layer.attention.v_lin, [layer.attention.out_lin]
        yield model.distilbert.transformer.layer[-1].output_layer_norm, [model.pre_classifier]
        return
    encoder, decoder = model.model.encoder, model.model.decoder
    for attention in _attentions([*encoder.layers, *decoder.layers]):
        yield attention.v_proj, [attention.out_proj]
    readers = [
        linear
        for layer in decoder.layers
        for linear in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)
    ]
    yield encoder.layers[-1].final_layer_norm, readers


def _attentions(layers: list[Any]) -> Iterator[Any]:
    for layer in layers:
        yield layer.self_attn
        if hasattr(layer, "encoder_attn"):
            yield layer.encoder_attn


def worst_delta(source: Path, traits: Traits, bundle: Bundle) -> float:
    """Largest |Δscore| between a packed NLI bundle and a fresh PyTorch model, over every probe."""
    from export.reference import answer_probes  # torch

    predictor = Predictor(bundle, LabelSet.from_names(("a", "b")))
    worst = 0.0
    for answer in answer_probes(source, traits, make_probes(traits.task)):
        labels = LabelSet.from_names(answer.probe.labels)
        query = Query(answer.probe.text, labels, multi_label=answer.probe.multi_label)
        found = dict(predictor.predict(query).scores)
        deltas = [abs(found[n] - s) for n, s in zip(labels.names, answer.scores, strict=True)]
        worst = max(worst, *deltas)
    return worst
