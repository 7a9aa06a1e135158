"""An ONNX graph that can be asked who makes and who reads a tensor, and edited.

It knows nothing of models; `export.fuse` and its parts say what is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ConversionFailed

__all__ = ["MICROSOFT", "Rewriter", "attribute"]

MICROSOFT = "com.microsoft"


class Rewriter:
    """Edits a model in place; `finish` puts its nodes in order and drops what nobody reads."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._graph = model.graph
        self._weights = {weight.name: weight for weight in self._graph.initializer}
        self._nodes: dict[int, onnx.NodeProto] = {}
        self._makers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, dict[int, onnx.NodeProto]] = {}
        self._declared: dict[str, onnx.ValueInfoProto] = {}
        for node in self._graph.node:
            self._index(node)

    def nodes(self, op_type: str) -> list[onnx.NodeProto]:
        """All nodes of one operator, in the order of the graph."""
        return [node for node in self._nodes.values() if node.op_type == op_type]

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and weights."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return list(self._readers.get(tensor, {}).values())

    def find(self, tensor: str, op_type: str, **attributes: Any) -> onnx.NodeProto:
        """The node that makes a tensor.

        Raises:
            ConversionFailed: It is of another operator, or has other values for `attributes`.
        """
        return _expect(self.maker(tensor), tensor, op_type, attributes)

    def only_reader(self, tensor: str, op_type: str, **attributes: Any) -> onnx.NodeProto:
        """The one node that reads a tensor.

        Raises:
            ConversionFailed: There are several, or it is another node than asked for.
        """
        readers = self.readers(tensor)
        if len(readers) != 1:
            raise ConversionFailed(f"{tensor}: expected one reader, found {len(readers)}")
        return _expect(readers[0], tensor, op_type, attributes)

    def is_computed(self, tensor: str) -> bool:
        """Whether a tensor is neither a weight nor a constant; looked up through Identity."""
        return self._stored(tensor) is None

    def constant(self, tensor: str) -> np.ndarray:
        """The value of a weight or constant.

        Raises:
            ConversionFailed: It is computed.
        """
        stored = self._stored(tensor)
        if stored is None:
            raise ConversionFailed(f"{tensor}: expected a constant, found a computed tensor")
        return np.asarray(numpy_helper.to_array(stored))

    def comes_from(self, tensor: str) -> frozenset[str]:
        """Operators and graph inputs that a tensor depends on, but for its shape."""
        seen: set[str] = set()
        found: set[str] = set()
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self._makers.get(name)
            found.add(node.op_type if node else name)
            if node is not None and node.op_type != "Shape":  # a length is no value
                waiting.extend(node.input)
        return frozenset(found)

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a weight; an equal name is an equal weight."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(
        self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any
    ) -> onnx.NodeProto:
        """Add a node with one output, which is called as the node."""
        node = helper.make_node(op_type, inputs, [name], name=name, **attributes)
        self._index(node)
        return node

    def append_input(self, node: onnx.NodeProto, names: Sequence[str]) -> None:
        """Let a node read more tensors; an empty name leaves an optional input out."""
        node.input.extend(names)
        self._index(node)

    def declare(self, tensor: str, shape: Sequence[str | int]) -> None:
        """Tell the shape of a float32 tensor that no shape inference of onnx knows."""
        info = helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape)
        self._declared[tensor] = info

    def declared_size(self, tensor: str) -> int:
        """The last dimension of a declared tensor."""
        return int(self._declared[tensor].type.tensor_type.shape.dim[-1].dim_value)

    def redirect(self, node: onnx.NodeProto, old: str, new: str) -> None:
        """Let one node read another tensor."""
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new
        self._readers.get(old, {}).pop(id(node), None)
        self._readers.setdefault(new, {})[id(node)] = node

    def replace(self, old: str, new: str) -> None:
        """Let every reader of a tensor read another one."""
        for node in self.readers(old):
            self.redirect(node, old, new)

    def finish(self) -> None:
        """Write the nodes back: those that an output needs, each after what it reads."""
        ordered = list(self._needed())
        used = {name for node in ordered for name in _read_by(node)}
        stored = self._graph.initializer
        known = {weight.name for weight in stored}
        for position in reversed(range(len(stored))):
            if stored[position].name not in used:
                del stored[position]
        # One by one: a new list would hold a gigabyte of weights twice.
        for name, weight in self._weights.items():
            if name in used and name not in known:
                stored.append(weight)
        del self._graph.node[:]
        self._graph.node.extend(ordered)
        del self._graph.value_info[:]  # those of the exporter's tensors may be gone
        made = {name for node in ordered for name in node.output}
        kept = (info for name, info in self._declared.items() if name in made)
        self._graph.value_info.extend(kept)
        if MICROSOFT not in {entry.domain for entry in self._model.opset_import}:
            self._model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))

    def _stored(self, tensor: str) -> onnx.TensorProto | None:
        # The exporter stores equal tensors once, and names the others by Identity.
        while (node := self._makers.get(tensor)) is not None and node.op_type == "Identity":
            tensor = node.input[0]
        if node is not None:
            return attribute(node, "value") if node.op_type == "Constant" else None
        return self._weights.get(tensor)

    def _index(self, node: onnx.NodeProto) -> None:
        self._nodes[id(node)] = node
        self._makers.update(dict.fromkeys(node.output, node))
        for name in _read_by(node):
            self._readers.setdefault(name, {})[id(node)] = node

    def _needed(self) -> Iterator[onnx.NodeProto]:
        """Depth first from the outputs, without recursion: BART is 3000 nodes deep."""
        done: set[int] = set()
        stack = [(output.name, False) for output in self._graph.output]
        while stack:
            name, is_ready = stack.pop()
            node = self._makers.get(name)
            if node is None or id(node) in done:
                continue
            if is_ready:
                done.add(id(node))
                yield node
            else:
                stack.append((name, True))
                stack.extend((needed, False) for needed in reversed(_read_by(node)) if needed)


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """The value of a node's attribute; None if it has none of that name."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return None


def _expect(
    node: onnx.NodeProto | None, tensor: str, op_type: str, attributes: Mapping[str, Any]
) -> onnx.NodeProto:
    found = node.op_type if node else "an input or a weight"
    if node is None or node.op_type != op_type:
        raise ConversionFailed(f"{tensor}: expected {op_type}, found {found}")
    for name, value in attributes.items():
        if (actual := attribute(node, name)) != value:
            raise ConversionFailed(f"{node.name}: expected {name} {value}, found {actual}")
    return node


def _read_by(node: onnx.NodeProto) -> list[str]:
    """What a node reads of the graph it is in: its inputs, and those of its branches."""
    names = list(node.input)
    for entry in node.attribute:
        if entry.HasField("g"):
            own = {name for inner in entry.g.node for name in inner.output}
            own |= {weight.name for weight in entry.g.initializer}
            names += [n for inner in entry.g.node for n in _read_by(inner) if n not in own]
    return names
