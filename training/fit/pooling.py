"""Makes a mean over tokens an attention layer: a sentence encoder becomes a plain classifier.

A classifier of the BERT family reads its first token, where a sentence encoder was trained to be
read by the mean of all. One more layer, set up so that every token is looked at alike, puts that
mean into the first token: the result is an ordinary `…ForSequenceClassification`, which training,
export and any pipeline take as it is. Training may then look where it pays (ADR 10).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["add_mean_layer"]

LOUDNESS = 100.0
"""How much louder the mean is than what the first token held before: the sum of the two is
normalised, so 1 % of it is left."""
QUIET = 0.02
"""Spread of the queries: with keys of 0 all tokens weigh alike, and the keys have a slope."""
NEAR_LINEAR = 0.5
"""A tanh is nearly a straight line here. A smaller gain would be straighter, but Adam's steps are
of one size whatever they move, and would be too large for it: at 0.2 a fit was destroyed."""
ABOVE_ZERO = 6.0
"""A ReLU passes what it is given, where everything is moved up so far."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where a layer keeps its matrices."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    norm: nn.LayerNorm
    last: nn.Linear
    """What the feed-forward part ends with."""
    last_norm: nn.LayerNorm


def _bert(layer: Any) -> _Parts:
    attention = layer.attention
    return _Parts(
        attention.self.query,
        attention.self.key,
        attention.self.value,
        attention.output.dense,
        attention.output.LayerNorm,
        layer.output.dense,
        layer.output.LayerNorm,
    )


def _distilbert(layer: Any) -> _Parts:
    attention = layer.attention
    return _Parts(
        attention.q_lin,
        attention.k_lin,
        attention.v_lin,
        attention.out_lin,
        layer.sa_layer_norm,
        layer.ffn.lin2,
        layer.output_layer_norm,
    )


def add_mean_layer(model: Any) -> None:
    """Append the layer to a `…ForSequenceClassification`, and make its pooler hand it on.

    What the classifier then reads is the mean of the tokens, standardised, to about 1 %.

    Args:
        model: BERT or DistilBERT, in fp32. Its config counts one layer more afterwards.
    """
    config = model.config
    if config.model_type == "bert":
        layers, read, size = model.bert.encoder.layer, _bert, "num_hidden_layers"
    else:
        layers, read, size = model.distilbert.transformer.layer, _distilbert, "n_layers"
    layer = copy.deepcopy(layers[-1])
    with torch.no_grad():
        _set_up(read(layer))
        _pass_through(model)
    layers.append(layer)
    setattr(config, size, len(layers))


def _set_up(parts: _Parts) -> None:
    for linear in (parts.query, parts.key, parts.value, parts.out, parts.last):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    nn.init.normal_(parts.query.weight, std=QUIET)
    nn.init.eye_(parts.value.weight)
    nn.init.eye_(parts.out.weight)
    parts.out.weight.mul_(LOUDNESS)
    for norm in (parts.norm, parts.last_norm):
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)


def _pass_through(model: Any) -> None:
    """The pooler, which was trained for another purpose or not at all, changes nothing."""
    if model.config.model_type == "bert":
        dense, gain, shift = model.bert.pooler.dense, NEAR_LINEAR, 0.0
    else:
        dense, gain, shift = model.pre_classifier, 1.0, ABOVE_ZERO
    nn.init.eye_(dense.weight)
    dense.weight.mul_(gain)
    nn.init.constant_(dense.bias, shift)
