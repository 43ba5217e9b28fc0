"""What moves or renames elements and computes nothing: views, transpose, concat, slices, and shapes as constants."""

from math import prod

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers
from opml.lowering.linear import broadcast_shape


@lowers("Identity")
def identity(c: Call) -> str:
    return c.input()


@lowers("Dropout")
def dropout(c: Call) -> tuple[str, str]:
    """Nothing is dropped at inference: x, and where the mask is asked for a true for each element."""
    c.ignore("ratio", "seed")
    c.optional(1)
    training = c.optional(2)
    if training and (c.build.value(training) is None or c.constant(2, "training_mode").any()):
        raise UnsupportedError(f"input 'training_mode' ({training!r}): opml does not train")
    asked = len(c.node.outputs) > 1 and c.node.outputs[1]
    return c.input(), c.build.filled(c.shape(), 1, DType.BOOL) if asked else ""


@lowers("Reshape")
def reshape(c: Call) -> str:
    """0 keeps the input's size (unless `allowzero`), -1 stands for what is left."""
    shape = c.shape()
    wanted = c.constant_ints(1, "shape")
    if not c.flag("allowzero"):
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(wanted)):
            raise UnsupportedError(f"shape {wanted} keeps an axis that {list(shape)} does not have")
        wanted = [size or shape[axis] if axis < len(shape) else size for axis, size in enumerate(wanted)]
    elif 0 in wanted and -1 in wanted:
        raise UnsupportedError(f"shape {wanted} has 0 and -1 under allowzero")
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise UnsupportedError(f"shape {wanted}")
    if -1 in wanted:
        rest = prod(size for size in wanted if size != -1)
        if rest == 0 or prod(shape) % rest:
            raise UnsupportedError(f"{list(shape)} cannot become {wanted}")
        wanted[wanted.index(-1)] = prod(shape) // rest
    return c.view(c.input(), wanted)


@lowers("Flatten")
def flatten(c: Call) -> str:
    """A matrix: the axes before `axis`, and those from it on."""
    shape, axis = c.shape(), c.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise UnsupportedError(f"axis {axis} of a tensor of {len(shape)} dimensions")
    axis += len(shape) if axis < 0 else 0
    return c.view(c.input(), (prod(shape[:axis]), prod(shape[axis:])))


@lowers("Squeeze")
def squeeze(c: Call) -> str:
    shape = c.shape()
    given = c.attr_or_input("axes", 1, 13)
    axes = c.axes(given, len(shape)) if given is not None else [axis for axis, size in enumerate(shape) if size == 1]
    if wide := [axis for axis in axes if shape[axis] != 1]:
        raise UnsupportedError(f"axis {wide[0]} of {list(shape)} is not of size 1")
    return c.view(c.input(), [size for axis, size in enumerate(shape) if axis not in axes])


@lowers("Unsqueeze")
def unsqueeze(c: Call) -> str:
    given = c.attr_or_input("axes", 1, 13)
    if given is None:
        raise UnsupportedError("'axes' is missing")
    rank = c.rank() + len(given)
    axes = c.axes(given, rank)
    sizes = iter(c.shape())
    return c.view(c.input(), [1 if axis in axes else next(sizes) for axis in range(rank)])


@lowers("Transpose")
def transpose(c: Call) -> str:
    """The axes are reversed by default."""
    perm = c.integers("perm")
    if perm is None:
        perm = list(range(c.rank()))[::-1]
    if sorted(perm) != list(range(c.rank())):
        raise UnsupportedError(f"attribute 'perm' is {perm} for a tensor of {c.rank()} dimensions")
    if c.input() in c.build.quantised:
        return c.build.dequantised(c.build.quantised[c.input()].transposed(perm))
    return c.build.transpose(c.input(), perm)


@lowers("Concat")
def concat(c: Call) -> str:
    names = c.all_inputs()
    if "axis" not in c.node.attrs:
        raise UnsupportedError("attribute 'axis' is missing")
    axis = c.axis(c.integer("axis", 0), c.rank())
    # Parts without elements add nothing; exporters leave them in shape arithmetic.
    full = [name for name in names if c.build.type(name).elements] or names[:1]
    return c.build.concat(full, axis)


@lowers("Shape")
def shape_of(c: Call) -> str:
    """A constant: shapes are static, but for that of a decoder's past."""
    if c.build.memory is not None:
        c.build.memory.refuse_size(c.input())
    shape = c.shape()
    start, end = c.integer("start", 0), c.integer("end", len(shape))
    return c.build.constant(np.array(shape[start:end], np.int64).reshape(-1))


@lowers("Size")
def size_of(c: Call) -> str:
    if c.build.memory is not None:
        c.build.memory.refuse_size(c.input())
    return c.build.constant(np.array(prod(c.shape()), np.int64))


@lowers("ConstantOfShape")
def constant_of_shape(c: Call) -> str:
    shape = c.constant_ints(0, "input")
    value = c.constant(1, "value") if c.optional(1) else np.zeros(1, np.float32)
    if min(shape, default=0) < 0 or value.size != 1:
        raise UnsupportedError(f"shape {shape} with {value.size} values")
    c.build.take(prod(shape) * value.dtype.itemsize)
    return c.build.constant(np.full(shape, value.reshape(()), value.dtype))


@lowers("Expand")
def expand(c: Call) -> str:
    shape = c.constant_ints(1, "shape")
    if min(shape, default=0) < 0:
        raise UnsupportedError(f"shape {shape}")
    target = broadcast_shape(c.shape(), tuple(shape))
    x, source = c.input(), c.shape()
    if 0 in target:
        return c.build.constant(np.zeros(target, c.build.type(x).dtype.numpy))
    value = c.build.value(x)
    if value is not None:
        c.build.take(prod(target) * value.dtype.itemsize)
        return c.build.constant(np.broadcast_to(value, target))
    x = c.view(x, (1,) * (len(target) - len(source)) + source)
    return x if c.build.shape(x) == target else c.emit("expand", [x], shape=list(target))
