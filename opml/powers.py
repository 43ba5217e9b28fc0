"""Powers, exponentials and logarithms beyond `opml.numerics`, and the remainder: the same bits everywhere, total."""

from typing import Final

import numpy as np

from opml.numerics import (
    EXP_0,
    EXP_1,
    EXP_2,
    EXP_3,
    EXP_4,
    EXP_LEAST,
    HALF,
    INFINITY,
    INFINITY_BITS,
    INTEGERS_FROM,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    MAGNITUDE,
    NAN,
    ONE,
    ROUNDER,
    ROUNDER_BITS,
    SMALLEST_NORMAL,
    TWO,
    ZERO,
    _f,
    copy_sign,
    exp,
    floor,
    log,
)
from vm.guest.intrinsics import abs32, bits_f32, f32_bits, fma32, i64_f32, shr, urem, wrap_mul
from vm.jit import jit

MOST: Final = np.float32(91)  # of exp_scaled: beyond, even half of e**x overflows

# Minimax polynomials, highest power first: of (e**x - 1 - x) / x**2 and of (2**f - 1) / f, over |x|, |f| <= 1/2.
EXPM1_0, EXPM1_1, EXPM1_2, EXPM1_3, EXPM1_4, EXPM1_5 = map(
    _f, ("0x1.a277a2p-13", "0x1.6f4982p-10", "0x1.110feep-7", "0x1.5551c0p-5", "0x1.555556p-3", "0x1.000002p-1")
)
EXP2_0, EXP2_1, EXP2_2, EXP2_3, EXP2_4, EXP2_5 = map(
    _f, ("0x1.444e70p-13", "0x1.5f10a2p-10", "0x1.3b2a22p-7", "0x1.c6af70p-5", "0x1.ebfbe0p-3", "0x1.62e430p-1")
)
# 1/3 in two parts, and what follows in the series of (atanh(s) / s - 1) / s**2: 1/11, 1/9, 1/7, 1/5.
THIRD, THIRD_LOW = _f("0x1.555556p-2"), _f("-0x1.555556p-27")
ATANH_0, ATANH_1, ATANH_2, ATANH_3 = (np.float32(1 / n) for n in (11, 9, 7, 5))
THREE: Final = np.float32(3)
# 2 / ln 2 in two parts.
TWO_LOG2_E, TWO_LOG2_E_LOW = _f("0x1.715476p+1"), _f("0x1.4ae0c0p-25")
ROOT_HALF_BITS: Final = 0x3F3504F3
POWER_MOST, POWER_LEAST = np.float32(200), np.float32(-200)
EVEN_FROM: Final = np.float32(1 << 24)
REMAINDER_STEP: Final = 39
REMAINDER_STEPS: Final = 8  # 277 binary places lie between the largest and the smallest number


@jit
def power_of_two(n):  # type: ignore[no-untyped-def]
    """2**n for -126 <= n <= 127."""
    return bits_f32((n + 127) << 23)


@jit
def exp_scaled(x, scale):  # type: ignore[no-untyped-def]
    """e**x * 2**scale for a small scale; see `opml.numerics.exp`."""
    y = x if x == x else ZERO
    y = y if y < MOST else MOST
    y = y if y > EXP_LEAST else EXP_LEAST
    shifted = fma32(y, LOG2_E, ROUNDER)
    n = f32_bits(shifted) - ROUNDER_BITS + scale
    k = shifted - ROUNDER
    f = fma32(k, -LN2_LOW, fma32(k, -LN2_HIGH, y))
    p = fma32(fma32(fma32(fma32(EXP_0, f, EXP_1), f, EXP_2), f, EXP_3), f, EXP_4)
    p = fma32(fma32(p, f, ONE), f, ONE)
    half = n >> 1
    p = p * power_of_two(half) * power_of_two(n - half)
    return p if x == x else NAN


@jit
def expm1(x):  # type: ignore[no-untyped-def]
    """e**x - 1."""
    p = fma32(fma32(fma32(EXPM1_0, x, EXPM1_1), x, EXPM1_2), x, EXPM1_3)
    p = fma32(fma32(p, x, EXPM1_4), x, EXPM1_5)
    return fma32(p * x, x, x) if abs32(x) < HALF else exp(x) - ONE


@jit
def log1p(x):  # type: ignore[no-untyped-def]
    """The logarithm of 1 + x."""
    sum_ = ONE + x
    lost = (x - (sum_ - ONE)) / sum_
    y = log(sum_) + (lost if lost == lost else ZERO)
    return x if x == ZERO else y


@jit
def softplus(x):  # type: ignore[no-untyped-def]
    """ln(1 + e**x)."""
    return (x if x > ZERO else ZERO) + log1p(exp(-abs32(x)))


