"""Elementary functions from correctly rounded binary32 operations only: the same bits everywhere.

Every function is total: NaN in gives NaN out, and no step leaves the range of a conversion. Their maximum errors over
all 2^32 arguments are in docs/numerics.md, and `tests/ops/test_numerics_sweep.py` measures them.
"""

from pathlib import Path
from typing import Final

import numpy as np

from vm.guest.intrinsics import abs32, bits_f32, f32_bits, fma32
from vm.jit import make_jit

jit = make_jit([Path(__file__), Path(__file__).parent.parent / "vm"])


def _f(text: str) -> np.float32:
    return np.float32(float.fromhex(text))


ZERO: Final = np.float32(0)
HALF: Final = np.float32(0.5)
ONE: Final = np.float32(1)
TWO: Final = np.float32(2)
NAN: Final = np.float32(np.nan)
INFINITY: Final = np.float32(np.inf)
LARGEST: Final = _f("0x1.fffffep127")
SMALLEST_NORMAL: Final = _f("0x1p-126")
INTEGERS_FROM: Final = _f("0x1p23")  # every binary32 of at least this magnitude is an integer
ROUNDER: Final = _f("0x1.8p23")  # adding it leaves the nearest integer in the low bits of the sum
ROUNDER_BITS: Final = 0x4B400000
SIGN: Final = 0x80000000
MAGNITUDE: Final = 0x7FFFFFFF
INFINITY_BITS: Final = 0x7F800000

LOG2_E: Final = _f("0x1.715476p+0")
LN2_HIGH: Final = _f("0x1.62e400p-1")
LN2_LOW: Final = _f("0x1.7f7d1cp-20")
LN2: Final = _f("0x1.62e430p-1")

E0, E1, E2, E3, E4, E5 = map(
    _f, ("0x1.6b5cb6p-10", "0x1.126a46p-7", "0x1.5557a8p-5", "0x1.555436p-3", "0x1.fffffep-2", "0x1p0")
)


@jit
def copy_sign(magnitude, sign):  # type: ignore[no-untyped-def]
    """|magnitude| with the sign bit of `sign`."""
    return bits_f32((f32_bits(magnitude) & MAGNITUDE) | (f32_bits(sign) & SIGN))


@jit
def maximum(a, b):  # type: ignore[no-untyped-def]
    """The greater; NaN if either is NaN; +0 is greater than -0. The order of arguments does not matter."""
    larger = a if a > b else b
    larger = bits_f32(f32_bits(a) & f32_bits(b)) if a == b else larger
    return larger if a == a and b == b else NAN


@jit
def minimum(a, b):  # type: ignore[no-untyped-def]
    """The smaller; NaN if either is NaN; -0 is smaller than +0. The order of arguments does not matter."""
    smaller = a if a < b else b
    smaller = bits_f32(f32_bits(a) | f32_bits(b)) if a == b else smaller
    return smaller if a == a and b == b else NAN


@jit
def round_even(x):  # type: ignore[no-untyped-def]
    """The nearest integer, ties to even; keeps the sign of a zero result."""
    magnitude = abs32(x)
    rounded = (magnitude + INTEGERS_FROM) - INTEGERS_FROM
    return copy_sign(rounded if magnitude < INTEGERS_FROM else magnitude, x)


@jit
def floor(x):  # type: ignore[no-untyped-def]
    """The greatest integer not above x; floor(-0) is -0."""
    nearest = round_even(x)
    return nearest - ONE if nearest > x else nearest


@jit
def ceil(x):  # type: ignore[no-untyped-def]
    """The least integer not below x; ceil of (-1, 0] is -0 where x is negative or -0."""
    nearest = round_even(x)
    return copy_sign(nearest + ONE if nearest < x else nearest, x)


