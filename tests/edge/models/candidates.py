"""Bundles that pass their trial and then show what they are: slow, contrary, or wrong now and then.

Each one's self-test is what it answers itself, unlike those of `tests.edge.models.graphs`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from edge.bundle import (
    SELFTEST,
    STARTER,
    TOKENIZER,
    Bundle,
    SelfTestCase,
    read_bundle,
    seal_bundle,
)
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from tests.edge.models.graphs import TEXTS, graph, make_model

__all__ = ["FATAL_TEXT", "contrary", "make_candidate", "slow", "stubborn", "treacherous"]

FATAL_TEXT = "one two three four five"
FATAL_TOKENS = 7  # of that text, with both special tokens; no text of the self-test has so many


def make_candidate(path: Path, model: bytes | None = None, **changes: Any) -> Bundle:
    """A bundle with this graph (None: the sound one) whose self-test it passes."""
    bundle = make_model(path, model, **changes)
    predictor = Predictor(bundle, LabelSet.from_names(["A"]))
    cases = []
    for text in TEXTS:
        answer = predictor.predict(Query(text, predictor.label_set))
        cases.append(SelfTestCase(text, (), answer.raw_label, dict(answer.scores)))
    (path / SELFTEST).write_text("".join(json.dumps(asdict(case)) + "\n" for case in cases))
    seal_bundle(path, bundle.manifest)
    return read_bundle(path)


def contrary() -> bytes:
    """The other label, whatever the sound model says."""
    return graph(_scored("count", "bias", "logits"), _weights(-1))


def treacherous() -> bytes:
    """As the sound model, but for a text of `FATAL_TOKENS` tokens: there it finds no number."""
    nodes = [
        helper.make_node("Sub", ["count", "seven"], ["distance"]),
        helper.make_node("Div", ["distance", "distance"], ["one_or_nan"]),
        helper.make_node("Mul", ["count", "one_or_nan"], ["poisoned"]),
        *_scored("poisoned", "bias", "logits"),
    ]
    return graph(nodes, _weights(1) | {"seven": np.array([[FATAL_TOKENS]], np.float32)})


def stubborn(text: str) -> bytes:
    """As the sound model, but for this text: there the runtime raises an error of its own."""
    total = sum(Tokenizer.from_file(str(STARTER / TOKENIZER)).encode(text).ids)
    nodes = [
        helper.make_node("ReduceSum", ["ids", "one"], ["total"], keepdims=0),
        helper.make_node("Equal", ["total", "fatal"], ["is_fatal"]),
        helper.make_node("Cast", ["is_fatal"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zero", "row"], ["zeros"], axis=0),  # there is row 0 alone
        helper.make_node("Add", ["count", "zeros"], ["sure"]),
        *_scored("sure", "bias", "logits"),
    ]
    known = {"fatal": np.array([total], np.int64), "zero": np.zeros((1, 1), np.float32)}
    return graph(nodes, _weights(1) | known)


def slow(floats: int) -> bytes:
    """As the sound model, after so many idle sums for every token of the text."""
    nodes = [
        helper.make_node("Mul", ["sum", "many"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Exp", ["zeros"], ["ones_again"]),
        helper.make_node("Log", ["ones_again"], ["zeros_again"]),
        helper.make_node("ReduceMax", ["zeros_again"], ["zero"], keepdims=0),
        helper.make_node("Add", ["count", "zero"], ["late"]),
        *_scored("late", "bias", "logits"),
    ]
    return graph(nodes, _weights(1) | {"many": np.array([[floats]], np.int64)})


def _scored(count: str, bias: str, logits: str) -> list[Any]:
    return [
        helper.make_node("MatMul", [count, "weights"], ["product"]),
        helper.make_node("Add", ["product", bias], [logits]),
    ]


def _weights(sign: int) -> dict[str, Any]:
    """Those of `tests.edge.models.graphs.linear`, or their opposite."""
    weights = sign * np.linspace(-0.2, 0.2, 2, dtype=np.float32)[None]
    bias = sign * np.linspace(1.5, -1.5, 2, dtype=np.float32)[None]
    return {"weights": weights, "bias": bias}
