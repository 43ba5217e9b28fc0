"""What becomes of a count: operators that read a tensor which is filled only as far as a count says.

An operator is here where its results mean the same as if the tensor had been as small as its count: it computes each
slice along the counted axis for itself, or moves slices without mixing them. Others are refused. What lies beyond the
count is defined, but means nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Count
from opml.lowering.call import Call

Carry = Callable[[Call, dict[int, Count], Sequence[str]], Count | None]

# Element by element, broadcasting.
ELEMENTWISE: Final = frozenset([
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Dropout", "Elu",
    "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod", "Mul", "Neg", "Not",
    "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
])  # fmt: skip
ALONG_ONE_AXIS: Final = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "ArgMax": 0, "ArgMin": 0, "Split": 0}


def carry_counts(c: Call, results: Sequence[str]) -> None:
    """Gives the results of a node the count of what it read. UnsupportedError where they would not mean the same."""
    counts = c.build.counts
    counted = {i: counts[name] for i, name in enumerate(c.inputs) if name in counts}
    if not counted or not any(results):
        return
    kept = _carry(c, counted, results)
    for result in filter(None, results):
        if kept is not None and result not in counts:
            counts[result] = kept


def _carry(c: Call, counted: Mapping[int, Count], results: Sequence[str]) -> Count | None:
    first = counted.get(0)
    shapes = [c.build.shape(name) if name else () for name in c.inputs]
    out = c.build.shape(next(filter(None, results)))
    if c.op == "CastLike" and first is None:
        return None  # only the dtype of what is counted is read
    if c.op in ELEMENTWISE:
        return _aligned(c, counted, shapes, out)
    if c.op in ALONG_ONE_AXIS and first is not None:
        axis = c.integer("axis", ALONG_ONE_AXIS[c.op]) % len(shapes[0])
        if c.op in ("Softmax", "LogSoftmax", "Hardmax") and c.opset < 13:
            raise _refused(c, first)
        gone = c.op.startswith("Arg") and not c.flag("keepdims", 1)
        return _without(c, first, [axis], gone)
    match c.op:
        case "Transpose" if first is not None:
            perm = c.integers("perm") or list(range(len(out)))[::-1]
            return Count(first.tensor, perm.index(first.axis))
        case "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" if first is not None:
            return _viewed(c, first, shapes[0], out)
        case "Concat":
            axis = c.axis(c.integer("axis", 0), len(out))
            if len(counted) == len(shapes) and len(set(counted.values())) == 1 and first is not None:
                return _without(c, first, [axis], False)
        case "Slice" if first is not None:
            return _sliced(c, first, shapes[0], out)
        case "Gather":
            return _gathered(c, counted, len(shapes[1]), len(shapes[0]))
        case "GatherElements" if 1 in counted and counted.get(0, counted[1]) == counted[1]:
            axis = c.axis(c.integer("axis", 0), len(shapes[0]))
            if (0 in counted) != (counted[1].axis == axis):
                return counted[1]
        case "GatherND" if first is None and counted[1].axis < len(shapes[1]) - 1:
            return counted[1]
        case "ScatterND" if first is None and 1 in counted:
            return None
        case "MatMul" | "Gemm" if set(counted) == {0} and first is not None and len(shapes[1]) == 2:
            transposed = c.op == "Gemm" and c.flag("transA")
            if first.axis != len(shapes[0]) - 1 and len(shapes[0]) > 1 and not transposed and not _rows(c, shapes):
                return first
        case "Shape" if first is not None:
            shown = range(len(shapes[0]))[c.integer("start", 0) : c.integer("end", len(shapes[0]))]
            if first.axis not in shown:
                return None
        case op if op.startswith("Reduce") and first is not None:
            axes = c.attr_or_input("axes", 1, 13 if op == "ReduceSum" else 18)
            if axes:
                return _without(c, first, c.axes(axes, len(shapes[0])), not c.flag("keepdims", 1))
    raise _refused(c, next(iter(counted.values())))


def _refused(c: Call, count: Count) -> UnsupportedError:
    return UnsupportedError(
        f"it reads a tensor whose size along axis {count.axis} is data",
        "opml has elementwise operators, gathers, reshapes and reductions over the other axes of such a tensor",
    )


def _rows(c: Call, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a Gemm's bias has a value for each row."""
    return len(shapes) > 2 and len(shapes[2]) == 2 and shapes[2][0] != 1


def _aligned(
    c: Call, counted: Mapping[int, Count], shapes: Sequence[tuple[int, ...]], out: tuple[int, ...]
) -> Count | None:
    """All counted operands have one count, and the others one element or none along that axis."""
    places = {(count.tensor, count.axis - len(shapes[i])) for i, count in counted.items()}
    if len(places) > 1:
        raise _refused(c, next(iter(counted.values())))
    ((tensor, place),) = places
    others = [shape for i, shape in enumerate(shapes) if i not in counted and len(shape) >= -place]
    sizes = {shapes[i][place] for i in counted}
    if any(shape[place] != 1 for shape in others) or sizes != {out[place]}:
        raise _refused(c, next(iter(counted.values())))
    return Count(tensor, len(out) + place)


def _without(c: Call, count: Count, axes: list[int], gone: bool) -> Count:
    """The count after something was done along other axes, which may be gone then."""
    if count.axis in axes:
        raise _refused(c, count)
    return Count(count.tensor, count.axis - sum(axis < count.axis for axis in axes) * gone)


def _viewed(c: Call, count: Count, shape: tuple[int, ...], out: tuple[int, ...]) -> Count:
    """The axis of the same size with as many elements before it; with a capacity of 1 there may be several."""
    size, before = shape[count.axis], prod(shape[: count.axis])
    found = [axis for axis, n in enumerate(out) if n == size and prod(out[:axis]) == before]
    if len(found) != 1:
        raise _refused(c, count)
    return Count(count.tensor, found[0])


def _sliced(c: Call, count: Count, shape: tuple[int, ...], out: tuple[int, ...]) -> Count:
    """Along another axis, or the first few along this one."""
    starts = c.attr_or_input("starts", 1, 10) or []
    axes = c.attr_or_input("axes", 3, 10) or list(range(len(starts)))
    steps = (c.constant_ints(4, "steps") if c.opset >= 10 and c.optional(4) else None) or [1] * len(starts)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        ends = c.attr_or_input("ends", 2, 10) or []
        if axis % len(shape) == count.axis and (start != 0 or step != 1 or ends[axes.index(axis)] < 0):
            raise _refused(c, count)
    if out[count.axis] == shape[count.axis]:
        return count
    most = c.build.constant(np.full(1, out[count.axis], np.int64))
    return Count(c.emit("min", [count.tensor, most]), count.axis)


def _gathered(c: Call, counted: Mapping[int, Count], indices: int, rank: int) -> Count | None:
    """Slices taken as often as indices count, or slices of another axis, or the first ones by constant indices."""
    axis = c.axis(c.integer("axis", 0), rank)
    if 0 not in counted:
        return Count(counted[1].tensor, counted[1].axis + axis)
    count = counted[0]
    if 1 not in counted and axis != count.axis:
        return Count(count.tensor, count.axis + (indices - 1) * (axis < count.axis))
    places = c.build.value(c.input(1))
    if axis == count.axis and places is not None and (places.min(initial=0) >= 0):
        return None
    raise _refused(c, count)
