"""Matrix products: blocks of 512 consecutive k, one fma chain each, summed in order; the bias comes last."""

from math import prod

import numpy as np

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
from opml.ops.checks import flag_attr, int_attr, only, refuse, take_dtype, take_inputs
from opml.ops.gemm import (
    COLUMNS,
    LONG,
    STRIPE,
    accumulate,
    finish,
    gather,
    linear,
    long_row,
    packed_room,
    sums_room,
    table_room,
)
from vm.guest.intrinsics import fma32, load_f32, store_f32, udiv, urem

NAME = "matmul"
BLOCK = 512  # k per fma chain
PANEL = 16  # columns of a packed constant that lie together
ROW_GRAIN = 12  # rows at whose multiples work is divided

# Parameters; distances are in bytes.
LENGTH, ROWS, COLS, DEPTH = range(4)
A_BATCH, A_ROW, A_K = range(4, 7)
B_BATCH, B_PANEL, B_COL, B_K = range(7, 11)
C_BATCH, C_ROW, C_COL = range(11, 14)


@jit
def chain(a, a_step, b, b_step, n):  # type: ignore[no-untyped-def]
    """fma chain from +0 over n pairs."""
    total = ZERO
    end = a + n * a_step
    while a != end:
        total = fma32(load_f32(a), load_f32(b), total)
        a += a_step
        b += b_step
    return total


@jit
def dot(a, a_step, b, b_step, n):  # type: ignore[no-untyped-def]
    """Sum over k < n in blocks."""
    total = ZERO
    while n > 0:
        block = min(n, BLOCK)
        total += chain(a, a_step, b, b_step, block)
        a += block * a_step
        b += block * b_step
        n -= block
    return total


@jit
def matmul_tile(r, t):  # type: ignore[no-untyped-def]
    y, bias = out_address(r), input_address(r, 2)
    rows, cols = param(r, ROWS), param(r, COLS)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        col, rest = urem(e, cols), udiv(e, cols)
        row, batch = urem(rest, rows), udiv(rest, rows)
        a = input_address(r, 0) + batch * param(r, A_BATCH) + row * param(r, A_ROW)
        b = input_address(r, 1) + batch * param(r, B_BATCH)
        b += (col >> 4) * param(r, B_PANEL) + (col & 15) * param(r, B_COL)
        total = dot(a, param(r, A_K), b, param(r, B_K), param(r, DEPTH))
        if bias != 0:
            total += load_f32(bias + batch * param(r, C_BATCH) + row * param(r, C_ROW) + col * param(r, C_COL))
        store_f32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def strip(r, batch, row, rows, col, table, dense, packed, sums):  # type: ignore[no-untyped-def]
    """Sums without bias of `rows` rows and up to COLUMNS columns from (row, col) on."""
    columns = min(param(r, COLS) - col, COLUMNS)
    a = input_address(r, 0) + batch * param(r, A_BATCH) + row * param(r, A_ROW)
    b = input_address(r, 1) + batch * param(r, B_BATCH) + (col >> 4) * param(r, B_PANEL)
    step = param(r, B_K)
    # Panels are read where they are (a last one that stands alone, twice), and so are whole vectors of columns.
    in_place = param(r, B_PANEL) != PANEL * param(r, B_COL) or (param(r, B_COL) == 4 and columns == COLUMNS)
    second = param(r, B_PANEL) if columns > PANEL else 0
    for start in range(0, param(r, DEPTH), BLOCK):
        n, first = min(param(r, DEPTH) - start, BLOCK), np.int64(start == 0)
        left, right = a + start * param(r, A_K), b + start * step
        if in_place:
            accumulate(rows, left, param(r, A_ROW), param(r, A_K), right, second, table, n, sums, first)
        else:
            gather(right, param(r, B_COL), step, columns, n, packed)
            accumulate(rows, left, param(r, A_ROW), param(r, A_K), packed, 4 * PANEL, dense, n, sums, first)


@jit
def long_strip(r, batch, row, col, table, sums):  # type: ignore[no-untyped-def]
    """Sums without bias of LONG panels of one row."""
    a = input_address(r, 0) + batch * param(r, A_BATCH) + row * param(r, A_ROW)
    b = input_address(r, 1) + (col >> 4) * param(r, B_PANEL)
    for start in range(0, param(r, DEPTH), BLOCK):
        n, first = min(param(r, DEPTH) - start, BLOCK), np.int64(start == 0)
        right = b + start * param(r, B_K)
        long_row(a + start * param(r, A_K), 0, param(r, A_K), right, param(r, B_PANEL), table, n, sums, first)


@jit
def rectangle(r, batch, row, rows, col, end, table, dense, packed, sums):  # type: ignore[no-untyped-def]
    """Outputs of `rows` rows from `row` on, columns col..end-1."""
    cols, bias, c_row, c_col = param(r, COLS), input_address(r, 2), param(r, C_ROW), param(r, C_COL)
    is_panels = param(r, B_PANEL) != PANEL * param(r, B_COL)
    bias += batch * param(r, C_BATCH)
    start = col - (col & (COLUMNS - 1))
    while start < end:
        width = COLUMNS
        if rows == 1 and is_panels and start + LONG * PANEL <= cols:
            width = LONG * PANEL
        left, right = max(start, col), min(start + width, end)
        for top in range(row, row + rows, STRIPE):
            count = min(row + rows - top, STRIPE)
            if width == COLUMNS:
                strip(r, batch, top, count, start, table, dense, packed, sums)
            else:
                long_strip(r, batch, top, start, table, sums)
            for i in range(count):
                y = out_address(r) + 4 * (((batch * param(r, ROWS)) + top + i) * cols + left)
                added = bias + (top + i) * c_row + left * c_col if input_address(r, 2) != 0 else 0
                finish(y, sums + 4 * (i * COLUMNS + left - start), right - left, added, c_col)
        start += width


