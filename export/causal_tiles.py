"""Computes causal attention of long rows tile by tile: no token looks at keys it may not see.

Half of the scores of a causal attention are thrown away, and onnxruntime computes and stores all of
them. Each tile of queries here reads the keys up to its own end. Short rows keep the one node.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.fuse_attention import MASKED
from export.rewrite import MICROSOFT, Rewriter, attribute

__all__ = ["LONG_TOKENS", "tile_causal"]

LONG_TOKENS = 256
"""From here on tiles pay: 4 rows of 256 tokens take 9.9 CPU-ms in one node and 9.5 in tiles, of 512
60 and 33, of 1024 240 and 115 (16 heads, 2026-11-22). No tile is empty then."""
TILES = 8


def tile_causal(graph: Rewriter, node: onnx.NodeProto) -> None:
    """Put an `If` on the length in the place of a causal `MultiHeadAttention`."""
    output = node.output[0]
    tiled, short = f"{output}_tiled", f"{output}_short"
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    kept.output[0] = short
    branches = {
        "then_branch": _tiles(graph, node, tiled),
        "else_branch": helper.make_graph([kept], f"{output}_else", [], [_float(short)]),
    }
    choice = graph.add("If", [_is_long(graph)], f"{output}_by_length", **branches)
    graph.declare(choice.output[0], ["batch", "tokens", graph.declared_size(output)])
    graph.replace(output, choice.output[0])


def _is_long(graph: Rewriter) -> str:
    """Scalar bool, computed once."""
    name = "is_long"
    if graph.maker(name) is None:
        limit = graph.weight("long_tokens", np.array(LONG_TOKENS, np.int64))
        graph.add("Greater", [_count(graph), limit], name)
    return name


def _count(graph: Rewriter) -> str:
    """Scalar int64, the tokens of a padded row."""
    name = "causal_tokens"
    if graph.maker(name) is None:
        axis = graph.add("Shape", ["input_ids"], "causal_token_axis", start=1, end=2)
        graph.add("Squeeze", [axis.output[0]], name)
    return name


def _tiles(graph: Rewriter, node: onnx.NodeProto, output: str) -> onnx.GraphProto:
    """The tiles one after the other; constants are the branch's own, as weights are pruned."""
    part = _Branch(output)
    query, key, value = node.input[:3]
    count = _count(graph)
    last = part.constant("tiles_minus_1", TILES - 1)
    size = part.add("Div", [part.add("Add", [count, last]), part.constant("tiles", TILES)])
    options = {name: attribute(node, name) for name in ("num_heads", "scale")}
    start, parts = part.constant("zero", 0), []
    for _ in range(TILES):
        end = part.add("Min", [part.add("Add", [start, size]), count])
        rows = part.slice(query, start, end)
        keys, values = (part.slice(name, part.constant("zero", 0), end) for name in (key, value))
        read = [rows, keys, values, "", "", part.mask(start, end)]
        parts.append(part.add("MultiHeadAttention", read, domain=MICROSOFT, **options))
        start = end
    part.add("Concat", parts, output, axis=1)
    return helper.make_graph(part.nodes, f"{output}_then", [], [_float(output)], part.weights)


class _Branch:
    """Nodes and constants of a branch, whose names are unique in the whole graph."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    @property
    def weights(self) -> list[onnx.TensorProto]:
        """The constants."""
        return list(self._weights.values())

    def constant(self, name: str, value: int | float | list[int]) -> str:
        """A constant; int64, or float32 where it is a float."""
        full = f"{self._prefix}/{name}"
        dtype = np.float32 if isinstance(value, float) else np.int64
        self._weights[full] = numpy_helper.from_array(np.array(value, dtype), full)
        return full

    def add(self, op_type: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        """A node; the name of its output, which is made up if none is given."""
        name = f"{self._prefix}/{len(self.nodes)}"
        output = output if output == self._prefix else f"{name}/{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def slice(self, tensor: str, start: str, end: str) -> str:
        """Tokens from `start` to before `end`."""
        axis = self.constant("token_axis", [1])
        bounds = [
            self.add("Unsqueeze", [edge, self.constant("axis", [0])]) for edge in (start, end)
        ]
        return self.add("Slice", [tensor, *bounds, axis])

    def mask(self, start: str, end: str) -> str:
        """float32 [1, 1, end - start, end]: `MASKED` where a key is later than the query."""
        zero, one = self.constant("zero", 0), self.constant("one", 1)
        queries, keys = self.add("Range", [start, end, one]), self.add("Range", [zero, end, one])
        column = self.add("Unsqueeze", [queries, self.constant("column", [1])])
        later = self.add("Greater", [keys, column])
        shut, open_ = self.constant("shut", MASKED), self.constant("open", 0.0)
        mask = self.add("Where", [later, shut, open_])
        return self.add("Unsqueeze", [mask, self.constant("batch_and_heads", [0, 1])])


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
