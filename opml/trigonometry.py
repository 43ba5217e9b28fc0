"""Trigonometric and hyperbolic functions and their inverses, as in `opml.numerics`: the same bits everywhere, total."""

from typing import Final

import numpy as np

from opml.numerics import (
    HALF,
    INFINITY_BITS,
    LN2,
    MAGNITUDE,
    NAN,
    ONE,
    TWO,
    ZERO,
    _f,
    copy_sign,
    log,
)
from opml.powers import exp_scaled, log1p
from vm.guest.intrinsics import (
    abs32,
    f32_bits,
    fma32,
    i64_f32,
    mulhi,
    shr,
    sqrt32,
    wrap_add,
    wrap_mul,
    wrap_sub,
)
from vm.jit import jit

# 2 / pi: 32 zeros, then its bits after the point. pi / 2 in units of 2**-62.
TWO_PI_0, TWO_PI_1, TWO_PI_2, TWO_PI_3, TWO_PI_4 = (
    int(np.uint64(word).view(np.int64))
    for word in (0xA2F9836E, 0x4E441529FC2757D1, 0xF534DDC0DB629599, 0x3C439041FE5163AB, 0xDEBBC561B7246E3A)
)
HALF_PI_FIXED: Final = 0x6487ED5110B4611A
FIXED_UNIT: Final = _f("0x1p-62")
QUARTER_PI: Final = _f("0x1.921fb6p-1")
HALF_PI, HALF_PI_LOW = _f("0x1.921fb6p+0"), _f("-0x1.777a5cp-25")
PI, PI_LOW = _f("0x1.921fb6p+1"), _f("-0x1.777a5cp-24")
TAN_EIGHTH, TAN_THREE_EIGHTHS = _f("0x1.a8279ap-2"), _f("0x1.3504f4p+1")
QUARTER: Final = np.float32(0.25)
LARGE: Final = np.float32(4096)

# Minimax polynomials in x**2, highest power first: of (sin(x) / x - 1) / x**2 and (cos(x) - 1 + x**2 / 2) / x**4 over
# |x| <= pi / 4,
SIN_0, SIN_1, SIN_2 = map(_f, ("-0x1.9954a8p-13", "0x1.11077ap-7", "-0x1.555546p-3"))
COS_0, COS_1, COS_2 = map(_f, ("0x1.99e0e4p-16", "-0x1.6c0c1ap-10", "0x1.55554ap-5"))
# of (asin(x) / x - 1) / x**2 over |x| <= 1/2,
ASIN_0, ASIN_1, ASIN_2, ASIN_3, ASIN_4 = map(
    _f, ("0x1.59daa8p-5", "0x1.8ba79ep-6", "0x1.748b32p-5", "0x1.330164p-4", "0x1.5555cap-3")
)
# of (atan(x) / x - 1) / x**2 over |x| <= tan(pi / 8),
ATAN_0, ATAN_1, ATAN_2, ATAN_3, ATAN_4 = map(
    _f, ("-0x1.f30578p-5", "0x1.b22aaap-4", "-0x1.23ba08p-3", "0x1.9991e6p-3", "-0x1.55554ap-2")
)
# and of (sinh(x) / x - 1) / x**2 over |x| <= 1.
SINH_0, SINH_1, SINH_2, SINH_3 = map(_f, ("0x1.75a83ep-19", "0x1.a02152p-13", "0x1.1110e2p-7", "0x1.555556p-3"))


@jit
def two_pi_word(k):  # type: ignore[no-untyped-def]
    """64 bits of the table of 2 / pi."""
    low = TWO_PI_1 if k == 1 else TWO_PI_0
    high = TWO_PI_4 if k == 4 else TWO_PI_3
    return low if k < 2 else (TWO_PI_2 if k == 2 else high)


@jit
def quadrants(x):  # type: ignore[no-untyped-def]
    """|x| * 2/pi modulo 4 in units of 2**-62, exact but for the last unit or two, for finite |x| >= pi/4 - 1/100.

    (Payne and Hanek: of 2 / pi only those 128 bits matter that are neither multiples of 4 nor too small.)
    """
    bits = f32_bits(x) & MAGNITUDE
    significand = (bits & 0x7FFFFF) | 0x800000
    position = max((bits >> 23) - 120, 0)
    k, shift = min(position >> 6, 2), position & 63
    first, second, third = two_pi_word(k), two_pi_word(k + 1), two_pi_word(k + 2)
    high = (first << (shift & 63)) | shr(shr(second, 1), (63 - shift) & 63)
    low = (second << (shift & 63)) | shr(shr(third, 1), (63 - shift) & 63)
    return wrap_add(wrap_mul(significand, high), mulhi(significand, low))


@jit
def nearest_quadrant(turn):  # type: ignore[no-untyped-def]
    """0 to 3."""
    return shr(wrap_add(turn, 1 << 61), 62)


@jit
def rest_of(turn, quadrant):  # type: ignore[no-untyped-def]
    """What is left beyond a multiple of pi/2, in [-pi/4, pi/4]: rounded once."""
    rest = wrap_sub(turn, quadrant << 62)
    magnitude = wrap_sub(0, rest) if rest < 0 else rest
    angle = i64_f32(mulhi(magnitude << 2, HALF_PI_FIXED)) * FIXED_UNIT
    return -angle if rest < 0 else angle


@jit
def sin_near(x):  # type: ignore[no-untyped-def]
    z = x * x
    p = fma32(fma32(SIN_0, z, SIN_1), z, SIN_2)
    return fma32(p * z, x, x)


