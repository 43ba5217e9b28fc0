"""Softmax along an axis: the exact maximum, then the exponentials, their sum as in `rows`, one division each.

With masked=1, a row of nothing but -infinity gives zeros: its maximum counts as the lowest number, and the sum, to
which the greatest of any other row adds 1, is at least 1.
"""

import math

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE, NAN_BITS, ONE, SIGN, ZERO, exp, maximum
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    float_word,
    input_address,
    jit,
    out_address,
    param,
    param_f32,
)
from opml.ops.checks import axis_attr, flag_attr, only, take_dtype, take_inputs
from opml.ops.rows import LANES, middle, sum_dense, tail_room
from vm.guest.intrinsics import bits_f32, load_f32, load_i32, store_f32, udiv, urem

NAME = "softmax"
LARGEST = float(np.finfo(np.float32).max)
LENGTH, COUNT, INNER, LEAST_MAX, LEAST_SUM = range(5)


@jit
def row_max(x, step, n):  # type: ignore[no-untyped-def]
    """The maximum of n elements, NaN if there is one."""
    best = load_f32(x)
    for i in range(1, n):
        best = maximum(best, load_f32(x + i * step))
    return best


@jit
def lane(x, step, n, best, j):  # type: ignore[no-untyped-def]
    total = ZERO
    for i in range(j, n, LANES):
        total += exp(load_f32(x + i * step) - best)
    return total


@jit
def four_lanes(x, step, n, best, j):  # type: ignore[no-untyped-def]
    left = lane(x, step, n, best, j) + lane(x, step, n, best, j + 8)
    return left + (lane(x, step, n, best, j + 4) + lane(x, step, n, best, j + 12))


@jit
def row_sum(x, step, n, best):  # type: ignore[no-untyped-def]
    """The sum of exp(x - best), in the order of `rows.sum_rows`."""
    even = four_lanes(x, step, n, best, 0) + four_lanes(x, step, n, best, 2)
    odd = four_lanes(x, step, n, best, 1) + four_lanes(x, step, n, best, 3)
    return even + odd


@jit
def softmax_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, n, inner = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    row, best, total = -1, ZERO, ONE
    for e in range(LEAF_FLOATS * t, stop):
        start = 4 * (udiv(e, n * inner) * n * inner + urem(e, inner))
        if start != row:
            row = start
            best = maximum(row_max(x + row, 4 * inner, n), param_f32(r, LEAST_MAX))
            total = maximum(row_sum(x + row, 4 * inner, n, best), param_f32(r, LEAST_SUM))
        store_f32(y + 4 * e, exp(load_f32(x + 4 * e) - best) / total)
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def order(bits):  # type: ignore[no-untyped-def]
    """The sign-extended bits of a float as an int64 in the order of `maximum`: every NaN on top, +0 above -0."""
    magnitude = bits & MAGNITUDE
    return NAN_BITS if magnitude > INFINITY_BITS else (-1 - magnitude if bits < 0 else magnitude)


@jit
def dense_max(x, n):  # type: ignore[no-untyped-def]
    """`row_max` of neighbouring elements, as a maximum of integers, which LLVM may take in any order."""
    most = order(load_i32(x))
    for i in range(1, n):
        most = max(most, order(load_i32(x + 4 * i)))
    return bits_f32(most if most >= 0 else SIGN | (-1 - most))


@jit
def dense_row(x, y, n, tail, least_max, least_sum):  # type: ignore[no-untyped-def]
    """A whole row of neighbouring elements."""
    best = maximum(dense_max(x, n), least_max)
    for i in range(n):
        store_f32(y + 4 * i, exp(load_f32(x + 4 * i) - best))
    total = maximum(sum_dense(y, n, tail), least_sum)
    for i in range(n):
        store_f32(y + 4 * i, load_f32(y + 4 * i) / total)


@jit
def softmax_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, n, inner, tail = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER), tail_room()
    least_max, least_sum = param_f32(r, LEAST_MAX), param_f32(r, LEAST_SUM)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(y + 4 * stop, y + 32 * (first + count))
    while e < stop:
        block = e - urem(e, n * inner)
        end = min(block + n * inner, stop)
        if inner == 1 and e == block and end == block + n:
            dense_row(x + 4 * e, y + 4 * e, n, tail, least_max, least_sum)
        else:
            # The elements e..end-1 of a block of `inner` rows, row by row.
            for j in range(min(inner, end - e)):
                start = block + urem(e + j, inner)
                best = maximum(row_max(x + 4 * start, 4 * inner, n), least_max)
                total = maximum(row_sum(x + 4 * start, 4 * inner, n, best), least_sum)
                for i in range(e + j, end, inner):
                    store_f32(y + 4 * i, exp(load_f32(x + 4 * i) - best) / total)
        e = end


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole rows."""
    _, count, inner, *_ = params(types, out, attrs)
    return max(count * inner // LEAF_FLOATS, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """Any shape with at least one dimension; attributes axis, masked."""
    (x,) = take_inputs(NAME, types, 1)
    take_dtype(NAME, x, (DType.FLOAT32,))
    only(NAME, attrs, "axis", "masked")
    flag_attr(NAME, attrs, "masked")
    axis_attr(NAME, attrs, len(x.shape), -1)
    return x


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    axis = axis_attr(NAME, attrs, len(out.shape), -1)
    _, count, inner = middle(out, axis, axis)
    least = (-LARGEST, 1.0) if flag_attr(NAME, attrs, "masked") else (-math.inf, 0.0)
    return [out.elements, count, inner, *map(float_word, least)]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    _, count, inner, *_ = params(types, out, attrs)
    rows = LEAF_FLOATS if inner > 1 else min(LEAF_FLOATS, 2 + (LEAF_FLOATS - 1) // count)
    element = 24 * COST_FLOAT
    return COST_TILE + rows * (count * element + 32 * COST_FLOAT) + LEAF_FLOATS * (element + COST_DIVIDE)


OPS = [Op(NAME, 64, infer, params, softmax_tile, cost, softmax_tiles, grain)]
