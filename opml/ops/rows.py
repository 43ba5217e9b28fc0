"""Rows: a tensor seen as [outer, count, inner], reduced along the middle; what reductions and softmax share."""

from opml.graph import TensorType
from opml.numerics import ZERO
from opml.ops.base import jit
from opml.ops.native import lane_sums, make_stack
from vm.guest.intrinsics import load_f32, load_i32, store_i32, udiv

LANES = 16


@jit
def lane(x, step, n, j):  # type: ignore[no-untyped-def]
    """x[j] + x[j + 16] + x[j + 32] + ... from +0, ascending, below n; neighbours lie `step` bytes apart."""
    total = ZERO
    for i in range(j, n, LANES):
        total += load_f32(x + i * step)
    return total


@jit
def four_lanes(x, step, n, j):  # type: ignore[no-untyped-def]
    return (lane(x, step, n, j) + lane(x, step, n, j + 8)) + (lane(x, step, n, j + 4) + lane(x, step, n, j + 12))


@jit
def sum_rows(x, step, n):  # type: ignore[no-untyped-def]
    """The sum of n elements: 16 interleaved partial sums, folded in halves (8, 4, 2, 1)."""
    even = four_lanes(x, step, n, 0) + four_lanes(x, step, n, 2)
    odd = four_lanes(x, step, n, 1) + four_lanes(x, step, n, 3)
    return even + odd


@jit
def sum_dense(x, n, tail):  # type: ignore[no-untyped-def]
    """`sum_rows` of neighbouring elements, with vectors; `tail` is room for 16 floats. Native only.

    What is missing in the last 16 counts as +0. That changes no sum, since none is ever -0.
    """
    whole = n & ~(LANES - 1)
    for j in range(LANES):
        store_i32(tail + 4 * j, load_i32(x + 4 * (whole + j)) if whole + j < n else 0)
    return lane_sums(x, udiv(whole, LANES), tail)


tail_room = make_stack(4 * LANES)


def middle(tensor: TensorType, first: int, last: int) -> tuple[int, int, int]:
    """(outer, count, inner) around the axes first..last (both included)."""
    sizes = [1, 1, 1]
    for axis, size in enumerate(tensor.shape):
        sizes[(axis >= first) + (axis > last)] *= size
    return sizes[0], sizes[1], sizes[2]
