"""A sparse linear map along one axis: each output is a weighted sum of a few elements that a table names.

Output j is the sum over t of weight[j, t] * x[index[j, t]]: an fma chain from +0, ascending, in blocks of 512. An index
outside of the axis is skipped; so a table's rows may differ in length.
"""

from opml.graph import DType, TensorType
from opml.numerics import ZERO
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    input_address,
    jit,
    out_address,
    param,
)
from opml.ops.checks import axis_attr, only, refuse, strides_of, take_dtype, take_inputs
from opml.ops.matmul import BLOCK
from opml.ops.mix import mix_four, mix_two
from opml.ops.native import LANES
from vm.guest.intrinsics import fma32, load_f32, load_i64, store_f32, udiv, urem

NAME = "resample"

# Elements of the output; sizes of the axis before and after; elements within it; taps.
LENGTH, SIZE, OUT_SIZE, INNER, TAPS = range(5)


@jit
def weighted(x, step, size, index, weight, taps):  # type: ignore[no-untyped-def]
    """The sum over one row of the tables, of elements `step` bytes apart from x on."""
    total, t = ZERO, 0
    while t < taps:
        acc, end = ZERO, min(t + BLOCK, taps)
        while t < end:
            i = load_i64(index + 8 * t)
            if 0 <= i < size:
                acc = fma32(load_f32(weight + 4 * t), load_f32(x + i * step), acc)
            t += 1
        total += acc
    return total


@jit
def resample_tile(r, t):  # type: ignore[no-untyped-def]
    y, size, out_size, inner, taps = out_address(r), param(r, SIZE), param(r, OUT_SIZE), param(r, INNER), param(r, TAPS)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        i, rest = urem(e, inner), udiv(e, inner)
        j, outer = urem(rest, out_size), udiv(rest, out_size)
        x = input_address(r, 0) + 4 * (outer * size * inner + i)
        index, weight = input_address(r, 1) + 8 * j * taps, input_address(r, 2) + 4 * j * taps
        store_f32(y + 4 * e, weighted(x, 4 * inner, size, index, weight, taps))
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def two(y, a, b, wa, wb, n):  # type: ignore[no-untyped-def]
    """A line of n elements from two lines."""
    whole = n & ~(LANES - 1)
    for i in range(0, whole, LANES):
        mix_two(y + 4 * i, a + 4 * i, b + 4 * i, wa, wb)
    for i in range(whole, n):
        acc = fma32(wb, load_f32(b + 4 * i), fma32(wa, load_f32(a + 4 * i), ZERO))
        store_f32(y + 4 * i, ZERO + acc)


@jit
def four(y, a, b, c, d, wa, wb, wc, wd, n):  # type: ignore[no-untyped-def]
    """A line of n elements from four lines."""
    whole = n & ~(LANES - 1)
    for i in range(0, whole, LANES):
        mix_four(y + 4 * i, a + 4 * i, b + 4 * i, c + 4 * i, d + 4 * i, wa, wb, wc, wd)
    for i in range(whole, n):
        acc = fma32(wb, load_f32(b + 4 * i), fma32(wa, load_f32(a + 4 * i), ZERO))
        acc = fma32(wd, load_f32(d + 4 * i), fma32(wc, load_f32(c + 4 * i), acc))
        store_f32(y + 4 * i, ZERO + acc)


@jit
def inside(index, taps, size):  # type: ignore[no-untyped-def]
    """Whether all indices of a row lie in the axis."""
    for t in range(taps):
        i = load_i64(index + 8 * t)
        if i < 0 or i >= size:
            return False
    return True


@jit
def line(r, x, y, begin, end, index, weight):  # type: ignore[no-untyped-def]
    """Elements begin..end-1 within the axis of one output line, which starts at y."""
    size, inner, taps = param(r, SIZE), param(r, INNER), param(r, TAPS)
    pitch, n = 4 * inner, end - begin
    x, y = x + 4 * begin, y + 4 * begin
    if n >= LEAF_FLOATS and (taps == 2 or taps == 4) and inside(index, taps, size):
        a, b = x + load_i64(index) * pitch, x + load_i64(index + 8) * pitch
        wa, wb = load_f32(weight), load_f32(weight + 4)
        if taps == 2:
            two(y, a, b, wa, wb, n)
        else:
            c, d = x + load_i64(index + 16) * pitch, x + load_i64(index + 24) * pitch
            four(y, a, b, c, d, wa, wb, load_f32(weight + 8), load_f32(weight + 12), n)
    else:
        for i in range(n):
            store_f32(y + 4 * i, weighted(x + 4 * i, pitch, size, index, weight, taps))


@jit
def pairs(x, y, index, weight, n):  # type: ignore[no-untyped-def]
    """n neighbouring outputs of two taps each, along an axis of neighbouring elements; all indices lie inside."""
    for j in range(n):
        a, b = load_f32(x + 4 * load_i64(index + 16 * j)), load_f32(x + 4 * load_i64(index + 16 * j + 8))
        acc = fma32(load_f32(weight + 8 * j + 4), b, fma32(load_f32(weight + 8 * j), a, ZERO))
        store_f32(y + 4 * j, ZERO + acc)


@jit
def resample_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, size, out_size, inner, taps = out_address(r), param(r, SIZE), param(r, OUT_SIZE), param(r, INNER), param(r, TAPS)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    index, weight = input_address(r, 1), input_address(r, 2)
    clear(y + 4 * stop, y + 32 * (first + count))
    direct = inner == 1 and taps == 2 and inside(index, taps * out_size, size)
    while e < stop:
        i, rest = urem(e, inner), udiv(e, inner)
        j, outer = urem(rest, out_size), udiv(rest, out_size)
        x = input_address(r, 0) + 4 * outer * size * inner
        if inner == 1:
            end = min(out_size, j + stop - e)
            if direct:
                pairs(x, y + 4 * e, index + 16 * j, weight + 8 * j, end - j)
                e += end - j
                j = end
            while j < end:
                store_f32(y + 4 * e, weighted(x, 4, size, index + 8 * j * taps, weight + 4 * j * taps, taps))
                e += 1
                j += 1
        else:
            end = min(inner, i + stop - e)
            line(r, x, y + 4 * (e - i), i, end, index + 8 * j * taps, weight + 4 * j * taps)
            e += end - i


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x, whose `axis` becomes m long by the tables index int64 [m, taps] and weight float32 [m, taps]."""
    x, index, weight = take_inputs(NAME, types, 3)
    only(NAME, attrs, "axis")
    take_dtype(NAME, x, (DType.FLOAT32,))
    take_dtype(NAME, index, (DType.INT64,))
    take_dtype(NAME, weight, (DType.FLOAT32,))
    axis = axis_attr(NAME, attrs, len(x.shape))
    if len(index.shape) != 2 or index.shape != weight.shape:
        raise refuse(NAME, f"tables of shapes {list(index.shape)} and {list(weight.shape)}")
    return TensorType(DType.FLOAT32, (*x.shape[:axis], index.shape[0], *x.shape[axis + 1 :]))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, index, _ = take_inputs(NAME, types, 3)
    axis = axis_attr(NAME, attrs, len(x.shape))
    return [out.elements, x.shape[axis], index.shape[0], strides_of(x.shape)[axis], index.shape[1]]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    taps = take_inputs(NAME, types, 3)[1].shape[1]
    return COST_TILE + LEAF_FLOATS * (256 + taps * (32 + COST_FLOAT) + (taps // BLOCK + 2) * COST_FLOAT)


OPS = [Op(NAME, 353, infer, params, resample_tile, cost, resample_tiles)]
