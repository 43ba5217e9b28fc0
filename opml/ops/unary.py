"""Functions of one tensor, element by element."""

from typing import Any

import numpy as np

from opml import numerics
from opml.graph import DType, TensorType
from opml.numerics import ONE, ZERO, maximum, minimum
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    element_size,
    float_word,
    input_address,
    int_word,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
    param_f32,
    store_int,
    template,
)
from opml.ops.checks import NUMBERS, float_attr, only, refuse, take_dtype, take_inputs
from vm.guest.intrinsics import abs32, load_f32, sqrt32, store_f32, wrap_sub

LENGTH, DTYPE, P, Q = range(4)


@template
def map_f32(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[i] = f(x[i], p, q) over the elements of some tiles; the rest of the last leaf is zero."""
    x, y, p, q = input_address(r, 0), out_address(r), param_f32(r, P), param_f32(r, Q)
    stop = min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    for i in range(LEAF_FLOATS * first, stop):
        store_f32(y + 4 * i, f(load_f32(x + 4 * i), p, q))
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def map_int(f, r, first, count):  # type: ignore[no-untyped-def]
    """The same for integer tensors."""
    x, y, p, q, dtype = input_address(r, 0), out_address(r), param(r, P), param(r, Q), param(r, DTYPE)
    size = element_size(dtype)
    stop = min(32 * (first + count), param(r, LENGTH) * size)
    for at in range(32 * first, stop, size):
        store_int(y + at, dtype, f(load_int(x + at, dtype), p, q))
    clear(y + stop, y + 32 * (first + count))


@jit
def relu_f32(x, p, q):  # type: ignore[no-untyped-def]
    return ZERO if x <= ZERO else x


@jit
def relu_int(x, p, q):  # type: ignore[no-untyped-def]
    return max(x, 0)


@jit
def leaky_relu_f32(x, p, q):  # type: ignore[no-untyped-def]
    return x if x >= ZERO else p * x


@jit
def sigmoid_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.sigmoid(x)


@jit
def tanh_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.tanh(x)


@jit
def exp_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.exp(x)


@jit
def log_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.log(x)


@jit
def sqrt_f32(x, p, q):  # type: ignore[no-untyped-def]
    return sqrt32(x)


@jit
def abs_f32(x, p, q):  # type: ignore[no-untyped-def]
    return abs32(x)


@jit
def abs_int(x, p, q):  # type: ignore[no-untyped-def]
    return wrap_sub(0, x) if x < 0 else x


@jit
def neg_f32(x, p, q):  # type: ignore[no-untyped-def]
    return -x


@jit
def neg_int(x, p, q):  # type: ignore[no-untyped-def]
    return wrap_sub(0, x)


@jit
def erf_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.erf(x)


@jit
def clip_f32(x, p, q):  # type: ignore[no-untyped-def]
    return minimum(maximum(x, p), q)


@jit
def clip_int(x, p, q):  # type: ignore[no-untyped-def]
    return min(max(x, p), q)


@jit
def floor_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.floor(x)


@jit
def ceil_f32(x, p, q):  # type: ignore[no-untyped-def]
    return numerics.ceil(x)


@jit
def reciprocal_f32(x, p, q):  # type: ignore[no-untyped-def]
    return ONE / x


@jit
def hard_sigmoid_f32(x, p, q):  # type: ignore[no-untyped-def]
    return minimum(maximum(p * x + q, ZERO), ONE)


@jit
def relu_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        map_f32(relu_f32, r, first, count)
    else:
        map_int(relu_int, r, first, count)


@jit
def relu_tile(r, t):  # type: ignore[no-untyped-def]
    relu_tiles(r, t, 1)


@jit
def abs_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        map_f32(abs_f32, r, first, count)
    else:
        map_int(abs_int, r, first, count)


@jit
def abs_tile(r, t):  # type: ignore[no-untyped-def]
    abs_tiles(r, t, 1)


@jit
def neg_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        map_f32(neg_f32, r, first, count)
    else:
        map_int(neg_int, r, first, count)


@jit
def neg_tile(r, t):  # type: ignore[no-untyped-def]
    neg_tiles(r, t, 1)


@jit
def clip_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        map_f32(clip_f32, r, first, count)
    else:
        map_int(clip_int, r, first, count)


@jit
def clip_tile(r, t):  # type: ignore[no-untyped-def]
    clip_tiles(r, t, 1)


@jit
def leaky_relu_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(leaky_relu_f32, r, first, count)


@jit
def leaky_relu_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(leaky_relu_f32, r, t, 1)


@jit
def sigmoid_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(sigmoid_f32, r, first, count)


@jit
def sigmoid_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(sigmoid_f32, r, t, 1)


@jit
def tanh_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(tanh_f32, r, first, count)


@jit
def tanh_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(tanh_f32, r, t, 1)


@jit
def exp_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(exp_f32, r, first, count)


@jit
def exp_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(exp_f32, r, t, 1)


@jit
def log_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(log_f32, r, first, count)


@jit
def log_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(log_f32, r, t, 1)


@jit
def sqrt_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(sqrt_f32, r, first, count)


@jit
def sqrt_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(sqrt_f32, r, t, 1)


@jit
def erf_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(erf_f32, r, first, count)


@jit
def erf_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(erf_f32, r, t, 1)


@jit
def floor_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(floor_f32, r, first, count)


@jit
def floor_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(floor_f32, r, t, 1)


@jit
def ceil_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(ceil_f32, r, first, count)


@jit
def ceil_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(ceil_f32, r, t, 1)


@jit
def reciprocal_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(reciprocal_f32, r, first, count)


@jit
def reciprocal_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(reciprocal_f32, r, t, 1)


@jit
def hard_sigmoid_tiles(r, first, count):  # type: ignore[no-untyped-def]
    map_f32(hard_sigmoid_f32, r, first, count)


@jit
def hard_sigmoid_tile(r, t):  # type: ignore[no-untyped-def]
    map_f32(hard_sigmoid_f32, r, t, 1)


def _bounds(attrs: Attrs, dtype: DType) -> tuple[float, float]:
    """The bounds of clip; where one is absent, the dtype's own."""
    if dtype is DType.FLOAT32:
        return float_attr("clip", attrs, "min", float("-inf")), float_attr("clip", attrs, "max", float("inf"))
    info = np.iinfo(dtype.numpy)
    low, high = attrs.get("min", int(info.min)), attrs.get("max", int(info.max))
    if not isinstance(low, int) or not isinstance(high, int) or not all(info.min <= v <= info.max for v in (low, high)):
        raise refuse("clip", f"the bounds {low!r}, {high!r} are not {dtype.value}")
    return low, high


def _numbers(name: str, attrs: Attrs, dtype: DType) -> tuple[float, float]:
    """The two numbers that go with an operator."""
    if name == "clip":
        return _bounds(attrs, dtype)
    alpha = _DEFAULT_ALPHA.get(name)
    beta = 0.5 if name == "hard_sigmoid" else 0.0
    return (0.0 if alpha is None else float_attr(name, attrs, "alpha", alpha)), float_attr(name, attrs, "beta", beta)


def _make(name: str, code: int, tile: Any, tiles: Any, cost: int, integers: bool, *known: str) -> Op:
    dtypes = NUMBERS if integers else (DType.FLOAT32,)

    def infer(types: Types, attrs: Attrs) -> TensorType:
        (x,) = take_inputs(name, types, 1)
        take_dtype(name, x, dtypes)
        only(name, attrs, *known)
        _numbers(name, attrs, x.dtype)
        return x

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        numbers = _numbers(name, attrs, out.dtype)
        words = (
            map(float_word, numbers) if out.dtype is DType.FLOAT32 else (int_word(int(number)) for number in numbers)
        )
        return [out.elements, DTYPE_CODES[out.dtype], *words]

    def bound(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (64 + cost)

    return Op(name, code, infer, params, tile, bound, tiles)


_DEFAULT_ALPHA = {"leaky_relu": 0.01, "hard_sigmoid": 0.2}
_EXP = 16 * COST_FLOAT

OPS = [
    _make("relu", 16, relu_tile, relu_tiles, COST_FLOAT, True),
    _make("leaky_relu", 17, leaky_relu_tile, leaky_relu_tiles, 2 * COST_FLOAT, False, "alpha"),
    _make("sigmoid", 18, sigmoid_tile, sigmoid_tiles, _EXP + 2 * COST_FLOAT + COST_DIVIDE, False),
    _make("tanh", 19, tanh_tile, tanh_tiles, _EXP + 12 * COST_FLOAT + COST_DIVIDE, False),
    _make("exp", 20, exp_tile, exp_tiles, _EXP, False),
    _make("log", 21, log_tile, log_tiles, 24 * COST_FLOAT, False),
    _make("sqrt", 22, sqrt_tile, sqrt_tiles, COST_DIVIDE, False),
    _make("abs", 23, abs_tile, abs_tiles, COST_FLOAT, True),
    _make("neg", 24, neg_tile, neg_tiles, COST_FLOAT, True),
    _make("erf", 25, erf_tile, erf_tiles, _EXP + 20 * COST_FLOAT, False),
    _make("clip", 26, clip_tile, clip_tiles, 10 * COST_FLOAT, True, "min", "max"),
    _make("floor", 27, floor_tile, floor_tiles, 6 * COST_FLOAT, False),
    _make("ceil", 28, ceil_tile, ceil_tiles, 6 * COST_FLOAT, False),
    _make("reciprocal", 29, reciprocal_tile, reciprocal_tiles, COST_DIVIDE, False),
    _make("hard_sigmoid", 30, hard_sigmoid_tile, hard_sigmoid_tiles, 12 * COST_FLOAT, False, "alpha", "beta"),
]
