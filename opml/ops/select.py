"""Selections whose size is data: running counts, the positions of what is counted, sizes of groups, and NMS.

A selection is a tensor as large as it can become (its capacity) and a count of what is in it. Both follow from a
running count: entry i says how many of the entries 0..i are taken, so that the p-th of them is found by bisection.
"""

from math import prod

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_TILE,
    DTYPE_CODES,
    FLOAT16,
    Attrs,
    Op,
    Types,
    clear,
    element_size,
    input_address,
    jit,
    load_int,
    out_address,
    param,
    tile_count,
)
from opml.ops.checks import int_attr, ints_attr, only, refuse, take_dtype, take_inputs, take_rank
from vm.guest.intrinsics import load_i32, load_i64, load_u16, store_i64, udiv, urem

LEAF = 4
MAX_RANK = 16
BISECTION = 64 * 24

LENGTH, DTYPE = 0, 1


@jit
def running_count_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """Goes on from the last entry of the leaf before."""
    x, y, dtype = input_address(r, 0), out_address(r), param(r, DTYPE)
    size = element_size(dtype)
    start, stop = LEAF * first, min(LEAF * (first + count), param(r, LENGTH))
    total = load_i64(y + 8 * (start - 1)) if start > 0 else 0
    for e in range(start, stop):
        # Of a float all bits but the sign.
        if dtype < FLOAT16:
            value = load_int(x + size * e, dtype)
        elif size == 2:
            value = load_u16(x + 2 * e) & 0x7FFF
        elif size == 4:
            value = load_i32(x + 4 * e) & 0x7FFFFFFF
        else:
            value = load_i64(x + 8 * e) & 0x7FFFFFFFFFFFFFFF
        total += 1 if value != 0 else 0
        store_i64(y + 8 * e, total)
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def running_count_tile(r, t):  # type: ignore[no-untyped-def]
    running_count_tiles(r, t, 1)


def infer_running_count(types: Types, attrs: Attrs) -> TensorType:
    """x -> int64 of its shape: how many elements up to here, in the order of memory, are not zero."""
    (x,) = take_inputs("running_count", types, 1)
    only("running_count", attrs)
    return TensorType(DType.INT64, x.shape)