@jit
def matmul_tiles(r, first, count):  # type: ignore[no-untyped-def]
    rows, cols = param(r, ROWS), param(r, COLS)
    table, dense, packed, sums = table_room(), table_room(), packed_room(), sums_room()
    linear(table, param(r, B_K), min(param(r, DEPTH), BLOCK))
    linear(dense, 4 * COLUMNS, min(param(r, DEPTH), BLOCK))
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    y = out_address(r)
    clear(y + 4 * stop, y + 32 * (first + count))
    while e < stop:
        line, col = udiv(e, cols), urem(e, cols)
        batch, row = udiv(line, rows), urem(line, rows)
        if col != 0 or stop - e < cols:
            end = min(cols, col + stop - e)
            rectangle(r, batch, row, 1, col, end, table, dense, packed, sums)
            e += end - col
        else:
            lines = min(rows - row, udiv(stop - e, cols))
            rectangle(r, batch, row, lines, 0, cols, table, dense, packed, sums)
            e += lines * cols


class _Shape:
    """The sizes of a product, after all checks."""

    def __init__(self, types: Types, attrs: Attrs) -> None:
        a, b = take_inputs(NAME, types, 2, 3)[:2]
        only(NAME, attrs, "trans_a", "trans_b", "packed", "n")
        self.trans_a, self.trans_b = flag_attr(NAME, attrs, "trans_a"), flag_attr(NAME, attrs, "trans_b")
        self.packed = flag_attr(NAME, attrs, "packed")
        for kind in types:
            if kind is not None:
                take_dtype(NAME, kind, (DType.FLOAT32,))
        if len(a.shape) < 2 or len(b.shape) < 2:
            raise refuse(NAME, f"takes matrices, not {list(a.shape)} and {list(b.shape)}")
        self.m, self.k = a.shape[-1:-3:-1] if self.trans_a else a.shape[-2:]
        if self.packed:
            self.n = int_attr(NAME, attrs, "n")
            if self.trans_b or b.shape != (-(-self.n // PANEL), self.k, PANEL):
                raise refuse(NAME, f"the packed constant of shape {list(b.shape)} does not fit k={self.k}, n={self.n}")
            batch_b: tuple[int, ...] = ()
        else:
            k, self.n = b.shape[-1:-3:-1] if self.trans_b else b.shape[-2:]
            if k != self.k:
                raise refuse(NAME, f"inner sizes {self.k} and {k} differ ({list(a.shape)} by {list(b.shape)})")
            if "n" in attrs:
                raise refuse(NAME, "attribute 'n' goes with packed=1")
            batch_b = b.shape[:-2]
        batch_a = a.shape[:-2]
        if batch_a and batch_b and batch_a != batch_b:
            raise refuse(NAME, f"batch sizes {list(batch_a)} and {list(batch_b)} differ")
        self.batch = batch_a or batch_b
        self.batched_a, self.batched_b = bool(batch_a), bool(batch_b)
        self.out = (*self.batch, self.m, self.n)
        self.c = types[2] if len(types) > 2 else None
        if self.c is not None:
            tail = (1, 1, *self.c.shape)[-2:]
            batch_c = self.c.shape[:-2]
            if tail[0] not in (1, self.m) or tail[1] not in (1, self.n) or (batch_c and batch_c != self.batch):
                raise refuse(NAME, f"a bias of shape {list(self.c.shape)} does not broadcast to {list(self.out)}")
            self.c_row = 4 * tail[1] if tail[0] != 1 else 0
            self.c_col = 4 if tail[1] != 1 else 0
            self.c_batch = 4 * tail[0] * tail[1] if batch_c else 0


def infer(types: Types, attrs: Attrs) -> TensorType:
    """a [*batch, M, K] by b [*batch, K, N], plus c; see `_Shape`."""
    return TensorType(DType.FLOAT32, _Shape(types, attrs).out)


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    s = _Shape(types, attrs)
    m, n, k = s.m, s.n, s.k
    if not s.batched_b and not s.trans_a and (s.c is None or (s.c_row == 0 and s.c_batch == 0)):
        m *= prod(s.batch)  # one matrix of all rows
    a = [4 * m * k * s.batched_a, *((4, 4 * m) if s.trans_a else (4 * k, 4))]
    if s.packed:
        b = [0, 4 * PANEL * k, 4, 4 * PANEL]
    else:
        col, step = (4 * k, 4) if s.trans_b else (4, 4 * n)
        b = [4 * k * n * s.batched_b, PANEL * col, col, step]
    c = [s.c_batch, s.c_row, s.c_col] if s.c is not None else [0, 0, 0]
    return [out.elements, m, n, k, *a, *b, *c]


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole rows where there are many, else whole groups of columns."""
    return max(ROW_GRAIN * out.shape[-1] // LEAF_FLOATS, 1) if out.shape[-2] > 1 else LONG * PANEL // LEAF_FLOATS


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    k = _Shape(types, attrs).k
    return COST_TILE + LEAF_FLOATS * (256 + COST_FLOAT * (k + k // BLOCK + 2))


def pack(b: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A constant [K, N] as the panels [ceil(N/16), K, 16] that `packed=1` takes; the last one padded with zeros."""
    k, n = b.shape
    panels = np.zeros((-(-n // PANEL), k, PANEL), np.float32)
    for p in range(len(panels)):
        columns = b[:, p * PANEL : (p + 1) * PANEL]
        panels[p, :, : columns.shape[1]] = columns
    return panels


OPS = [Op(NAME, 1, infer, params, matmul_tile, cost, matmul_tiles, grain)]
