"""Cumulative sums and products along an axis, each element from the one before it.

The element before may lie in an earlier leaf of the output itself, so tiles run in order.
"""

from typing import Any

from opml.graph import TensorType
from opml.numerics import ONE, ZERO
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    LEAF_FLOATS,
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
    template,
    tile_count,
)
from opml.ops.checks import NUMBERS, axis_attr, only, take_dtype, take_inputs
from opml.ops.rows import middle
from vm.guest.intrinsics import load_f32, store_f32, udiv, urem, wrap_add, wrap_mul

LENGTH, DTYPE, COUNT, INNER = range(4)


@template
def cumulate_f32(f, start, r, first, count):  # type: ignore[no-untyped-def]
    """y[i] = f(y[i - 1], x[i]) over some tiles, y[-1] = start, for float32."""
    x, y, n, inner = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER)
    stop = min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    for e in range(LEAF_FLOATS * first, stop):
        before = start if urem(udiv(e, inner), n) == 0 else load_f32(y + 4 * (e - inner))
        store_f32(y + 4 * e, f(before, load_f32(x + 4 * e)))
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def cumulate_int(f, start, r, first, count):  # type: ignore[no-untyped-def]
    """The same for integers."""
    x, y, n, inner, dtype = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER), param(r, DTYPE)
    size = element_size(dtype)
    leaf = udiv(32, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        before = start if urem(udiv(e, inner), n) == 0 else load_int(y + size * (e - inner), dtype)
        store_int(y + size * e, dtype, f(before, load_int(x + size * e, dtype)))
    clear(y + size * stop, y + 32 * (first + count))


@jit
def add(a, b):  # type: ignore[no-untyped-def]
    return a + b


@jit
def multiply(a, b):  # type: ignore[no-untyped-def]
    return a * b


@jit
def cumsum_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        cumulate_f32(add, ZERO, r, first, count)
    else:
        cumulate_int(wrap_add, 0, r, first, count)


@jit
def cumprod_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        cumulate_f32(multiply, ONE, r, first, count)
    else:
        cumulate_int(wrap_mul, 1, r, first, count)


@jit
def cumsum_tile(r, t):  # type: ignore[no-untyped-def]
    cumsum_tiles(r, t, 1)


@jit
def cumprod_tile(r, t):  # type: ignore[no-untyped-def]
    cumprod_tiles(r, t, 1)


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    axis = axis_attr("cumulate", attrs, len(out.shape))
    _, count, inner = middle(out, axis, axis)
    return [out.elements, DTYPE_CODES[out.dtype], count, inner]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * (128 + COST_FLOAT)


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """All of it: in order."""
    return tile_count(out)


def _make(name: str, code: int, tile: Any, tiles: Any) -> Op:
    def infer(types: Types, attrs: Attrs) -> TensorType:
        """Numbers of at least one dimension; attribute axis."""
        (x,) = take_inputs(name, types, 1)
        take_dtype(name, x, NUMBERS)
        only(name, attrs, "axis")
        axis_attr(name, attrs, len(x.shape))
        return x

    return Op(name, code, infer, params, tile, cost, tiles, grain)


OPS = [_make("cumsum", 257, cumsum_tile, cumsum_tiles), _make("cumprod", 258, cumprod_tile, cumprod_tiles)]
