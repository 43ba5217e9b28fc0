"""Order: the rank of every item of a row, the items by rank, and where a sorted row changes.

A row is [n, width]: n items of `width` neighbouring elements, compared element by element. NaN is greater than every
number, all NaN are equal, and so are +0 and -0. Of equal items the first comes first. An item's rank is the number of
items before it, which its tile counts one by one; the native kernel sorts.
"""

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE
from opml.ops.base import (
    BOOL,
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
    store_int,
)
from opml.ops.checks import Shape, flag_attr, int_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.native import allocate, release
from vm.guest.intrinsics import load_i32, load_i64, store_i64, udiv, urem

LEAF = 4
ORDERED = tuple(d for d in DType if d is DType.FLOAT32 or d.numpy.kind in "iub")


@jit
def order_key(address, dtype):  # type: ignore[no-untyped-def]
    """An int64 that orders elements as this file says."""
    if dtype != FLOAT32:
        return load_int(address, dtype) ^ order_flip(dtype)
    bits = load_i32(address)
    magnitude = bits & MAGNITUDE
    if magnitude > INFINITY_BITS:
        return MAGNITUDE
    return -magnitude if bits < 0 else magnitude


@jit
def compare(a, b, width, dtype):  # type: ignore[no-untyped-def]
    """-1, 0 or 1: the order of the items at two addresses."""
    step = element_size(dtype)
    for k in range(width):
        x, y = order_key(a + step * k, dtype), order_key(b + step * k, dtype)
        if x != y:
            return -1 if x < y else 1
    return 0


LENGTH, DTYPE, N, WIDTH, SIGN = range(5)


@jit
def rank_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, n, width, dtype = input_address(r, 0), out_address(r), param(r, N), param(r, WIDTH), param(r, DTYPE)
    step, sign = element_size(dtype) * width, param(r, SIGN)
    stop = min(LEAF * (t + 1), param(r, LENGTH))
    for e in range(LEAF * t, stop):
        i = urem(e, n)
        row, before = x + step * (e - i), 0
        for j in range(n):
            order = sign * compare(row + step * j, row + step * i, width, dtype)
            if order < 0 or (order == 0 and j < i):
                before += 1
        store_i64(y + 8 * e, before)
    clear(y + 8 * stop, y + 32 * (t + 1))


@jit
def rank_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """Sorts every row that the tiles touch."""
    x, y, n, width, dtype = input_address(r, 0), out_address(r), param(r, N), param(r, WIDTH), param(r, DTYPE)
    step, sign = element_size(dtype) * width, param(r, SIGN)
    room = allocate(24 * n)
    if room == 0:
        for t in range(first, first + count):
            rank_tile(r, t)
        return
    start, stop = LEAF * first, min(LEAF * (first + count), param(r, LENGTH))
    if start < stop:
        for line in range(udiv(start, n), udiv(stop - 1, n) + 1):
            order = sort_row(room, x + step * n * line, n, step, width, dtype, sign)
            for place in range(n):
                e = n * line + load_i64(order + 8 * place)
                if start <= e < stop:
                    store_i64(y + 8 * e, place)
    release(room)
    clear(y + 8 * stop, y + 32 * (first + count))


@jit
def sort_row(room, row, n, step, width, dtype, sign):  # type: ignore[no-untyped-def]
    """The address in `room` (24 bytes an item) of the items' numbers in ascending order: a stable merge sort."""
    keys, source, target = room, room + 8 * n, room + 16 * n
    for i in range(n):
        store_i64(keys + 8 * i, order_key(row + step * i, dtype))
        store_i64(source + 8 * i, i)
    half = 1
    while half < n:
        for left in range(0, n, 2 * half):
            a, b, at = left, left + half, left
            middle, end = min(left + half, n), min(left + 2 * half, n)
            while a < middle or b < end:
                take = b >= end
                if a < middle and b < end:
                    i, j = load_i64(source + 8 * a), load_i64(source + 8 * b)
                    p, q = load_i64(keys + 8 * i), load_i64(keys + 8 * j)
                    order = 1 if p > q else 0
                    if p < q:
                        order = -1
                    if p == q and width > 1:
                        order = compare(row + step * i, row + step * j, width, dtype)
                    take = sign * order <= 0
                if take:
                    store_i64(target + 8 * at, load_i64(source + 8 * a))
                    a += 1
                else:
                    store_i64(target + 8 * at, load_i64(source + 8 * b))
                    b += 1
                at += 1
        source, target = target, source
        half *= 2
    return source


def _rows(name: str, x: TensorType) -> Shape:
    """[rows, n, width] of a tensor of three dimensions."""
    take_dtype(name, x, ORDERED)
    return take_rank(name, x, 3)


