"""Conversions between dtypes, all total.

float32 to integer: towards zero, saturating, NaN to 0. Integer to float32: nearest even. Integer to integer: the low
bits. Anything to bool: whether it is not zero (NaN is not). bool to anything: 0 or 1. A dtype to itself: the same
bits, but a bool becomes 0 or 1.
"""

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE
from opml.ops.base import (
    BOOL,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    Attrs,
    Op,
    Types,
    clear,
    element_size,
    input_address,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
    store_int,
)
from opml.ops.checks import only, refuse, take_inputs
from vm.guest.intrinsics import i64_f32, load_i32, store_f32, store_i32, udiv

NAME = "cast"
LENGTH, FROM, TO, LOW, HIGH = range(5)


@jit
def f32_i64(bits, low, high):  # type: ignore[no-untyped-def]
    """The integer part of the binary32 with these (sign-extended) bits, clamped to [low, high]; 0 for NaN."""
    magnitude = bits & MAGNITUDE
    shift = (magnitude >> 23) - 150
    fraction = (magnitude & 0x7FFFFF) | 0x800000
    value = fraction << (shift & 63) if shift >= 0 else fraction >> (-shift & 63)
    value = value if shift > -24 else 0
    if shift >= 40:
        value = 0x7FFFFFFFFFFFFFFF
        if bits < 0:
            value = -0x7FFFFFFFFFFFFFFF - 1
    elif bits < 0:
        value = -value
    return min(max(value, low), high) if magnitude <= INFINITY_BITS else 0


@jit
def cast_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, source, target = input_address(r, 0), out_address(r), param(r, FROM), param(r, TO)
    low, high = param(r, LOW), param(r, HIGH)
    size, width = element_size(source), element_size(target)
    leaf = udiv(32, width)
    start, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    if source == FLOAT32 and target == FLOAT32:
        for i in range(start, stop):
            store_i32(y + 4 * i, load_i32(x + 4 * i))
    elif source == FLOAT32 and target == BOOL:
        for i in range(start, stop):
            store_int(y + i, BOOL, np.int64((load_i32(x + 4 * i) & MAGNITUDE) != 0))
    elif source == FLOAT32:
        for i in range(start, stop):
            store_int(y + width * i, target, f32_i64(load_i32(x + 4 * i), low, high))
    elif target == FLOAT32:
        for i in range(start, stop):
            store_f32(y + 4 * i, i64_f32(load_int(x + size * i, source)))
    elif target == BOOL:
        for i in range(start, stop):
            store_int(y + i, BOOL, np.int64(load_int(x + size * i, source) != 0))
    else:
        for i in range(start, stop):
            store_int(y + width * i, target, load_int(x + size * i, source))
    clear(y + width * stop, y + 32 * (first + count))


@jit
def cast_tile(r, t):  # type: ignore[no-untyped-def]
    cast_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """Any dtype; attribute `to`, a dtype's name."""
    (x,) = take_inputs(NAME, types, 1)
    only(NAME, attrs, "to")
    try:
        return TensorType(DType(attrs.get("to")), x.shape)
    except ValueError:
        raise refuse(NAME, f"to {attrs.get('to')!r} is not supported") from None


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs(NAME, types, 1)
    bounds = [0, 0]
    if out.dtype not in (DType.FLOAT32, DType.BOOL):
        info = np.iinfo(out.dtype.numpy)
        bounds = [int(info.min), int(info.max)]
    return [out.elements, DTYPE_CODES[x.dtype], DTYPE_CODES[out.dtype], *bounds]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * (64 + COST_FLOAT)


OPS = [Op(NAME, 96, infer, params, cast_tile, cost, cast_tiles)]
