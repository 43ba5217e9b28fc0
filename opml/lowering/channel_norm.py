"""Normalisation of images: over an instance, a group of channels, neighbouring channels, a norm."""

from math import prod

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.powers import magnitude_power, power, root
from opml.lowering.reduction import along

SMALLEST = 2.0**-149


def _centred(c: Call, x: str, epsilon: float) -> tuple[str, str]:
    """x - mean and sqrt(variance + epsilon) over the last axis."""
    axes = [len(c.build.shape(x)) - 1]
    centred = c.emit("sub", [x, c.emit("reduce_mean", [x], axes=axes, keepdims=1)])
    variance = c.emit("reduce_mean", [c.emit("mul", [centred, centred])], axes=axes, keepdims=1)
    return centred, c.emit("sqrt", [c.emit("add", [variance, c.build.scalar(epsilon)])])


def _affine(c: Call, count: int) -> tuple[str, str]:
    """Inputs 1 and 2, which must be [count], as [count, 1]."""
    for index in (1, 2):
        if c.shape(index) != (count,):
            raise UnsupportedError(f"input {index} has shape {list(c.shape(index))}, not [{count}]")
    return c.view(c.input(1), (count, 1)), c.view(c.input(2), (count, 1))


def _scaled(c: Call, x: str, count: int) -> str:
    """x [N, count, ...], each of `count` parts over all its elements: (x - mean) * (scale / deviation) + bias."""
    scale, bias = _affine(c, count)
    centred, deviation = _centred(c, x, c.number("epsilon", 1e-5))
    return c.emit("add", [c.emit("mul", [centred, c.emit("div", [scale, deviation])]), bias])


@lowers("InstanceNormalization")
def instance_normalization(c: Call) -> str:
    """Each channel of each image over its spatial axes."""
    x, shape = c.input(0), c.shape()
    if len(shape) < 3:
        raise UnsupportedError(f"a tensor of {len(shape)} dimensions has no spatial one")
    return c.view(_scaled(c, c.view(x, (*shape[:2], prod(shape[2:]))), shape[1]), shape)


@lowers("GroupNormalization")
def group_normalization(c: Call) -> str:
    """Groups of channels; scale and bias are per group before operator set 21, then per channel."""
    x, shape, groups = c.input(0), c.shape(), c.integer("num_groups", 0)
    c.only("stash_type", 1)
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise UnsupportedError(f"{groups} groups of the channels of {list(shape)}")
    x = c.view(x, (shape[0], groups, prod(shape[1:]) // groups))
    if c.opset < 21:
        return c.view(_scaled(c, x, groups), shape)
    scale, bias = _affine(c, shape[1])
    centred, deviation = _centred(c, x, c.number("epsilon", 1e-5))
    y = c.view(c.emit("div", [centred, deviation]), (*shape[:2], prod(shape[2:])))
    return c.view(c.emit("add", [c.emit("mul", [y, scale]), bias]), shape)


@lowers("MeanVarianceNormalization")
def mean_variance_normalization(c: Call) -> str:
    """(x - mean) / (standard deviation + 1e-9) over some axes, by default all but the channels' of an image."""
    x, given = c.input(0), c.integers("axes")
    axes = c.axes([0, 2, 3] if given is None else given, c.rank())
    centred = c.emit("sub", [x, _mean(c, x, axes)])
    deviation = c.emit("sqrt", [_mean(c, c.emit("mul", [centred, centred]), axes)])
    return c.emit("div", [centred, c.emit("add", [deviation, c.build.scalar(1e-9)])])


def _mean(c: Call, x: str, axes: list[int]) -> str:
    return along(c, "reduce_mean", x, axes, keep=True)


@lowers("LpNormalization")
def lp_normalization(c: Call) -> str:
    """x by its norm along an axis; where the norm is zero so is x, and the result."""
    x, axis, p = c.input(0), c.axis(c.integer("axis", -1), c.rank()), c.integer("p", 2)
    if p not in (1, 2):
        raise UnsupportedError(f"attribute 'p' is {p}; ONNX has 1 and 2")
    norm = root(c, c.emit("reduce_sum", [magnitude_power(c, x, p)], axes=[axis], keepdims=1), p)
    return c.emit("div", [x, c.emit("max", [norm, c.build.scalar(SMALLEST)])])


@lowers("LRN")
def lrn(c: Call) -> str:
    """x / (bias + alpha * mean of the squares of `size` neighbouring channels) ** beta; absent channels count as 0."""
    x, shape, size = c.input(0), c.shape(), c.integer("size", 0)
    if len(shape) < 2 or size < 1:
        raise UnsupportedError(f"size {size} over the channels of {list(shape)}")
    squares = c.view(c.emit("mul", [x, x]), (shape[0], 1, shape[1], prod(shape[2:])))
    pads = [(size - 1) // 2, 0, size - 1 - (size - 1) // 2, 0]
    mean = c.emit("avgpool", [squares], kernel=[size, 1], pads=pads, count_include_pad=1)
    scaled = c.emit("mul", [mean, c.build.scalar(c.number("alpha", 1e-4))])
    base = c.emit("add", [scaled, c.build.scalar(c.number("bias", 1.0))])
    return c.emit("div", [x, c.view(power(c, base, c.number("beta", 0.75)), shape)])
