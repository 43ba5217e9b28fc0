"""Normalisation along the last axes, as transformers use it, also fused with the addition before it."""

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers

Normalised = tuple[str, str, str]


def layer_norm(c: Call, x: str, axis: int, scale: str, bias: str, epsilon: float) -> Normalised:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on; the mean; 1 / the divisor."""
    axes = list(range(axis, len(c.build.shape(x))))
    mean = c.emit("reduce_mean", [x], axes=axes, keepdims=1)
    centred = c.emit("sub", [x, mean])
    y, inverse = _scaled(c, centred, axes, scale, epsilon)
    return c.emit("add", [y, bias]) if bias else y, mean, inverse


def rms_norm(c: Call, x: str, axis: int, scale: str, epsilon: float) -> tuple[str, str]:
    """x / sqrt(mean of the squares + epsilon) * scale over the axes from `axis` on, and 1 / the divisor."""
    return _scaled(c, x, list(range(axis, len(c.build.shape(x)))), scale, epsilon)


def _scaled(c: Call, x: str, axes: list[int], scale: str, epsilon: float) -> tuple[str, str]:
    square = c.emit("reduce_mean", [c.emit("mul", [x, x])], axes=axes, keepdims=1)
    divisor = c.emit("sqrt", [c.emit("add", [square, c.build.scalar(epsilon)])])
    y = c.emit("div", [x, divisor])
    return c.emit("mul", [y, scale]), c.emit("reciprocal", [divisor])


@lowers("LayerNormalization")
def layer_normalization(c: Call) -> Normalised:
    c.only("stash_type", 1)
    axis = c.axis(c.integer("axis", -1), c.rank())
    return layer_norm(c, c.input(0), axis, c.input(1), c.optional(2), c.number("epsilon", 1e-5))


@lowers("RMSNormalization")
def rms_normalization(c: Call) -> str:
    c.only("stash_type", 1)
    axis = c.axis(c.integer("axis", -1), c.rank())
    return rms_norm(c, c.input(0), axis, c.input(1), c.number("epsilon", 1e-5))[0]


@lowers("SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization")
def simplified_layer_normalization(c: Call) -> tuple[str, str]:
    """ONNX Runtime's older name, in whatever domain, for RMSNormalization."""
    c.only("stash_type", 1)
    axis = c.axis(c.integer("axis", -1), c.rank())
    return rms_norm(c, c.input(0), axis, c.input(1), c.number("epsilon", 1e-5))


def _skip(c: Call, bias: int) -> str:
    """input + skip + bias; skip may lack the batch."""
    if c.rank(0) not in (2, 3) or c.build.shape(c.input(1))[-2:] != c.shape(0)[-2:]:
        raise UnsupportedError(f"inputs of shapes {list(c.shape(0))} and {list(c.shape(1))}")
    total = c.emit("add", [c.input(0), c.input(1)])
    return c.emit("add", [total, c.optional(bias)]) if c.optional(bias) else total


@lowers("com.microsoft.SkipLayerNormalization")
def skip_layer_normalization(c: Call) -> tuple[str, str, str, str]:
    total = _skip(c, 4)
    axis = c.rank() - 1
    return *layer_norm(c, total, axis, c.input(2), c.optional(3), c.number("epsilon", 1e-5)), total


@lowers("com.microsoft.SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(c: Call) -> tuple[str, str, str, str]:
    total = _skip(c, 3)
    y, inverse = rms_norm(c, total, c.rank() - 1, c.input(2), c.number("epsilon", 1e-5))
    return y, "", inverse, total
