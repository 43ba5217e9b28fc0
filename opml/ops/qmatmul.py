"""Matrix product with a quantised constant: weight = (code - zero) * scale, then the chains of `matmul`.

The constant stays as small as it is (`few_bits`): fast kernels unpack what they need at once, and no more.
"""

from math import prod

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import ONE, ZERO, round_even
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
    param_f32,
)
from opml.ops.checks import only, refuse, take_dtype, take_inputs
from opml.ops.codes import BITS, Zeros, make_row_kernel, make_unpack
from opml.ops.few_bits import (
    COLS,
    DEPTH,
    FILL,
    GROUP,
    GROUPS,
    LENGTH,
    OWN,
    PER_LOG2,
    SIZE,
    ZERO_BYTES,
    Layout,
    code_at,
    zero_at,
)
from opml.ops.gemm import COLUMNS, STRIPE, accumulate, finish, linear, packed_room, sums_room, table_room
from opml.ops.matmul import BLOCK, PANEL, ROW_GRAIN
from opml.ops.microkernel import VECTORS
from opml.ops.narrow import make_widen
from opml.ops.native import make_stack
from vm.guest.intrinsics import abs32, fma32, i64_f32, load_f32, store_f32, store_i32, udiv, urem

NAME = "qmatmul"
BIAS_STEP = OWN  # bytes from one bias to the next


@jit
def quantised_dot(r, a, col):  # type: ignore[no-untyped-def]
    """The row at a by a column, in blocks."""
    depth, size, per_log2, group = param(r, DEPTH), param(r, SIZE), param(r, PER_LOG2), param(r, GROUP)
    nbytes, fill = param(r, ZERO_BYTES), param_f32(r, FILL)
    words = ((depth - 1) >> (per_log2 & 63)) + 1
    q = input_address(r, 1) + 4 * ((col >> 4) * words * PANEL + (col & 15))
    first = (col >> 4) * param(r, GROUPS) * PANEL + (col & 15)
    total, k = ZERO, 0
    while k < depth:
        acc, end = ZERO, min(k + BLOCK, depth)
        while k < end:
            at = udiv(k, group)
            stop = min(end, (at + 1) * group)
            at = first + PANEL * at
            scale, zero = load_f32(input_address(r, 2) + 4 * at), zero_at(input_address(r, 3), at, nbytes, fill)
            while k < stop:
                weight = (i64_f32(code_at(q, k, size, per_log2)) - zero) * scale
                acc = fma32(load_f32(a + 4 * k), weight, acc)
                k += 1
        total += acc
    return total


@jit
def qmatmul_tile(r, t):  # type: ignore[no-untyped-def]
    y, bias, cols = out_address(r), input_address(r, 4), param(r, COLS)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        row, col = udiv(e, cols), urem(e, cols)
        total = quantised_dot(r, input_address(r, 0) + 4 * row * param(r, DEPTH), col)
        if bias != 0:
            total += load_f32(bias + col * param(r, BIAS_STEP))
        store_f32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


LARGE = np.float32(256)
# Panels of one row that are computed together: as many as there are registers for.
WIDE = 4 if VECTORS == 2 else 2
_rows_wide = [make_row_kernel(bits, WIDE) for bits in BITS]
_whole_4, _whole_8 = (make_row_kernel(bits, WIDE, Zeros.INTEGERS) for bits in (4, 8))
_one_4, _one_8 = (make_row_kernel(bits, WIDE, Zeros.ONE) for bits in (4, 8))
_rows_one = [make_row_kernel(bits, 1) for bits in BITS]
_unpacks = [make_unpack(bits, VECTORS) for bits in BITS]
_row_wide_2, _row_wide_4, _row_wide_8 = _rows_wide
_row_one_2, _row_one_4, _row_one_8 = _rows_one
_unpack_2, _unpack_4, _unpack_8 = _unpacks
_widen = make_widen(False)
zeros_room = make_stack(4 * PANEL * WIDE)
chains_room = make_stack(4 * PANEL * WIDE)


