"""One step of Gaussian elimination, which keeps the determinant; Det is as many of them as a matrix has columns."""

from opml.graph import DType, TensorType
from opml.numerics import ZERO
from opml.ops.base import (
    COST_DIVIDE,
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
from opml.ops.checks import int_attr, only, refuse, take_dtype, take_inputs
from vm.guest.intrinsics import abs32, fma32, load_f32, store_f32, udiv, urem

NAME = "eliminate"
LENGTH, SIZE, STEP = range(3)


@jit
def pivot_row(a, size, k):  # type: ignore[no-untyped-def]
    """The first row from k on with the greatest magnitude in column k; a NaN is never greater."""
    best, most = k, abs32(load_f32(a + 4 * (k * size + k)))
    for row in range(k + 1, size):
        magnitude = abs32(load_f32(a + 4 * (row * size + k)))
        if magnitude > most:
            best, most = row, magnitude
    return best


@jit
def swapped(a, size, k, pivot, row, column):  # type: ignore[no-untyped-def]
    """An element after rows k and pivot have changed places, of which the one that goes down changes its sign."""
    if row == k:
        row = pivot
    elif row == pivot:
        return -load_f32(a + 4 * (k * size + column))
    return load_f32(a + 4 * (row * size + column))


@jit
def eliminate_tile(r, t):  # type: ignore[no-untyped-def]
    y, size, k = out_address(r), param(r, SIZE), param(r, STEP)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, size), udiv(e, size)
        row, matrix = urem(rest, size), udiv(rest, size)
        a = input_address(r, 0) + 4 * matrix * size * size
        pivot = pivot_row(a, size, k)
        value = swapped(a, size, k, pivot, row, column)
        if row > k:
            top = load_f32(a + 4 * (pivot * size + k))
            if top != ZERO:
                factor = swapped(a, size, k, pivot, row, k) / top
                value = ZERO if column <= k else fma32(-factor, load_f32(a + 4 * (pivot * size + column)), value)
        store_f32(y + 4 * e, value)
    clear(y + 4 * stop, y + 32 * (t + 1))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [..., M, M] with zeros below the diagonal in column `step` too, if it has them in those before."""
    (x,) = take_inputs(NAME, types, 1)
    only(NAME, attrs, "step")
    take_dtype(NAME, x, (DType.FLOAT32,))
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise refuse(NAME, f"{list(x.shape)} are no square matrices")
    if not 0 <= int_attr(NAME, attrs, "step") < x.shape[-1]:
        raise refuse(NAME, f"step {attrs['step']} of matrices {list(x.shape)}")
    return x


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return [out.elements, out.shape[-1], int_attr(NAME, attrs, "step")]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF_FLOATS * (256 + COST_DIVIDE + 4 * COST_FLOAT + out.shape[-1] * (32 + 2 * COST_FLOAT))


OPS = [Op(NAME, 360, infer, params, eliminate_tile, cost)]
