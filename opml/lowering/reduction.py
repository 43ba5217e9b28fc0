"""Reductions and running sums. The primitives reduce neighbouring axes, so others are brought together first."""

import numpy as np

from opml.graph import DType
from opml.lowering.call import Call, lowers

# ONNX name → primitive, and the operator set from which on `axes` is an input.
REDUCTIONS = {
    "ReduceMean": ("reduce_mean", 18),
    "ReduceSum": ("reduce_sum", 13),
    "ReduceMax": ("reduce_max", 18),
    "ReduceMin": ("reduce_min", 18),
    "ReduceProd": ("reduce_prod", 18),
    "ReduceL1": ("reduce_sum", 18),
    "ReduceL2": ("reduce_sum", 18),
    "ReduceSumSquare": ("reduce_sum", 18),
    "ReduceLogSum": ("reduce_sum", 18),
    "ReduceLogSumExp": ("reduce_sum", 18),
}


@lowers(*REDUCTIONS)
def reduce(c: Call) -> str:
    """Over some axes, or all where none is given; a reduction of nothing has the value that changes nothing."""
    shape, rank = c.shape(), c.rank()
    keepdims = c.flag("keepdims", 1)
    since = REDUCTIONS[c.op][1]
    given = c.attr_or_input("axes", 1, since)
    nothing = c.flag("noop_with_empty_axes") if c.opset >= since else 0
    axes = c.axes(given, rank) if given else [] if nothing else list(range(rank))
    result = [1 if axis in axes else size for axis, size in enumerate(shape) if keepdims or axis not in axes]
    if 0 in shape:
        return c.build.filled(result, _of_nothing(c), c.build.type(c.input()).dtype)
    return c.view(_reduced(c, axes), result)


def _of_nothing(c: Call) -> float | int:
    """The reduction of no elements."""
    dtype = c.build.type(c.input()).dtype
    if c.op in ("ReduceMax", "ReduceMin"):
        low = c.op == "ReduceMax"
        if dtype.numpy.kind == "f":
            return float("-inf" if low else "inf")
        if dtype is DType.BOOL:
            return int(not low)
        info = np.iinfo(dtype.numpy)
        return int(info.min if low else info.max)
    return {
        "ReduceProd": 1,
        "ReduceLogSum": float("-inf"),
        "ReduceLogSumExp": float("-inf"),
        "ReduceMean": float("nan"),
    }.get(c.op, 0)


def _reduced(c: Call, axes: list[int]) -> str:
    """The reduction along axes that there are, with them left out."""
    x, op = c.input(), REDUCTIONS[c.op][0]
    if c.build.type(x).dtype is DType.BOOL:
        number = c.emit("cast", [x], to=DType.INT32.value)
        return c.emit("cast", [along(c, op, number, axes)], to=DType.BOOL.value)
    match c.op:
        case "ReduceL1":
            x = c.emit("abs", [x])
        case "ReduceL2" | "ReduceSumSquare":
            x = c.emit("mul", [x, x])
        case "ReduceLogSumExp":
            most = along(c, "reduce_max", x, axes, keep=True)
            # Infinities of one sign would leave NaN behind.
            most = c.emit("clip", [most], min=-LARGEST, max=LARGEST)
            x = c.emit("exp", [c.emit("sub", [x, most])])
            total = c.emit("log", [along(c, "reduce_sum", x, axes, keep=True)])
            return c.emit("add", [total, most])
        case "ReduceMean" if c.build.type(x).dtype is not DType.FLOAT32:
            total = along(c, "reduce_sum", x, axes)
            count = c.build.type(x).elements // c.build.type(total).elements
            return c.emit("div", [total, c.build.constant(np.array(count, c.build.type(x).dtype.numpy))])
    x = along(c, op, x, axes)
    if c.op in ("ReduceL2", "ReduceLogSum"):
        x = c.emit("sqrt" if c.op == "ReduceL2" else "log", [x])
    return x


LARGEST = float(np.finfo(np.float32).max)


def along(c: Call, op: str, x: str, axes: list[int], keep: bool = False) -> str:
    """A primitive reduction along any axes, which are left out or, with `keep`, get size 1."""
    shape = c.build.shape(x)
    if not axes:
        return x
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    result = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis in kept]
    # Axes of size 1 between the reduced ones change nothing.
    first, last = axes[0], axes[-1]
    if all(shape[axis] == 1 for axis in range(first, last) if axis in kept):
        axes = list(range(first, last + 1))
    else:
        x = c.build.transpose(x, [*kept, *axes])
        axes = list(range(len(kept), len(shape)))
    return c.view(c.emit(op, [x], axes=axes, keepdims=0), result)


@lowers("ArgMax", "ArgMin")
def argmax(c: Call) -> str:
    """The position of the greatest or the least element along an axis."""
    axis = c.axis(c.integer("axis", 0), c.rank())
    flags = {"keepdims": c.flag("keepdims", 1), "least": int(c.op == "ArgMin")}
    flags["select_last"] = c.flag("select_last_index") if c.opset >= 12 else 0
    return c.emit("argmax", [c.input()], axis=axis, **flags)


@lowers("CumSum", "CumProd")
def cumulate(c: Call) -> str:
    """Along one axis, from its start or, with `reverse`, its end; with `exclusive` without the element itself."""
    x, shape, rank = c.input(), c.shape(), c.rank()
    axis = c.constant(1, "axis")
    if axis.size != 1 or not rank:
        raise ValueError(f"axis {axis.tolist()} of {rank} dimensions")
    along = c.axis(int(axis.reshape(-1)[0]), rank)
    exclusive, reverse = c.flag("exclusive"), c.flag("reverse")
    if 0 in shape:
        return x
    flipped = _flip(c, x, along) if reverse else x
    done = c.emit("cumsum" if c.op == "CumSum" else "cumprod", [flipped], axis=along)
    if exclusive:
        kind = c.build.type(x)
        edge = [1 if i == along else size for i, size in enumerate(shape)]
        first = c.build.filled(edge, int(c.op == "CumProd"), kind.dtype)
        if shape[along] == 1:
            return first
        sizes = [size - (i == along) for i, size in enumerate(shape)]
        rest = c.emit("slice", [done], starts=[0] * rank, steps=[1] * rank, sizes=sizes)
        done = c.build.concat([first, rest], along)
    return _flip(c, done, along) if reverse else done


def _flip(c: Call, x: str, axis: int) -> str:
    shape = c.build.shape(x)
    starts = [size - 1 if i == axis else 0 for i, size in enumerate(shape)]
    steps = [-1 if i == axis else 1 for i in range(len(shape))]
    return c.emit("slice", [x], starts=starts, steps=steps, sizes=list(shape))