@jit
def row_wide(size, kind, q, q_panel, s, s_panel, z, z_panel, n, a, sums):  # type: ignore[no-untyped-def]
    """`kind` is what the zeros are: 0 floats, 1 integers, 2 one integer."""
    if size == 4:
        if kind == 2:
            _one_4(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
        elif kind == 1:
            _whole_4(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
        else:
            _row_wide_4(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
    elif size == 8:
        if kind == 2:
            _one_8(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
        elif kind == 1:
            _whole_8(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
        else:
            _row_wide_8(q, q_panel, s, s_panel, z, z_panel, n, a, sums)
    else:
        _row_wide_2(q, q_panel, s, s_panel, z, z_panel, n, a, sums)


@jit
def row_one(size, q, s, z, n, a, sums):  # type: ignore[no-untyped-def]
    if size == 4:
        _row_one_4(q, 0, s, 0, z, 0, n, a, sums)
    elif size == 8:
        _row_one_8(q, 0, s, 0, z, 0, n, a, sums)
    else:
        _row_one_2(q, 0, s, 0, z, 0, n, a, sums)


@jit
def unpack(size, q, q_panel, s, s_panel, z, z_panel, n, target):  # type: ignore[no-untyped-def]
    if size == 4:
        _unpack_4(q, q_panel, s, s_panel, z, z_panel, n, target)
    elif size == 8:
        _unpack_8(q, q_panel, s, s_panel, z, z_panel, n, target)
    else:
        _unpack_2(q, q_panel, s, s_panel, z, z_panel, n, target)


@jit
def load_zeros(r, at, distance, panels, room):  # type: ignore[no-untyped-def]
    """The zeros from `at` on, of panels `distance` elements apart, as floats: their address, and that of the next."""
    zeros, nbytes, fill = input_address(r, 3), param(r, ZERO_BYTES), param_f32(r, FILL)
    if nbytes == 4:
        return zeros + 4 * at, 4 * distance
    for v in range(panels):
        source, target = zeros + at + v * distance, room + 4 * PANEL * v
        if nbytes == 1:
            _widen(source, target, 1, ONE, 0)
        else:
            for j in range(PANEL):
                store_f32(target + 4 * j, fill)
    return room, 4 * PANEL


@jit
def quantised_row(r, a, col, panels, zeros, chains, sums):  # type: ignore[no-untyped-def]
    """Sums without bias of one row and `panels` panels, WIDE or 1, from column `col` on."""
    depth, size, per_log2, group = param(r, DEPTH), param(r, SIZE), param(r, PER_LOG2), param(r, GROUP)
    distance = param(r, GROUPS) * PANEL
    q_panel = 4 * PANEL * (((depth - 1) >> (per_log2 & 63)) + 1)
    q, first = input_address(r, 1) + (col >> 4) * q_panel, (col >> 4) * distance
    changing, fill = param(r, ZERO_BYTES) != 0, param_f32(r, FILL)
    kind = 1 if param(r, ZERO_BYTES) == 1 else 0
    if not changing and fill == round_even(fill) and abs32(fill) < LARGE:
        kind = 2
    z, z_panel = load_zeros(r, first, distance, panels, zeros)
    s = input_address(r, 2)
    for i in range(panels * PANEL):
        store_i32(sums + 4 * i, 0)
    k, left = 0, 0
    while k < depth:
        end = min(k + BLOCK, depth)
        for i in range(panels * PANEL):
            store_i32(chains + 4 * i, 0)
        while k < end:
            if left == 0:
                at = first + PANEL * udiv(k, group)
                s, left = input_address(r, 2) + 4 * at, group
                if changing:
                    z, z_panel = load_zeros(r, at, distance, panels, zeros)
            n = min(end - k, left)
            here = q + ((k >> (per_log2 & 63)) << 6)
            if panels == 1:
                row_one(size, here, s, z, n, a + 4 * k, chains)
            else:
                row_wide(size, kind, here, q_panel, s, 4 * distance, z, z_panel, n, a + 4 * k, chains)
            k += n
            left -= n
        for i in range(panels * PANEL):
            store_f32(sums + 4 * i, load_f32(sums + 4 * i) + load_f32(chains + 4 * i))


@jit
def unpack_block(r, col, k, n, zeros, target):  # type: ignore[no-untyped-def]
    """The weights of n neighbouring k and COLUMNS columns, dense."""
    depth, size, per_log2, group = param(r, DEPTH), param(r, SIZE), param(r, PER_LOG2), param(r, GROUP)
    distance = param(r, GROUPS) * PANEL
    q_panel = 4 * PANEL * (((depth - 1) >> (per_log2 & 63)) + 1)
    q, first = input_address(r, 1) + (col >> 4) * q_panel, (col >> 4) * distance
    # A last panel that stands alone is read twice.
    next_panel = np.int64(col + PANEL < param(r, COLS))
    end = k + n
    while k < end:
        at = first + PANEL * udiv(k, group)
        n = min(end, (udiv(k, group) + 1) * group) - k
        z, z_panel = load_zeros(r, at, distance * next_panel, VECTORS, zeros)
        s = input_address(r, 2) + 4 * at
        here = q + ((k >> (per_log2 & 63)) << 6)
        unpack(size, here, q_panel * next_panel, s, 4 * distance * next_panel, z, z_panel, n, target)
        target += 4 * COLUMNS * n
        k += n


@jit
def rows_by_columns(r, row, rows, col, end, dense, packed, zeros, sums):  # type: ignore[no-untyped-def]
    """Outputs of `rows` rows from `row` on, columns col..end-1, which lie in the same COLUMNS."""
    depth, cols, bias, step = param(r, DEPTH), param(r, COLS), input_address(r, 4), param(r, BIAS_STEP)
    base = col - urem(col, COLUMNS)
    for top in range(row, row + rows, STRIPE):
        count = min(row + rows - top, STRIPE)
        for start in range(0, depth, BLOCK):
            n, first = min(depth - start, BLOCK), np.int64(start == 0)
            unpack_block(r, base, start, n, zeros, packed)
            a = input_address(r, 0) + 4 * (top * depth + start)
            accumulate(count, a, 4 * depth, 4, packed, 4 * PANEL, dense, n, sums, first)
        for i in range(count):
            y = out_address(r) + 4 * ((top + i) * cols + col)
            added = bias + col * step if bias != 0 else 0
            finish(y, sums + 4 * (i * COLUMNS + col - base), end - col, added, step)


@jit
def one_row(r, row, col, end, zeros, chains, sums):  # type: ignore[no-untyped-def]
    """Outputs col..end-1 of a row."""
    depth, cols, bias, step = param(r, DEPTH), param(r, COLS), input_address(r, 4), param(r, BIAS_STEP)
    a = input_address(r, 0) + 4 * row * depth
    base = col & ~(PANEL - 1)
    while base < end:
        panels = WIDE if base + (WIDE - 1) * PANEL < end else 1
        quantised_row(r, a, base, panels, zeros, chains, sums)
        left, right = max(base, col), min(base + panels * PANEL, end)
        added = bias + left * step if bias != 0 else 0
        finish(out_address(r) + 4 * (row * cols + left), sums + 4 * (left - base), right - left, added, step)
        base += panels * PANEL


@jit
def qmatmul_tiles(r, first, count):  # type: ignore[no-untyped-def]
    cols, depth = param(r, COLS), param(r, DEPTH)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    if (param(r, GROUP) & ((1 << (param(r, PER_LOG2) & 63)) - 1)) != 0 and param(r, GROUP) < depth:
        for t in range(first, first + count):  # groups that start within a word
            qmatmul_tile(r, t)
        return
    dense, packed, zeros, chains, sums = table_room(), packed_room(), zeros_room(), chains_room(), sums_room()
    linear(dense, 4 * COLUMNS, min(depth, BLOCK))
    clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))
    while e < stop:
        row, col = udiv(e, cols), urem(e, cols)
        lines = udiv(stop - e, cols)
        if col != 0 or lines < 2:
            end = min(cols, col + stop - e)
            one_row(r, row, col, end, zeros, chains, sums)
            e += end - col
        else:
            for start in range(0, cols, COLUMNS):
                rows_by_columns(r, row, lines, start, min(start + COLUMNS, cols), dense, packed, zeros, sums)
            e += lines * cols


def infer(types: Types, attrs: Attrs) -> TensorType:
    """a [*batch, M, K] by codes, scales and maybe zeros (see `pack_codes`), plus maybe a bias [N] or [1].

    Attributes bits, n, k, group, and `zero` for all where there are no zeros.
    """
    a, _, _ = take_inputs(NAME, types, 3, 5)
    only(NAME, attrs, "bits", "n", "k", "group", "zero")
    take_dtype(NAME, a, (DType.FLOAT32,))
    layout = Layout(NAME, types, 1, attrs)
    if not a.shape or a.shape[-1] != layout.k:
        raise refuse(NAME, f"an input of {list(a.shape)} by a constant of depth {layout.k}")
    bias = types[4] if len(types) > 4 else None
    if bias is not None and (bias.dtype is not DType.FLOAT32 or bias.shape not in ((layout.n,), (1,), ())):
        raise refuse(NAME, f"a bias of {bias} for {layout.n} columns")
    return TensorType(DType.FLOAT32, (*a.shape[:-1], layout.n))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    bias = types[4] if len(types) > 4 else None
    step = 4 if bias is not None and bias.elements > 1 else 0
    return [out.elements, *Layout(NAME, types, 1, attrs).words(), step]


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole rows where there are many, else whole groups of columns."""
    rows = prod(out.shape[:-1])
    return max(ROW_GRAIN * out.shape[-1] // LEAF_FLOATS, 1) if rows > 1 else WIDE * PANEL // LEAF_FLOATS


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    layout = Layout(NAME, types, 1, attrs)
    # Of the conversion, difference, product and chain not all are at their slowest on the same numbers.
    steps = layout.k * (64 + 2 * COST_FLOAT) + (layout.groups + layout.k // BLOCK) * (64 + COST_FLOAT)
    return COST_TILE + LEAF_FLOATS * (256 + 2 * COST_FLOAT + steps)


OPS = [Op(NAME, 418, infer, params, qmatmul_tile, cost, qmatmul_tiles, grain)]
