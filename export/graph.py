"""Edits ONNX graphs: puts the pooling inside, and strips what would differ from run to run.

The only file that imports onnx. It converts and quantises nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ConversionFailed

__all__ = ["EMBEDDING", "add_pooling", "count_ops", "strip_provenance"]

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
    model = onnx.load(source, load_external_data=False)
    if any(weight.external_data for weight in model.graph.initializer):
        raise ConversionFailed(f"{source}: expected one file, found weights kept outside of it")
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "intentd-export", "", ""
    model.graph.name, model.graph.doc_string = "encoder", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString(deterministic=True))


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
