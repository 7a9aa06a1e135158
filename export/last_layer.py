"""Computes the last layer only for the token that the classifier reads.

BART's head reads the last `</s>` of a row, the others read the first token; the last layer's keys
and values still see every token. `export.fuse_attention` must have been there first.
"""

from __future__ import annotations

import numpy as np
import onnx

from export.errors import ConversionFailed
from export.fuse_attention import Attention, Kind
from export.rewrite import Rewriter, attribute

__all__ = ["trim_to_eos", "trim_to_first"]


def trim_to_first(graph: Rewriter, last: Attention) -> None:
    """For encoders: the head reads token 0.

    Raises:
        ConversionFailed: The head does something else with the last layer.
    """
    head = _head(graph, index=0)
    first = graph.weight("first_token", np.array([0], np.int64))
    row = graph.add("Gather", [last.query.source, first], "last_layer_row", axis=1)
    _trim(graph, last, row, head.input[0], head)


def trim_to_eos(graph: Rewriter, last: Attention, fused: onnx.NodeProto, eos_id: int) -> None:
    """For BART: the head reads the last token that is `eos_id`.

    The exporter's own way, a list of all such positions cut into rows, answers wrongly when the
    rows have different numbers of them; here each row is on its own.

    Raises:
        ConversionFailed: The head does something else with the last layer.
    """
    if last.kind is not Kind.CAUSAL:
        raise ConversionFailed(f"{last.output}: expected causal attention, found {last.kind}")
    head = _head(graph, index=-1)
    selected = graph.find(graph.find(head.input[0], "Reshape").input[0], "GatherND")
    eos = graph.weight("eos_id", np.array(eos_id, np.int64))
    is_eos = graph.add("Equal", ["input_ids", eos], "is_eos")
    number = graph.add("Cast", [is_eos.output[0]], "is_eos_number", to=onnx.TensorProto.INT32)
    position = graph.add(
        "ArgMax", [number.output[0]], "last_eos", axis=1, keepdims=1, select_last_index=1
    )
    last_axis = graph.weight("last_axis", np.array([-1], np.int64))
    index = graph.add("Unsqueeze", [position.output[0], last_axis], "last_eos_index")
    row = graph.add(
        "GatherND", [last.query.source, index.output[0]], "last_layer_row", batch_dims=1
    )
    _look_back(graph, fused, position.output[0])
    _trim(graph, last, row, selected.input[0], head)


def _head(graph: Rewriter, index: int) -> onnx.NodeProto:
    """The node that picks one token's hidden state."""
    found = [
        node
        for node in graph.nodes("Gather")
        if attribute(node, "axis") == 1 and _reads(graph, node, index)
    ]
    if len(found) != 1:
        raise ConversionFailed(
            f"expected one Gather that reads token {index} of the last layer, found {len(found)}; "
            "build without fusions"
        )
    return found[0]


def _reads(graph: Rewriter, node: onnx.NodeProto, index: int) -> bool:
    tensor = node.input[1]
    return not graph.is_computed(tensor) and graph.constant(tensor).tolist() == index


def _look_back(graph: Rewriter, fused: onnx.NodeProto, position: str) -> None:
    """Let the one query see the keys up to its own position: it is no longer at the diagonal."""
    zero = graph.weight("token_0", np.array(0, np.int64))
    step = graph.weight("token_step", np.array(1, np.int64))
    length = graph.add("Shape", ["input_ids"], "token_axis", start=1, end=2)
    count = graph.add("Squeeze", [length.output[0]], "token_count")
    tokens = graph.add("Range", [zero, count.output[0], step], "token_positions")
    seen = graph.add("LessOrEqual", [tokens.output[0], position], "is_seen")
    mask = graph.add("Cast", [seen.output[0]], "seen_mask", to=onnx.TensorProto.INT32)
    (unidirectional,) = (entry for entry in fused.attribute if entry.name == "unidirectional")
    unidirectional.i = 0
    graph.append_input(fused, ["", mask.output[0]])


def _trim(
    graph: Rewriter, last: Attention, row: onnx.NodeProto, hidden: str, head: onnx.NodeProto
) -> None:
    """Feed the row to the queries and to the residual; all that follows is row by row."""
    source = last.query.source
    residuals = [node for node in graph.readers(source) if node.op_type == "Add"]
    # The exporter asks for shapes everywhere; one row has other ones, that nobody needs any more.
    heads = [node for node in graph.readers(hidden) if node.op_type != "Shape"]
    if len(residuals) != 1 or len(heads) != 1:
        raise ConversionFailed(
            f"{source}: expected one residual around the last attention, and a head that reads one "
            f"token; found {len(residuals)} and {len(heads)}; build without fusions"
        )
    for node in (last.query.product, residuals[0]):
        graph.redirect(node, source, row.output[0])
    token_axis = graph.weight("token_axis_index", np.array([1], np.int64))
    pooled = graph.add("Squeeze", [hidden, token_axis], "last_layer_pooled")
    graph.replace(head.output[0], pooled.output[0])
