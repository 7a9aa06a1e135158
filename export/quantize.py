"""Applies a recipe to an fp32 graph. It judges nothing; `export.gate` does.

The starter is made by onnxruntime's own quantiser (`quantize_int8`), to which its published bytes
are tied. All else is made here (`apply_recipe`): the same nodes, but by whole matrices instead of
column by column, in the memory of one model, with smoothing, and with embedding tables that keep a
scale for each row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.errors import ConversionFailed
from export.graph import count_ops, drop_unused, find_products
from export.recipes import Recipe, Weights
from export.weights import by_block, by_column, by_row, smoothing

__all__ = ["INT8_RECIPE", "apply_recipe", "quantize_int8"]

INT8_RECIPE = "int8-dynamic per-channel 7-bit MatMul+Gather"
MICROSOFT = "com.microsoft"
INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: products in int8, each row by itself
MIN_TABLE_ROWS = 64  # smaller tables, such as those of token types, are not worth a node

Floats = npt.NDArray[np.float32]


def apply_recipe(
    model: onnx.ModelProto, recipe: Recipe, channel_max: Mapping[str, Floats] | None = None
) -> None:
    """Rewrite an fp32 graph as the recipe says, in place.

    Args:
        model: As `load_graph` and `split_gemms` leave it.
        recipe: What to do; its `excluded` nodes are left alone.
        channel_max: For smoothing: the largest |x| in each channel of a product's activation,
            float32 [inputs] by tensor name.

    Raises:
        ConversionFailed: The graph has no product that the recipe could store, or not the one that
            it excludes.
    """
    _Rewriter(model, recipe, channel_max or {}).run()


class _Rewriter:
    """One pass over a graph's nodes."""

    def __init__(
        self, model: onnx.ModelProto, recipe: Recipe, channel_max: Mapping[str, Floats]
    ) -> None:
        self._model, self._recipe, self._channel_max = model, recipe, channel_max
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        products = {product.name: product for product in find_products(model)}
        unknown = set(recipe.excluded) - products.keys()
        if unknown or not products:
            raise ConversionFailed(
                f"{recipe.name}: expected products named {sorted(unknown) or '…'} in the graph, "
                f"found {len(products)} others; build again with a fresh --work-dir"
            )
        self._products = {n: p for n, p in products.items() if n not in recipe.excluded}
        self._nodes: list[onnx.NodeProto] = []
        self._done: set[str] = set()

    def run(self) -> None:
        """Rewrite every node that the recipe is about."""
        for node in self._model.graph.node:
            if node.name in self._products and self._recipe.weights is Weights.INT8:
                self._store_int8(node)
            elif node.name in self._products and self._recipe.weights is Weights.NBITS8:
                self._store_nbits(node)
            elif self._recipe.int8_embeddings and self._is_embedding(node):
                self._store_embedding(node)
            else:
                self._nodes.append(node)
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self._nodes]
        del self._model.graph.node[:]
        self._model.graph.node.extend(kept)
        drop_unused(self._model)

    def _store_int8(self, node: onnx.NodeProto) -> None:
        name, activation = node.name, node.input[0]
        if self._recipe.smooth:  # smoothed weights are this product's own
            activation, weights = self._smooth(node)
            values, scales, zero = self._column_weights(name, weights)
        else:
            weights = numpy_helper.to_array(self._weights[node.input[1]])
            values, scales, zero = self._column_weights(node.input[1], weights)
        self._quantise_activation(activation)
        quantised = [f"{activation}_int8", values, f"{activation}_zero", zero]
        self._add("MatMulInteger", quantised, f"{name}_sums")
        self._add("Cast", [f"{name}_sums"], f"{name}_float_sums", to=TensorProto.FLOAT)
        self._add("Mul", [f"{activation}_scale", scales], f"{name}_sum_scales")
        self._add("Mul", [f"{name}_float_sums", f"{name}_sum_scales"], node.output[0])

    def _quantise_activation(self, name: str) -> None:
        """Once for all products that read it."""
        if f"{name}_int8" not in self._done:
            outputs = [f"{name}_int8", f"{name}_scale", f"{name}_zero"]
            self._nodes.append(
                helper.make_node("DynamicQuantizeLinear", [name], outputs, f"{name}_quantise")
            )
            self._done.add(f"{name}_int8")

    def _smooth(self, node: onnx.NodeProto) -> tuple[str, Floats]:
        """The name of the divided activation, and the multiplied weights."""
        activation = node.input[0]
        readers = [p for p in self._products.values() if p.activation == activation]
        matrices = [numpy_helper.to_array(self._weights[p.weight]) for p in readers]
        factors = smoothing(
            self._channel_max[activation], np.max([np.abs(m).max(axis=1) for m in matrices], axis=0)
        )
        if f"{activation}_smooth" not in self._done:
            self._keep(f"{activation}_factors", 1 / factors)
            self._add("Mul", [activation, f"{activation}_factors"], f"{activation}_smooth")
            self._done.add(f"{activation}_smooth")
        own = numpy_helper.to_array(self._weights[node.input[1]])
        return f"{activation}_smooth", own * factors[:, None]

    def _column_weights(self, name: str, matrix: Floats) -> tuple[str, str, str]:
        """The initializers of a matrix: values, scales and zero points."""
        recipe = self._recipe
        names = (f"{name}_values", f"{name}_scales", f"{name}_zeros")
        if name not in self._done:
            stored = by_column(matrix, signed=recipe.signed, bits=recipe.bits)
            self._keep(names[0], stored.values)
            self._keep(names[1], stored.scales)
            middle = 0 if recipe.signed else 128
            self._keep(names[2], np.full(len(stored.scales), middle, stored.values.dtype))
            self._done.add(name)
        return names

    def _store_nbits(self, node: onnx.NodeProto) -> None:
        weight, size = node.input[1], self._recipe.block_size
        inputs, outputs = self._weights[weight].dims
        if weight not in self._done:
            stored = by_block(numpy_helper.to_array(self._weights[weight]), size)
            self._keep(f"{weight}_values", stored.values)
            self._keep(f"{weight}_scales", stored.scales)
            self._done.add(weight)
        options = {"K": inputs, "N": outputs, "bits": 8, "block_size": size}
        read = [node.input[0], f"{weight}_values", f"{weight}_scales"]
        self._add(
            "MatMulNBits",
            read,
            node.output[0],
            domain=MICROSOFT,
            accuracy_level=INT8_PRODUCTS,
            **options,
        )
        if MICROSOFT not in {entry.domain for entry in self._model.opset_import}:
            self._model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))

    def _is_embedding(self, node: onnx.NodeProto) -> bool:
        table = self._weights.get(node.input[0]) if node.op_type == "Gather" else None
        return (
            table is not None
            and table.data_type == TensorProto.FLOAT
            and len(table.dims) == 2
            and table.dims[0] >= MIN_TABLE_ROWS
            and all(a.i == 0 for a in node.attribute if a.name == "axis")
        )

    def _store_embedding(self, node: onnx.NodeProto) -> None:
        table, ids = node.input
        if table not in self._done:
            stored = by_row(numpy_helper.to_array(self._weights[table]))
            self._keep(f"{table}_values", stored.values)
            self._keep(f"{table}_scales", stored.scales)
            self._done.add(table)
        name = node.name
        self._add("Gather", [f"{table}_values", ids], f"{name}_int8")
        self._add("Cast", [f"{name}_int8"], f"{name}_float", to=TensorProto.FLOAT)
        self._add("Gather", [f"{table}_scales", ids], f"{name}_scale")
        self._add("Mul", [f"{name}_float", f"{name}_scale"], node.output[0])

    def _add(self, kind: str, inputs: list[str], output: str, **options: object) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], f"{output}_{kind}", **options))

    def _keep(self, name: str, values: npt.NDArray[np.generic]) -> None:
        self._model.graph.initializer.append(numpy_helper.from_array(values, name))


def quantize_int8(source: Path, out: Path) -> None:
    """Dynamic int8 for the MatMuls with constant weights, and for the embedding tables.

    `reduce_range` keeps weights to 7 bits, so the sum of two u8 × s8 products fits in 16 bits:
    AVX2 CPUs without VNNI saturate there, and no setting of the session is needed to be right.
    It costs 0.0013 of cosine (0.9939 → 0.9926 mean on intent4, 2026-11-22). Attention's
    activation-by-activation MatMuls stay fp32, as they carry no weights and quantise badly.

    Raises:
        ConversionFailed: A MatMul with constant weights was left in fp32.
    """
    expected = count_ops(source).get("MatMul:const", 0)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime advises a pre-processing that BERT does not need
    try:
        quantize_dynamic(
            source,
            out,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)
    found = count_ops(out).get("MatMulInteger", 0)
    if found != expected or not expected:
        raise ConversionFailed(
            f"{source}: expected {expected} MatMuls with constant weights to become int8, "
            f"found {found}; check the onnxruntime version"
        )
