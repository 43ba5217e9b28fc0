"""The guest's program: tiles `first` to `first + count - 1`, one after the other.

It is called by the start-up words with a0 = first and a1 = count; what it returns becomes a0 of the halted machine.
"""

from typing import Any

from llvmlite import binding, ir
from numba import types

from vm.guest.intrinsics import load_i64, ult
from vm.guest.record import RECORD_BYTES, TABLE_BASE, TABLE_MAGIC, WORD_FIRST_TILE, WORD_OP, WORD_TILES
from vm.jit import intrinsic, jit

OK = 0
BAD_TABLE = 1
BAD_TILE = 2
BAD_OPERATOR = 3

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

    # The last record whose first tile is not after `first`.
    low, high = 0, nodes
    while high - low > 1:
        middle = (low + high) >> 1
        if ult(first, load_i64(TABLE_BASE + RECORD_BYTES * (1 + middle) + 8 * WORD_FIRST_TILE)):
            high = middle
        else:
            low = middle
    record = TABLE_BASE + RECORD_BYTES * (1 + low)

    tile = first - load_i64(record + 8 * WORD_FIRST_TILE)
    while left > 0:
        if tile == load_i64(record + 8 * WORD_TILES):
            record += RECORD_BYTES
            tile = 0
        if dispatch(load_i64(record + 8 * WORD_OP), record, tile) != OK:
            return BAD_OPERATOR
        tile += 1
        left -= 1
    return OK
