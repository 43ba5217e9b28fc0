"""Functions of one tensor, element by element; `FUNCTIONS` is the list of them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from opml import numerics, powers, trigonometry
from opml.graph import DType, TensorType
from opml.numerics import INFINITY, MAGNITUDE, NAN, ONE, TWO, ZERO, maximum, minimum
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    Attrs,
    Op,
    Types,
    float_word,
    int_word,
    jit,
    leaf_elements,
    order_flip,
)
from opml.ops.checks import INTEGERS, NUMBERS, float_attr, only, refuse, take_dtype, take_inputs
from opml.ops.elementwise import (
    classify_floats,
    map_bounded,
    map_floats,
    map_integers,
    map_numbers,
    map_scaled,
    specialise,
)
from vm.guest.intrinsics import abs32, f32_bits, sqrt32, wrap_sub

# Of float32: (x) or (x, p, q); of integers: (x, p, q, flip), where x ^ flip is ordered as signed numbers are.


@jit
def relu_f32(x):  # type: ignore[no-untyped-def]
    return ZERO if x <= ZERO else x


@jit
def relu_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return max(x ^ flip, flip) ^ flip


@jit
def leaky_relu_f32(x, p, q):  # type: ignore[no-untyped-def]
    return x if x >= ZERO else p * x


@jit
def abs_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return wrap_sub(0, x) if x ^ flip < flip else x


@jit
def neg_f32(x):  # type: ignore[no-untyped-def]
    return -x


@jit
def neg_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return wrap_sub(0, x)


@jit
def sign_f32(x):  # type: ignore[no-untyped-def]
    """-1, +0 or 1; NaN stays."""
    return (ONE if x > ZERO else (-ONE if x < ZERO else ZERO)) if x == x else NAN


@jit
def sign_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return np.int64(x ^ flip > flip) - np.int64(x ^ flip < flip)


@jit
def not_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return ~x


@jit
def not_bool(x, p, q, flip):  # type: ignore[no-untyped-def]
    return 1 - x


@jit
def clip_f32(x, p, q):  # type: ignore[no-untyped-def]
    return minimum(maximum(x, p), q)


@jit
def clip_int(x, p, q, flip):  # type: ignore[no-untyped-def]
    return min(max(x ^ flip, p), q) ^ flip


@jit
def reciprocal_f32(x):  # type: ignore[no-untyped-def]
    return ONE / x


@jit
def hard_sigmoid_f32(x, p, q):  # type: ignore[no-untyped-def]
    return minimum(maximum(p * x + q, ZERO), ONE)


@jit
def elu_f32(x, p, q):  # type: ignore[no-untyped-def]
    """q * x, below zero q * p * (e**x - 1)."""
    return q * x if x >= ZERO else q * (p * powers.expm1(x))


@jit
def celu_f32(x, p, q):  # type: ignore[no-untyped-def]
    """x, below zero p * (e**(x / p) - 1)."""
    return x if x >= ZERO else p * powers.expm1(x / p)


@jit
def thresholded_relu_f32(x, p, q):  # type: ignore[no-untyped-def]
    return (x if x > p else ZERO) if x == x else NAN


@jit
def shrink_f32(x, p, q):  # type: ignore[no-untyped-def]
    """x + q below -p, x - q above p, else +0."""
    return (x + q if x < -p else (x - q if x > p else ZERO)) if x == x else NAN


@jit
def softsign_f32(x):  # type: ignore[no-untyped-def]
    magnitude = abs32(x)
    return x / (ONE + magnitude) if magnitude < INFINITY else (numerics.copy_sign(ONE, x) if x == x else NAN)


@jit
def mish_f32(x):  # type: ignore[no-untyped-def]
    """x * tanh(ln(1 + e**x)) = x * n / (n + 2) with n = e**x * (e**x + 2)."""
    e = numerics.exp(minimum(x, TWENTY))
    n = e * (e + TWO)
    return x * (n / (n + TWO))


TWENTY = np.float32(20)  # from here on mish(x) is x


@jit
def isnan_f32(x, p, q):  # type: ignore[no-untyped-def]
    return x != x


@jit
def isinf_f32(x, p, q):  # type: ignore[no-untyped-def]
    """Of the signs for which p (negative) and q (positive) are not zero."""
    sign = p if f32_bits(x) > MAGNITUDE else q
    return abs32(x) == INFINITY and sign != ZERO


@dataclass(frozen=True)
class Function:
    """One primitive.

    loop      which of `elementwise`'s loops; it takes F, G, or both
    cost      instructions of the machine for an element, from above
    f, g      the functions
    numbers   attributes that the function takes as p and q, with their defaults
    """

    name: str
    code: int
    loop: Callable[..., None]
    cost: int
    f: Any = None
    g: Any = None
    numbers: tuple[tuple[str, float], ...] = ()

    @property
    def dtypes(self) -> tuple[DType, ...]:
        if self.name == "not":
            return (DType.BOOL,)
        return {map_numbers: NUMBERS, map_bounded: NUMBERS, map_integers: INTEGERS}.get(self.loop, (DType.FLOAT32,))


_EXP = 16 * COST_FLOAT
_LOG = 24 * COST_FLOAT
_SIN = 40 * COST_FLOAT

FUNCTIONS = (
    Function("relu", 16, map_numbers, COST_FLOAT, relu_f32, relu_int),
    Function("leaky_relu", 17, map_scaled, 2 * COST_FLOAT, leaky_relu_f32, numbers=(("alpha", 0.01),)),
    Function("sigmoid", 18, map_floats, _EXP + 2 * COST_FLOAT + COST_DIVIDE, numerics.sigmoid),
    Function("tanh", 19, map_floats, _EXP + 12 * COST_FLOAT + COST_DIVIDE, numerics.tanh),
    Function("exp", 20, map_floats, _EXP, numerics.exp),
    Function("log", 21, map_floats, _LOG, numerics.log),
    Function("sqrt", 22, map_floats, COST_DIVIDE, sqrt32),
    Function("abs", 23, map_numbers, COST_FLOAT, abs32, abs_int),
    Function("neg", 24, map_numbers, COST_FLOAT, neg_f32, neg_int),
    Function("erf", 25, map_floats, _EXP + 20 * COST_FLOAT, numerics.erf),
    Function("clip", 26, map_bounded, 10 * COST_FLOAT, clip_f32, clip_int, (("min", -np.inf), ("max", np.inf))),
    Function("floor", 27, map_floats, 6 * COST_FLOAT, numerics.floor),
    Function("ceil", 28, map_floats, 6 * COST_FLOAT, numerics.ceil),
    Function("reciprocal", 29, map_floats, COST_DIVIDE, reciprocal_f32),
    Function(
        "hard_sigmoid", 30, map_scaled, 12 * COST_FLOAT, hard_sigmoid_f32, numbers=(("alpha", 0.2), ("beta", 0.5))
    ),
    Function("sin", 128, map_floats, _SIN, trigonometry.sin),
    Function("cos", 129, map_floats, _SIN, trigonometry.cos),
    Function("tan", 130, map_floats, _SIN + COST_DIVIDE, trigonometry.tan),
    Function("asin", 131, map_floats, _SIN + COST_DIVIDE, trigonometry.asin),
    Function("acos", 132, map_floats, _SIN + COST_DIVIDE, trigonometry.acos),
    Function("atan", 133, map_floats, _SIN + 2 * COST_DIVIDE, trigonometry.atan),
    Function("sinh", 134, map_floats, _SIN + _EXP + COST_DIVIDE, trigonometry.sinh),
    Function("cosh", 135, map_floats, _EXP + 8 * COST_FLOAT + COST_DIVIDE, trigonometry.cosh),
    Function("asinh", 136, map_floats, 2 * _LOG + 20 * COST_FLOAT + 4 * COST_DIVIDE, trigonometry.asinh),
    Function("acosh", 137, map_floats, 2 * _LOG + 20 * COST_FLOAT + 4 * COST_DIVIDE, trigonometry.acosh),
    Function("atanh", 138, map_floats, _LOG + 20 * COST_FLOAT + 4 * COST_DIVIDE, trigonometry.atanh),
    Function("round", 139, map_floats, 4 * COST_FLOAT, numerics.round_even),
    Function("sign", 140, map_numbers, 4 * COST_FLOAT, sign_f32, sign_int),
    Function("is_nan", 141, classify_floats, 2 * COST_FLOAT, isnan_f32),
    Function("is_inf", 142, classify_floats, 4 * COST_FLOAT, isinf_f32, numbers=(("negative", 1.0), ("positive", 1.0))),
    Function("not", 143, map_integers, COST_FLOAT, g=not_bool),
    Function("bitwise_not", 144, map_integers, COST_FLOAT, g=not_int),
    Function("elu", 145, map_scaled, 2 * _EXP, elu_f32, numbers=(("alpha", 1.0), ("gamma", 1.0))),
    Function("celu", 146, map_scaled, 2 * _EXP + COST_DIVIDE, celu_f32, numbers=(("alpha", 1.0),)),
    Function("thresholded_relu", 147, map_scaled, 4 * COST_FLOAT, thresholded_relu_f32, numbers=(("alpha", 1.0),)),
    Function("shrink", 148, map_scaled, 8 * COST_FLOAT, shrink_f32, numbers=(("lambd", 0.5), ("bias", 0.0))),
    Function("softplus", 149, map_floats, 2 * _EXP + _LOG + COST_DIVIDE, powers.softplus),
    Function("softsign", 150, map_floats, 6 * COST_FLOAT + COST_DIVIDE, softsign_f32),
    Function("mish", 151, map_floats, _EXP + 16 * COST_FLOAT + COST_DIVIDE, mish_f32),
    Function("expm1", 152, map_floats, 2 * _EXP, powers.expm1),
    Function("log1p", 153, map_floats, _LOG + 8 * COST_FLOAT + COST_DIVIDE, powers.log1p),
)


def _bounds(attrs: Attrs, dtype: DType) -> list[int]:
    """The bounds of clip for integers, as parameter words; where one is absent, the dtype's own."""
    info = np.iinfo(dtype.numpy)
    low, high = attrs.get("min", int(info.min)), attrs.get("max", int(info.max))
    if not isinstance(low, int) or not isinstance(high, int) or not all(info.min <= v <= info.max for v in (low, high)):
        raise refuse("clip", f"the bounds {low!r}, {high!r} are not {dtype.value}")
    return [int_word(bound) ^ order_flip.py_func(DTYPE_CODES[dtype]) for bound in (low, high)]  # type: ignore[attr-defined]


def _words(function: Function, attrs: Attrs, dtype: DType) -> list[int]:
    """The numbers that go with a function, as parameter words."""
    if dtype is not DType.FLOAT32:
        return _bounds(attrs, dtype) if function.loop is map_bounded else []
    return [float_word(float_attr(function.name, attrs, name, default)) for name, default in function.numbers]


def _make(function: Function) -> Op:
    name, known = function.name, [name for name, _ in function.numbers]

    def infer(types: Types, attrs: Attrs) -> TensorType:
        (x,) = take_inputs(name, types, 1)
        take_dtype(name, x, function.dtypes)
        only(name, attrs, *known)
        _words(function, attrs, x.dtype)
        return TensorType(DType.BOOL, x.shape) if function.loop is classify_floats else x

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        (x,) = take_inputs(name, types, 1)
        return [out.elements, DTYPE_CODES[x.dtype], *_words(function, attrs, x.dtype)]

    def bound(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (64 + function.cost)

    tile, tiles = specialise(function.loop, sys.modules[__name__], name, F=function.f, G=function.g)
    return Op(name, function.code, infer, params, tile, bound, tiles)


OPS = [_make(function) for function in FUNCTIONS]
