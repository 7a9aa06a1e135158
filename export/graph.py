"""Reads and edits ONNX graphs: finds products with weights, adds a pooling, strips provenance.

It converts and quantises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ConversionFailed

__all__ = [
    "EMBEDDING",
    "Product",
    "add_pooling",
    "count_ops",
    "drop_unused",
    "find_products",
    "load_graph",
    "save_graph",
    "split_gemms",
    "strip_provenance",
]

EMBEDDING = "sentence_embedding"
HIDDEN = "last_hidden_state"
IR_VERSION = 8  # what opset 18 needs; the newest one would shut out older runtimes
SHORTEST = 1e-12  # as torch.nn.functional.normalize: a vector of zeros stays one


def add_pooling(source: Path, out: Path) -> None:
    """Replace `last_hidden_state` [batch, tokens, dim] by `sentence_embedding` [batch, dim].

    The sum over unmasked tokens, divided by its length: dividing by the token count first, as a
    mean does, would change nothing. Padding is masked out, so it cannot change a row.

    Raises:
        ConversionFailed: The graph has no such output, or an unmasked input.
    """
    model = onnx.load(source)
    graph = model.graph
    outputs = {node.name: node for node in graph.output}
    if HIDDEN not in outputs or "attention_mask" not in {node.name for node in graph.input}:
        raise ConversionFailed(
            f"{source}: expected the input attention_mask and the output {HIDDEN}, "
            f"found the outputs {sorted(outputs)}; export with the task feature-extraction"
        )
    dim = outputs[HIDDEN].type.tensor_type.shape.dim[2].dim_value
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1], np.int64), "pool_token_axis"),
            numpy_helper.from_array(np.array([2], np.int64), "pool_dim_axis"),
            numpy_helper.from_array(np.array(SHORTEST, np.float32), "pool_shortest"),
        ]
    )
    graph.node.extend(_pooling_nodes())
    del graph.output[:]
    shape = ["batch_size", dim]
    graph.output.append(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    onnx.save(model, out)


def _pooling_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Cast", ["attention_mask"], ["pool_mask_2d"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["pool_mask_2d", "pool_dim_axis"], ["pool_mask"]),
        node("Mul", [HIDDEN, "pool_mask"], ["pool_kept"]),
        node("ReduceSum", ["pool_kept", "pool_token_axis"], ["pool_sum"], keepdims=0),
        node("ReduceL2", ["pool_sum", "pool_token_axis"], ["pool_length"], keepdims=1),
        node("Max", ["pool_length", "pool_shortest"], ["pool_divisor"]),
        node("Div", ["pool_sum", "pool_divisor"], [EMBEDDING]),
    ]


def strip_provenance(source: Path, out: Path) -> None:
    """Drop what tells of the machine and the run, so that the same weights give the same bytes.

    Raises:
        ConversionFailed: The graph keeps weights in other files, which the edge refuses.
    """
    save_graph(onnx.load(source, load_external_data=False), out)


def save_graph(model: onnx.ModelProto, out: Path) -> None:
    """Write a graph without what tells of the machine and the run; the model is changed.

    Raises:
        ConversionFailed: The graph keeps weights in other files, which the edge refuses.
    """
    if any(weight.external_data for weight in model.graph.initializer):
        raise ConversionFailed(f"{out}: expected one file, found weights kept outside of it")
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "intentd-export", "", ""
    model.graph.name, model.graph.doc_string = "encoder", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    data = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(data)  # a model would be serialised once more
    out.write_bytes(data)


def load_graph(path: Path) -> onnx.ModelProto:
    """The graph with its weights, every node with a name."""
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product of an activation with weights."""

    name: str
    """The node's."""
    activation: str
    """The tensor that is multiplied; products that read the same one share its quantisation."""
    weight: str
    """The initializer, float32 [inputs, outputs]."""
    size: int
    """Number of weights."""


def find_products(model: onnx.ModelProto) -> list[Product]:
    """Every MatMul with constant float weights in two dimensions, in the graph's order."""
    sizes = {
        weight.name: weight.dims[0] * weight.dims[1]
        for weight in model.graph.initializer
        if len(weight.dims) == 2 and weight.data_type == TensorProto.FLOAT
    }
    return [
        Product(node.name, node.input[0], node.input[1], sizes[node.input[1]])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in sizes
    ]


def split_gemms(model: onnx.ModelProto) -> None:
    """Turn each `Gemm` with weights into `MatMul` and `Add`, but the one that gives the output.

    That last one is small, and its rounding would be the scores' own.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in weights and node.output[0] not in outputs:
            nodes += _split_gemm(node, weights, model.graph)
        else:
            nodes.append(node)
    _replace_nodes(model, nodes)


def _split_gemm(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    options = {
        attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
    }
    if options.pop("transB", 0) != 1 or any(options.get(k, 1) != 1 for k in ("alpha", "beta")):
        yield node
        return
    transposed = numpy_helper.to_array(weights[node.input[1]]).T.copy()
    graph.initializer.append(numpy_helper.from_array(transposed, f"{node.name}_weight"))
    product = f"{node.output[0]}_product"
    yield helper.make_node("MatMul", [node.input[0], f"{node.name}_weight"], [product], node.name)
    yield helper.make_node("Add", [product, node.input[2]], node.output, f"{node.name}_bias")


def _replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    drop_unused(model)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove the weights that no node reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    for position in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[position].name not in read:
            del model.graph.initializer[position]


def count_ops(path: Path) -> dict[str, int]:
    """How many nodes of each operator a graph has; `MatMul:const` are those with weights."""
    graph = onnx.load(path).graph
    constants = {weight.name for weight in graph.initializer}
    counts: dict[str, int] = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
        if node.op_type == "MatMul" and node.input[1] in constants:
            counts["MatMul:const"] = counts.get("MatMul:const", 0) + 1
    return counts
