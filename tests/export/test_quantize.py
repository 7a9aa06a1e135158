"""Applying a recipe: which nodes change, which never do, and that the arithmetic is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edge.bundle import MODEL, Target
from edge.cpu import Cpu
from edge.runtime import Graph, RuntimeOptions, _session_options
from export.errors import ConversionFailed
from export.graph import count_ops, find_products, load_graph, save_graph, split_gemms
from export.quantize import apply_recipe
from export.recipes import RECIPE_NAMES, Recipe, Weights, candidates
from export.weights import by_column, smoothing
from tests.models import TinyModel

INT8, SMOOTH, _, NBITS, FP32 = candidates(Target.ANY)
VNNI = candidates(Target.AVX512_VNNI)[0]
Rows = dict[str, npt.NDArray[np.int64]]


@pytest.fixture
def base(tiny: Callable[[str], TinyModel]) -> Path:
    """The fp32 graph of a tiny classifier, as Optimum wrote it."""
    return tiny("intents").bundle / MODEL


@pytest.fixture
def rows() -> Rows:
    """Four rows of random words."""
    ids = np.random.default_rng(4).integers(1000, 30_000, (4, 24))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def apply(base: Path, recipe: Recipe, out: Path, **options: object) -> Path:
    """Write the graph that a recipe makes."""
    model = load_graph(base)
    split_gemms(model)
    channels = {
        product.activation: np.ones(product.size, np.float32)[: _inputs(model, product.weight)]
        for product in find_products(model)
    }
    apply_recipe(model, replace(recipe, **options), channels)  # type: ignore[arg-type]  # by name
    save_graph(model, out)
    return out


def _inputs(model: onnx.ModelProto, name: str) -> int:
    return int(next(w.dims[0] for w in model.graph.initializer if w.name == name))


def run(path: Path, rows: Rows) -> npt.NDArray[np.float32]:
    """Logits."""
    return Graph(path, RuntimeOptions(threads=1)).run(rows)


@pytest.mark.parametrize(
    ("recipe", "kind"), [(INT8, "MatMulInteger"), (SMOOTH, "MatMulInteger"), (NBITS, "MatMulNBits")]
)
def test_every_product_with_weights_changes_and_no_other(
    base: Path, tmp_path: Path, recipe: Recipe, kind: str
) -> None:
    """Attention multiplies activations, and the logits' own layer is small: both stay."""
    before, after = count_ops(base), count_ops(apply(base, recipe, tmp_path / "out.onnx"))

    assert after[kind] == before["MatMul:const"] + before["Gemm"] - 1
    assert after["MatMul"] == before["MatMul"] - before["MatMul:const"]
    assert after["Gemm"] == 1


def test_splitting_and_storing_nothing_changes_no_logit(
    base: Path, rows: Rows, tmp_path: Path
) -> None:
    """What every recipe starts from is the model itself."""
    found = run(apply(base, FP32, tmp_path / "out.onnx"), rows)

    np.testing.assert_allclose(found, run(base, rows), atol=1e-5)  # sums in another order


@pytest.mark.parametrize("recipe", [INT8, SMOOTH, VNNI, NBITS, replace(INT8, signed=False, bits=8)])
def test_stored_weights_stay_near_the_original(
    base: Path, rows: Rows, tmp_path: Path, recipe: Recipe
) -> None:
    """A step that is left out, or done twice, is off by far more than rounding."""
    exact = run(base, rows)
    found = run(apply(base, recipe, tmp_path / "out.onnx"), rows)

    # At most 0.16 was measured (2026-11-22); random weights lose more to int8 than trained ones.
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.25
    assert not np.array_equal(found, exact)


@pytest.mark.parametrize("recipe", [INT8, VNNI, replace(INT8, signed=False, bits=8)])
@pytest.mark.parametrize("smooth", [False, True])
def test_one_product_is_the_rounded_operands_product(
    tmp_path: Path, recipe: Recipe, smooth: bool
) -> None:
    """Computed here in float64 from the definition of `DynamicQuantizeLinear`: the same numbers."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 3, 32)).astype(np.float32)
    x[..., 9] *= 100
    weights = rng.normal(size=(32, 8)).astype(np.float32)
    model = product_graph(weights)
    seen = np.abs(x).max(axis=(0, 1))
    apply_recipe(model, replace(recipe, smooth=smooth), {"x": seen})
    save_graph(model, tmp_path / MODEL)
    session = ort.InferenceSession(tmp_path / MODEL, providers=["CPUExecutionProvider"])

    factors = smoothing(seen, np.abs(weights).max(axis=1)) if smooth else np.ones(32, np.float32)
    stored = by_column(weights * factors[:, None], signed=recipe.signed, bits=recipe.bits)
    middle = 0 if recipe.signed else 128
    expected = round_trip(x / factors) @ ((stored.values.astype(float) - middle) * stored.scales)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-3)


def product_graph(weights: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """`y = x @ weights`, with nothing around it."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["b", "t", len(weights)])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["b", "t", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def round_trip(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Unsigned 8 bits over the whole tensor, 0 included, and back."""
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale)


