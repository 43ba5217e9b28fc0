"""Products of bytes, summed exactly: what the integer matrix product and convolution share.

A byte less a zero point is at most 255 in size, and a float32 holds every integer up to 2^24: a chain of 256 products
is exact in float32, in any order. So the fast kernels are those of floats, over blocks of 256, each block's sum then
added to an int32. That gives the same on every CPU, where instructions for bytes differ (some saturate).
"""

from opml.graph import DType, TensorType
from opml.numerics import ONE
from opml.ops.base import jit
from opml.ops.checks import refuse, take_dtype
from opml.ops.gemm import COLUMNS, STRIPE
from opml.ops.narrow import add_integers, make_rows, make_widen
from opml.ops.native import LANES, make_stack
from vm.guest.intrinsics import i64_f32, load_f32, load_i32, load_u8, store_f32, store_i32

BYTES = (DType.INT8, DType.UINT8)
EXACT = 256  # products of a block
FLIP = 128  # of a signed byte, seen as unsigned

left_room = make_stack(4 * EXACT * STRIPE)
totals_room = make_stack(4 * (STRIPE + 1) * COLUMNS)
zeros_room = make_stack(4 * COLUMNS)

_widen_signed, _widen_unsigned = make_widen(True), make_widen(False)
_rows_signed, _rows_unsigned = make_rows(True), make_rows(False)


@jit
def load_byte(address, flip):  # type: ignore[no-untyped-def]
    """An int8 where `flip` is 128, an uint8 where it is 0."""
    return (load_u8(address) ^ flip) - flip


@jit
def load_zero(zeros, i, step, flip):  # type: ignore[no-untyped-def]
    """Zero point i, where neighbours lie `step` bytes apart; 0 where there are none."""
    return load_byte(zeros + i * step, flip) if zeros != 0 else 0


@jit
def widen_line(source, target, n, flip, zero):  # type: ignore[no-untyped-def]
    """n neighbouring bytes as floats less a zero point. Native only."""
    if flip != 0:
        _widen_signed(source, target, n >> 4, ONE, zero)
    else:
        _widen_unsigned(source, target, n >> 4, ONE, zero)
    for i in range(n & ~(LANES - 1), n):
        store_f32(target + 4 * i, i64_f32(load_byte(source + i, flip) - zero))


@jit
def widen_columns(source, row, n, columns, flip, zeros, target):  # type: ignore[no-untyped-def]
    """n rows of up to COLUMNS bytes, `row` apart, as dense floats less the zeros of their columns. Native only."""
    whole = columns & ~(LANES - 1)
    for j in range(0, whole, LANES):
        if flip != 0:
            _rows_signed(source + j, row, n, zeros + 4 * j, target + 4 * j, 4 * COLUMNS)
        else:
            _rows_unsigned(source + j, row, n, zeros + 4 * j, target + 4 * j, 4 * COLUMNS)
    for k in range(n):
        for j in range(whole, COLUMNS):
            at = target + 4 * (k * COLUMNS + j)
            if j < columns:
                store_f32(at, i64_f32(load_byte(source + k * row + j, flip)) - load_f32(zeros + 4 * j))
            else:
                store_i32(at, 0)


@jit
def add_block(rows, sums, totals, first):  # type: ignore[no-untyped-def]
    """Adds the sums of a block, dense rows of COLUMNS floats, to the totals. Native only."""
    if first != 0:
        for i in range(rows * COLUMNS):
            store_i32(totals + 4 * i, 0)
    add_integers(sums, totals, rows * (COLUMNS // LANES))


@jit
def copy_words(source, target, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        store_i32(target + 4 * i, load_i32(source + 4 * i))


def check_zero(op: str, what: str, x: TensorType, zero: TensorType | None, size: int) -> int:
    """The distance of neighbouring zero points: 0 for one of all, 1 for `size` of them."""
    take_dtype(op, x, BYTES)
    if zero is None:
        return 0
    if zero.dtype is not x.dtype or zero.shape not in ((), (1,), (size,)):
        raise refuse(op, f"zero points {zero.dtype.value}{list(zero.shape)} for {what}")
    return int(zero.elements > 1)


def flip_of(x: TensorType) -> int:
    """The parameter `flip` of a dtype."""
    return FLIP if x.dtype is DType.INT8 else 0
