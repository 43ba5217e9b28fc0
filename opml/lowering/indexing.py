"""What indexes: gathers, scatters, slices, splits, one-hot vectors, and constants made of places."""

from itertools import accumulate, pairwise
from math import ceil, prod

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array
from opml.lowering.call import Call, lowers
from opml.lowering.linear import few_bits, pick
from opml.ops import OPS
from opml.program import MAX_TILE_STEPS
from opml.tensors import onnx_dtype


def cut(c: Call, x: str, parts: list[tuple[int, int, int, int]]) -> str:
    """`count` elements from `start` on with a step, along each of some axes: (axis, start, step, count)."""
    shape = list(c.build.shape(x))
    starts, steps, counts = [0] * len(shape), [1] * len(shape), shape.copy()
    for axis, start, step, count in parts:
        starts[axis], steps[axis], counts[axis] = start, step, count
    if counts == shape and min(steps, default=1) > 0:
        return x
    value = c.build.value(x)
    if value is not None:
        for axis, start, step, count in parts:
            value = np.take(value, start + step * np.arange(count), axis)
        c.build.take(value.nbytes)
        return c.build.constant(value)
    if 0 in counts:
        return c.build.constant(np.zeros(counts, c.build.type(x).dtype.numpy))
    return c.emit("slice", [x], starts=starts, steps=steps, sizes=counts)


@lowers("Gather")
def gather(c: Call) -> str:
    """A slice where the indices are constant and evenly spaced. Constant indices must be within; others are clamped."""
    x, indices, axis = c.input(), c.input(1), c.axis(c.integer("axis", 0), c.rank())
    if axis == 0 and (weights := few_bits(c, x, (1, 0))):
        return pick(c, indices, weights)
    size, places = c.shape()[axis], c.build.value(indices)
    if places is None:
        return c.emit("gather", [x, indices], axis=axis)
    if places.dtype not in (np.int64, np.int32):
        raise UnsupportedError("input 'indices' is no tensor of int64")
    if places.size and not -size <= places.min() <= places.max() < size:
        raise UnsupportedError(f"an index is outside of axis {axis} of {list(c.shape())}")
    places = np.where(places < 0, places + size, places)
    shape = [*c.shape()[:axis], *places.shape, *c.shape()[axis + 1 :]]
    value = c.build.value(x)
    if value is not None:
        c.build.take(prod(shape) * value.dtype.itemsize)
        return c.build.constant(np.take(value, places, axis))
    if 0 in shape:
        return c.build.constant(np.zeros(shape, c.build.type(x).dtype.numpy))
    flat = [int(index) for index in places.reshape(-1)]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if step == 0 or flat != list(range(flat[0], flat[0] + step * len(flat), step)):
        return c.emit("gather", [x, indices], axis=axis)
    return c.view(cut(c, x, [(axis, flat[0], step, len(flat))]), shape)


@lowers("GatherElements")
def gather_elements(c: Call) -> str:
    return c.emit("gather_elements", [c.input(), c.input(1)], axis=c.axis(c.integer("axis", 0), c.rank()))


@lowers("GatherND")
def gather_nd(c: Call) -> str:
    batch = c.integer("batch_dims", 0) if c.opset >= 12 else 0
    return c.emit("gather_nd", [c.input(), c.input(1)], batch_dims=batch)


@lowers("Scatter", "ScatterElements")
def scatter_elements(c: Call) -> str:
    axis = c.axis(c.integer("axis", 0), c.rank())
    reduction = c.text("reduction", "none") if c.op == "ScatterElements" and c.opset >= 16 else "none"
    return _scatter(c, "scatter_elements", [c.input(0), c.input(1), c.input(2)], axis, reduction, axis=axis)


@lowers("ScatterND")
def scatter_nd(c: Call) -> str:
    """Counted indices (of a NonZero, say) scatter as many tuples as the count says."""
    data, indices, updates = c.input(0), c.input(1), c.input(2)
    reduction = c.text("reduction", "none") if c.opset >= 16 else "none"
    counted, shape = c.build.counts.get(indices), c.shape(1)
    if counted is not None:
        if counted.axis != 0 or len(shape) != 2:
            raise UnsupportedError(f"indices {list(shape)} whose number along axis {counted.axis} is data")
        return c.emit("scatter_nd", [data, indices, updates, counted.tensor], reduction=reduction)
    rest = c.shape(2)[len(shape) - 1 :]
    tuples = prod(shape[:-1])
    flat = [data, c.view(indices, (tuples, *shape[-1:])), c.view(updates, (tuples, *rest))]
    return _scatter(c, "scatter_nd", flat, 0, reduction)


