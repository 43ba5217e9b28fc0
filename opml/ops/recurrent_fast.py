"""Whole steps of recurrent cells: the products of all sequences by the microkernel, then the gates. Native only."""

from opml.ops.base import input_address, jit, param
from opml.ops.cells import (
    BATCH,
    GATES,
    HIDDEN,
    WEIGHT,
    WIDTH,
    before,
    gru_gate,
    gru_h,
    gru_linear,
    length_of,
    lstm_c,
    lstm_h,
    projected,
    rnn_h,
)
from opml.ops.gemm import COLUMNS, STRIPE, linear, packed_room, sums_room
from opml.ops.matmul import A_BATCH, A_K, A_ROW, B_COL, B_K, B_PANEL, BLOCK, COLS, DEPTH, PANEL, strip
from opml.ops.native import make_stack
from vm.guest.intrinsics import load_f32, load_i32, store_f32, store_i32, store_i64
from vm.guest.record import RECORD_BYTES, WORD_INPUT, WORD_PARAM

record_room = make_stack(RECORD_BYTES)


@jit
def put(m, i, value):  # type: ignore[no-untyped-def]
    store_i64(m + 8 * (WORD_PARAM + i), value)


@jit
def open_product(r, m):  # type: ignore[no-untyped-def]
    """Writes at m the record of a matrix product of states with the weights of one gate."""
    hidden = param(r, HIDDEN)
    put(m, COLS, hidden)
    put(m, DEPTH, hidden)
    put(m, A_BATCH, 0)
    put(m, A_ROW, 4 * param(r, WIDTH))
    put(m, A_K, 4)
    put(m, B_PANEL, 4 * PANEL)
    put(m, B_COL, 4)
    put(m, B_K, 4 * param(r, GATES) * hidden)


@jit
def product(r, m, h, rows, g, j, tables, packed, sums):  # type: ignore[no-untyped-def]
    """Columns j.. (at most COLUMNS) of the states at h by the weights of gate g."""
    store_i64(m + 8 * WORD_INPUT, h)
    store_i64(m + 8 * (WORD_INPUT + 1), input_address(r, WEIGHT) + 4 * g * param(r, HIDDEN))
    strip(m, 0, 0, rows, j, tables, tables + 8 * BLOCK, packed, sums)


@jit
def keep(r, s, n, start, stop):  # type: ignore[no-untyped-def]
    """A sequence that has ended keeps its state."""
    last, here = before(r, s, n), before(r, s + 1, n)
    for j in range(start, stop):
        store_i32(here + 4 * j, load_i32(last + 4 * j))


tables_room = make_stack(2 * 8 * BLOCK)


@jit
def open_tables(r, tables):  # type: ignore[no-untyped-def]
    linear(tables, 4 * param(r, GATES) * param(r, HIDDEN), min(param(r, HIDDEN), BLOCK))
    linear(tables + 8 * BLOCK, 4 * COLUMNS, min(param(r, HIDDEN), BLOCK))


@jit
def rnn_steps(r, begin, end):  # type: ignore[no-untyped-def]
    m, tables, packed, sums = record_room(), tables_room(), packed_room(), sums_room()
    open_product(r, m)
    open_tables(r, tables)
    hidden = param(r, HIDDEN)
    for s in range(begin, end):
        for top in range(0, param(r, BATCH), STRIPE):
            rows = min(param(r, BATCH) - top, STRIPE)
            for start in range(0, hidden, COLUMNS):
                stop = min(start + COLUMNS, hidden)
                product(r, m, before(r, s, top), rows, 0, start, tables, packed, sums)
                for i in range(rows):
                    n = top + i
                    if s >= length_of(r, n):
                        keep(r, s, n, start, stop)
                        continue
                    x, here, row = projected(r, s, n), before(r, s + 1, n), sums + 4 * (i * COLUMNS - start)
                    for j in range(start, stop):
                        store_f32(here + 4 * j, rnn_h(r, x, j, load_f32(row + 4 * j)))


