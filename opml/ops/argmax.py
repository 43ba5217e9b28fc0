"""The position of the greatest or the least element along an axis, as int64.

NaN is greater than every number and less than every number; all NaN are equal, and so are +0 and -0. Of equals the
first counts, or with select_last the last.
"""

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE
from opml.ops.base import (
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
    load_int,
    order_flip,
    out_address,
    param,
)
from opml.ops.checks import NUMBERS, axis_attr, flag_attr, only, take_dtype, take_inputs
from opml.ops.rows import middle
from vm.guest.intrinsics import load_i32, store_i64, udiv, urem

NAME = "argmax"
LENGTH, DTYPE, COUNT, INNER, SELECT_LAST, LEAST = range(6)
LEAF = 4


@jit
def key(address, dtype, flip):  # type: ignore[no-untyped-def]
    """An int64 that orders elements as this operator does; `flip` is -1 to turn the order around, else 0."""
    if dtype != FLOAT32:
        return load_int(address, dtype) ^ order_flip(dtype) ^ flip
    bits = load_i32(address)
    magnitude = bits & MAGNITUDE
    if magnitude > INFINITY_BITS:
        return MAGNITUDE
    return (-magnitude if bits < 0 else magnitude) ^ flip


@jit
def argmax_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, n, inner, dtype = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER), param(r, DTYPE)
    last = param(r, SELECT_LAST)
    size, flip = element_size(dtype), -param(r, LEAST)
    stop = min(LEAF * (first + count), param(r, LENGTH))
    for e in range(LEAF * first, stop):
        row = x + size * (udiv(e, inner) * n * inner + urem(e, inner))
        best, position = key(row, dtype, flip), 0
        for i in range(1, n):
            value = key(row + i * size * inner, dtype, flip)
            if value > best or (last != 0 and value == best):
                best, position = value, i
        store_i64(y + 8 * e, position)
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def argmax_tile(r, t):  # type: ignore[no-untyped-def]
    argmax_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """Numbers of at least one dimension; attributes axis, keepdims, select_last, least."""
    (x,) = take_inputs(NAME, types, 1)
    take_dtype(NAME, x, NUMBERS)
    only(NAME, attrs, "axis", "keepdims", "select_last", "least")
    axis = axis_attr(NAME, attrs, len(x.shape), 0)
    flag_attr(NAME, attrs, "select_last")
    flag_attr(NAME, attrs, "least")
    kept = (1,) if flag_attr(NAME, attrs, "keepdims", 1) else ()
    return TensorType(DType.INT64, x.shape[:axis] + kept + x.shape[axis + 1 :])


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs(NAME, types, 1)
    axis = axis_attr(NAME, attrs, len(x.shape), 0)
    _, count, inner = middle(x, axis, axis)
    flags = [flag_attr(NAME, attrs, name) for name in ("select_last", "least")]
    return [out.elements, DTYPE_CODES[x.dtype], count, inner, *flags]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF * (64 + 48 * params(types, out, attrs)[COUNT])


OPS = [Op(NAME, 65, infer, params, argmax_tile, cost, argmax_tiles)]