def _scatter(c: Call, op: str, inputs: list[str], along: int, reduction: str, **attrs: int) -> str:
    """One scatter, or where a tile would be too dear several, one after the other: that gives the same."""
    data, indices, updates = inputs
    size, kind = c.build.shape(indices)[along], c.build.type(data)
    types = [c.build.type(name) for name in inputs]
    OPS[op].infer(types, {"reduction": reduction, **attrs})  # refuses what does not fit
    cost = OPS[op].cost(types, kind, {"reduction": reduction, **attrs})
    pieces = min(-(-cost // (MAX_TILE_STEPS // 2)), size)
    edges = [size * i // pieces for i in range(pieces + 1)]
    for start, end in pairwise(edges):
        parts = [cut(c, name, [(along, start, 1, end - start)]) for name in (indices, updates)]
        data = c.emit(op, [data, *parts], reduction=reduction, **attrs)
    return data


@lowers("TensorScatter")
def tensor_scatter(c: Call) -> str:
    axis, mode = c.axis(c.integer("axis", -2), c.rank()), c.text("mode", "linear")
    if mode not in ("linear", "circular"):
        raise UnsupportedError(f"attribute 'mode' is {mode!r}")
    inputs = [c.input(0), c.input(1), *([c.input(2)] if c.optional(2) else [])]
    return c.emit("tensor_scatter", inputs, axis=axis, circular=int(mode == "circular"))


@lowers("OneHot")
def one_hot(c: Call) -> str:
    """An index outside of the depth gives a vector that is off throughout."""
    indices, depth = c.input(0), c.constant(1, "depth")
    if depth.size != 1:
        raise UnsupportedError(f"input 'depth' has {depth.size} elements")
    if c.build.type(indices).dtype.value != "int64":
        indices = c.emit("cast", [indices], to="int64")
    return c.emit("one_hot", [indices, c.input(2)], depth=int(depth.reshape(())), axis=c.integer("axis", -1))


@lowers("Slice")
def slice_(c: Call) -> str:
    """Starts, ends, axes and steps: attributes before operator set 10, then constant inputs. Clamped like Python's."""
    x, shape = c.input(), c.shape()
    starts, ends = c.attr_or_input("starts", 1, 10), c.attr_or_input("ends", 2, 10)
    axes, steps = c.attr_or_input("axes", 3, 10), None
    if c.opset >= 10 and c.optional(4):
        steps = c.constant_ints(4, "steps")
    if starts is None or ends is None:
        raise UnsupportedError("'starts' or 'ends' is missing")
    axes = list(range(len(starts))) if axes is None else [c.axis(axis, len(shape)) for axis in axes]
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or len(axes) > len(shape):
        raise UnsupportedError("'starts', 'ends', 'axes' and 'steps' do not belong together")
    parts = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step == 0:
            raise UnsupportedError("a step of 0")
        taken = range(*slice(start, end, step).indices(shape[axis]))
        parts.append((axis, taken.start if taken else 0, taken.step, len(taken)))
    return cut(c, x, parts)


@lowers("Split")
def split(c: Call) -> list[str]:
    """Sizes: an attribute before operator set 13, then a constant input; else even parts, the last one maybe less."""
    x, axis, outputs = c.input(), c.axis(c.integer("axis", 0), c.rank()), len(c.node.outputs)
    total = c.shape()[axis]
    sizes = c.attr_or_input("split", 1, 13)
    if sizes is None:
        if c.opset >= 18:
            outputs = c.integer("num_outputs", outputs)
        elif total % outputs:
            raise UnsupportedError(f"{total} elements do not split into {outputs} equal parts")
        if outputs < 1 or len(c.node.outputs) > outputs:
            raise UnsupportedError(f"{len(c.node.outputs)} outputs for {outputs} parts")
        part = ceil(total / outputs)
        sizes = [min(part, max(total - part * i, 0)) for i in range(len(c.node.outputs))]
    elif min(sizes, default=0) < 0 or sum(sizes) != total or len(sizes) < len(c.node.outputs):
        raise UnsupportedError(f"parts {sizes} of {total} elements")
    # Only the parts that have a name, which may be a few of very many.
    ends = list(accumulate(sizes[: len(c.node.outputs)]))
    return [cut(c, x, [(axis, end - size, 1, size)]) for end, size in zip(ends, sizes, strict=False)]


@lowers("Tile")
def tile(c: Call) -> str:
    """Every axis as many times as `repeats` says, one after the other."""
    x, shape, repeats = c.input(), c.shape(), c.constant_ints(1, "repeats")
    if len(repeats) != len(shape) or min(repeats, default=0) < 0:
        raise UnsupportedError(f"repeats {repeats} for {list(shape)}")
    result = [n * r for n, r in zip(shape, repeats, strict=True)]
    if 0 in result:
        return c.build.constant(np.zeros(result, c.build.type(x).dtype.numpy))
    value = c.build.value(x)
    if value is not None:
        c.build.take(prod(result) * value.dtype.itemsize)
        return c.build.constant(np.tile(value, repeats))
    split_axes = [size for n in shape for size in (1, n)]
    wide = [size for n, r in zip(shape, repeats, strict=True) for size in (r, n)]
    if wide == split_axes:
        return x
    return c.view(c.emit("expand", [c.view(x, split_axes)], shape=wide), result)


@lowers("Range")
def range_(c: Call) -> str:
    """start + i * delta, in the inputs' own type; all three must be constants."""
    if c.opset >= 27:
        c.only("stash_type", 1)
    start, limit, delta = (c.constant(i, what) for i, what in enumerate(("start", "limit", "delta")))
    if not start.size == limit.size == delta.size == 1 or delta.reshape(()) == 0:
        raise UnsupportedError(f"{start.size}, {limit.size} and {delta.size} elements, or a delta of 0")
    first, last, step = (value.reshape(()).item() for value in (start, limit, delta))
    if not all(np.isfinite(value) for value in (first, last, step)):
        raise UnsupportedError(f"from {first} to {last} by {step}")
    number = max(ceil((last - first) / step), 0) if isinstance(first, float) else len(range(first, last, step))
    c.build.take(number * 8)
    kind = np.float32 if isinstance(first, float) else np.int64
    with np.errstate(all="ignore"):
        values = kind(first) + np.arange(number, dtype=kind) * kind(step)
        return c.build.constant(values.astype(start.dtype))


@lowers("Trilu")
def trilu(c: Call) -> str:
    """`k` must be constant; 0 by default."""
    k = c.constant(1, "k") if c.optional(1) else np.zeros(1, np.int64)
    if k.size != 1:
        raise UnsupportedError(f"input 'k' has {k.size} elements")
    # Beyond any matrix, further away is no different.
    diagonal = min(max(int(k.reshape(())), -1 << 40), 1 << 40)
    return c.emit("trilu", [c.input()], k=diagonal, upper=c.flag("upper", 1))


@lowers("EyeLike")
def eye_like(c: Call) -> str:
    """A constant of the input's shape, and of its type where `dtype` does not say another."""
    shape, k = c.shape(), c.integer("k", 0)
    if len(shape) != 2:
        raise UnsupportedError(f"{len(shape)} dimensions")
    code = c.integer("dtype", 0)
    dtype = onnx_dtype(code, "attribute 'dtype'") if code else c.build.type(c.input()).dtype
    c.build.take(prod(shape) * dtype.size)
    value: Array = np.eye(*shape, k=min(max(k, -shape[0]), shape[1]), dtype=bool).astype(dtype.numpy)
    return c.build.constant(value)


@lowers("ReverseSequence")
def reverse_sequence(c: Call) -> str:
    batch, time = c.integer("batch_axis", 1), c.integer("time_axis", 0)
    if (batch, time) not in ((0, 1), (1, 0)):
        raise UnsupportedError(f"batch axis {batch} and time axis {time}; opml has 0 and 1")
    return c.emit("reverse_sequence", [c.input(0), c.input(1)], batch_axis=batch)


@lowers("DepthToSpace", "SpaceToDepth")
def depth_and_space(c: Call) -> str:
    """Channels are (row, column, channel) of a block in mode DCR, (channel, row, column) in mode CRD."""
    n, channels, height, width = c.shape()
    block, mode = c.integer("blocksize", 0), c.text("mode", "DCR")
    if mode not in ("DCR", "CRD") or block < 1:
        raise UnsupportedError(f"mode {mode!r} with blocks of {block}")
    if c.op == "DepthToSpace":
        if channels % block**2:
            raise UnsupportedError(f"{channels} channels in blocks of {block}")
        depth = channels // block**2
        split_channels = (block, block, depth) if mode == "DCR" else (depth, block, block)
        perm = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
        x = c.build.transpose(c.view(c.input(), (n, *split_channels, height, width)), perm)
        return c.view(x, (n, depth, height * block, width * block))
    if height % block or width % block:
        raise UnsupportedError(f"{height} x {width} in blocks of {block}")
    perm = [0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4]
    x = c.build.transpose(c.view(c.input(), (n, channels, height // block, block, width // block, block)), perm)
    return c.view(x, (n, channels * block**2, height // block, width // block))
