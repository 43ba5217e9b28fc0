"""Random ONNX models: the builder that the operators of `parity_operators` draw upon.

A value knows whether every correct implementation computes the same bits (`exact`) and a bound of its magnitude. What
jumps (ArgMax, Cast to an integer) is applied to exact values only, and magnitudes stay moderate, so that ONNX Runtime,
which adds in another order, can be compared within a tolerance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
SPECIAL = np.array(
    [0, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x4F000000,
     0x5F000000, 0x42B17218, 0x3F000000, 0x33800000], dtype=np.uint32)  # fmt: skip
MAX_ELEMENTS = 400
LARGE = 1e3


@dataclass(frozen=True)
class Value:
    """A tensor of the model under construction."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    exact: bool
    bound: float

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class Builder:
    """Collects nodes, initialisers and inputs; `draw` is hypothesis's, `random` a generator seeded from it.

    With `wild`, float inputs hold every kind of number instead of moderate ones.
    """

    def __init__(self, draw: st.DrawFn, opset: int, wild: bool = False) -> None:
        self.draw = draw
        self.opset = opset
        self.wild = wild
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="weights"))
        self.values: list[Value] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[Value] = []
        self.feeds: dict[str, Array] = {}
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count}"

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choice(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def shape(self, rank: int, largest: int = 6) -> tuple[int, ...]:
        return tuple(self.integer(1, largest) for _ in range(rank))

    def numbers(self, dtype: str, shape: tuple[int, ...], bound: float = 2.0) -> Array:
        """Random numbers of magnitude up to `bound` (up to 100 for integers)."""
        if dtype == "float32":
            return self.random.uniform(-bound, bound, shape).astype(np.float32)
        low, high = {"uint8": (0, 100), "bool": (0, 2)}.get(dtype, (-100, 100))
        return np.asarray(self.random.integers(low, high, shape)).astype(dtype)

    def any_floats(self, shape: tuple[int, ...]) -> Array:
        """Special numbers of both signs, random bits, and moderate numbers, a third of each."""
        special = self.random.choice(SPECIAL, shape) | self.random.integers(0, 2, shape, dtype=np.uint32) << 31
        bits = self.random.integers(0, 2**32, shape, dtype=np.uint32)
        moderate = self.numbers("float32", shape).view(np.uint32)
        kind = self.random.integers(0, 3, shape)
        return np.asarray(np.choose(kind, [special, bits, moderate]), dtype=np.uint32).view(np.float32)

    def input(self, dtype: str, shape: tuple[int, ...], bound: float = 2.0) -> Value:
        """A new graph input with random contents."""
        value = Value(self.fresh("input"), dtype, shape, True, bound if dtype == "float32" else 100.0)
        wild = self.wild and dtype == "float32"
        self.feeds[value.name] = self.any_floats(shape) if wild else self.numbers(dtype, shape, bound)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def constant(self, array: Array, prefix: str = "constant") -> str:
        """An initialiser or, by chance, a Constant node."""
        name = self.fresh(prefix)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        if self.flag():
            self.constants.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def value(self, dtype: str | None = None, rank: tuple[int, int] = (0, 6), exact: bool = False) -> Value:
        """Some value of that kind; a new input where there is none yet."""
        fitting = [
            value
            for value in self.values
            if (dtype is None or value.dtype == dtype)
            and rank[0] <= value.rank <= rank[1]
            and (value.exact or not exact)
            and value.elements <= MAX_ELEMENTS
            and value.bound <= LARGE
        ]
        if fitting and (len(self.inputs) >= 3 or self.integer(0, 5)):
            return fitting[self.integer(0, len(fitting) - 1)]
        return self.input(dtype or "float32", self.shape(self.integer(max(rank[0], 0), min(rank[1], 4))))

    def add(
        self,
        op: str,
        inputs: list[str],
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        exact: bool,
        bound: float,
        **attributes: Any,
    ) -> Value:
        """Append a node with one output."""
        value = Value(self.fresh(op.lower()), dtype, shape, exact, bound)
        self.nodes.append(helper.make_node(op, inputs, [value.name], name=self.fresh("node"), **attributes))
        self.values.append(value)
        return value

    def model(self) -> onnx.ModelProto:
        """The model; its outputs are all values that nothing reads, and by chance others."""
        read = {name for node in self.nodes for name in node.input}
        inputs = {value.name for value in self.inputs}
        outputs = [
            value
            for value in self.values
            if value.name not in inputs and (value.name not in read or not self.integer(0, 3))
        ]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(v.name, ONNX_TYPES[v.dtype], v.shape) for v in self.inputs],
            [helper.make_tensor_value_info(v.name, ONNX_TYPES[v.dtype], v.shape) for v in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 8
        return model
