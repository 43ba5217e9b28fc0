"""Rows of an embedding that is stored as the quantised constant of `qmatmul`, whose columns they are."""

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    LEAF_FLOATS,
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
    param_f32,
)
from opml.ops.checks import only, take_dtype, take_inputs
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
from opml.ops.matmul import PANEL
from vm.guest.intrinsics import i64_f32, load_f32, store_f32, udiv, urem

NAME = "qgather"
INDEX = OWN  # the dtype of the indices


@jit
def qgather_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, cols, depth, group = out_address(r), param(r, COLS), param(r, DEPTH), param(r, GROUP)
    size, per_log2, dtype = param(r, SIZE), param(r, PER_LOG2), param(r, INDEX)
    words = ((depth - 1) >> (per_log2 & 63)) + 1
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    while e < stop:
        row, k = udiv(e, depth), urem(e, depth)
        col = load_int(input_address(r, 0) + element_size(dtype) * row, dtype)
        col = min(max(col + cols if col < 0 else col, 0), cols - 1)
        q = input_address(r, 1) + 4 * ((col >> 4) * words * PANEL + (col & 15))
        at = ((col >> 4) * param(r, GROUPS) + udiv(k, group)) * PANEL + (col & 15)
        scale = load_f32(input_address(r, 2) + 4 * at)
        zero = zero_at(input_address(r, 3), at, param(r, ZERO_BYTES), param_f32(r, FILL))
        run = min(min(group - urem(k, group), depth - k), stop - e)
        for i in range(run):
            store_f32(y + 4 * (e + i), (i64_f32(code_at(q, k + i, size, per_log2)) - zero) * scale)
        e += run
    clear(y + 4 * stop, y + 32 * (first + count))


@jit
def qgather_tile(r, t):  # type: ignore[no-untyped-def]
    qgather_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """indices of any shape into the n columns of a constant of depth k: [*indices, k].

    An index from -n to -1 counts from the end; others outside of 0..n-1 are as the nearest that is not.
    """
    indices, _, _ = take_inputs(NAME, types, 3, 4)
    only(NAME, attrs, "bits", "n", "k", "group", "zero")
    take_dtype(NAME, indices, (DType.INT32, DType.INT64))
    return TensorType(DType.FLOAT32, (*indices.shape, Layout(NAME, types, 1, attrs).k))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    indices, _, _ = take_inputs(NAME, types, 3, 4)
    return [out.elements, *Layout(NAME, types, 1, attrs).words(), DTYPE_CODES[indices.dtype]]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF_FLOATS * (256 + 4 * COST_FLOAT)


OPS = [Op(NAME, 419, infer, params, qgather_tile, cost, qgather_tiles)]
