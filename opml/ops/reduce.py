"""Sum, mean, maximum and minimum along neighbouring axes."""

from typing import Any

from opml.graph import DType, TensorType
from opml.numerics import ONE, maximum, minimum
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    Attrs,
    Op,
    Types,
    clear,
    element_size,
    float_word,
    input_address,
    jit,
    leaf_elements,
    load_int,
    order_flip,
    out_address,
    param,
    param_f32,
    store_int,
    template,
)
from opml.ops.checks import NUMBERS, flag_attr, ints_attr, only, refuse, take_dtype, take_inputs
from opml.ops.rows import middle, sum_dense, sum_rows, tail_room
from vm.guest.intrinsics import load_f32, store_f32, udiv, urem, wrap_add, wrap_mul

# Parameters: elements of the output, dtype, elements of a row, elements between its neighbours, 1 or the row's length.
LENGTH, DTYPE, COUNT, INNER, DIVISOR = range(5)


@template
def reduce_f32(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[e] = f(row of e) over some tiles, for float32."""
    x, y, n, inner = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER)
    stop = min(8 * (first + count), param(r, LENGTH))
    for e in range(8 * first, stop):
        row = x + 4 * (udiv(e, inner) * n * inner + urem(e, inner))
        store_f32(y + 4 * e, f(row, 4 * inner, n, param_f32(r, DIVISOR)))
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def reduce_int(f, flip, r, first, count):  # type: ignore[no-untyped-def]
    """The same for integers: f combines two elements, after both are xored with `flip`, as is the result."""
    x, y, n, inner, dtype = input_address(r, 0), out_address(r), param(r, COUNT), param(r, INNER), param(r, DTYPE)
    size = element_size(dtype)
    leaf = udiv(32, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        row = x + size * (udiv(e, inner) * n * inner + urem(e, inner))
        value = load_int(row, dtype) ^ flip
        for i in range(1, n):
            value = f(value, load_int(row + i * size * inner, dtype) ^ flip)
        store_int(y + size * e, dtype, value ^ flip)
    clear(y + size * stop, y + 32 * (first + count))


@jit
def sum_f32(row, step, n, divisor):  # type: ignore[no-untyped-def]
    return sum_rows(row, step, n)


@jit
def mean_f32(row, step, n, divisor):  # type: ignore[no-untyped-def]
    return sum_rows(row, step, n) / divisor


@jit
def prod_f32(row, step, n, divisor):  # type: ignore[no-untyped-def]
    product = load_f32(row) * ONE
    for i in range(1, n):
        product *= load_f32(row + i * step)
    return product


@jit
def max_f32(row, step, n, divisor):  # type: ignore[no-untyped-def]
    best = load_f32(row)
    for i in range(1, n):
        best = maximum(best, load_f32(row + i * step))
    return best


@jit
def min_f32(row, step, n, divisor):  # type: ignore[no-untyped-def]
    best = load_f32(row)
    for i in range(1, n):
        best = minimum(best, load_f32(row + i * step))
    return best


@jit
def max_int(a, b):  # type: ignore[no-untyped-def]
    return max(a, b)


@jit
def min_int(a, b):  # type: ignore[no-untyped-def]
    return min(a, b)


@jit
def reduce_sum_tile(r, t):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        reduce_f32(sum_f32, r, t, 1)
    else:
        reduce_int(wrap_add, 0, r, t, 1)


@jit
def reduce_mean_tile(r, t):  # type: ignore[no-untyped-def]
    reduce_f32(mean_f32, r, t, 1)


@jit
def dense_sums(r, first, count, divisor):  # type: ignore[no-untyped-def]
    """Sums of rows of neighbouring elements, divided by `divisor`, over some tiles. Native only."""
    x, y, n, tail = input_address(r, 0), out_address(r), param(r, COUNT), tail_room()
    stop = min(8 * (first + count), param(r, LENGTH))
    for e in range(8 * first, stop):
        store_f32(y + 4 * e, sum_dense(x + 4 * e * n, n, tail) / divisor)
    clear(y + 4 * stop, y + 32 * (first + count))


@jit
def reduce_sum_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32 and param(r, INNER) == 1:
        dense_sums(r, first, count, ONE)
    else:
        for t in range(first, first + count):
            reduce_sum_tile(r, t)


@jit
def reduce_mean_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, INNER) == 1:
        dense_sums(r, first, count, param_f32(r, DIVISOR))
    else:
        reduce_f32(mean_f32, r, first, count)


@jit
def reduce_max_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        reduce_f32(max_f32, r, first, count)
    else:
        reduce_int(max_int, order_flip(param(r, DTYPE)), r, first, count)


@jit
def reduce_min_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        reduce_f32(min_f32, r, first, count)
    else:
        reduce_int(min_int, order_flip(param(r, DTYPE)), r, first, count)


@jit
def reduce_prod_tiles(r, first, count):  # type: ignore[no-untyped-def]
    if param(r, DTYPE) == FLOAT32:
        reduce_f32(prod_f32, r, first, count)
    else:
        reduce_int(wrap_mul, 0, r, first, count)


@jit
def reduce_prod_tile(r, t):  # type: ignore[no-untyped-def]
    reduce_prod_tiles(r, t, 1)


@jit
def reduce_max_tile(r, t):  # type: ignore[no-untyped-def]
    reduce_max_tiles(r, t, 1)


@jit
def reduce_min_tile(r, t):  # type: ignore[no-untyped-def]
    reduce_min_tiles(r, t, 1)


def _axes(op: str, x: TensorType, attrs: Attrs) -> tuple[int, int]:
    """The first and last of the axes, which must be neighbours."""
    rank = len(x.shape)
    axes = sorted(axis % rank if -rank <= axis < rank else rank for axis in ints_attr(op, attrs, "axes"))
    if not axes or axes[-1] == rank or axes != list(range(axes[0], axes[-1] + 1)):
        raise refuse(op, f"axes {attrs.get('axes')} of {rank} dimensions are not distinct neighbours")
    return axes[0], axes[-1]


def _make(name: str, code: int, tile: Any, tiles: Any, dtypes: tuple[DType, ...], cost: int) -> Op:
    def infer(types: Types, attrs: Attrs) -> TensorType:
        (x,) = take_inputs(name, types, 1)
        take_dtype(name, x, dtypes)
        only(name, attrs, "axes", "keepdims")
        first, last = _axes(name, x, attrs)
        kept = (1,) * (last - first + 1) if flag_attr(name, attrs, "keepdims", 1) else ()
        return TensorType(x.dtype, x.shape[:first] + kept + x.shape[last + 1 :])

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        (x,) = take_inputs(name, types, 1)
        _, count, inner = middle(x, *_axes(name, x, attrs))
        return [out.elements, DTYPE_CODES[x.dtype], count, inner, float_word(count)]

    def bound(types: Types, out: TensorType, attrs: Attrs) -> int:
        (x,) = take_inputs(name, types, 1)
        _, count, _ = middle(x, *_axes(name, x, attrs))
        return COST_TILE + leaf_elements(out) * (64 + COST_DIVIDE + 32 * COST_FLOAT + count * (16 + cost))

    return Op(name, code, infer, params, tile, bound, tiles)


OPS = [
    _make("reduce_sum", 66, reduce_sum_tile, reduce_sum_tiles, NUMBERS, COST_FLOAT),
    _make("reduce_mean", 67, reduce_mean_tile, reduce_mean_tiles, (DType.FLOAT32,), COST_FLOAT),
    _make("reduce_prod", 256, reduce_prod_tile, reduce_prod_tiles, NUMBERS, COST_FLOAT),
    _make("reduce_max", 68, reduce_max_tile, reduce_max_tiles, NUMBERS, 5 * COST_FLOAT),
    _make("reduce_min", 69, reduce_min_tile, reduce_min_tiles, NUMBERS, 5 * COST_FLOAT),
]
