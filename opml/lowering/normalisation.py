"""Normalisation and softmax."""

from math import prod

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers


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
    x, shape = c.input(), c.shape()
    if c.opset >= 13:
        axis = c.axis(c.integer("axis", -1), c.rank())
    else:
        axis = c.integer("axis", 1)
        # The coercion also allows axis == rank: rows of one element.
        axis = c.rank() if axis == c.rank() else c.axis(axis, c.rank())
        x, axis = c.view(x, (prod(shape[:axis]), prod(shape[axis:]))), 1
    return c.view(_softmax(c, x, axis), shape)


def _softmax(c: Call, x: str, axis: int) -> str:
    if c.op == "Softmax":
        return c.emit("softmax", [x], axis=axis)
    centred = c.emit("sub", [x, c.emit("reduce_max", [x], axes=[axis], keepdims=1)])
    total = c.emit("reduce_sum", [c.emit("exp", [centred])], axes=[axis], keepdims=1)
    return c.emit("sub", [centred, c.emit("log", [total])])


@lowers("LayerNormalization")
def layer_normalization(c: Call) -> str:
    """Over all axes from `axis` on: (x - mean) / sqrt(variance + epsilon) * scale + bias."""
    c.only("stash_type", 1)
    x, epsilon = c.input(0), c.build.scalar(c.number("epsilon", 1e-5))
    axes = list(range(c.axis(c.integer("axis", -1), c.rank()), c.rank()))
    centred = c.emit("sub", [x, c.emit("reduce_mean", [x], axes=axes, keepdims=1)])
    variance = c.emit("reduce_mean", [c.emit("mul", [centred, centred])], axes=axes, keepdims=1)
    y = c.emit("div", [centred, c.emit("sqrt", [c.emit("add", [variance, epsilon])])])
    y = c.emit("mul", [y, c.input(1)])
    return c.emit("add", [y, c.optional(2)]) if c.optional(2) else y
