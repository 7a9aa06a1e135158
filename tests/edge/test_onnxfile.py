"""`edge.onnxfile` on real ONNX files: external data is found wherever a tensor can stand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge.errors import BundleCorrupt
from edge.onnxfile import CHILDREN, DATA_LOCATION, EXTERNAL_DATA, GRAPH, check_self_contained

LENGTH_DELIMITED = 2
OUTSIDE = "lies in another file"


def tensor(location: str | None = None) -> TensorProto:
    """A small tensor; with a location, one whose data lies there."""
    made = numpy_helper.from_array(np.ones(4, np.float32), "w")
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
    return made


def graph(weight: TensorProto) -> onnx.GraphProto:
    """A graph that adds the weight to its input."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    """A sparse tensor of these two."""
    made = onnx.SparseTensorProto(dims=[8])
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    return made


def model(weight: TensorProto) -> onnx.ModelProto:
    """The graph above as a model, with this initializer."""
    return helper.make_model(graph(weight))


def in_node(**attributes: object) -> onnx.ModelProto:
    """A sound model whose first node has these attributes too."""
    made = model(tensor())
    made.graph.node[0].attribute.extend(
        helper.make_attribute(name, value) for name, value in attributes.items()
    )
    return made


def _in_sparse_initializer(bad: TensorProto) -> onnx.ModelProto:
    made = model(tensor())
    made.graph.sparse_initializer.append(sparse(tensor(), bad))
    return made


def _in_function(bad: TensorProto) -> onnx.ModelProto:
    made = model(tensor())
    node = helper.make_node("Constant", [], ["c"], value=bad)
    made.functions.append(helper.make_function("d", "f", [], ["c"], [node], []))
    return made


def _in_function_default(bad: TensorProto) -> onnx.ModelProto:
    made = _in_function(tensor())
    made.functions[0].attribute_proto.append(helper.make_attribute("value", bad))
    return made


def _in_training(bad: TensorProto) -> onnx.ModelProto:
    made = model(tensor())
    made.training_info.add().algorithm.CopyFrom(graph(bad))
    return made


def _in_inner_loop(bad: TensorProto) -> onnx.ModelProto:
    inner = graph(tensor())
    inner.node[0].attribute.append(helper.make_attribute("body", graph(bad)))
    return in_node(body=inner)


PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": model,
    "constant": lambda bad: in_node(value=bad),
    "list of constants": lambda bad: in_node(values=[tensor(), bad]),
    "subgraph": lambda bad: in_node(then_branch=graph(bad)),
    "list of subgraphs": lambda bad: in_node(branches=[graph(tensor()), graph(bad)]),
    "subgraph of a subgraph": _in_inner_loop,
    "sparse initializer": _in_sparse_initializer,
    "sparse constant": lambda bad: in_node(sparse_value=sparse(bad, tensor())),
    "list of sparse constants": lambda bad: in_node(sparse_values=[sparse(bad, tensor())]),
    "function": _in_function,
    "default of a function": _in_function_default,
    "training graph": _in_training,
}


def save(folder: Path, content: onnx.ModelProto | bytes) -> Path:
    """A model file with this content."""
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


@pytest.mark.parametrize("place", PLACES)
def test_data_outside_the_file_is_found_everywhere(tmp_path: Path, place: str) -> None:
    """Wherever a tensor can stand, external data is refused, and data inside is not."""
    check_self_contained(save(tmp_path, PLACES[place](tensor())))
    path = save(tmp_path, PLACES[place](tensor("../../secrets.bin")))

    with pytest.raises(BundleCorrupt, match=OUTSIDE):
        check_self_contained(path)


@pytest.mark.parametrize("sign", ["external_data", "data_location"])
def test_one_sign_of_external_data_is_enough(tmp_path: Path, sign: str) -> None:
    """Entries without the flag, or the flag without entries: no reader's leniency is trusted."""
    weight = tensor("other.bin")
    weight.ClearField(sign)

    with pytest.raises(BundleCorrupt, match=OUTSIDE):
        check_self_contained(save(tmp_path, model(weight)))


def test_what_onnx_itself_writes_with_external_data_is_refused(tmp_path: Path) -> None:
    """The file that `onnx.save` makes when it is told to put the weights beside it."""
    path = tmp_path / "model.onnx"
    big = numpy_helper.from_array(np.ones(1024, np.float32), "w")
    onnx.save(model(big), path, save_as_external_data=True, location="model.onnx_data")

    with pytest.raises(BundleCorrupt, match=OUTSIDE):
        check_self_contained(path)


def test_the_table_of_places_is_that_of_onnx() -> None:
    """Every field of ONNX that leads to a tensor is walked; a new one in a new ONNX fails here."""
    leads: dict[str, dict[int, str]] = {name: {} for name in CHILDREN}
    for name, fields in leads.items():
        for field in getattr(onnx, name).DESCRIPTOR.fields:
            kind = field.message_type.name if field.message_type else ""
            if kind in leads:
                fields[field.number] = kind
    missed = {name for name in messages_within(onnx.ModelProto) if reaches_a_tensor(name)} - set(
        leads
    )

    assert leads == CHILDREN
    assert not missed
    assert onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number == GRAPH
    fields_of_tensor = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert fields_of_tensor["external_data"].number == EXTERNAL_DATA
    assert fields_of_tensor["data_location"].number == DATA_LOCATION


def messages_within(message: Any) -> set[str]:
    """The names of the messages within reach of one, itself included."""
    found: set[str] = set()
    todo = [] if message is None else [message.DESCRIPTOR]
    while todo:
        here = todo.pop()
        if here.name not in found:
            found.add(here.name)
            todo += [field.message_type for field in here.fields if field.message_type]
    return found