@jit
def lstm_steps(r, begin, end):  # type: ignore[no-untyped-def]
    m, tables, packed = record_room(), tables_room(), packed_room()
    sums_i, sums_o, sums_f, sums_c = sums_room(), sums_room(), sums_room(), sums_room()
    open_product(r, m)
    open_tables(r, tables)
    hidden = param(r, HIDDEN)
    for s in range(begin, end):
        for top in range(0, param(r, BATCH), STRIPE):
            rows = min(param(r, BATCH) - top, STRIPE)
            h = before(r, s, top) + 4 * hidden
            for start in range(0, hidden, COLUMNS):
                stop = min(start + COLUMNS, hidden)
                product(r, m, h, rows, 0, start, tables, packed, sums_i)
                product(r, m, h, rows, 1, start, tables, packed, sums_o)
                product(r, m, h, rows, 2, start, tables, packed, sums_f)
                product(r, m, h, rows, 3, start, tables, packed, sums_c)
                for i in range(rows):
                    n = top + i
                    if s >= length_of(r, n):
                        keep(r, s, n, start, stop)
                        keep(r, s, n, hidden + start, hidden + stop)
                        continue
                    x, last, here = projected(r, s, n), before(r, s, n), before(r, s + 1, n)
                    for j in range(start, stop):
                        at = 4 * (i * COLUMNS + j - start)
                        old = load_f32(last + 4 * j)
                        c = lstm_c(r, x, old, j, load_f32(sums_i + at), load_f32(sums_f + at), load_f32(sums_c + at))
                        store_f32(here + 4 * j, c)
                        # What is stored is read again: a NaN has its stored form then.
                        h_j = lstm_h(r, x, load_f32(here + 4 * j), j, load_f32(sums_o + at))
                        store_f32(here + 4 * (hidden + j), h_j)


@jit
def gru_steps(r, begin, end):  # type: ignore[no-untyped-def]
    m, tables, packed, sums_z, sums = record_room(), tables_room(), packed_room(), sums_room(), sums_room()
    open_product(r, m)
    open_tables(r, tables)
    hidden = param(r, HIDDEN)
    for s in range(begin, end):
        for top in range(0, param(r, BATCH), STRIPE):
            rows = min(param(r, BATCH) - top, STRIPE)
            h = before(r, s, top) + 4 * hidden
            for start in range(0, hidden, COLUMNS):
                stop = min(start + COLUMNS, hidden)
                product(r, m, h, rows, 1, start, tables, packed, sums)
                for i in range(rows):
                    n = top + i
                    if s >= length_of(r, n):
                        keep(r, s, n, start, stop)
                        continue
                    x, last, here = projected(r, s, n), before(r, s, n), before(r, s + 1, n)
                    row = sums + 4 * (i * COLUMNS - start)
                    for j in range(start, stop):
                        reset = gru_gate(r, x, 1, j, load_f32(row + 4 * j))
                        store_f32(here + 4 * j, reset * load_f32(last + 4 * (hidden + j)))
            for start in range(0, hidden, COLUMNS):
                stop = min(start + COLUMNS, hidden)
                product(r, m, h, rows, 0, start, tables, packed, sums_z)
                product(r, m, before(r, s + 1, top), rows, 2, start, tables, packed, sums)
                for i in range(rows):
                    n = top + i
                    if s >= length_of(r, n):
                        keep(r, s, n, hidden + start, hidden + stop)
                        continue
                    x, last, here = projected(r, s, n), before(r, s, n), before(r, s + 1, n)
                    for j in range(start, stop):
                        at = 4 * (i * COLUMNS + j - start)
                        z = gru_gate(r, x, 0, j, load_f32(sums_z + at))
                        old = load_f32(last + 4 * (hidden + j))
                        store_f32(here + 4 * (hidden + j), gru_h(r, x, old, z, j, load_f32(sums + at)))


@jit
def gru_linear_steps(r, begin, end):  # type: ignore[no-untyped-def]
    m, tables, packed = record_room(), tables_room(), packed_room()
    sums_z, sums_r, sums_h = sums_room(), sums_room(), sums_room()
    open_product(r, m)
    open_tables(r, tables)
    hidden = param(r, HIDDEN)
    for s in range(begin, end):
        for top in range(0, param(r, BATCH), STRIPE):
            rows = min(param(r, BATCH) - top, STRIPE)
            h = before(r, s, top)
            for start in range(0, hidden, COLUMNS):
                stop = min(start + COLUMNS, hidden)
                product(r, m, h, rows, 0, start, tables, packed, sums_z)
                product(r, m, h, rows, 1, start, tables, packed, sums_r)
                product(r, m, h, rows, 2, start, tables, packed, sums_h)
                for i in range(rows):
                    n = top + i
                    if s >= length_of(r, n):
                        keep(r, s, n, start, stop)
                        continue
                    x, last, here = projected(r, s, n), before(r, s, n), before(r, s + 1, n)
                    for j in range(start, stop):
                        at = 4 * (i * COLUMNS + j - start)
                        z = gru_gate(r, x, 0, j, load_f32(sums_z + at))
                        reset = gru_gate(r, x, 1, j, load_f32(sums_r + at))
                        inner = gru_linear(r, reset, j, load_f32(sums_h + at))
                        store_f32(here + 4 * j, gru_h(r, x, load_f32(last + 4 * j), z, j, inner))