@jit
def cos_near(x):  # type: ignore[no-untyped-def]
    z = x * x
    p = fma32(fma32(COS_0, z, COS_1), z, COS_2)
    # What rounding 1 - z/2 has lost is added with the polynomial.
    half = HALF * z
    head = ONE - half
    return head + fma32(z * z, p, (ONE - head) - half)


@jit
def is_finite(x):  # type: ignore[no-untyped-def]
    return (f32_bits(x) & MAGNITUDE) < INFINITY_BITS


@jit
def sin(x):  # type: ignore[no-untyped-def]
    """The sine of any number; NaN of ±inf."""
    small = abs32(x) < QUARTER_PI
    turn = quadrants(x)
    quadrant = 0 if small else nearest_quadrant(turn)
    angle = abs32(x) if small else rest_of(turn, quadrant)
    y = cos_near(angle) if (quadrant & 1) != 0 else sin_near(angle)
    y = -y if (quadrant & 2) != 0 else y
    y = -y if (f32_bits(x) >> 31) != 0 else y
    return y if is_finite(x) else NAN


@jit
def cos(x):  # type: ignore[no-untyped-def]
    """The cosine of any number; NaN of ±inf."""
    small = abs32(x) < QUARTER_PI
    turn = quadrants(x)
    quadrant = 0 if small else nearest_quadrant(turn)
    angle = abs32(x) if small else rest_of(turn, quadrant)
    y = sin_near(angle) if (quadrant & 1) != 0 else cos_near(angle)
    y = -y if ((quadrant + 1) & 2) != 0 else y
    return y if is_finite(x) else NAN


@jit
def tan(x):  # type: ignore[no-untyped-def]
    """The tangent of any number; NaN of ±inf."""
    small = abs32(x) < QUARTER_PI
    turn = quadrants(x)
    quadrant = 0 if small else nearest_quadrant(turn)
    angle = abs32(x) if small else rest_of(turn, quadrant)
    s, c = sin_near(angle), cos_near(angle)
    y = -c / s if (quadrant & 1) != 0 else s / c
    y = -y if (f32_bits(x) >> 31) != 0 else y
    return y if is_finite(x) else NAN


@jit
def asin_near(x):  # type: ignore[no-untyped-def]
    z = x * x
    p = fma32(fma32(fma32(fma32(ASIN_0, z, ASIN_1), z, ASIN_2), z, ASIN_3), z, ASIN_4)
    return fma32(p * z, x, x)


@jit
def asin(x):  # type: ignore[no-untyped-def]
    """The angle in [-pi/2, pi/2] with this sine; NaN beyond ±1."""
    t = abs32(x)
    far = fma32(-TWO, asin_near(sqrt32((ONE - t) * HALF)), HALF_PI_LOW) + HALF_PI
    return copy_sign(asin_near(t) if t <= HALF else far, x) if t <= ONE else NAN


@jit
def acos(x):  # type: ignore[no-untyped-def]
    """The angle in [0, pi] with this cosine; NaN beyond ±1."""
    t = abs32(x)
    near = HALF_PI - (asin_near(x) - HALF_PI_LOW)
    far = TWO * asin_near(sqrt32((ONE - t) * HALF))
    far = PI - (far - PI_LOW) if x < ZERO else far
    return (near if t <= HALF else far) if t <= ONE else NAN


@jit
def atan(x):  # type: ignore[no-untyped-def]
    """The angle in [-pi/2, pi/2] with this tangent."""
    t = abs32(x)
    large, middle = t > TAN_THREE_EIGHTHS, t > TAN_EIGHTH
    base = HALF_PI if large else (QUARTER_PI if middle else ZERO)
    base_low = HALF_PI_LOW if large else (HALF * HALF_PI_LOW if middle else ZERO)
    u = -ONE / t if large else ((t - ONE) / (t + ONE) if middle else t)
    z = u * u
    p = fma32(fma32(fma32(fma32(ATAN_0, z, ATAN_1), z, ATAN_2), z, ATAN_3), z, ATAN_4)
    angle = base + (fma32(p * z, u, u) + base_low)
    return copy_sign(angle, x) if x == x else NAN


@jit
def sinh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic sine."""
    t = abs32(x)
    z = x * x
    p = fma32(fma32(fma32(SINH_0, z, SINH_1), z, SINH_2), z, SINH_3)
    half = exp_scaled(t, -1)
    far = half - QUARTER / half
    return copy_sign(fma32(p * z, t, t) if t < ONE else far, x) if x == x else NAN


@jit
def cosh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic cosine."""
    half = exp_scaled(abs32(x), -1)
    return half + QUARTER / half


@jit
def asinh(x):  # type: ignore[no-untyped-def]
    """The inverse of the hyperbolic sine."""
    t = abs32(x)
    z = t * t
    near = log1p(t + z / (ONE + sqrt32(ONE + z)))
    return copy_sign(log(t) + LN2 if t > LARGE else near, x) if x == x else NAN


@jit
def acosh(x):  # type: ignore[no-untyped-def]
    """The inverse of the hyperbolic cosine; NaN below 1."""
    t = x - ONE
    near = log1p(t + sqrt32(fma32(t, t, TWO * t)))
    return (log(x) + LN2 if x > LARGE else near) if x >= ONE else NAN


@jit
def atanh(x):  # type: ignore[no-untyped-def]
    """The inverse of the hyperbolic tangent; NaN beyond ±1, ±inf at ±1."""
    t = abs32(x)
    return copy_sign(HALF * log1p((t + t) / (ONE - t)), x) if t <= ONE else NAN