def reaches_a_tensor(name: str) -> bool:
    """Whether a message is a tensor, or holds one at whatever depth."""
    return "TensorProto" in messages_within(getattr(onnx, name, None))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Empty, text, a protobuf without a graph, and no file at all: each is the same error."""
    contents = (b"", b"\x00", b"hello, world", b"\xff" * 40, onnx.ModelProto(ir_version=8))
    for content in contents:
        with pytest.raises(BundleCorrupt, match=r"model\.onnx: expected an ONNX model, but"):
            check_self_contained(save(tmp_path, content))
    with pytest.raises(BundleCorrupt):
        check_self_contained(tmp_path / "none.onnx")


def nested(depth: int) -> bytes:
    """Graphs within nodes within graphs."""
    body = b""
    for step in range(depth):
        number = (6, 5, 1)[step % 3]  # attribute.g, node.attribute, graph.node
        body = field_of(number, body)
    return field_of(GRAPH, body)


def field_of(number: int, body: bytes) -> bytes:
    """One length-delimited field."""
    return bytes([number << 3 | LENGTH_DELIMITED]) + varint(len(body)) + body


def test_a_nesting_bomb_is_refused(tmp_path: Path) -> None:
    """Ten thousand levels end as an error, not as a crash of the interpreter."""
    check_self_contained(save(tmp_path, nested(90)))

    with pytest.raises(BundleCorrupt, match="nested more than 100 deep"):
        check_self_contained(save(tmp_path, nested(9_999)))


@pytest.mark.parametrize("wire", [3, 4, 6, 7])
def test_wire_types_that_onnx_does_not_use_are_refused(tmp_path: Path, wire: int) -> None:
    """Groups, and the two that do not exist, could hide a field from one of two readers."""
    sound = model(tensor()).SerializeToString()

    with pytest.raises(BundleCorrupt, match="starts no field"):
        check_self_contained(save(tmp_path, sound + bytes([15 << 3 | wire])))


@pytest.mark.parametrize("tag", [0, 2, (1 << 32) | GRAPH << 3 | LENGTH_DELIMITED])
def test_field_numbers_that_do_not_exist_are_refused(tmp_path: Path, tag: int) -> None:
    """Number 0, or one beyond 32 bits, which some readers would cut to one that exists."""
    sound = model(tensor()).SerializeToString()

    with pytest.raises(BundleCorrupt, match="damaged or cut off"):
        check_self_contained(save(tmp_path, sound + varint(tag) + b"\x00"))


@given(cut=st.integers(1, 10_000))
def test_a_model_that_was_cut_off_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """A copy that broke off within the graph is no model any more."""
    whole = helper.make_model(graph(tensor())).graph.SerializeToString()
    content = field_of(GRAPH, whole)
    path = save(tmp_path_factory.mktemp("cut"), content[: -1 - cut % (len(content) - 1)])

    with pytest.raises(BundleCorrupt, match="expected an ONNX model"):
        check_self_contained(path)


def is_refused(path: Path) -> bool:
    """Whether the file is refused; any other error than the declared one is a failure."""
    try:
        check_self_contained(path)
    except BundleCorrupt:
        return True
    return False


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    """Whatever the bytes are, the answer is yes, or `BundleCorrupt`."""
    is_refused(save(tmp_path_factory.mktemp("garbage"), garbage))
    is_refused(save(tmp_path_factory.mktemp("garbage"), field_of(GRAPH, garbage)))


@given(
    place=st.sampled_from(sorted(PLACES)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
)
def test_what_onnx_reads_as_external_is_never_accepted(
    tmp_path_factory: pytest.TempPathFactory, place: str, edits: list[tuple[int, int]]
) -> None:
    """Damage a model byte by byte: where ONNX's own parser still sees external data, so do we."""
    content = bytearray(PLACES[place](tensor("other.bin")).SerializeToString())
    for position, value in edits:
        content[position % len(content)] = value
    refused = is_refused(save(tmp_path_factory.mktemp("damaged"), bytes(content)))
    try:
        parsed = onnx.ModelProto.FromString(bytes(content))
    except Exception:  # noqa: BLE001 — the parser's own type is private to its implementation
        return

    assert refused or not has_external(parsed)


def has_external(message: object) -> bool:
    """Whether ONNX's own reading of the file holds a tensor with external data."""
    if isinstance(message, TensorProto):
        return bool(message.data_location == TensorProto.EXTERNAL)
    fields = message.ListFields()  # type: ignore[attr-defined]  # protobuf's common base is untyped
    values = [value for field, value in fields if field.message_type]
    return any(
        has_external(item)
        for value in values
        for item in ([value] if hasattr(value, "ListFields") else value)
    )


def test_weights_are_stepped_over_and_not_read(tmp_path: Path) -> None:
    """A model of 1 GB costs what its framing costs: hardly any memory."""
    path = tmp_path / "model.onnx"
    size = 1 << 30
    sound = model(tensor()).graph.SerializeToString()
    weight = bytes([9 << 3 | LENGTH_DELIMITED]) + varint(size)  # raw_data
    initializer = bytes([5 << 3 | LENGTH_DELIMITED]) + varint(len(weight) + size) + weight
    head = bytes([GRAPH << 3 | LENGTH_DELIMITED]) + varint(len(sound) + len(initializer) + size)
    with path.open("wb") as file:
        file.write(head + sound + initializer)
        file.truncate(file.tell() + size)  # a hole: takes no room on the disk
    tracemalloc.start()

    check_self_contained(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1 << 20


def varint(value: int) -> bytes:
    """Protobuf's form of a number."""
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
