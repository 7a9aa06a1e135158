"""A look into an ONNX file without loading it: is it one self-contained graph?

It walks the protobuf's framing in a memory map, reads no weights, and judges no operators; that is
the runtime's business.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge.errors import BundleCorrupt

__all__ = ["check_self_contained"]

# Per message, the fields that lead to a tensor. Source: onnx.proto of ONNX 1.23 (a test compares).
CHILDREN: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
GRAPH = 7  # of ModelProto
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 100  # protobuf's own limit: the runtime refuses a deeper file as well
MAX_TAG = (1 << 32) - 1
VARINT_BITS = 70  # ten bytes of seven

Field = tuple[int, int, int, int]
"""Number, wire type, and the half-open range of the value's bytes."""


def check_self_contained(path: Path) -> None:
    """Refuse a model that names data outside its own file.

    The runtime would open that file, and no hash in the manifest covers it. Weights are stepped
    over: the cost grows with the number of nodes, not of bytes.

    Raises:
        BundleCorrupt: A tensor's data lies elsewhere, or the file is not an ONNX model.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not any(field[0] == GRAPH for field in _fields(data, 0, len(data))):
                raise ValueError("it holds no graph")
            is_external = _is_external(data, "ModelProto", 0, len(data), MAX_DEPTH)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
        raise BundleCorrupt(
            f"{path}: expected an ONNX model, but {error}; build the bundle again"
        ) from error
    if is_external:
        raise BundleCorrupt(
            f"{path}: expected one self-contained graph, found a tensor whose data lies in another "
            "file; build the bundle again with intentd-export, which writes one file"
        )


def _is_external(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> bool:
    """Whether some tensor within this message says that its data lies elsewhere."""
    if not depth:
        raise ValueError(f"its messages are nested more than {MAX_DEPTH} deep")
    children = CHILDREN[message]
    for number, wire, first, last in _fields(data, start, end):
        if message == "TensorProto":
            if number == EXTERNAL_DATA or (number == DATA_LOCATION and any(data[first:last])):
                return True
        elif (
            wire == LENGTH
            and number in children
            and _is_external(data, children[number], first, last, depth - 1)
        ):
            return True
    return False


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies between two offsets.

    Raises:
        ValueError: These bytes are not a protobuf message.
    """
    while position < end:
        tag, position = _varint(data, position, end)
        wire = tag & 7
        if wire == LENGTH:
            length, position = _varint(data, position, end)
            stop = position + length
        elif wire == VARINT:
            stop = _varint(data, position, end)[1]
        elif wire in (FIXED64, FIXED32):
            stop = position + (8 if wire == FIXED64 else 4)
        else:
            raise ValueError(f"byte {position} starts no field")
        if tag < 8 or tag > MAX_TAG or stop > end:  # below 8: field number 0
            raise ValueError(f"the field before byte {position} is damaged or cut off")
        yield tag >> 3, wire, position, stop
        position = stop


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """The number at this offset, and the offset behind it."""
    value = 0
    for shift in range(0, VARINT_BITS, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"the number before byte {position} is damaged or cut off")
