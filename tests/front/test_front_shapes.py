"""Our shape inference against ONNX's own, on random chains of operators that change shapes."""

from collections.abc import Callable
from math import prod

import numpy as np
import onnx
from front_models import helper, make_model, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.compiler import compile_graph
from opml.graph import DType

Shape = tuple[int, ...]


class Chain:
    """A model that grows node by node; `shape` is what ONNX last inferred."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.shape: Shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
        self.input = numbers(*self.shape)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.last = "x"

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def constant(self, value: object) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, *constants: object, **attrs: object) -> None:
        inputs = [self.last, *map(self.constant, constants)]
        self.last = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.last], **attrs))
        inferred = onnx.shape_inference.infer_shapes(self.model(), strict_mode=True, data_prop=True)
        value = next(info for info in inferred.graph.output if info.name == self.last)
        self.shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)

    def model(self) -> onnx.ModelProto:
        return make_model(self.nodes, {"x": self.input}, [self.last], self.constants)


def windows(c: Chain) -> None:
    if len(c.shape) not in (3, 4):
        return
    spatial = c.shape[2:]
    attrs: dict[str, object] = {
        "strides": [c.integer(1, 3) for _ in spatial],
        "kernel_shape": [c.integer(1, min(3, size)) for size in spatial],
    }
    kernel = attrs["kernel_shape"]
    padding = c.draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "pads":
        attrs["pads"] = [c.integer(0, size - 1) for size in [*kernel, *kernel]]
    elif padding != "none":
        attrs["auto_pad"] = padding
    op = c.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    if op == "Conv":
        c.add(op, numbers(c.integer(1, 4), c.shape[1], *kernel), **attrs)
    else:
        # No ceil_mode: ONNX's inference also counts windows that start in the padding; ONNX Runtime and we do not.
        c.add(op, **attrs)


def transpose(c: Chain) -> None:
    if c.shape:
        c.add("Transpose", perm=c.draw(st.permutations(range(len(c.shape)))))


def reshape(c: Chain) -> None:
    target = [1, *c.shape[::-1]]
    if c.integer(0, 1):
        target[c.integer(0, len(target) - 1)] = -1
    c.add("Reshape", np.array(target))


def flatten(c: Chain) -> None:
    c.add("Flatten", axis=c.integer(-len(c.shape), len(c.shape)))


def unsqueeze(c: Chain) -> None:
    rank = len(c.shape)
    if rank < 5:
        c.add("Unsqueeze", np.array(c.draw(st.sampled_from([[0], [-1], [0, -1], [rank]]))))


def squeeze(c: Chain) -> None:
    ones = [axis for axis, size in enumerate(c.shape) if size == 1]
    if ones:
        c.add("Squeeze", *([np.array(ones[:1])] if c.integer(0, 1) else []))


def reduce(c: Chain) -> None:
    if c.shape:
        op = c.draw(st.sampled_from(["ReduceMean", "ReduceSum", "ReduceMax"]))
        axes = sorted(c.draw(st.sets(st.integers(0, len(c.shape) - 1), min_size=1)))
        c.add(op, np.array(axes), keepdims=c.integer(0, 1))


def matmul(c: Chain) -> None:
    if c.shape:
        columns = (c.integer(1, 20),) if c.integer(0, 1) else ()
        c.add("MatMul", numbers(c.shape[-1], *columns))


def broadcast(c: Chain) -> None:
    shape = [size if c.integer(0, 1) else 1 for size in c.shape]
    c.add("Add", numbers(*([c.integer(1, 2)] if len(shape) < 4 else []), *shape))


def concat(c: Chain) -> None:
    if c.shape:
        axis = c.integer(0, len(c.shape) - 1)
        other = list(c.shape)
        other[axis] = c.integer(1, 3)
        c.add("Concat", numbers(*other), axis=axis)


def slice_(c: Chain) -> None:
    if c.shape:
        axis = c.integer(0, len(c.shape) - 1)
        start = c.integer(0, c.shape[axis] - 1)
        end, step = start + c.integer(1, 9), c.integer(1, 2)
        c.add("Slice", *(np.array([value]) for value in (start, end, axis, step)))


STEPS: list[Callable[[Chain], None]] = [
    windows, windows, transpose, reshape, flatten, unsqueeze, squeeze, reduce, matmul, broadcast, concat, slice_,
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_shapes_are_those_that_onnx_infers(data: st.DataObject) -> None:
    chain = Chain(data.draw)
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        if prod(chain.shape) < 5000:
            step(chain)
    chain.add("Relu")
    graph = compile_graph(chain.model().SerializeToString())
    assert (graph.types[chain.last].dtype, graph.types[chain.last].shape) == (DType.FLOAT32, chain.shape)
