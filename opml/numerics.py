"""Elementary functions from correctly rounded binary32 operations only: the same bits everywhere.

Every function is total: NaN in gives NaN out, and no step leaves the range of a conversion. Their greatest errors
are in docs/numerics.md, and `tests/ops/test_ops_numerics.py` measures them.
"""

from typing import Final

import numpy as np

from vm.guest.intrinsics import abs32, bits_f32, f32_bits, fma32
from vm.jit import jit


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
NAN_BITS: Final = 0x7FC00000

LOG2_E: Final = _f("0x1.715476p+0")
LN2_HIGH: Final = _f("0x1.62e400p-1")
LN2_LOW: Final = _f("0x1.7f7d1cp-20")
LN2: Final = _f("0x1.62e430p-1")

# Minimax polynomials, highest power first: of (e**f - 1 - f) / f**2 over |f| <= ln(2) / 2;
EXP_0, EXP_1, EXP_2, EXP_3, EXP_4 = map(
    _f, ("0x1.6d7a5cp-10", "0x1.123992p-7", "0x1.5554c0p-5", "0x1.555492p-3", "0x1p-1")
)
# of (ln(1 + m) - m + m**2 / 2) / m**3 over |m| <= 1/3;
LOG_0, LOG_1, LOG_2, LOG_3 = map(_f, ("-0x1.07e136p-3", "0x1.1e769ap-3", "-0x1.f32464p-4", "0x1.1ed3c8p-3"))
LOG_4, LOG_5, LOG_6, LOG_7 = map(_f, ("-0x1.559cfcp-3", "0x1.99d060p-3", "-0x1.fffef6p-3", "0x1.555506p-2"))
# of (tanh(x) / x - 1) / x**2, in x**2, over |x| <= 0.625;
TANH_0, TANH_1, TANH_2 = map(_f, ("-0x1.76922ap-8", "0x1.52509ep-6", "-0x1.b84340p-5"))
TANH_3, TANH_4 = map(_f, ("0x1.110760p-3", "-0x1.555534p-2"))
# of erf(x) / x - 1, in x**2, over |x| <= 0.93;
NEAR_0, NEAR_1, NEAR_2, NEAR_3 = map(_f, ("0x1.4e459cp-14", "-0x1.a5ba96p-11", "0x1.544260p-8", "-0x1.b80080p-6"))
NEAR_4, NEAR_5, NEAR_6 = map(_f, ("0x1.ce2d60p-4", "-0x1.812740p-2", "0x1.06eba8p-3"))
# and of -ln(1 - erf(x)) / x - 1 over 0.9 <= x <= 4.
FAR_0, FAR_1, FAR_2, FAR_3 = map(_f, ("0x1.638a7ap-18", "-0x1.a3054cp-15", "-0x1.cb811ap-16", "0x1.780c44p-9"))
FAR_4, FAR_5, FAR_6, FAR_7 = map(_f, ("-0x1.71e07cp-6", "0x1.aec622p-4", "0x1.4576f4p-1", "0x1.0740bcp-3"))

EXP_MOST, EXP_LEAST = np.float32(89), np.float32(-105)  # beyond, e**x overflows, or rounds to zero
TANH_NEAR, ERF_NEAR = np.float32(0.625), np.float32(0.927734375)  # below, the polynomials in x
ERF_ONE = np.float32(4)  # from here on, erf rounds to 1
SUBNORMAL_SHIFT = np.float32(23)


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
    y = y if y < EXP_MOST else EXP_MOST
    y = y if y > EXP_LEAST else EXP_LEAST
    shifted = fma32(y, LOG2_E, ROUNDER)
    n = f32_bits(shifted) - ROUNDER_BITS
    k = shifted - ROUNDER
    f = fma32(k, -LN2_HIGH, y)
    f = fma32(k, -LN2_LOW, f)
    p = fma32(EXP_0, f, EXP_1)
    p = fma32(p, f, EXP_2)
    p = fma32(p, f, EXP_3)
    p = fma32(p, f, EXP_4)
    p = fma32(p, f, ONE)
    p = fma32(p, f, ONE)
    half = n >> 1
    p = p * bits_f32((half + 127) << 23) * bits_f32((n - half + 127) << 23)
    return p if x == x else NAN


TWO_THIRDS_BITS: Final = 0x3F2AAAAB


@jit
def log(x):  # type: ignore[no-untyped-def]
    """The natural logarithm. log(±0) = -inf, log(+inf) = +inf, NaN below zero."""
    subnormal = x < SMALLEST_NORMAL
    y = x * INTEGERS_FROM if subnormal else x
    bits = f32_bits(y if y > ZERO and y <= LARGEST else ONE)
    e = (bits - TWO_THIRDS_BITS) >> 23
    m = bits_f32(bits - (e << 23)) - ONE
    k = (bits_f32(e + ROUNDER_BITS) - ROUNDER) - (SUBNORMAL_SHIFT if subnormal else ZERO)
    s = m * m
    p = fma32(LOG_0, s, LOG_2)
    q = fma32(LOG_1, s, LOG_3)
    p = fma32(p, s, LOG_4)
    q = fma32(q, s, LOG_5)
    p = fma32(p, s, LOG_6)
    p = fma32(q, m, p)
    p = fma32(p, m, LOG_7)
    p = fma32(p, m, -HALF)
    p = fma32(p, s, m)
    p = fma32(k, LN2, p)
    p = p if y < INFINITY else INFINITY
    p = p if y > ZERO else -INFINITY
    return p if y >= ZERO else NAN


@jit
def tanh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent; odd, tanh(±inf) = ±1."""
    magnitude = abs32(x)
    far = ONE - TWO / (exp(magnitude + magnitude) + ONE)
    s = x * x
    p = fma32(TANH_0, s, TANH_1)
    p = fma32(p, s, TANH_2)
    p = fma32(p, s, TANH_3)
    p = fma32(p, s, TANH_4)
    near = fma32(p * s, magnitude, magnitude)
    return copy_sign(near if magnitude < TANH_NEAR else far, x) if x == x else NAN


@jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e**-x)."""
    e = exp(-abs32(x))
    numerator = ONE if x >= ZERO else e
    denominator = ONE + e
    quotient = numerator / denominator
    # What the sum has lost, and what the division leaves, times 1 / (1 + e), which is the quotient or its complement.
    lost = e - (denominator - ONE)
    rest = fma32(-quotient, lost, fma32(-quotient, denominator, numerator))
    return fma32(rest, quotient if x >= ZERO else ONE - quotient, quotient)


@jit
def erf(x):  # type: ignore[no-untyped-def]
    """The error function; odd, erf(±inf) = ±1."""
    t = abs32(x)
    t = t if t < ERF_ONE else ERF_ONE
    p = fma32(FAR_0, t, FAR_1)
    p = fma32(p, t, FAR_2)
    p = fma32(p, t, FAR_3)
    p = fma32(p, t, FAR_4)
    p = fma32(p, t, FAR_5)
    p = fma32(p, t, FAR_6)
    p = fma32(p, t, FAR_7)
    far = ONE - exp(fma32(p, -t, -t))
    s = t * t
    p = fma32(NEAR_0, s, NEAR_1)
    p = fma32(p, s, NEAR_2)
    p = fma32(p, s, NEAR_3)
    p = fma32(p, s, NEAR_4)
    p = fma32(p, s, NEAR_5)
    p = fma32(p, s, NEAR_6)
    near = fma32(p, t, t)
    return copy_sign(far if t > ERF_NEAR else near, x) if x == x else NAN
