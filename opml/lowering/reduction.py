"""Reductions. The primitives reduce neighbouring axes, so others are brought together first."""

from opml.lowering.call import Call, lowers

# ONNX name → primitive, and the operator set from which on `axes` is an input.
REDUCTIONS = {
    "ReduceMean": ("reduce_mean", 18),
    "ReduceSum": ("reduce_sum", 13),
    "ReduceMax": ("reduce_max", 18),
    "ReduceMin": ("reduce_min", 18),
}


@lowers(*REDUCTIONS)
def reduce(c: Call) -> str:
    op, since = REDUCTIONS[c.op]
    x, shape, rank = c.input(), c.shape(), c.rank()
    keepdims = c.flag("keepdims", 1)
    axes = c.attr_or_input("axes", 1, since)
    nothing = c.flag("noop_with_empty_axes") if c.opset >= since else 0
    if not axes:
        if nothing or not rank:
            return x
        axes = list(range(rank))
    axes = c.axes(axes, rank)
    kept = [axis for axis in range(rank) if axis not in axes]
    if keepdims:
        result = [1 if axis in axes else size for axis, size in enumerate(shape)]
    else:
        result = [shape[axis] for axis in kept]
    # Axes of size 1 between the reduced ones change nothing.
    first, last = axes[0], axes[-1]
    if all(shape[axis] == 1 for axis in range(first, last) if axis in kept):
        axes = list(range(first, last + 1))
    else:
        x = c.build.transpose(x, [*kept, *axes])
        axes = list(range(len(kept), rank))
    return c.view(c.emit(op, [x], axes=axes, keepdims=0), result)


@lowers("ArgMax")
def argmax(c: Call) -> str:
    axis = c.axis(c.integer("axis", 0), c.rank())
    select_last = c.flag("select_last_index") if c.opset >= 12 else 0
    return c.emit("argmax", [c.input()], axis=axis, keepdims=c.flag("keepdims", 1), select_last=select_last)