def infer_rank(types: Types, attrs: Attrs) -> TensorType:
    """x [rows, n, width] -> int64 [rows, n]; attribute descending (0: the smallest item has rank 0)."""
    (x,) = take_inputs("rank", types, 1)
    only("rank", attrs, "descending")
    flag_attr("rank", attrs, "descending")
    return TensorType(DType.INT64, _rows("rank", x)[:2])


def params_rank(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("rank", types, 1)
    sign = -1 if flag_attr("rank", attrs, "descending") else 1
    return [out.elements, DTYPE_CODES[x.dtype], x.shape[1], x.shape[2], sign]


def cost_rank(types: Types, out: TensorType, attrs: Attrs) -> int:
    (x,) = take_inputs("rank", types, 1)
    return COST_TILE + LEAF * (64 + x.shape[1] * (48 + 96 * x.shape[2]))


# order: out[row, rank[row, i]] = i for the ranks below K; of several i with one rank the last, 0 where there is none.
K, RANKS = 1, 2


@jit
def order_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, k, n = input_address(r, 0), out_address(r), param(r, K), param(r, RANKS)
    stop = min(LEAF * (t + 1), param(r, LENGTH))
    for e in range(LEAF * t, stop):
        row, place, found = x + 8 * n * udiv(e, k), urem(e, k), 0
        for i in range(n):
            if load_i64(row + 8 * i) == place:
                found = i
        store_i64(y + 8 * e, found)
    clear(y + 8 * stop, y + 32 * (t + 1))


@jit
def order_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, k, n = input_address(r, 0), out_address(r), param(r, K), param(r, RANKS)
    start, stop = LEAF * first, min(LEAF * (first + count), param(r, LENGTH))
    clear(y + 32 * first, y + 32 * (first + count))
    if start < stop:
        for line in range(udiv(start, k), udiv(stop - 1, k) + 1):
            for i in range(n):
                place = load_i64(x + 8 * (n * line + i))
                if 0 <= place < k and start <= k * line + place < stop:
                    store_i64(y + 8 * (k * line + place), i)


def infer_order(types: Types, attrs: Attrs) -> TensorType:
    """Ranks, int64 [rows, n] -> the items of the first k ranks, int64 [rows, k]; attribute k."""
    (x,) = take_inputs("order", types, 1)
    take_dtype("order", x, [DType.INT64])
    only("order", attrs, "k")
    rows, n = take_rank("order", x, 2)
    k = int_attr("order", attrs, "k", n)
    if not 1 <= k <= n:
        raise refuse("order", f"{k} of {n} items")
    return TensorType(DType.INT64, (rows, k))


def params_order(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("order", types, 1)
    return [out.elements, out.shape[1], x.shape[1]]


def cost_order(types: Types, out: TensorType, attrs: Attrs) -> int:
    (x,) = take_inputs("order", types, 1)
    return COST_TILE + LEAF * (64 + 16 * x.shape[1])


@jit
def changes_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, n, width, dtype = input_address(r, 0), out_address(r), param(r, N), param(r, WIDTH), param(r, DTYPE)
    step = element_size(dtype) * width
    stop = min(32 * (first + count), param(r, LENGTH))
    for e in range(32 * first, stop):
        same = urem(e, n) != 0 and compare(x + step * (e - 1), x + step * e, width, dtype) == 0
        store_int(y + e, BOOL, 0 if same else 1)
    clear(y + stop, y + 32 * (first + count))


@jit
def changes_tile(r, t):  # type: ignore[no-untyped-def]
    changes_tiles(r, t, 1)


def infer_changes(types: Types, attrs: Attrs) -> TensorType:
    """x [rows, n, width] -> bool [rows, n]: is this the first item of its row, or another than the one before it?"""
    (x,) = take_inputs("changes", types, 1)
    only("changes", attrs)
    return TensorType(DType.BOOL, _rows("changes", x)[:2])


def params_changes(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("changes", types, 1)
    return [out.elements, DTYPE_CODES[x.dtype], x.shape[1], x.shape[2]]


def cost_changes(types: Types, out: TensorType, attrs: Attrs) -> int:
    (x,) = take_inputs("changes", types, 1)
    return COST_TILE + 32 * (64 + 96 * x.shape[2])


OPS = [
    Op("rank", 304, infer_rank, params_rank, rank_tile, cost_rank, rank_tiles),
    Op("order", 305, infer_order, params_order, order_tile, cost_order, order_tiles),
    Op("changes", 306, infer_changes, params_changes, changes_tile, cost_changes, changes_tiles),
]
