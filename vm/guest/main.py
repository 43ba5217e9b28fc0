"""The guest's program: tiles `first` to `first + count - 1`, one after the other.

Of a program that is repeated, tile `i * body + t` is tile `t` of the body in iteration `i`, for which its node gets a
copy of the record with the addresses of that iteration. The tiles of iterations that do not take place do nothing.

It is called by the start-up words with a0 = first and a1 = count; what it returns becomes a0 of the halted machine.
"""

from typing import Any

from llvmlite import binding, ir
from numba import types

from vm.constants import SCRATCH_BASE
from vm.guest.intrinsics import load_i32, load_i64, store_i64, udiv, ult
from vm.guest.record import (
    MAX_INPUTS,
    RECORD_BYTES,
    RECORD_WORDS,
    TABLE_BASE,
    TABLE_BODY,
    TABLE_COUNT,
    TABLE_LENGTH,
    TABLE_MAGIC,
    WORD_FIRST_TILE,
    WORD_ITERATION,
    WORD_OP,
    WORD_OUT,
    WORD_STRIDE,
    WORD_TILES,
)
from vm.jit import intrinsic, jit

OK = 0
BAD_TABLE = 1
BAD_TILE = 2
BAD_OPERATOR = 3

# The stack grows down from the end of its room in scratch; it comes nowhere near its beginning.
COPY = SCRATCH_BASE

DISPATCH = "guest.dispatch"  # (operator, record, tile) -> OK or BAD_OPERATOR; made by the build
binding.add_symbol(DISPATCH, 1)  # numba links what it compiles, though nobody runs it natively


@intrinsic
def dispatch(typingctx: Any, operator: Any, record: Any, tile: Any) -> Any:
    """Computes a tile of a record by the kernel of its operator."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        word = ir.IntType(64)
        function = ir.Function(builder.module, ir.FunctionType(word, [word] * 3), DISPATCH)
        return builder.call(function, args)

    return types.int64(types.int64, types.int64, types.int64), codegen


@jit
def place(record, iteration):  # type: ignore[no-untyped-def]
    """A copy of a record as a kernel wants it in an iteration."""
    for word in range(RECORD_WORDS):
        store_i64(COPY + 8 * word, load_i64(record + 8 * word))
    for tensor in range(1 + MAX_INPUTS):
        address = load_i64(record + 8 * (WORD_OUT + tensor))
        stride = load_i64(record + 8 * (WORD_STRIDE + tensor))
        store_i64(COPY + 8 * (WORD_OUT + tensor), address + iteration * stride)
    store_i64(COPY + 8 * WORD_ITERATION, iteration)
    return COPY


@jit
def main(first, count):  # type: ignore[no-untyped-def]
    """Computes the tiles in [first, first + count) that the program has; returns OK, or what was wrong."""
    nodes, total = load_i64(TABLE_BASE + 8), load_i64(TABLE_BASE + 16)
    if load_i64(TABLE_BASE) != TABLE_MAGIC or nodes <= 0:
        return BAD_TABLE
    if not ult(first, total):
        return BAD_TILE
    left = total - first
    if ult(count, left):
        left = count

    times, iteration = load_i64(TABLE_BASE + 8 * TABLE_COUNT), 0
    if times != 0:
        body = load_i64(TABLE_BASE + 8 * TABLE_BODY)
        if body <= 0:
            return BAD_TABLE
        left = min(left, min(max(load_i32(load_i64(TABLE_BASE + 8 * TABLE_LENGTH)), 0), times) * body - first)
        if left <= 0:
            return OK
        iteration = udiv(first, body)
        first -= iteration * body

    # The last record whose first tile is not after `first`.
    low, high = 0, nodes
    while high - low > 1:
        middle = (low + high) >> 1
        if ult(first, load_i64(TABLE_BASE + RECORD_BYTES * (1 + middle) + 8 * WORD_FIRST_TILE)):
            high = middle
        else:
            low = middle
    record = TABLE_BASE + RECORD_BYTES * (1 + low)

    end, fresh = TABLE_BASE + RECORD_BYTES * (1 + nodes), True
    tile = first - load_i64(record + 8 * WORD_FIRST_TILE)
    while left > 0:
        if tile == load_i64(record + 8 * WORD_TILES):
            record += RECORD_BYTES
            tile = 0
            if times != 0 and record == end:
                record = TABLE_BASE + RECORD_BYTES
                iteration += 1
        if times != 0 and (tile == 0 or fresh):
            place(record, iteration)
            fresh = False
        if dispatch(load_i64(record + 8 * WORD_OP), COPY if times != 0 else record, tile) != OK:
            return BAD_OPERATOR
        tile += 1
        left -= 1
    return OK