@jit
def exp(x):  # type: ignore[no-untyped-def]
    """e**x. exp(-inf) = +0, exp(+inf) = +inf; overflow gives +inf, underflow is gradual."""
    y = x if x == x else ZERO
    y = y if y < np.float32(89) else np.float32(89)
    y = y if y > np.float32(-105) else np.float32(-105)
    shifted = fma32(y, LOG2_E, ROUNDER)
    n = f32_bits(shifted) - ROUNDER_BITS
    k = shifted - ROUNDER
    f = fma32(k, -LN2_HIGH, y)
    f = fma32(k, -LN2_LOW, f)
    p = fma32(E0, f, E1)
    p = fma32(p, f, E2)
    p = fma32(p, f, E3)
    p = fma32(p, f, E4)
    p = fma32(p, f, ONE)
    p = fma32(p, f, ONE)
    half = n >> 1
    p = p * bits_f32((half + 127) << 23) * bits_f32((n - half + 127) << 23)
    return p if x == x else NAN


L0, L1, L2, L3, L4, L5, L6, L7 = map(
    _f,
    (
        "-0x1.0ae000p-3",
        "0x1.208000p-3",
        "-0x1.f198b2p-4",
        "0x1.1e5740p-3",
        "-0x1.55b36cp-3",
        "0x1.99d8b2p-3",
        "-0x1.fffe02p-3",
        "0x1.5554fap-2",
    ),
)
TWO_THIRDS_BITS: Final = 0x3F2AAAAB


@jit
def log(x):  # type: ignore[no-untyped-def]
    """The natural logarithm. log(±0) = -inf, log(+inf) = +inf, NaN below zero."""
    subnormal = x < SMALLEST_NORMAL
    y = x * INTEGERS_FROM if subnormal else x
    bits = f32_bits(y if y > ZERO and y <= LARGEST else ONE)
    e = (bits - TWO_THIRDS_BITS) >> 23
    m = bits_f32(bits - (e << 23)) - ONE
    k = (bits_f32(e + ROUNDER_BITS) - ROUNDER) - (np.float32(23) if subnormal else ZERO)
    s = m * m
    p = fma32(L0, s, L2)
    q = fma32(L1, s, L3)
    p = fma32(p, s, L4)
    q = fma32(q, s, L5)
    p = fma32(p, s, L6)
    p = fma32(q, m, p)
    p = fma32(p, m, L7)
    p = fma32(p, m, -HALF)
    p = fma32(p, s, m)
    p = fma32(k, LN2, p)
    p = p if y < INFINITY else INFINITY
    p = p if y > ZERO else -INFINITY
    return p if y >= ZERO else NAN


T0, T1, T2, T3, T4 = map(_f, ("0x1.9af078p-8", "-0x1.593268p-6", "0x1.b92746p-5", "-0x1.110d20p-3", "0x1.55554ap-2"))


@jit
def tanh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent; odd, tanh(±inf) = ±1."""
    magnitude = abs32(x)
    far = ONE - TWO / (exp(magnitude + magnitude) + ONE)
    s = x * x
    p = fma32(T0, s, T1)
    p = fma32(p, s, T2)
    p = fma32(p, s, T3)
    p = fma32(p, s, T4)
    near = fma32(-p * s, magnitude, magnitude)
    return copy_sign(near if magnitude < np.float32(0.55) else far, x) if x == x else NAN


@jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e**-x)."""
    e = exp(-abs32(x))
    return (ONE if x >= ZERO else e) / (ONE + e)


@jit
def erf(x):  # type: ignore[no-untyped-def]
    """The error function; odd, erf(±inf) = ±1."""
    t = abs32(x)
    t = t if t < np.float32(4) else np.float32(4)
    s = t * t
    p = fma32(_F0, t, _F1)
    q = fma32(_F2, t, _F3)
    p = fma32(p, s, q)
    p = fma32(p, t, _F4)
    p = fma32(p, t, _F5)
    p = fma32(p, t, _F6)
    p = fma32(p, t, -t)
    far = ONE - exp(p)
    n = fma32(_N0, s, _N1)
    n = fma32(n, s, _N2)
    n = fma32(n, s, _N3)
    n = fma32(n, s, _N4)
    n = fma32(n, s, _N5)
    near = fma32(n, t, t)
    return copy_sign(far if t > np.float32(0.927734375) else near, x) if x == x else NAN


_F0, _F1, _F2, _F3, _F4, _F5, _F6 = map(
    np.float32,
    (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1),
)
_N0, _N1, _N2, _N3, _N4, _N5 = map(
    np.float32, (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
)