def params_running_count(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("running_count", types, 1)
    return [out.elements, DTYPE_CODES[x.dtype]]


def cost_running_count(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF * 96


def undivided(types: Types, out: TensorType, attrs: Attrs) -> int:
    """All tiles: each goes on where the one before it stopped."""
    return tile_count(out)


@jit
def taken(counts, n, place):  # type: ignore[no-untyped-def]
    """The first of n entries whose running count is greater than `place`; n where there is none."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if load_i64(counts + 8 * middle) > place:
            high = middle
        else:
            low = middle + 1
    return low


# positions: COORDINATES rows of CAPACITY entries; row d is (entry // STRIDES[d]) % DIMS[d].
CAPACITY, N, FILL, DIMS = 1, 2, 3, 4
STRIDES = DIMS + MAX_RANK


@jit
def positions_tiles(r, first, count):  # type: ignore[no-untyped-def]
    counts, y, n, capacity = input_address(r, 0), out_address(r), param(r, N), param(r, CAPACITY)
    stop = min(LEAF * (first + count), param(r, LENGTH))
    for e in range(LEAF * first, stop):
        d = udiv(e, capacity)
        i = taken(counts, n, urem(e, capacity))
        store_i64(y + 8 * e, urem(udiv(i, param(r, STRIDES + d)), param(r, DIMS + d)) if i < n else param(r, FILL))
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def positions_tile(r, t):  # type: ignore[no-untyped-def]
    positions_tiles(r, t, 1)


def infer_positions(types: Types, attrs: Attrs) -> TensorType:
    """Running counts (int64) -> int64 [rank, capacity]: the coordinates of what they count, then `fill` (0 or -1).

    The coordinates are those of a tensor of the shape `dims`, by default of the running counts' own.
    """
    (x,) = take_inputs("positions", types, 1)
    take_dtype("positions", x, [DType.INT64])
    only("positions", attrs, "dims", "capacity", "fill")
    dims = ints_attr("positions", attrs, "dims", list(x.shape))
    capacity = int_attr("positions", attrs, "capacity", x.elements)
    if not 1 <= len(dims) <= MAX_RANK or min(dims) < 1 or prod(dims) != x.elements:
        raise refuse("positions", f"coordinates in {dims} for {x.elements} elements")
    if not 1 <= capacity <= x.elements or int_attr("positions", attrs, "fill", 0) not in (0, -1):
        raise refuse("positions", f"a capacity of {capacity} for {x.elements} elements, or a fill that is not 0 or -1")
    return TensorType(DType.INT64, (len(dims), capacity))


def params_positions(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("positions", types, 1)
    dims = ints_attr("positions", attrs, "dims", list(x.shape))
    strides = [prod(dims[d + 1 :]) for d in range(len(dims))]
    padding = [0] * (MAX_RANK - len(dims))
    return [out.elements, out.shape[1], x.elements, int_attr("positions", attrs, "fill", 0), *dims, *padding, *strides]


def cost_bisection(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF * (128 + 2 * BISECTION)


@jit
def group_sizes_tiles(r, first, count):  # type: ignore[no-untyped-def]
    counts, y, n = input_address(r, 0), out_address(r), param(r, LENGTH)
    stop = min(LEAF * (first + count), n)
    for e in range(LEAF * first, stop):
        store_i64(y + 8 * e, taken(counts, n, e + 1) - taken(counts, n, e))
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def group_sizes_tile(r, t):  # type: ignore[no-untyped-def]
    group_sizes_tiles(r, t, 1)


def infer_group_sizes(types: Types, attrs: Attrs) -> TensorType:
    """Running counts of the first items of groups, int64 [n] -> int64 [n]: the groups' sizes, then zeros."""
    (x,) = take_inputs("group_sizes", types, 1)
    take_dtype("group_sizes", x, [DType.INT64])
    only("group_sizes", attrs)
    take_rank("group_sizes", x, 1)
    return x


def params_group_sizes(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return [out.elements]


# nms_select: rows (batch, class, box) of what the running count of `opml.ops.nms` keeps, then rows of -1.
BOXES, CLASSES, SELECT_N = 1, 2, 3


@jit
def nms_select_tiles(r, first, count):  # type: ignore[no-untyped-def]
    counts, order, y = input_address(r, 0), input_address(r, 1), out_address(r)
    boxes, classes, n = param(r, BOXES), param(r, CLASSES), param(r, SELECT_N)
    stop = min(LEAF * (first + count), param(r, LENGTH))
    for e in range(LEAF * first, stop):
        i, column, value = taken(counts, n, udiv(e, 3)), urem(e, 3), -1
        if i < n:
            line = udiv(i, boxes)
            value = load_i64(order + 8 * i)
            if column < 2:
                value = udiv(line, classes) if column == 0 else urem(line, classes)
        store_i64(y + 8 * e, value)
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def nms_select_tile(r, t):  # type: ignore[no-untyped-def]
    nms_select_tiles(r, t, 1)


def infer_nms_select(types: Types, attrs: Attrs) -> TensorType:
    """Running counts and order, both int64 [batches, classes, boxes] -> int64 [capacity, 3]; attribute capacity."""
    counts, order = take_inputs("nms_select", types, 2)
    only("nms_select", attrs, "capacity")
    take_rank("nms_select", counts, 3)
    capacity = int_attr("nms_select", attrs, "capacity")
    if counts.dtype is not DType.INT64 or order != counts or not 1 <= capacity <= counts.elements:
        raise refuse("nms_select", f"{capacity} of {list(counts.shape)} in the order {list(order.shape)}")
    return TensorType(DType.INT64, (capacity, 3))


def params_nms_select(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    counts, _ = take_inputs("nms_select", types, 2)
    return [out.elements, counts.shape[2], counts.shape[1], counts.elements]


OPS = [
    Op(
        *("running_count", 308, infer_running_count, params_running_count),
        *(running_count_tile, cost_running_count, running_count_tiles, undivided),
    ),
    Op("positions", 309, infer_positions, params_positions, positions_tile, cost_bisection, positions_tiles),
    Op("group_sizes", 310, infer_group_sizes, params_group_sizes, group_sizes_tile, cost_bisection, group_sizes_tiles),
    Op("nms_select", 313, infer_nms_select, params_nms_select, nms_select_tile, cost_bisection, nms_select_tiles),
]
