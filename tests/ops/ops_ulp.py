"""Errors of the elementary functions in units in the last place, against the C library's binary64."""

import math
from typing import Any

import numba
import numpy as np

from opml import numerics, powers, trigonometry
from vm.guest.intrinsics import bits_f32

# The largest finite binary32 and the midpoint from which values round to infinity.
_LARGEST = float(np.finfo(np.float32).max)
_OVERFLOW = math.ldexp(1 - 2**-25, 128)


@numba.njit
def sigmoid64(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@numba.njit
def log64(x):  # type: ignore[no-untyped-def]
    if x > 0:
        return math.log(x)
    return -math.inf if x == 0 else math.nan


@numba.njit
def exp64(x):  # type: ignore[no-untyped-def]
    return math.exp(x)


@numba.njit
def tanh64(x):  # type: ignore[no-untyped-def]
    return math.tanh(x)


@numba.njit
def erf64(x):  # type: ignore[no-untyped-def]
    return math.erf(x)


@numba.njit
def softplus64(x):  # type: ignore[no-untyped-def]
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))) if x == x else x


@numba.njit
def within(x, low, high):  # type: ignore[no-untyped-def]
    """x, or NaN outside of a function's domain."""
    return x if low <= x <= high else math.nan


REFERENCES: dict[str, tuple[Any, Any]] = {
    "exp": (numerics.exp, exp64),
    "log": (numerics.log, log64),
    "tanh": (numerics.tanh, tanh64),
    "sigmoid": (numerics.sigmoid, sigmoid64),
    "erf": (numerics.erf, erf64),
    "sin": (trigonometry.sin, numba.njit(lambda x: math.sin(within(x, -_LARGEST, _LARGEST)))),
    "cos": (trigonometry.cos, numba.njit(lambda x: math.cos(within(x, -_LARGEST, _LARGEST)))),
    "tan": (trigonometry.tan, numba.njit(lambda x: math.tan(within(x, -_LARGEST, _LARGEST)))),
    "asin": (trigonometry.asin, numba.njit(lambda x: math.asin(within(x, -1.0, 1.0)))),
    "acos": (trigonometry.acos, numba.njit(lambda x: math.acos(within(x, -1.0, 1.0)))),
    "atan": (trigonometry.atan, numba.njit(lambda x: math.atan(x))),
    "sinh": (trigonometry.sinh, numba.njit(lambda x: math.sinh(x))),
    "cosh": (trigonometry.cosh, numba.njit(lambda x: math.cosh(x))),
    "asinh": (trigonometry.asinh, numba.njit(lambda x: math.asinh(x))),
    "acosh": (trigonometry.acosh, numba.njit(lambda x: math.acosh(within(x, 1.0, math.inf)))),
    "atanh": (trigonometry.atanh, numba.njit(lambda x: math.atanh(within(x, -1.0, 1.0)))),
    "expm1": (powers.expm1, numba.njit(lambda x: math.expm1(x))),
    "log1p": (powers.log1p, numba.njit(lambda x: math.log1p(within(x, -1.0, math.inf)))),
    "softplus": (powers.softplus, softplus64),
}


@numba.njit(nogil=True, error_model="numpy")
def worst(f, reference, start, stop, stride, block):  # type: ignore[no-untyped-def]
    """(error, bits) of the argument with the greatest error among the bits start, start + stride, ... below stop.

    A wrong infinity, NaN or sign of zero counts as 1e9.
    """
    most, where = -1.0, start
    x = np.empty(block, np.float32)
    y = np.empty(block, np.float32)
    for base in range(start, stop, stride * block):
        for i in range(block):
            x[i] = bits_f32(min(base + i * stride, stop - 1))
        for i in range(block):
            y[i] = f(x[i])
        for i in range(block):
            exact, got = reference(np.float64(x[i])), np.float64(y[i])
            if exact != exact or got != got:
                error = 0.0 if exact != exact and got != got else 1e9
            elif abs(exact) >= _OVERFLOW or abs(got) > _LARGEST:
                infinite = abs(exact) >= _OVERFLOW * (1 - 2**-23) and abs(got) > _LARGEST
                error = 0.0 if infinite and exact * got > 0 else 1e9
            else:
                exponent = max(math.frexp(exact)[1] - 24, -149)
                error = abs(got - exact) * 2.0**-exponent
                if math.copysign(1.0, exact) != math.copysign(1.0, got):
                    error = 1e9
            if error > most:
                most, where = error, min(base + i * stride, stop - 1)
    return most, where
