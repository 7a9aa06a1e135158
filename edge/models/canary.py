"""A tiny graph whose exact answer is known: does this CPU add int8 products up without overflow?

On AVX2 without VNNI, pairs of unsigned × signed products overflow 16 bits and are cut off, in
silence. The runtime is told to avoid that (`edge.runtime`); this proves that it does, here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.runtime import Graph, RuntimeOptions

__all__ = ["EXPECTED", "canary_graph", "run_canary"]

DEPTH, WIDTH = 64, 16
"""Terms of each sum, and how many sums: enough for every kernel's inner loop."""
LARGEST_UNSIGNED, LARGEST_SIGNED = 255, 127
EXPECTED = DEPTH * LARGEST_UNSIGNED * LARGEST_SIGNED
"""2,072,640; a CPU that saturates makes 1,048,544 of it (measured with qemu, 2026-11-22)."""

# Source: onnx.proto of ONNX 1.23; tests compare this graph with what `onnx` itself makes.
FLOAT, UINT8, INT8, INT64 = 1, 2, 3, 7
LENGTH, VARINT = 2, 0
IR_VERSION, OPSET = 8, 13


def run_canary(options: RuntimeOptions) -> int:
    """The largest sum that this CPU finds for `EXPECTED`, or the smallest if that one is off."""
    with os.fdopen(os.memfd_create("canary", os.MFD_CLOEXEC), "wb") as file:  # needs no disk
        file.write(canary_graph())
        file.flush()
        graph = Graph(Path(f"/proc/self/fd/{file.fileno()}"), options)
    ids = np.full((4, DEPTH), LARGEST_UNSIGNED, np.int64)
    sums = graph.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return int(max(sums.max(), sums.min(), key=lambda found: abs(float(found) - EXPECTED)))


def canary_graph() -> bytes:
    """An ONNX model: ids × mask as uint8, times a constant int8 matrix, as float32.

    Its inputs are those of every bundle's graph, so that it runs with the very same options.
    """
    weights = bytes([LARGEST_SIGNED]) * (DEPTH * WIDTH)
    tensor = _message({1: DEPTH}, {1: WIDTH}, {2: INT8}, {8: "w"}, {9: weights})
    graph = _message(
        {1: _node("Mul", ["input_ids", "attention_mask"], "ids")},
        {1: _node("Cast", ["ids"], "bytes", to=UINT8)},
        {1: _node("MatMulInteger", ["bytes", "w"], "sums")},
        {1: _node("Cast", ["sums"], "out", to=FLOAT)},
        {2: "canary"},
        {5: tensor},
        {11: _value("input_ids", INT64, DEPTH)},
        {11: _value("attention_mask", INT64, DEPTH)},
        {12: _value("out", FLOAT, WIDTH)},
    )
    return _message({1: IR_VERSION}, {7: graph}, {8: _message({2: OPSET})})


def _node(kind: str, inputs: list[str], output: str, to: int | None = None) -> bytes:
    named: list[Mapping[int, str | bytes]] = [{1: name} for name in inputs]
    attributes = [] if to is None else [{5: _message({1: "to"}, {3: to}, {20: 2})}]
    return _message(*named, {2: output}, {4: kind}, *attributes)


def _value(name: str, kind: int, width: int) -> bytes:
    """An input or output of shape [rows, width]."""
    shape = _message({1: _message({2: "rows"})}, {1: _message({1: width})})
    return _message({1: name}, {2: _message({1: _message({1: kind}, {2: shape})})})


def _message(*fields: Mapping[int, int | str | bytes] | Mapping[int, str | bytes]) -> bytes:
    """A protobuf message of these fields, in this order."""
    out = b""
    for field in fields:
        for number, value in field.items():
            if isinstance(value, int):
                out += _varint(number << 3 | VARINT) + _varint(value)
            else:
                data = value.encode() if isinstance(value, str) else value
                out += _varint(number << 3 | LENGTH) + _varint(len(data)) + data
    return out


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
