"""Watches a graph at work: what flows into its products, and how badly int8 would hold it.

It runs the fp32 graph once over some texts; what follows is arithmetic on what it saw.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.numpy_helper import to_array

from export.graph import Product, find_products
from export.recipes import Recipe
from export.weights import by_column, smoothing

__all__ = ["Observation", "observe"]

Floats = npt.NDArray[np.float32]
Inputs = Mapping[str, npt.NDArray[np.int64]]

MAX_TOKENS = 192
"""Tokens kept of each activation: enough for a mean, few enough for memory (200 MB for BART)."""
QUIET = 3  # onnxruntime's errors only
TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen at each product's input; the weights stay in the file."""

    graph: Path
    products: tuple[Product, ...]
    samples: Mapping[str, Floats]
    """float32 [tokens, channels] by activation."""
    channel_max: Mapping[str, Floats]
    """float32 [channels] by activation: the largest |x|."""

    def groups(self, recipe: Recipe) -> list[tuple[float, tuple[Product, ...]]]:
        """Products by what they read, with their error under a recipe, the worst first.

        Those that read the same activation share its quantisation, and so its fate.
        """
        weights = {weight.name: weight for weight in onnx.load(self.graph).graph.initializer}
        readers: dict[str, list[Product]] = {}
        for product in self.products:
            readers.setdefault(product.activation, []).append(product)
        scored = [
            (max(self._error(recipe, p, to_array(weights[p.weight])) for p in group), tuple(group))
            for group in readers.values()
        ]
        return sorted(scored, key=lambda pair: -pair[0])

    def _error(self, recipe: Recipe, product: Product, w: Floats) -> float:
        """Relative squared error of one product's output, quantised by itself."""
        x = self.samples[product.activation]
        exact = x @ w
        if recipe.smooth:
            factors = smoothing(self.channel_max[product.activation], np.abs(w).max(axis=1))
            x, w = x / factors, w * factors[:, None]
        stored = by_column(w, signed=True, bits=recipe.bits)
        rounded = _round_trip(x) @ (stored.values * stored.scales)
        return float(np.square(rounded - exact).sum() / max(np.square(exact).sum(), TINY))


def observe(graph: Path, batches: Iterable[Inputs], scratch: Path) -> Observation:
    """Run the graph with every product's input as an output.

    Args:
        graph: fp32, as `save_graph` wrote it.
        batches: Inputs as the edge would run them.
        scratch: Where the widened graph may lie for a moment.
    """
    products = tuple(find_products(onnx.load(graph)))
    names = sorted({product.activation for product in products})
    session = _open_widened(graph, names, scratch)
    samples: dict[str, list[Floats]] = {name: [] for name in names}
    channel_max: dict[str, Floats] = {}
    accepted = {node.name for node in session.get_inputs()}
    for batch in batches:
        feed = {name: values for name, values in batch.items() if name in accepted}
        for name, found in zip(names, session.run(names, feed), strict=True):
            flat = found.reshape(-1, found.shape[-1])
            seen = np.abs(flat).max(axis=0)
            channel_max[name] = np.maximum(channel_max.get(name, seen), seen)
            kept = sum(map(len, samples[name]))
            samples[name].append(flat[: max(0, MAX_TOKENS - kept)].copy())
    joined = {name: np.concatenate(parts) for name, parts in samples.items()}
    return Observation(graph, products, joined, channel_max)


def _open_widened(graph: Path, names: list[str], scratch: Path) -> ort.InferenceSession:
    """A session whose graph has more outputs.

    Two protobuf messages one after the other are read as their union, so the outputs are appended
    to a copy of the file: BART would not fit in memory a second time.
    """
    more = onnx.ModelProto()
    for name in names:
        more.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    path = scratch / "widened.onnx"
    shutil.copyfile(graph, path)
    with path.open("ab") as file:
        file.write(more.SerializeToString())
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()


def _round_trip(values: Floats) -> Floats:
    """As `DynamicQuantizeLinear`: unsigned 8 bits over the whole tensor, 0 included."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max((high - low) / 255, 1e-12)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale, np.float32)
