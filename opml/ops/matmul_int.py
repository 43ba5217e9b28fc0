"""Matrix product of bytes: the exact sum of (a - zero of its row) * (b - zero of its column), modulo 2^32, as int32."""

from math import prod

import numpy as np

from opml.graph import DType, TensorType
from opml.ops.base import (
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
from opml.ops.checks import only, refuse, take_inputs
from opml.ops.gemm import COLUMNS, STRIPE, accumulate, linear, packed_room, sums_room, table_room
from opml.ops.integers import (
    EXACT,
    add_block,
    check_zero,
    copy_words,
    flip_of,
    left_room,
    load_byte,
    load_zero,
    totals_room,
    widen_columns,
    widen_line,
    zeros_room,
)
from opml.ops.matmul import PANEL, ROW_GRAIN
from vm.guest.intrinsics import i64_f32, store_f32, store_i32, udiv, urem

NAME = "matmul_int"
LENGTH, ROWS, COLS, DEPTH, A_BATCH, B_BATCH, A_FLIP, B_FLIP, A_ZERO, B_ZERO = range(10)


@jit
def matmul_int_tile(r, t):  # type: ignore[no-untyped-def]
    y, rows, cols, depth = out_address(r), param(r, ROWS), param(r, COLS), param(r, DEPTH)
    a_flip, b_flip = param(r, A_FLIP), param(r, B_FLIP)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        col, line = urem(e, cols), udiv(e, cols)
        row, batch = urem(line, rows), udiv(line, rows)
        a = input_address(r, 0) + batch * param(r, A_BATCH) + row * depth
        b = input_address(r, 1) + batch * param(r, B_BATCH) + col
        a_zero = load_zero(input_address(r, 2), row, param(r, A_ZERO), a_flip)
        b_zero = load_zero(input_address(r, 3), col, param(r, B_ZERO), b_flip)
        total = 0
        for k in range(depth):
            total += (load_byte(a + k, a_flip) - a_zero) * (load_byte(b + k * cols, b_flip) - b_zero)
        store_i32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def byte_rows(r, batch, row, rows, col, end, dense, left, packed, zeros, sums, totals):  # type: ignore[no-untyped-def]
    """Outputs of `rows` rows, at most STRIPE, columns col..end-1, which lie in the same COLUMNS."""
    cols, depth, a_flip, b_flip = param(r, COLS), param(r, DEPTH), param(r, A_FLIP), param(r, B_FLIP)
    base = col - urem(col, COLUMNS)
    width = min(cols - base, COLUMNS)
    a = input_address(r, 0) + batch * param(r, A_BATCH) + row * depth
    b = input_address(r, 1) + batch * param(r, B_BATCH) + base
    for j in range(width):
        zero = load_zero(input_address(r, 3), base + j, param(r, B_ZERO), b_flip)
        store_f32(zeros + 4 * j, i64_f32(zero))
    for start in range(0, depth, EXACT):
        n = min(depth - start, EXACT)
        for i in range(rows):
            zero = load_zero(input_address(r, 2), row + i, param(r, A_ZERO), a_flip)
            widen_line(a + i * depth + start, left + 4 * EXACT * i, n, a_flip, zero)
        widen_columns(b + start * cols, cols, n, width, b_flip, zeros, packed)
        accumulate(rows, left, 4 * EXACT, 4, packed, 4 * PANEL, dense, n, sums, 1)
        add_block(rows, sums, totals, np.int64(start == 0))
    for i in range(rows):
        y = out_address(r) + 4 * ((batch * param(r, ROWS) + row + i) * cols + col)
        copy_words(totals + 4 * (i * COLUMNS + col - base), y, end - col)


@jit
def matmul_int_tiles(r, first, count):  # type: ignore[no-untyped-def]
    rows, cols = param(r, ROWS), param(r, COLS)
    dense, left, packed, zeros = table_room(), left_room(), packed_room(), zeros_room()
    sums, totals = sums_room(), totals_room()
    linear(dense, 4 * COLUMNS, min(param(r, DEPTH), EXACT))
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))
    while e < stop:
        line, col = udiv(e, cols), urem(e, cols)
        batch, row = udiv(line, rows), urem(line, rows)
        lines, end = min(min(rows - row, udiv(stop - e, cols)), STRIPE), cols
        if col != 0 or lines == 0:
            lines, end = 1, min(cols, col + stop - e)
        start = col
        while start < end:
            following = min(start - urem(start, COLUMNS) + COLUMNS, end)
            byte_rows(r, batch, row, lines, start, following, dense, left, packed, zeros, sums, totals)
            start = following
        e += end - col + (lines - 1) * cols


class _Shape:
    """The sizes of a product, after all checks."""

    def __init__(self, types: Types, attrs: Attrs) -> None:
        a, b = take_inputs(NAME, types, 2, 4)
        only(NAME, attrs)
        self.a, self.b = a, b
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
            raise refuse(NAME, f"takes matrices that fit together, not {list(a.shape)} and {list(b.shape)}")
        self.m, self.k, self.n = *a.shape[-2:], b.shape[-1]
        if a.shape[:-2] and b.shape[:-2] and a.shape[:-2] != b.shape[:-2]:
            raise refuse(NAME, f"batch sizes {list(a.shape[:-2])} and {list(b.shape[:-2])} differ")
        self.batch = a.shape[:-2] or b.shape[:-2]
        zeros = [*types[2:], None, None]
        self.a_zero = check_zero(NAME, f"{self.m} rows", a, zeros[0], self.m)
        self.b_zero = check_zero(NAME, f"{self.n} columns", b, zeros[1], self.n)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """a [*batch, M, K] by b [*batch, K, N], int8 or uint8; zero points of a, one or [M], and of b, one or [N]."""
    s = _Shape(types, attrs)
    return TensorType(DType.INT32, (*s.batch, s.m, s.n))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    s = _Shape(types, attrs)
    batches = [s.m * s.k if s.a.shape[:-2] else 0, s.k * s.n if s.b.shape[:-2] else 0]
    return [out.elements, s.m, s.n, s.k, *batches, flip_of(s.a), flip_of(s.b), s.a_zero, s.b_zero]


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole rows where there are many, else whole groups of columns."""
    many = prod(out.shape[:-1]) > 1
    return max(ROW_GRAIN * out.shape[-1] // LEAF_FLOATS, 1) if many else COLUMNS // LEAF_FLOATS


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF_FLOATS * (256 + 32 * _Shape(types, attrs).k)


OPS = [Op(NAME, 420, infer, params, matmul_int_tile, cost, matmul_int_tiles, grain)]
