"""Replaces the exporter's dozen nodes of attention by one operator that never stores the scores.

It matches the exact shape that Optimum writes for `sdpa` attention, and refuses every other one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx

from export.errors import ConversionFailed
from export.rewrite import MICROSOFT, Rewriter

__all__ = ["Attention", "Kind", "find_attentions", "fuse_attention"]

SPLIT_HEADS = [0, 2, 1, 3]
SPLIT_HEADS_OF_KEYS = [0, 2, 3, 1]
MASKED = -1e4
"""What a padded key's score gets. exp(-1e4) is 0 in fp32 beside any score a model makes, and sums
of it stay finite, which those of the exporter's own -3.4e38 do not."""


class Kind(StrEnum):
    """Who looks at whom."""

    ENCODER = "encoder"
    """Every token at every token that is not padding."""
    CAUSAL = "causal"
    """The decoder's tokens at themselves and those before."""
    CROSS = "cross"
    """The decoder's tokens at the encoder's that are not padding."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`MatMul` with a weight, then `Add` with a bias; holds the nodes, so that they keep names."""

    product: onnx.NodeProto
    weight: str
    """float32 [inputs, outputs]."""
    sum: onnx.NodeProto
    bias: str
    """float32 [outputs]."""

    @property
    def source(self) -> str:
        """The tensor that is multiplied."""
        return str(self.product.input[0])

    @property
    def output(self) -> str:
        """The tensor that comes out."""
        return str(self.sum.output[0])


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention as the exporter wrote it."""

    kind: Kind
    query: Linear
    key: Linear
    value: Linear
    head_size: int
    output: str
    """float32 [batch, tokens, heads × head_size], what the output projection reads."""


def find_attentions(graph: Rewriter) -> list[Attention]:
    """Every attention of the graph, in its order.

    Raises:
        ConversionFailed: A Softmax is not part of an attention as Optimum exports it.
    """
    return [_match(graph, node) for node in graph.nodes("Softmax")]


def fuse_attention(graph: Rewriter, attention: Attention, heads: int) -> onnx.NodeProto:
    """Put one `MultiHeadAttention` in its place; returns it.

    Masks keep onnxruntime from its tiled kernel, which is twice as fast on 1024 tokens (113 against
    237 CPU-ms for 4 rows, 2026-11-22) and needs no memory for the scores. So padding becomes a
    dimension more in each head: 1 in the queries, `MASKED` or 0 in the keys; their product adds it
    to the score. A causal mask cannot be had that way, and stays an attribute.

    Raises:
        ConversionFailed: The projections are not `heads` times as wide as the graph's heads.
    """
    width = graph.constant(attention.query.weight).shape[1]
    if width != heads * attention.head_size:
        raise ConversionFailed(
            f"{attention.output}: expected {heads} heads as the model's config says, found "
            f"projections {width} wide with heads of {attention.head_size}"
        )
    inputs = [attention.query.output, attention.key.output, attention.value.output]
    if attention.kind is not Kind.CAUSAL:
        _widen(graph, attention.query, heads, extra=1.0)
        _widen(graph, attention.key, heads, extra=0.0)
        mask = _key_mask(graph, heads, attention.head_size)
        inputs[1] = graph.add("Add", [inputs[1], mask], f"{inputs[1]}_masked").output[0]
    fused = graph.add(
        "MultiHeadAttention",
        inputs,
        f"{attention.output}_fused",
        domain=MICROSOFT,
        num_heads=heads,
        scale=1 / math.sqrt(attention.head_size),
        unidirectional=int(attention.kind is Kind.CAUSAL),
    )
    graph.declare(fused.output[0], ["batch", "tokens", width])
    graph.replace(attention.output, fused.output[0])
    return fused


def _match(graph: Rewriter, softmax: onnx.NodeProto) -> Attention:
    """Walk from the Softmax up to the projections, and down to the merged heads."""
    masked = graph.find(softmax.input[0], "Add")
    scores = graph.find(masked.input[0], "MatMul")
    split_query, query = _head(graph, scores.input[0], SPLIT_HEADS)
    _, key = _head(graph, scores.input[1], SPLIT_HEADS_OF_KEYS)
    context = graph.only_reader(softmax.output[0], "MatMul")
    split_value = graph.find(context.input[1], "Transpose", perm=SPLIT_HEADS)
    value = _linear(graph, graph.find(split_value.input[0], "Reshape").input[0])
    swapped = graph.only_reader(context.output[0], "Transpose", perm=SPLIT_HEADS)
    merged = graph.only_reader(swapped.output[0], "Reshape")
    head_size = _head_size(graph, split_query)
    _check_scale(graph, scores, head_size)
    if key.source != value.source:
        raise ConversionFailed(f"{softmax.name}: expected keys and values of the same tokens")
    kind = _kind(graph, masked.input[1], is_self=query.source == key.source)
    return Attention(kind, query, key, value, head_size, merged.output[0])


def _head(graph: Rewriter, tensor: str, perm: list[int]) -> tuple[onnx.NodeProto, Linear]:
    """The Reshape that splits the heads, and the projection above it."""
    scaled = graph.find(tensor, "Mul")
    split = graph.find(graph.find(scaled.input[0], "Transpose", perm=perm).input[0], "Reshape")
    return split, _linear(graph, split.input[0])


def _linear(graph: Rewriter, tensor: str) -> Linear:
    """A projection; the exporter writes the bias first, others write it last."""
    node = graph.find(tensor, "Add")
    bias, product = sorted(node.input, key=graph.is_computed)
    return Linear(graph.find(product, "MatMul"), graph.find(product, "MatMul").input[1], node, bias)


def _head_size(graph: Rewriter, split: onnx.NodeProto) -> int:
    """The last number of the shape that splits the heads."""
    return int(graph.constant(graph.find(split.input[1], "Concat").input[-1]).item())


def _check_scale(graph: Rewriter, scores: onnx.NodeProto, head_size: int) -> None:
    """Queries and keys are each scaled by head_size^-1/4; DistilBERT computes it from shapes."""
    for tensor in scores.input:
        name = graph.find(tensor, "Mul").input[1]
        if graph.is_computed(name):
            graph.find(name, "Sqrt")
        elif not math.isclose(scale := graph.constant(name).item(), head_size**-0.25, rel_tol=1e-5):
            raise ConversionFailed(
                f"{scores.name}: expected a scale of {head_size}^-1/4, found {scale}"
            )


def _kind(graph: Rewriter, mask: str, *, is_self: bool) -> Kind:
    """By what the mask is computed from: a triangle, or the input that marks padding."""
    found = graph.comes_from(mask) & {"Trilu", "attention_mask"}
    if found == {"attention_mask"}:
        return Kind.ENCODER if is_self else Kind.CROSS
    if found == {"Trilu"} and is_self:
        return Kind.CAUSAL
    raise ConversionFailed(
        f"{mask}: expected a mask of padding or of later tokens, found one that depends on "
        f"{' and '.join(sorted(found)) or 'neither'}; build without fusions"
    )


def _widen(graph: Rewriter, linear: Linear, heads: int, extra: float) -> None:
    """One column more a head: weights of zero, and a bias of `extra`."""
    for node, name, filler in (
        (linear.product, linear.weight, 0.0),
        (linear.sum, linear.bias, extra),
    ):
        value = graph.constant(name)
        by_head = value.reshape(*value.shape[:-1], heads, -1)
        column = np.full((*by_head.shape[:-1], 1), filler, np.float32)
        wide = np.concatenate([by_head, column], axis=-1).reshape(*value.shape[:-1], -1)
        graph.redirect(node, name, graph.weight(f"{node.name}_wide", wide))


def _key_mask(graph: Rewriter, heads: int, head_size: int) -> str:
    """float32 [batch, tokens, heads × (head_size + 1)]: `MASKED` at padding, in the last columns.

    Made once: every encoder and cross attention looks at the same tokens.
    """
    name = f"key_mask_{heads}x{head_size}"
    if graph.maker(name) is None:
        columns = np.zeros((heads, head_size + 1), np.float32)
        columns[:, -1] = MASKED
        last_axis = graph.weight("last_axis", np.array([-1], np.int64))
        one = graph.weight("one", np.array(1, np.float32))
        kept = graph.add("Cast", ["attention_mask"], f"{name}_kept", to=onnx.TensorProto.FLOAT)
        padded = graph.add("Sub", [one, kept.output[0]], f"{name}_padded")
        rows = graph.add("Unsqueeze", [padded.output[0], last_axis], f"{name}_rows")
        weight = graph.weight(f"{name}_columns", columns.reshape(-1))
        graph.add("Mul", [rows.output[0], weight], name)
    return name
