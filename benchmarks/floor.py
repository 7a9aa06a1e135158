"""The least that an int8 graph can take: its own MatMulInteger nodes, and nothing in between.

Their weights are those of the graph, so that they are read from memory as they are there; what they
are multiplied with is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

__all__ = ["build_floor"]

OPSET, IR_VERSION = 18, 8
INPUTS = ("input_ids", "attention_mask")


def build_floor(int8: Path, out: Path, feed: Mapping[str, np.ndarray]) -> None:
    """Write the floor of a graph, for inputs of the shape of `feed`; it takes the same inputs."""
    model = onnx.load(int8)
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    shapes = _shapes(int8, [node.input[0] for node in products], feed)
    weights = {weight.name: weight for weight in model.graph.initializer}
    nodes, kept = [], {}
    for node, shape in zip(products, shapes, strict=True):
        activation = _activation_name(shape)
        kept[node.input[1]], kept[node.input[3]] = weights[node.input[1]], weights[node.input[3]]
        read = [activation, node.input[1], "activation_zero", node.input[3]]
        nodes.append(helper.make_node("MatMulInteger", read, [node.output[0]]))
        # A shape is next to nothing, and keeps onnxruntime from dropping the product.
        nodes.append(helper.make_node("Shape", [node.output[0]], [f"{node.output[0]}_shape"]))
    outputs = [f"{node.output[0]}_shape" for node in products]
    nodes.append(helper.make_node("Concat", outputs, ["shapes"], axis=0))
    made, constants = _activations(set(shapes))
    graph = helper.make_graph(
        made + nodes,
        "floor",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in INPUTS
        ],
        [helper.make_tensor_value_info("shapes", TensorProto.INT64, [None])],
        [*kept.values(), *constants],
    )
    opset = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION), out)


def _shapes(
    int8: Path, tensors: Sequence[str], feed: Mapping[str, np.ndarray]
) -> list[tuple[int, ...]]:
    """The shapes of tensors in a run."""
    model = onnx.load(int8)
    del model.graph.output[:]
    for number, tensor in enumerate(tensors):
        name = f"shape_{number}"
        model.graph.node.append(helper.make_node("Shape", [tensor], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, [None]))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {node.name for node in session.get_inputs()}
    found = session.run(None, {name: feed[name] for name in wanted})
    return [tuple(int(size) for size in shape) for shape in found]


def _activation_name(shape: tuple[int, ...]) -> str:
    return f"activation_{'x'.join(map(str, shape))}"


def _activations(
    shapes: set[tuple[int, ...]],
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """uint8 tensors of these shapes, spread out from the inputs so that nothing is folded away."""
    node = helper.make_node
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    nodes = [
        node("Gather", ["input_ids", "first"], ["one_column"], axis=1),
        node("Gather", ["one_column", "first"], ["one_id"], axis=0),
        node("ReduceMax", ["attention_mask", "first_axes"], ["largest_mask"], keepdims=1),
        node("Add", ["one_id", "largest_mask"], ["seed_value"]),
        node("Cast", ["seed_value"], ["seed"], to=TensorProto.UINT8),
        node("Sub", ["one_id", "one_id"], ["nothing_2d"]),
        node("Reshape", ["nothing_2d", "flat"], ["nothing"]),
    ]
    axes = numpy_helper.from_array(np.array([0, 1], np.int64), "first_axes")
    zero = numpy_helper.from_array(np.array(128, np.uint8), "activation_zero")
    flat = numpy_helper.from_array(np.array([-1], np.int64), "flat")
    constants = [first, axes, zero, flat]
    for shape in sorted(shapes):
        name = _activation_name(shape)
        constants.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape"))
        # A shape known beforehand would let onnxruntime leave the product out.
        nodes.append(node("Add", [f"{name}_shape", "nothing"], [f"{name}_size"]))
        nodes.append(node("Expand", ["seed", f"{name}_size"], [name]))
    return nodes, constants
