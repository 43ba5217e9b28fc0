"""Elements by place: one_hot, trilu, reverse_sequence."""

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_TILE,
    DTYPE_CODES,
    Attrs,
    Op,
    Types,
    clear,
    copy_element,
    element_size,
    input_address,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
)
from opml.ops.checks import axis_attr, flag_attr, int_attr, only, refuse, take_dtype, take_inputs
from opml.ops.gather import INDICES
from opml.ops.movement import copy_run
from opml.ops.rows import middle
from vm.guest.intrinsics import load_i64, udiv, urem

LENGTH, SIZE = 0, 1

# one_hot: the output is [outer, DEPTH, INNER], the indices [outer, INNER].
DEPTH, INNER = 2, 3


@jit
def one_hot_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """values[1] where the index, from the end if it is negative, is the place along the new axis, else values[0]."""
    indices, values, y = input_address(r, 0), input_address(r, 1), out_address(r)
    size, depth, inner = param(r, SIZE), param(r, DEPTH), param(r, INNER)
    leaf = udiv(32, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        line = udiv(e, inner)
        index = load_i64(indices + 8 * (udiv(line, depth) * inner + urem(e, inner)))
        if index < 0:
            index += depth
        copy_element(y + size * e, values + (size if index == urem(line, depth) else 0), size)
    clear(y + size * stop, y + 32 * (first + count))


@jit
def one_hot_tile(r, t):  # type: ignore[no-untyped-def]
    one_hot_tiles(r, t, 1)


def infer_one_hot(types: Types, attrs: Attrs) -> TensorType:
    """indices (int64) and values [2] -> the indices' shape with `depth` places along a new `axis`."""
    indices, values = take_inputs("one_hot", types, 2)
    take_dtype("one_hot", indices, [DType.INT64])
    only("one_hot", attrs, "depth", "axis")
    depth, axis = int_attr("one_hot", attrs, "depth"), axis_attr("one_hot", attrs, len(indices.shape) + 1)
    if not 1 <= depth < 1 << 40 or values.shape != (2,):
        raise refuse("one_hot", f"a depth of {depth} with values {list(values.shape)}")
    return TensorType(values.dtype, (*indices.shape[:axis], depth, *indices.shape[axis:]))


def params_one_hot(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    axis = axis_attr("one_hot", attrs, len(out.shape))
    _, depth, inner = middle(out, axis, axis)
    return [out.elements, out.dtype.size, depth, inner]


# trilu: matrices of ROWS x COLUMNS; what is kept lies on the diagonal K and above it, or below it.
ROWS, COLUMNS, DIAGONAL, UPPER = 2, 3, 4, 5


@jit
def trilu_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, size, rows, columns = input_address(r, 0), out_address(r), param(r, SIZE), param(r, ROWS), param(r, COLUMNS)
    diagonal, upper, leaf = param(r, DIAGONAL), param(r, UPPER), udiv(32, param(r, SIZE))
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        distance = urem(e, columns) - urem(udiv(e, columns), rows) - diagonal
        if (distance >= 0) if upper != 0 else (distance <= 0):
            copy_element(y + size * e, x + size * e, size)
        else:
            clear(y + size * e, y + size * (e + 1))
    clear(y + size * stop, y + 32 * (first + count))


@jit
def trilu_tile(r, t):  # type: ignore[no-untyped-def]
    trilu_tiles(r, t, 1)


def infer_trilu(types: Types, attrs: Attrs) -> TensorType:
    """Matrices with zeros below (`upper`) or above the diagonal number `k`."""
    (x,) = take_inputs("trilu", types, 1)
    only("trilu", attrs, "upper", "k")
    flag_attr("trilu", attrs, "upper", 1)
    if len(x.shape) < 2 or abs(int_attr("trilu", attrs, "k", 0)) > 1 << 40:
        raise refuse("trilu", f"diagonal {attrs.get('k', 0)} of {list(x.shape)}")
    return x


def params_trilu(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    k, upper = int_attr("trilu", attrs, "k", 0), flag_attr("trilu", attrs, "upper", 1)
    return [out.elements, out.dtype.size, *out.shape[-2:], k, upper]


# reverse_sequence: the tensor is [A, B, INNER] with the batch axis before the time axis, or after it.
A, B, BATCH_FIRST, LENGTHS = 2, 3, 4, 5
RS_INNER = 6


@jit
def reverse_sequence_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, lengths, y = input_address(r, 0), input_address(r, 1), out_address(r)
    size, a, b, inner = param(r, SIZE), param(r, A), param(r, B), param(r, RS_INNER)
    dtype, batch_first, leaf = param(r, LENGTHS), param(r, BATCH_FIRST) != 0, udiv(32, param(r, SIZE))
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        line, offset = udiv(e, inner), urem(e, inner)
        run = min(inner - offset, stop - e)
        i, j = urem(udiv(line, b), a), urem(line, b)
        batch, time, times = (i, j, b) if batch_first else (j, i, a)
        length = min(max(load_int(lengths + element_size(dtype) * batch, dtype), 0), times)
        jump = length - 1 - 2 * time if time < length else 0
        source = (line + jump * (1 if batch_first else b)) * inner + offset
        copy_run(y + size * e, x + size * source, run, size, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def reverse_sequence_tile(r, t):  # type: ignore[no-untyped-def]
    reverse_sequence_tiles(r, t, 1)


def infer_reverse_sequence(types: Types, attrs: Attrs) -> TensorType:
    """x [2 leading axes, ...] and lengths, clamped to the number of times; attribute batch_axis, 0 or 1.

    Of each batch the first `length` times are in reverse order; the rest stays.
    """
    x, lengths = take_inputs("reverse_sequence", types, 2)
    take_dtype("reverse_sequence", lengths, INDICES)
    only("reverse_sequence", attrs, "batch_axis")
    batch = flag_attr("reverse_sequence", attrs, "batch_axis")
    if len(x.shape) < 2 or lengths.shape != (x.shape[batch],):
        raise refuse("reverse_sequence", f"lengths {list(lengths.shape)} for batch axis {batch} of {list(x.shape)}")
    return x


def params_reverse_sequence(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, lengths = take_inputs("reverse_sequence", types, 2)
    batch_first = 1 - flag_attr("reverse_sequence", attrs, "batch_axis")
    _, _, inner = middle(x, 0, 1)
    return [out.elements, out.dtype.size, *x.shape[:2], batch_first, DTYPE_CODES[lengths.dtype], inner]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * 160


OPS = [
    Op("one_hot", 300, infer_one_hot, params_one_hot, one_hot_tile, cost, one_hot_tiles),
    Op("trilu", 301, infer_trilu, params_trilu, trilu_tile, cost, trilu_tiles),
    Op(
        *("reverse_sequence", 302, infer_reverse_sequence, params_reverse_sequence),
        *(reverse_sequence_tile, cost, reverse_sequence_tiles),
    ),
]
