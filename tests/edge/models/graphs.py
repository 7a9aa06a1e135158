"""Tiny models that can be loaded: a sound one, and some that hang, eat memory or talk nonsense.

Each counts the tokens of a text, and makes logits of that; the tokenizer is the starter's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edge.bundle import (
    CARD,
    MODEL,
    SELFTEST,
    STARTER,
    TOKENIZER,
    Bundle,
    SelfTestCase,
    seal_bundle,
)
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from tests.edge.models.bundles import manifest

TEXTS = ("gulls", "sum up the notes of the meeting, please", "who signed the lease, and when?")
Nodes = Sequence[NodeProto]
RANK_2 = ["rows", "labels"]


def graph(nodes: Nodes, constants: dict[str, Any], labels: int = 2) -> bytes:
    """A model that counts tokens into `count`, then runs these nodes, which make `logits`."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", labels])
    known = {"one": np.array([1], np.int64)} | constants
    made = helper.make_graph(
        [
            helper.make_node("Mul", ["input_ids", "attention_mask"], ["ids"]),
            helper.make_node("Sign", ["ids"], ["ones"]),
            helper.make_node("ReduceSum", ["ones", "one"], ["sum"], keepdims=1),
            helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.FLOAT),
            *nodes,
        ],
        "counter",
        inputs,
        [output],
        [numpy_helper.from_array(value, name) for name, value in known.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString())


def linear(labels: int = 2) -> bytes:
    """A sound model: the more tokens, the more the last label."""
    weights = np.linspace(-0.2, 0.2, labels, dtype=np.float32)[None]
    bias = np.linspace(1.5, -1.5, labels, dtype=np.float32)[None]
    nodes = [
        helper.make_node("MatMul", ["count", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    return graph(nodes, {"weights": weights, "bias": bias}, labels)


def not_a_number() -> bytes:
    """Zero by zero."""
    nodes = [
        helper.make_node("Sub", ["count", "count"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["nothing"]),
        helper.make_node("Concat", ["nothing", "nothing"], ["logits"], axis=1),
    ]
    return graph(nodes, {})


def endless() -> bytes:
    """A loop without end: its condition stays true."""
    value = helper.make_tensor_value_info
    body: GraphProto = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Abs", ["old"], ["new"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("old", TensorProto.FLOAT, None),
        ],
        [value("go_on", TensorProto.BOOL, []), value("new", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Loop", ["", "true", "count"], ["end"], body=body),
        helper.make_node("Concat", ["end", "end"], ["logits"], axis=1),
    ]
    return graph(nodes, {"true": np.array(True)})


def hungry(floats: int) -> bytes:
    """As many floats for every token of the text, all of them touched."""
    nodes = [
        helper.make_node("Mul", ["sum", "many"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["room"]),
        helper.make_node("Exp", ["room"], ["full"]),
        helper.make_node("ReduceMax", ["full"], ["most"], keepdims=0),
        helper.make_node("Mul", ["count", "most"], ["same"]),
        helper.make_node("Concat", ["same", "same"], ["logits"], axis=1),
    ]
    return graph(nodes, {"many": np.array([[floats]], np.int64)})


def make_model(
    path: Path,
    model: bytes | None = None,
    change_case: Callable[[SelfTestCase], SelfTestCase] = lambda case: case,
    **changes: Any,
) -> Bundle:
    """A bundle whose self-test is what the sound model answers, with this graph in its place.

    Args:
        path: Its directory, which is made.
        model: The graph; None leaves the sound one.
        change_case: Applied to every case of the self-test.
        changes: Of the manifest.
    """
    path.mkdir(parents=True)
    (path / MODEL).write_bytes(linear())
    shutil.copy(STARTER / TOKENIZER, path / TOKENIZER)
    (path / CARD).write_text("# counter\n")
    (path / SELFTEST).write_text("")
    predictor = Predictor(seal_bundle(path, manifest()), LabelSet.from_names(["A"]))
    cases = []
    for text in TEXTS:
        answer = predictor.predict(Query(text, predictor.label_set))
        cases.append(change_case(SelfTestCase(text, (), answer.raw_label, dict(answer.scores))))
    (path / SELFTEST).write_text("".join(json.dumps(asdict(case)) + "\n" for case in cases))
    if model is not None:
        (path / MODEL).write_bytes(model)
    return seal_bundle(path, manifest(**changes))
