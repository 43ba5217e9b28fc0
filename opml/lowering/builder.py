"""Builds a graph of primitives: types are inferred and constants folded as nodes are added."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute, DType, Graph, Node, TensorType
from opml.ops import OPS, type_of
from opml.passes.check import VIEW, infer
from opml.passes.fold import Budget, fold

CONCAT_INPUTS = 4


class Builder:
    """A graph under construction. Every method returns the name of a tensor, with its type already known.

    Names that it makes up start with "%" and avoid `reserved`.
    """

    def __init__(self, name: str, reserved: set[str]) -> None:
        self.graph = Graph(name, [], [], [], {}, {})
        self.budget = Budget()
        self.label = ""
        self._reserved = reserved
        self._count = 0

    def fresh(self) -> str:
        """A name that nothing else has."""
        while True:
            self._count += 1
            name = f"%{self._count}"
            if name not in self._reserved and name not in self.graph.types:
                return name

    def type(self, name: str) -> TensorType:
        return self.graph.types[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.types[name].shape

    def value(self, name: str) -> Array | None:
        """The elements of a constant, None for what is computed."""
        return self.graph.constants.get(name)

    def constant(self, value: Array, name: str | None = None) -> str:
        name = name or self.fresh()
        self.graph.constants[name] = np.ascontiguousarray(value).reshape(value.shape)
        self.graph.types[name] = type_of(value)
        return name

    def float(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def emit(self, op: str, inputs: Sequence[str], *, keep: bool = False, **attrs: Attribute) -> str:
        """Adds a primitive, or its result where all inputs are constants (unless `keep`)."""
        if op not in OPS:
            raise UnsupportedError(f"needs the primitive {op!r}, which opml does not have")
        node = Node(op, tuple(inputs), (self.fresh(),), {k: _normal(v) for k, v in attrs.items()}, self.label)
        out = infer(self.graph, node)
        values = [self.value(name) for name in inputs]
        if not keep and all(value is not None for value, name in zip(values, inputs, strict=True) if name):
            folded = fold(op, values, out, node.attrs, self.budget)
            if folded is not None:
                return self.constant(folded)
        return self._add(node, out)

    def view(self, name: str, shape: Sequence[int]) -> str:
        """The same bytes under another shape."""
        shape = tuple(int(size) for size in shape)
        if shape == self.shape(name):
            return name
        node = Node(VIEW, (name,), (self.fresh(),), {"shape": list(shape)}, self.label)
        out = infer(self.graph, node)
        value = self.value(name)
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
    if isinstance(value, str | int):
        return int(value) if not isinstance(value, str) else value
    return [int(item) for item in value]


Rule = Callable[["Call"], str]
RULES: dict[str, Rule] = {}


def lowers(*operators: str) -> Callable[[Rule], Rule]:
    """Registers the rule that lowers the named ONNX operators."""

    def register(rule: Rule) -> Rule:
        for operator in operators:
            assert operator not in RULES, operator
            RULES[operator] = rule
        return rule

    return register


@dataclass
class Call:
    """One ONNX node while it is lowered. Attributes and inputs that its rule never asks for are refused afterwards."""

    build: Builder
    node: Node
    opset: int
    inputs: tuple[str, ...]
    attrs_read: set[str] = field(default_factory=set)
    inputs_read: int = 0

    @property
    def op(self) -> str:
        return self.node.op

    def optional(self, index: int) -> str:
        """The tensor given as input `index`, "" where there is none."""
        self.inputs_read = max(self.inputs_read, index + 1)
        return self.inputs[index] if index < len(self.inputs) else ""

    def input(self, index: int = 0) -> str:
        """The tensor given as input `index`; UnsupportedError where there is none."""
        name = self.optional(index)
        if not name:
            raise UnsupportedError(f"input {index} is missing")
        return name

    def all_inputs(self) -> list[str]:
        return [self.input(index) for index in range(max(1, len(self.inputs)))]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        return self.build.shape(self.input(index))

    def rank(self, index: int = 0) -> int:
        return len(self.shape(index))

    def constant(self, index: int, what: str) -> Array:
        """The elements of an input that must be constant."""
        value = self.build.value(self.input(index))
        if value is None:
            raise UnsupportedError(f"input {what!r} is computed; opml needs a constant")
        return value

    def constant_ints(self, index: int, what: str) -> list[int]:
        """The elements of a constant integer vector (or scalar)."""
        value = self.constant(index, what)
        if value.dtype not in (np.int64, np.int32) or value.ndim > 1:
            raise UnsupportedError(f"input {what!r} is no vector of int64")
        return [int(item) for item in value.reshape(-1)]

    def ints_attr_or_input(self, name: str, index: int, since: int) -> list[int] | None:
        """What was an attribute before operator set `since` and is an input from then on; None where it is absent."""
        if self.opset < since:
            return self.ints(name)
        return self.constant_ints(index, name) if self.optional(index) else None

    def _attr(self, name: str, kinds: tuple[type, ...], what: str) -> Attribute | None:
        self.attrs_read.add(name)
        value = self.node.attrs.get(name)
        if value is not None and not isinstance(value, kinds):
            raise UnsupportedError(f"attribute {name!r} is no {what}")
        return value

    def int(self, name: str, default: int) -> int:
        value = self._attr(name, (int,), "integer")
        return default if value is None else value  # type: ignore[return-value]

    def flag(self, name: str, default: int = 0) -> int:
        value = self.int(name, default)
        if value not in (0, 1):
            raise UnsupportedError(f"attribute {name!r} is {value}, not 0 or 1")
        return value

    def real(self, name: str, default: float) -> float:
        value = self._attr(name, (float,), "number")
        return default if value is None else value  # type: ignore[return-value]

    def text(self, name: str, default: str) -> str:
        value = self._attr(name, (str,), "text")
        return default if value is None else value  # type: ignore[return-value]

    def ints(self, name: str) -> list[int] | None:
        value = self._attr(name, (list,), "list of integers")
        if value is not None and not all(isinstance(item, int) for item in value):  # type: ignore[union-attr]
            raise UnsupportedError(f"attribute {name!r} is no list of integers")
        return value  # type: ignore[return-value]

    def only(self, name: str, allowed: Attribute) -> None:
        """An attribute of which opml has one value."""
        self.attrs_read.add(name)
        value = self.node.attrs.get(name, allowed)
        if value != allowed:
            raise UnsupportedError(f"attribute {name!r} is {value!r}; opml has {allowed!r}")

    def ignore(self, *names: str) -> None:
        """Attributes without a meaning at inference."""
        self.attrs_read.update(names)

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the end made one counted from the start."""
        if not -rank <= value < rank:
            raise UnsupportedError(f"axis {value} of a tensor of {rank} dimensions")
        return value % rank

    def axes(self, values: Sequence[int], rank: int) -> list[int]:
        """Distinct axes, counted from the start, in ascending order."""
        result = sorted(self.axis(value, rank) for value in values)
        if len(set(result)) != len(result):
            raise UnsupportedError(f"axes {list(values)} name one axis twice")
        return result

    def emit(self, op: str, inputs: Sequence[str], **attrs: Attribute) -> str:
        return self.build.emit(op, inputs, **attrs)

    def view(self, name: str, shape: Sequence[int]) -> str:
        return self.build.view(name, shape)

    def is_float(self, name: str) -> bool:
        return self.build.type(name).dtype is DType.FLOAT32
