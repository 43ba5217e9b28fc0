"""Rows of a product, 16 columns to a vector: what the fast kernels of matmul and convolution share. Native only."""

from opml.ops.base import jit
from opml.ops.microkernel import ROWS, VECTORS, make_finish, make_microkernel
from opml.ops.native import LANES, make_stack
from vm.guest.intrinsics import load_i32, store_i32, store_i64

# Columns computed together, and rows over which a packed block of B is used again.
COLUMNS = LANES * VECTORS
STRIPE = 48
FEW = 4
# Bytes of the sums of a stripe, of a block of k packed in COLUMNS, and of a table of distances.
TABLE_BYTES = 8 * 512
# `finish` may read as many vectors again beyond the last sum.
sums_room = make_stack(4 * (STRIPE + 1) * COLUMNS)
packed_room = make_stack(4 * 512 * COLUMNS)
table_room = make_stack(TABLE_BYTES)
# Vectors of one row that are computed together.
LONG = 8

_full = make_microkernel(ROWS, VECTORS)
_few = make_microkernel(FEW, VECTORS)
_one = make_microkernel(1, VECTORS)
long_row = make_microkernel(1, LONG)


@jit
def accumulate(rows, a, a_row, a_step, b, b_vector, table, n, out, first):  # type: ignore[no-untyped-def]
    """Adds the chains of one block of n pairs to out, dense rows of COLUMNS floats; see `microkernel`."""
    i = 0
    while i < rows:
        left, target = a + i * a_row, out + i * (4 * COLUMNS)
        if rows - i >= ROWS:
            _full(left, a_row, a_step, b, b_vector, table, n, target, first)
            i += ROWS
        elif rows - i >= FEW:
            _few(left, a_row, a_step, b, b_vector, table, n, target, first)
            i += FEW
        else:
            _one(left, a_row, a_step, b, b_vector, table, n, target, first)
            i += 1


@jit
def linear(table, step, n):  # type: ignore[no-untyped-def]
    """Fills a table with multiples of `step`."""
    for k in range(n):
        store_i64(table + 8 * k, k * step)


@jit
def gather(b, column, step, columns, n, packed):  # type: ignore[no-untyped-def]
    """Copies n rows of up to COLUMNS columns together; what is missing becomes zero, and its sums are not used."""
    for k in range(n):
        source, target = b + k * step, packed + 4 * COLUMNS * k
        for j in range(columns):
            store_i32(target + 4 * j, load_i32(source + j * column))
        for j in range(columns, COLUMNS):
            store_i32(target + 4 * j, 0)


_plain, _shifted, _biased = make_finish("none"), make_finish("one"), make_finish("each")


@jit
def finish(y, sums, n, bias, bias_step):  # type: ignore[no-untyped-def]
    """Stores n neighbouring sums with their bias (none at address 0, one for all where the step is 0)."""
    for j in range(0, n, COLUMNS):
        count = min(n - j, COLUMNS)
        if bias == 0:
            _plain(y + 4 * j, sums + 4 * j, count, 0)
        elif bias_step == 0:
            _shifted(y + 4 * j, sums + 4 * j, count, bias)
        else:
            _biased(y + 4 * j, sums + 4 * j, count, bias + 4 * j)
