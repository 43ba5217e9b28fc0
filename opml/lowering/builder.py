"""Builds a graph of primitives: types are inferred and constants folded as nodes are added."""

from collections.abc import Sequence
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute, Count, DType, Graph, Node, TensorType
from opml.lowering.weights import Quantised
from opml.ops import OPS, type_of
from opml.passes.check import VIEW, infer
from opml.passes.fold import Budget, fold

if TYPE_CHECKING:
    from opml.lowering.memory import Memory

CONCAT_INPUTS = 4
# As many dimensions as an image has room for.
MAX_RANK = 32
# What a model may unroll to: some more than what fits into a node table, since not every operator takes a node.
MAX_OPERATORS = 1 << 17


class Builder:
    """A graph under construction. Every method returns the name of a tensor, with its type already known.

    Names that it makes up start with "%" and avoid `reserved`. `narrow` has the bits of tensors of int4 and the like,
    `quantised` the constants behind tensors that are computed from them when the model runs.
    `counts` has the tensors that are filled only as far as a count says, which is data.
    """

    def __init__(self, name: str, reserved: set[str]) -> None:
        self.graph = Graph(name, [], [], [], {}, {})
        self.budget = Budget()
        self.label = ""
        # Of a decoder that generates.
        self.memory: Memory | None = None
        # Of tensors of another float type: their elements as float32.
        self.float32: dict[str, str] = {}
        self.narrow: dict[str, int] = {}
        self.quantised: dict[str, Quantised] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.counts: dict[str, Count] = {}
        self._reserved = reserved
        self._count = 0
        self._operators = 0

    def count(self) -> None:
        """Counts an ONNX operator; loops and functions could unroll to any number."""
        self._operators += 1
        if self._operators > MAX_OPERATORS:
            raise UnsupportedError(f"its loops and functions unroll to more than {MAX_OPERATORS} operators")

    def fresh(self) -> str:
        """A name that nothing else has."""
        while True:
            self._count += 1
            name = f"%{self._count}"
            if name not in self._reserved and name not in self.graph.types:
                return name

    def type(self, name: str) -> TensorType:
        """Element type and shape of a tensor."""
        return self.graph.types[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.types[name].shape

    def value(self, name: str) -> Array | None:
        """The elements of a constant, None for what is computed."""
        if name in self.quantised:
            return self.quantised[name].value
        return self.graph.constants.get(name)

    def inputs_behind(self, name: str) -> tuple[str, ...]:
        """The graph inputs from which a tensor is computed, in order."""
        needed = {name}
        for node in reversed(self.graph.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
        return tuple(name for name in self.graph.inputs if name in needed)

    def constant(self, value: Array, name: str | None = None) -> str:
        """Adds a constant."""
        name = name or self.fresh()
        self.graph.constants[name] = np.ascontiguousarray(value).reshape(value.shape)
        self.graph.types[name] = type_of(value)
        return name

    def shared(self, value: Array) -> str:
        """A constant, the same one for equal values."""
        key = value.dtype.name, value.shape, sha256(np.ascontiguousarray(value).data).digest()
        if key not in self._shared:
            self._shared[key] = self.constant(value)
        return self._shared[key]

    def dequantised(self, source: "Quantised") -> str:
        """A quantised constant made floats when the model runs, for whom it is not enough to know it as `quantised`."""
        operands = [self.constant(value) for value in source.operands()]
        node = Node("dequantize", tuple(operands), (self.fresh(),), source.attrs(), self.label)
        name = self._add(node, infer(self.graph, node))
        self.quantised[name] = source
        return name

    def scalar(self, value: float) -> str:
        """A float32 constant without dimensions."""
        return self.constant(np.array(value, np.float32))

    def arange(self, count: int) -> str:
        """The int64 constant 0, 1, …, count - 1; UnsupportedError as of `filled`."""
        self.take(8 * count)
        return self.constant(np.arange(count, dtype=np.int64))

    def filled(self, shape: Sequence[int], value: float = 0.0, dtype: DType = DType.FLOAT32) -> str:
        """A constant of one number; UnsupportedError where it is larger than what the model may unfold to."""
        self.take(dtype.numpy.itemsize * prod(shape))
        return self.constant(np.full(shape, value, dtype.numpy))

    def take(self, nbytes: int) -> None:
        """Takes room for a constant from the budget; UnsupportedError where there is none left."""
        if not self.budget.take(nbytes):
            raise UnsupportedError("the model's constants grow beyond what its file may unfold to")

    def emit(self, op: str, inputs: Sequence[str], **attrs: Attribute) -> str:
        """Adds a primitive, or its result where all inputs are constants."""
        if op not in OPS:
            raise UnsupportedError(f"needs the primitive {op!r}, which opml does not have")
        node = Node(op, tuple(inputs), (self.fresh(),), {k: _normal(v) for k, v in attrs.items()}, self.label)
        out = infer(self.graph, node)
        values = [self.graph.constants.get(name) for name in inputs]
        constant = all(value is not None for value, name in zip(values, inputs, strict=True) if name)
        if constant and not OPS[op].iterates:
            folded = fold(op, values, out, node.attrs, self.budget)
            if folded is not None:
                return self.constant(folded)
        result = self._add(node, out)
        if op == "cast" and inputs[0] in self.counts:
            self.counts[result] = self.counts[inputs[0]]
        return result

    def copy(self, name: str) -> str:
        """The same elements in a tensor of their own, even of a constant."""
        return self._add(Node("copy", (name,), (self.fresh(),), {}, self.label), self.type(name))

    def view(self, name: str, shape: Sequence[int]) -> str:
        """The same bytes under another shape."""
        if len(shape) > MAX_RANK:
            raise UnsupportedError(f"a tensor of {len(shape)} dimensions; opml has at most {MAX_RANK}")
        shape = tuple(int(size) for size in shape)
        if shape == self.shape(name):
            return name
        node = Node(VIEW, (name,), (self.fresh(),), {"shape": list(shape)}, self.label)
        out = infer(self.graph, node)
        value = self.graph.constants.get(name)
        return self.constant(value.reshape(shape)) if value is not None else self._add(node, out)

    def transpose(self, name: str, perm: Sequence[int]) -> str:
        """Moves axes; a view where only axes of size 1 pass others."""
        shape = self.shape(name)
        moved = [axis for axis in perm if shape[axis] != 1]
        if moved == sorted(moved):
            return self.view(name, [shape[axis] for axis in perm])
        return self.emit("transpose", [name], perm=list(perm))

    def concat(self, names: Sequence[str], axis: int) -> str:
        """Concatenates any number of tensors, a few at a time, each time the smallest neighbours first."""
        names = list(names)
        while len(names) > 1:
            names = [
                self.emit("concat", part, axis=axis) if len(part) > 1 else part[0]
                for part in (names[i : i + CONCAT_INPUTS] for i in range(0, len(names), CONCAT_INPUTS))
            ]
        return names[0]

    def _add(self, node: Node, out: TensorType) -> str:
        self.graph.nodes.append(node)
        self.graph.types[node.outputs[0]] = out
        return node.outputs[0]


def _normal(value: Attribute) -> Attribute:
    """Floats as the nearest binary32, lists as lists, bools as ints."""
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, int) else [int(item) for item in value]