def test_embeddings_cost_little_and_can_stay(base: Path, rows: Rows, tmp_path: Path) -> None:
    """One scale a row: a quarter of the size, for a thousandth of the numbers."""
    small = apply(base, FP32, tmp_path / "small.onnx", int8_embeddings=True)
    exact = run(base, rows)

    assert small.stat().st_size < 0.35 * base.stat().st_size
    assert np.linalg.norm(run(small, rows) - exact) / np.linalg.norm(exact) < 0.05
    kept = apply(base, INT8, tmp_path / "kept.onnx", int8_embeddings=False)
    assert "Cast" not in {n.name for n in onnx.load(kept).graph.node if "embed" in n.name}


def test_excluded_products_stay_in_fp32(base: Path, tmp_path: Path) -> None:
    """By name; a name that is not there is an error, not a recipe that does something else."""
    model = load_graph(base)
    names = tuple(product.name for product in find_products(model)[:2])
    before = count_ops(apply(base, INT8, tmp_path / "all.onnx"))
    after = count_ops(apply(base, INT8, tmp_path / "some.onnx", excluded=names))

    assert after["MatMulInteger"] == before["MatMulInteger"] - 2
    assert after["MatMul:const"] == 2
    with pytest.raises(ConversionFailed, match="elsewhere"):
        apply(base, INT8, tmp_path / "none.onnx", excluded=("elsewhere",))


def test_same_graph_gives_the_same_bytes(base: Path, tmp_path: Path) -> None:
    """Whatever else this process did before."""
    for recipe in candidates(Target.ANY):
        one, other = (apply(base, recipe, tmp_path / f"{n}.onnx") for n in "ab")
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("target", list(Target))
def test_signed_eight_bits_are_for_exact_sums_only(target: Target) -> None:
    """Elsewhere weights have seven bits, or no sign: neither overflows."""
    for recipe in candidates(target):
        saturating = recipe.weights is Weights.INT8 and recipe.signed and recipe.bits > 7
        assert saturating <= (target in (Target.AVX512_VNNI, Target.ARM64))


def test_recipes_are_named_once_and_described_apart() -> None:
    """Names are what `--recipe` takes; descriptions are what the manifest carries."""
    for target in Target:
        recipes = candidates(target)
        assert tuple(recipe.name for recipe in recipes) == RECIPE_NAMES
        assert len({recipe.describe() for recipe in recipes}) == len(recipes)


def test_full_range_weights_are_adapted_where_the_cpu_saturates(
    base: Path, rows: Rows, tmp_path: Path
) -> None:
    """The edge's own session options make them unsigned there, and the answers stay."""
    path = apply(base, VNNI, tmp_path / MODEL)
    old = Cpu("no VNNI", "x86_64", frozenset({"avx2"}))
    options = _session_options(RuntimeOptions(threads=1), old)
    options.optimized_model_filepath = str(tmp_path / "adapted.onnx")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    adapted = onnx.load(tmp_path / "adapted.onnx").graph
    kinds = {w.name: w.data_type for w in adapted.initializer if len(w.dims) == 2}
    products = [node for node in adapted.node if "MatMulInteger" in node.op_type]
    products += [node for node in adapted.node if node.op_type == "DynamicQuantizeMatMul"]

    assert len(products) == count_ops(path)["MatMulInteger"]
    for node in products:
        types = {kinds[name] for name in node.input if name in kinds}
        assert onnx.TensorProto.INT8 not in types
    np.testing.assert_allclose(session.run(None, rows)[0], run(path, rows), atol=1e-4)


def test_packed_weights_are_what_the_recipe_says(base: Path, tmp_path: Path) -> None:
    """Seven bits reach 63, and never more."""
    graph = onnx.load(apply(base, INT8, tmp_path / "out.onnx")).graph
    names = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    largest = [
        int(np.abs(numpy_helper.to_array(w).astype(int)).max())
        for w in graph.initializer
        if w.name in names
    ]

    assert set(largest) == {63}
