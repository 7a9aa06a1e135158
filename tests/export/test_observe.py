"""Watching a graph at work: what is seen, and which products int8 would hold worst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export.observe import Inputs, Observation, observe
from export.recipes import Recipe, Weights

INT8 = Recipe("int8", Weights.INT8)
SMOOTH = Recipe("int8-smooth", Weights.INT8, smooth=True)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two products read an activation with an outlier, one reads a calm one."""
    rng = np.random.default_rng(8)
    table = rng.normal(size=(100, 16)).astype(np.float32)
    table[:, 5] *= 1000
    names = ("left", "right", "calm")
    weights = {name: rng.normal(size=(16, 16)).astype(np.float32) for name in names}
    weights["left"][5] /= 1000
    weights["right"][5] /= 1000
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["wild"], "gather"),
        helper.make_node("Tanh", ["wild"], ["tame"], "tanh"),
        helper.make_node("MatMul", ["wild", "left"], ["l"], "left"),
        helper.make_node("MatMul", ["wild", "right"], ["r"], "right"),
        helper.make_node("MatMul", ["tame", "calm"], ["c"], "calm"),
        helper.make_node("Sum", ["l", "r", "c"], ["logits"], "sum"),
    ]
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "t"])
    out = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["b", "t", 16])
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    tensors.append(numpy_helper.from_array(table, "table"))
    model = helper.make_model(
        helper.make_graph(nodes, "two", [ids], [out], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.fixture
def watch(graph: Path, tmp_path: Path) -> Callable[..., Observation]:
    """Watches the graph over batches of ids."""

    def run(*batches: np.ndarray) -> Observation:
        feeds: list[Inputs] = [{"input_ids": ids, "attention_mask": ids * 0 + 1} for ids in batches]
        return observe(graph, feeds, tmp_path)

    return run


def test_every_channels_largest_value_is_seen(
    watch: Callable[..., Observation], graph: Path, tmp_path: Path
) -> None:
    """Over all batches and tokens; inputs that the graph does not have are left out."""
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(graph).graph.initializer}
    seen = watch(np.array([[1, 2]]), np.array([[3]]))

    np.testing.assert_allclose(seen.channel_max["wild"], np.abs(tensors["table"][1:4]).max(axis=0))
    assert seen.samples["wild"].shape == (3, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]


def test_samples_are_bounded(watch: Callable[..., Observation]) -> None:
    """However long the texts are."""
    long = np.arange(300)[None] % 100

    assert len(watch(long, long).samples["tame"]) == 192


def test_products_that_read_the_same_activation_share_a_group(
    watch: Callable[..., Observation],
) -> None:
    """And the one with the outlier is the worst by far."""
    (worst, wild), (calm, tame) = watch(np.arange(100)[None]).groups(INT8)

    assert [product.name for product in wild] == ["left", "right"]
    assert [product.name for product in tame] == ["calm"]
    assert worst > 20 * calm


def test_smoothing_is_seen_in_the_error(watch: Callable[..., Observation]) -> None:
    """What int8 lost, it holds once the outlier is moved into the weights."""
    seen = watch(np.arange(100)[None])
    errors = {recipe.name: dict(_by_name(seen, recipe)) for recipe in (INT8, SMOOTH)}

    assert errors["int8-smooth"]["left"] < 0.05 * errors["int8"]["left"]


def _by_name(seen: Observation, recipe: Recipe) -> list[tuple[str, float]]:
    return [(p.name, error) for error, group in seen.groups(recipe) for p in group]
