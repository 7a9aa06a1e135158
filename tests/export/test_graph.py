"""The graph that is shipped: pooled inside, int8 without overflow, free of the machine's traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.batch import run_rows
from edge.runtime import Graph, RuntimeOptions
from edge.tokens import TextTokenizer
from export.convert import TorchEncoder, export_encoder
from export.errors import ConversionFailed
from export.graph import EMBEDDING, add_pooling, count_ops, strip_provenance
from export.quantize import quantize_int8
from export.source import EncoderSource

TEXTS = (
    "mill",
    "The mill stood by the river.",
    "Why did it burn down, and who saw it happen then?",
)
WINDOW = 64


@pytest.fixture(scope="module")
def graphs(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny encoder after each step."""
    out = tmp_path_factory.mktemp("graphs")
    hidden = export_encoder(encoder, out / "hidden", opset=18)
    paths = {name: out / f"{name}.onnx" for name in ("pooled", "int8", "final")}
    add_pooling(hidden, paths["pooled"])
    quantize_int8(paths["pooled"], paths["int8"])
    strip_provenance(paths["int8"], paths["final"])
    return paths | {"hidden": hidden}


@pytest.fixture(scope="module")
def tokenizer(encoder: Path) -> TextTokenizer:
    """The edge's tokenizer for the tiny encoder."""
    return TextTokenizer(EncoderSource(encoder).read_tokenizer())


def test_pooled_graph_says_what_pytorch_says(
    graphs: dict[str, Path], encoder: Path, tokenizer: TextTokenizer
) -> None:
    """Mean over the tokens, length 1: each row of a padded batch equals PyTorch's lone text."""
    original = TorchEncoder(encoder, tokenizer, WINDOW)
    rows = [tokenizer.single(tokenizer.encode(text, WINDOW - 2).ids) for text in TEXTS]
    graph = Graph(graphs["pooled"], RuntimeOptions(threads=1))
    found = run_rows(graph, rows, tokenizer.pad_id)

    assert found.dtype == np.float32
    # fp32 sums in another order: 1e-5 is what ten layers' rounding leaves.
    np.testing.assert_allclose(found, [original.embed(text) for text in TEXTS], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_every_weight_matrix_is_int8_and_attention_is_not(graphs: dict[str, Path]) -> None:
    """The MatMuls of two activations carry no weights, and stay as they were."""
    before, after = count_ops(graphs["pooled"]), count_ops(graphs["final"])

    assert after["MatMulInteger"] == before["MatMul:const"] > 0
    assert after["MatMul"] == before["MatMul"] - before["MatMul:const"] > 0
    assert "MatMul:const" not in after


def test_weights_leave_room_for_two_products_in_16_bits(graphs: dict[str, Path]) -> None:
    """255 × 64 × 2 < 2^15: AVX2 without VNNI adds pairs of products in 16 bits, and saturates."""
    model = onnx.load(graphs["final"])
    factors = {node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"}
    weights = [
        numpy_helper.to_array(tensor).astype(int)
        for tensor in model.graph.initializer
        if tensor.name in factors
    ]

    assert len(weights) == len(factors)
    assert max(np.abs(matrix).max() for matrix in weights) <= 64


def test_shipped_graph_tells_nothing_of_the_machine(graphs: dict[str, Path], encoder: Path) -> None:
    """No path, no time, no producer's version: the same weights give the same bytes."""
    model = onnx.load(graphs["final"])

    assert str(encoder).encode() not in graphs["final"].read_bytes()
    assert not model.producer_version
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert [node.name for node in model.graph.output] == [EMBEDDING]


def test_conversion_twice_gives_the_same_bytes(
    graphs: dict[str, Path], encoder: Path, tmp_path: Path
) -> None:
    """Convert, pool, quantise and strip are functions of the weights."""
    pooled, int8, final = (tmp_path / name for name in ("pooled", "int8", "final"))
    add_pooling(export_encoder(encoder, tmp_path / "hidden", opset=18), pooled)
    quantize_int8(pooled, int8)
    strip_provenance(int8, final)

    assert final.read_bytes() == graphs["final"].read_bytes()


def test_graph_without_hidden_states_is_refused(graphs: dict[str, Path], tmp_path: Path) -> None:
    """A classifier, or a graph that is pooled already, has nothing to pool."""
    with pytest.raises(ConversionFailed, match="last_hidden_state"):
        add_pooling(graphs["pooled"], tmp_path / "again.onnx")


def test_quantising_twice_is_refused(graphs: dict[str, Path], tmp_path: Path) -> None:
    """A graph that is int8 already is not the graph one thinks it is."""
    with pytest.raises(ConversionFailed, match="weights"):
        quantize_int8(graphs["int8"], tmp_path / "again.onnx")


def test_graph_with_weights_in_other_files_is_refused(
    graphs: dict[str, Path], tmp_path: Path
) -> None:
    """The edge takes one self-contained file."""
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(graphs["pooled"]), path, save_as_external_data=True, size_threshold=0)

    with pytest.raises(ConversionFailed, match="one file"):
        strip_provenance(path, tmp_path / "final.onnx")


def test_quantising_leaves_the_logging_as_it_was(
    graphs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The advice that is silenced is onnxruntime's, for that call."""
    import logging

    level = logging.getLogger().level
    quantize_int8(graphs["pooled"], tmp_path / "int8.onnx")

    assert logging.getLogger().level == level
    assert not caplog.records
