"""`edge.runtime`: session options as onnxruntime sees them, and graphs that are turned away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge import runtime
from edge.bundle import MODEL
from edge.cpu import Cpu, default_threads
from edge.errors import BundleIncompatible
from edge.runtime import Graph, RuntimeOptions, _session_options, runtime_version
from tests.models import TinyModel

ROWS = {
    "input_ids": np.array([[3, 4]], dtype=np.int64),
    "attention_mask": np.array([[1, 1]], dtype=np.int64),
    "token_type_ids": np.array([[0, 0]], dtype=np.int64),
}


def make_cpu(*flags: str) -> Cpu:
    """A CPU with these flags and no others."""
    return Cpu(model="made up", machine="x86_64", flags=frozenset(flags))


def write_graph(path: Path, names: tuple[str, ...], weight: float = 2.0) -> Path:
    """A graph that adds its inputs, times a weight that lies in an initializer."""
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"]) for n in names
    ]
    weights = numpy_helper.from_array(np.full((1, 1), weight, dtype=np.float32), "weight")
    nodes = [
        helper.make_node("Sum", [f"{name}_f" for name in names], ["sum"]),
        helper.make_node("Mul", ["sum", "weight"], ["logits"]),
    ]
    casts = [helper.make_node("Cast", [n], [f"{n}_f"], to=TensorProto.FLOAT) for n in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens"])
    graph = helper.make_graph([*casts, *nodes], "tiny", inputs, [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def entry(options: ort.SessionOptions, key: str) -> str | None:
    """A session config entry, or None where it is not set."""
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:
        return None


def test_weights_come_to_lie_on_huge_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they are there, and not before."""
    calls: list[bool] = []
    monkeypatch.setattr(runtime, "use_huge_pages_soon", lambda: calls.append(True))
    Graph(write_graph(tmp_path / MODEL, ("input_ids", "attention_mask")), RuntimeOptions())

    assert calls == [True]


def test_threads_are_explicit_and_spinning_and_arena_are_off_by_default() -> None:
    """Nothing is left to onnxruntime, which would pin and spin; memory goes back after a run."""
    options = _session_options(RuntimeOptions(), make_cpu())

    assert options.intra_op_num_threads == default_threads() >= 1
    assert options.inter_op_num_threads == 1
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert entry(options, "session.intra_op.allow_spinning") == "0"
    assert entry(options, "session.inter_op.allow_spinning") == "0"
    assert not options.enable_cpu_mem_arena


def test_threads_spinning_and_arena_can_be_set() -> None:
    """Each option reaches the session."""
    options = _session_options(RuntimeOptions(threads=3, spinning=True, arena=True), make_cpu())

    assert options.intra_op_num_threads == 3
    assert entry(options, "session.intra_op.allow_spinning") == "1"
    assert options.enable_cpu_mem_arena


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), None),
        (("avx",), None),
        (("avx2",), "1"),
        (("avx2", "avx512f", "avx512bw"), "1"),
        (("avx2", "avx_vnni"), None),
        (("avx2", "avx512f", "avx512_vnni"), None),
        (("asimd", "asimddp"), None),
    ],
)
def test_precise_int8_is_asked_for_only_where_the_cpu_saturates(
    flags: tuple[str, ...], expected: str | None
) -> None:
    """AVX2 without VNNI overflows in 16 bits; everywhere else the switch would only cost time."""
    options = _session_options(RuntimeOptions(), make_cpu(*flags))

    assert entry(options, "session.x64quantprecision") == expected


def test_a_graph_gives_its_first_output_for_the_inputs_that_it_names(tmp_path: Path) -> None:
    """Inputs that a model does not have, such as token types, are left out."""
    two = Graph(write_graph(tmp_path / "2.onnx", ("input_ids", "attention_mask")), RuntimeOptions())
    three = Graph(write_graph(tmp_path / "3.onnx", tuple(ROWS)), RuntimeOptions(), make_cpu("avx2"))

    assert two.run(ROWS).tolist() == [[8.0, 10.0]]
    assert three.run({**ROWS, "token_type_ids": np.ones((1, 2), np.int64)}).tolist() == [
        [10.0, 12.0]
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("input_ids",),
        ("attention_mask", "token_type_ids"),
        ("input_ids", "attention_mask", "position_ids"),
        ("pixel_values",),
    ],
)
def test_a_graph_with_other_inputs_is_incompatible(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A model that is no text classifier is turned away with what was expected and found."""
    path = write_graph(tmp_path / MODEL, names)

    with pytest.raises(
        BundleIncompatible, match=r"expected the inputs .* found .*intentd-export"
    ) as caught:
        Graph(path, RuntimeOptions())
    assert str(sorted(names)) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"not a model", b"\x08\x08\x12\xff\xff\xff"]
)
def test_a_file_that_is_no_graph_is_incompatible(tmp_path: Path, content: bytes) -> None:
    """Garbage gives our error, naming the file and the version of onnxruntime."""
    (tmp_path / MODEL).write_bytes(content)

    with pytest.raises(
        BundleIncompatible, match=rf"{MODEL}: onnxruntime {runtime_version()} cannot load"
    ):
        Graph(tmp_path / MODEL, RuntimeOptions())


def test_a_graph_cut_short_is_incompatible(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """A real model that lost its end on the way is turned away."""
    data = (tiny("intents").bundle / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(data[: len(data) // 2])

    with pytest.raises(BundleIncompatible):
        Graph(tmp_path / MODEL, RuntimeOptions())


@pytest.mark.parametrize(
    "location", ["weights.bin", "tokenizer.json", "manifest.sig", "../weights.bin"]
)
def test_weights_in_another_file_are_refused(tmp_path: Path, location: str) -> None:
    """The hash of `model.onnx` vouches for all weights: none are read from beside it."""
    path = write_graph(tmp_path / "bundle" / MODEL, ("input_ids", "attention_mask"))
    model = onnx.load(path)
    (tmp_path / "bundle" / location).write_bytes(model.graph.initializer[0].raw_data)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())

    with pytest.raises(BundleIncompatible, match=r"[Ee]xternal data"):
        Graph(path, RuntimeOptions())


def test_a_missing_graph_is_incompatible(tmp_path: Path) -> None:
    """A path that is not there gives our error too."""
    with pytest.raises(BundleIncompatible, match="cannot load the graph"):
        Graph(tmp_path / MODEL, RuntimeOptions())
