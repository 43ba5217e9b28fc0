"""Normalisation and softmax."""

from math import prod
from typing import Final

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers

# Elements of a row up to which every tile may compute it again: 1,150 instructions each.
LONG_ROW: Final = 512
LARGEST: Final = float(np.finfo(np.float32).max)


@lowers("BatchNormalization")
def batch_normalization(c: Call) -> str:
    """x * s + (beta - mean * s) with s = gamma / sqrt(variance + epsilon), per channel; a pass puts it into weights."""
    c.ignore("momentum")
    c.only("training_mode", 0)
    if c.opset < 9:
        c.only("spatial", 1)
    if any(c.node.outputs[1:]):
        raise UnsupportedError(f"output {next(filter(None, c.node.outputs[1:]))!r}: opml does not train")
    x, epsilon = c.input(0), c.build.scalar(c.number("epsilon", 1e-5))
    if c.rank() < 2:
        raise UnsupportedError(f"a tensor of {c.rank()} dimensions has no channels")
    channels = c.shape()[1]
    for index in range(1, 5):
        if c.shape(index) != (channels,):
            raise UnsupportedError(f"input {index} has shape {list(c.shape(index))}, not [{channels}]")
    gamma, beta, mean, variance = (c.input(index) for index in range(1, 5))
    scale = c.emit("div", [gamma, c.emit("sqrt", [c.emit("add", [variance, epsilon])])])
    shift = c.emit("sub", [beta, c.emit("mul", [mean, scale])])
    per_channel = (channels, *(1,) * (c.rank() - 2))
    return c.emit("add", [c.emit("mul", [x, c.view(scale, per_channel)]), c.view(shift, per_channel)])


@lowers("Softmax", "LogSoftmax")
def softmax(c: Call) -> str:
    """Over one axis; before operator set 13 over all axes from `axis` on, as rows of a matrix."""
    x, axis = _rows(c)
    return c.view(_softmax(c, x, axis), c.shape())


def _rows(c: Call) -> tuple[str, int]:
    """The input, before operator set 13 as a matrix, and the axis of its rows."""
    x, shape = c.input(), c.shape()
    if c.opset >= 13:
        return x, c.axis(c.integer("axis", -1), c.rank())
    axis = c.integer("axis", 1)
    # The coercion also allows axis == rank: rows of one element.
    axis = c.rank() if axis == c.rank() else c.axis(axis, c.rank())
    return c.view(x, (prod(shape[:axis]), prod(shape[axis:]))), 1


@lowers("Hardmax")
def hardmax(c: Call) -> str:
    """1 at the first of the greatest elements along an axis, 0 elsewhere; before operator set 13 as `softmax`."""
    x, axis = _rows(c)
    rows = c.build.shape(x)
    places = c.view(c.build.arange(rows[axis]), [rows[axis] if i == axis else 1 for i in range(len(rows))])
    best = c.emit("argmax", [x], axis=axis, keepdims=1, select_last=0)
    distance = c.emit("abs", [c.emit("sub", [places, best])])
    one = c.build.constant(np.array(1))
    hit = c.emit("sub", [one, c.emit("min", [distance, one])])
    return c.view(c.emit("cast", [hit], to=c.build.type(x).dtype.value), c.shape())


def _softmax(c: Call, x: str, axis: int) -> str:
    if c.op == "Softmax":
        return softmax_rows(c, x, axis)
    centred = c.emit("sub", [x, c.emit("reduce_max", [x], axes=[axis], keepdims=1)])
    total = c.emit("reduce_sum", [c.emit("exp", [centred])], axes=[axis], keepdims=1)
    return c.emit("sub", [centred, c.emit("log", [total])])


def softmax_rows(c: Call, x: str, axis: int = -1, *, masked: bool = False) -> str:
    """Softmax along an axis; with `masked`, what is -infinity everywhere gives zeros and not NaN.

    A tile of the primitive computes its whole row again. A long row is taken apart, into the same bits: its maximum,
    its exponentials and their sum become tensors, and no tile does more than a sum.
    """
    shape = c.build.shape(x)
    axis = c.axis(axis, len(shape))
    if shape[axis] <= LONG_ROW:
        return c.emit("softmax", [x], axis=axis, **({"masked": 1} if masked else {}))
    most = c.emit("reduce_max", [x], axes=[axis], keepdims=1)
    if masked:
        most = c.emit("max", [most, c.build.scalar(-LARGEST)])
    powers = c.emit("exp", [c.emit("sub", [x, most])])
    total = c.emit("reduce_sum", [powers], axes=[axis], keepdims=1)
    # Of a row that is not closed the greatest adds exp(0) = 1.
    total = c.emit("max", [total, c.build.scalar(1.0)]) if masked else total
    return c.emit("div", [powers, total])
