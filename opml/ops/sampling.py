"""Reading an image between its pixels, at places that are data: total for every binary32."""

import numpy as np

from opml.numerics import ONE, ZERO, floor
from opml.ops.base import jit
from opml.ops.cast import f32_i64
from vm.guest.intrinsics import f32_bits, fma32, load_f32, urem

FAR = 1 << 30
_SIGN = 1 << 31

A = np.float32(-0.75)  # of Keys' cubic convolution
A4, A5, A8, A2, A3 = np.float32(-3), np.float32(-3.75), np.float32(-6), np.float32(1.25), np.float32(2.25)


@jit
def to_index(x):  # type: ignore[no-untyped-def]
    """The integer part of x, clamped to ±2^30; 0 for NaN."""
    bits = f32_bits(x)
    return f32_i64((bits ^ _SIGN) - _SIGN if x == x else 0, -FAR, FAR)


@jit
def mirror(i, size, corners):  # type: ignore[no-untyped-def]
    """An index reflected into [0, size): about its outer pixels' centres with `corners`, else about their edges."""
    if corners != 0:
        period = 2 * size - 2
        if period == 0:
            return 0
        m = urem(abs(i), period)
        return m if m < size else period - m
    m = urem(i if i >= 0 else -1 - i, 2 * size)
    return m if m < size else 2 * size - 1 - m


ZEROS, BORDER, REFLECTION = range(3)


@jit
def tap_index(i, size, padding, corners):  # type: ignore[no-untyped-def]
    """The pixel that stands for index i; -1 for none."""
    if padding == BORDER:
        return min(max(i, 0), size - 1)
    if padding == REFLECTION:
        return mirror(i, size, corners)
    return i if 0 <= i < size else -1


NEAREST, LINEAR, CUBIC = range(3)


@jit
def taps_of(mode):  # type: ignore[no-untyped-def]
    """Taps along an axis."""
    return 1 if mode == NEAREST else 2 if mode == LINEAR else 4


@jit
def outer_cubic(d):  # type: ignore[no-untyped-def]
    return ((A * d - A5) * d + A8) * d - A4


@jit
def inner_cubic(d):  # type: ignore[no-untyped-def]
    return (A2 * d - A3) * d * d + ONE


@jit
def tap_weight(mode, fraction, t):  # type: ignore[no-untyped-def]
    """The weight of tap t for a place that lies `fraction` beyond the pixel of tap 0 (of tap 1 for cubic)."""
    if mode == NEAREST:
        return ONE
    if mode == LINEAR:
        return ONE - fraction if t == 0 else fraction
    if t == 0:
        return outer_cubic(fraction + ONE)
    if t == 1:
        return inner_cubic(fraction)
    if t == 2:
        return inner_cubic(ONE - fraction)
    return outer_cubic((ONE - fraction) + ONE)


@jit
def bilinear(x, height, width, row, column):  # type: ignore[no-untyped-def]
    """A plane at (row, column), by its four neighbours, of which those outside are left out."""
    row_floor, column_floor = floor(row), floor(column)
    i, j = to_index(row_floor), to_index(column_floor)
    total = ZERO
    for a in range(2):
        if 0 <= i + a < height:
            down = tap_weight(LINEAR, row - row_floor, a)
            for b in range(2):
                if 0 <= j + b < width:
                    weight = down * tap_weight(LINEAR, column - column_floor, b)
                    total = fma32(weight, load_f32(x + 4 * ((i + a) * width + j + b)), total)
    return total