@jit
def power_magnitude(a, y):  # type: ignore[no-untyped-def]
    """a**y for finite a > 0 and finite y: 2**(y log2 a), with the logarithm in two parts."""
    subnormal = a < SMALLEST_NORMAL
    x = a * INTEGERS_FROM if subnormal else a
    e = (f32_bits(x) - ROOT_HALF_BITS) >> 23
    m = bits_f32(f32_bits(x) - (e << 23))
    k = i64_f32(e - (23 if subnormal else 0))
    # log2(m) = 2 / ln 2 * atanh(s), s = (m - 1) / (m + 1) = s + s_low.
    top, bottom = m - ONE, m + ONE
    bottom_low = m - (bottom - ONE)
    s = top / bottom
    s_low = fma32(-s, bottom_low, fma32(-s, bottom, top)) / bottom
    # atanh(s) = s + s**3 / 3 + ...: its second term in two parts, too, or the error times y would be seen.
    z = s * s
    cube = z * THIRD
    cube_low = fma32(z, THIRD, -cube) + fma32(fma32(s, s, -z), THIRD, z * THIRD_LOW)
    series = fma32(fma32(fma32(ATANH_0, z, ATANH_1), z, ATANH_2), z, ATANH_3)
    cube_low = fma32(z * z, series, cube_low)
    tail = s * cube
    tail_low = fma32(s, cube, -tail) + fma32(s, cube_low, THREE * s_low * cube)
    total = s + tail
    total_low = ((s - total) + tail) + (tail_low + s_low)
    product = total * TWO_LOG2_E
    product_low = fma32(total, TWO_LOG2_E, -product) + fma32(total, TWO_LOG2_E_LOW, total_low * TWO_LOG2_E)
    high = k + product
    low = ((k - high) + product) + product_low
    logarithm = high + low
    logarithm_low = (high - logarithm) + low
    # 2**(w + w_low)
    w = y * logarithm
    w_low = fma32(y, logarithm, -w) + y * logarithm_low
    within = w < POWER_MOST and w > POWER_LEAST
    limit = POWER_MOST if w > ZERO else POWER_LEAST
    w, w_low = w if within else limit, w_low if within else ZERO
    shifted = w + ROUNDER
    n = f32_bits(shifted) - ROUNDER_BITS
    f = (w - (shifted - ROUNDER)) + w_low
    p = fma32(fma32(fma32(EXP2_0, f, EXP2_1), f, EXP2_2), f, EXP2_3)
    p = fma32(fma32(p, f, EXP2_4), f, EXP2_5)
    p = fma32(p, f, ONE)
    half = n >> 1
    return p * power_of_two(half) * power_of_two(n - half)


@jit
def power(x, y):  # type: ignore[no-untyped-def]
    """x**y with the special cases of C: 1 for y = ±0 and for x = 1, even of NaN; NaN for x < 0 and y no integer."""
    a, b = abs32(x), abs32(y)
    whole = b >= EVEN_FROM or floor(b) == b
    odd = whole and b < EVEN_FROM and floor(HALF * b) * TWO != b
    plain = a > ZERO and a < INFINITY and b < INFINITY
    # Of 0, infinity and 1 the power is known; `grows` is whether it is infinite.
    grows = (a > ONE) == (y > ZERO)
    known = ONE if a == ONE or b == ZERO else (INFINITY if grows else ZERO)
    result = power_magnitude(a if plain else ONE, y if plain else ONE) if plain else known
    negative = (f32_bits(x) >> 31) != 0
    result = -result if negative and odd else result
    result = NAN if x < ZERO and a < INFINITY and not whole else result
    result = result if x == x and y == y else NAN
    return ONE if y == ZERO or x == ONE else result


@jit
def integer_power(x, n, unsigned):  # type: ignore[no-untyped-def]
    """x**n of int64 or uint64, modulo 2**64; the integer part of it for n < 0, and 0 for 0**n there."""
    result, base, rest = 1, x, n
    for _ in range(64):
        result = wrap_mul(result, base) if (rest & 1) != 0 else result
        base = wrap_mul(base, base)
        rest = shr(rest, 1)
    unit = x == 1 or x == -1
    return result if n >= 0 or unsigned else ((x if (n & 1) != 0 else 1) if unit else 0)


@jit
def exponent_of(bits):  # type: ignore[no-untyped-def]
    """e of a finite binary32 m * 2**e with a whole m below 2**24."""
    return max((bits >> 23) & 255, 1) - 150


@jit
def significand_of(bits):  # type: ignore[no-untyped-def]
    """m of it."""
    return (bits & 0x7FFFFF) | (0x800000 if (bits & INFINITY_BITS) != 0 else 0)


@jit
def remainder(x, y):  # type: ignore[no-untyped-def]
    """C's fmod, exact: x - n y with n = x / y towards zero; the sign of x. NaN for infinite x and for y = 0."""
    a, b = f32_bits(x) & MAGNITUDE, f32_bits(y) & MAGNITUDE
    defined = a < INFINITY_BITS and 0 < b <= INFINITY_BITS
    m, n = significand_of(a), max(significand_of(b), 1)
    e, distance = exponent_of(a), exponent_of(a) - exponent_of(b)
    # Where y's last place counts more than x's, it is written in x's; beyond 24 places x is smaller anyway.
    rest, divisor = m, n << (min(max(-distance, 0), 25) & 63)
    rest = urem(rest, divisor)
    for _ in range(REMAINDER_STEPS):
        step = min(max(distance, 0), REMAINDER_STEP)
        rest = urem(rest << (step & 63), divisor)
        distance -= step
    e = exponent_of(b) if exponent_of(a) > exponent_of(b) else e
    e_high = max(e, -126)
    value = i64_f32(rest) * power_of_two(e_high) * power_of_two(e - e_high)
    value = copy_sign(value, x)
    value = x if b == INFINITY_BITS else value
    return value if defined else NAN
