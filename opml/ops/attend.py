"""One token's attention to the tokens before it and to itself, whose keys and values are histories.

What lies outside of them (what is still to come, or beyond a window) is not multiplied by zero but left out.

Queries are [heads, depth]; a history's entries [shared, depth], of which head h reads head h * shared / heads.
"""

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import INFINITY, ONE, ZERO, exp, maximum
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
    iteration,
    jit,
    out_address,
    param,
    stride_of,
    tile_count,
)
from opml.ops.checks import int_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.gemm import COLUMNS, STRIPE, accumulate, finish, gather, linear, packed_room, sums_room, table_room
from opml.ops.matmul import BLOCK, dot
from opml.ops.native import LANES
from opml.ops.rows import tail_room
from opml.ops.softmax import LARGEST, dense_row, row_max, row_sum
from vm.guest.intrinsics import load_f32, store_f32, udiv, urem

LOWEST = np.float32(-LARGEST)

# Elements of the output, iterations, heads that share a history's, shared heads, depth, window (0: none), and in bytes
# from one entry of the history to the next.
LENGTH, COUNT, SHARING, SHARED, DEPTH, WINDOW, APART = range(7)


@jit
def first_key(r, t):  # type: ignore[no-untyped-def]
    """The first entry that iteration t attends to."""
    window = param(r, WINDOW)
    return max(t + 1 - window, 0) if window > 0 else 0


@jit
def scores_tile(r, tile):  # type: ignore[no-untyped-def]
    q, history, y = input_address(r, 0), input_address(r, 1), out_address(r)
    count, depth = param(r, COUNT), param(r, DEPTH)
    t = min(iteration(r), count - 1)
    start, stop = first_key(r, t), min(LEAF_FLOATS * (tile + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * tile, stop):
        head, j = udiv(e, count), urem(e, count)
        score = -INFINITY
        if start <= j <= t:
            key = history + j * param(r, APART) + 4 * depth * udiv(head, param(r, SHARING))
            score = dot(q + 4 * depth * head, 4, key, 4, depth)
        store_f32(y + 4 * e, score)
    clear(y + 4 * stop, y + 32 * (tile + 1))


@jit
def scores_tiles(r, first, tiles):  # type: ignore[no-untyped-def]
    """Natively, groups of heads by groups of keys, whose vectors are brought together; part of an output by tiles."""
    if tiles * LEAF_FLOATS < param(r, LENGTH):
        for tile in range(first, first + tiles):
            scores_tile(r, tile)
        return
    y, count, depth = out_address(r), param(r, COUNT), param(r, DEPTH)
    apart, sharing = param(r, APART), param(r, SHARING)
    t = min(iteration(r), count - 1)
    start = first_key(r, t)
    dense, packed, sums = table_room(), packed_room(), sums_room()
    linear(dense, 4 * COLUMNS, min(depth, BLOCK))
    for e in range(param(r, LENGTH)):
        if not start <= urem(e, count) <= t:
            store_f32(y + 4 * e, -INFINITY)
    clear(y + 4 * param(r, LENGTH), y + 32 * tiles)
    for group in range(param(r, SHARED)):
        keys = input_address(r, 1) + 4 * depth * group
        for top in range(group * sharing, (group + 1) * sharing, STRIPE):
            rows = min((group + 1) * sharing - top, STRIPE)
            for j in range(start, t + 1, COLUMNS):
                columns = min(t + 1 - j, COLUMNS)
                for k in range(0, depth, BLOCK):
                    n = min(depth - k, BLOCK)
                    gather(keys + j * apart + 4 * k, apart, 4, columns, n, packed)
                    q = input_address(r, 0) + 4 * (depth * top + k)
                    accumulate(rows, q, 4 * depth, 4, packed, 4 * LANES, dense, n, sums, int(k == 0))
                for i in range(rows):
                    finish(y + 4 * ((top + i) * count + j), sums + 4 * COLUMNS * i, columns, 0, 0)


@jit
def weights_tile(r, tile):  # type: ignore[no-untyped-def]
    x, y, count = input_address(r, 0), out_address(r), param(r, COUNT)
    t = min(iteration(r), count - 1)
    start, stop = first_key(r, t), min(LEAF_FLOATS * (tile + 1), param(r, LENGTH))
    row, best, total = -1, ZERO, ONE
    for e in range(LEAF_FLOATS * tile, stop):
        head, j = udiv(e, count), urem(e, count)
        weight = ZERO
        if start <= j <= t:
            if head != row:
                row = head
                open_ = x + 4 * (count * head + start)
                best = maximum(row_max(open_, 4, t + 1 - start), LOWEST)
                total = maximum(row_sum(open_, 4, t + 1 - start, best), ONE)
            weight = exp(load_f32(x + 4 * e) - best) / total
        store_f32(y + 4 * e, weight)
    clear(y + 4 * stop, y + 32 * (tile + 1))


@jit
def weights_tiles(r, first, tiles):  # type: ignore[no-untyped-def]
    """Natively, row by row; part of an output by tiles."""
    if tiles * LEAF_FLOATS < param(r, LENGTH):
        for tile in range(first, first + tiles):
            weights_tile(r, tile)
        return
    x, y, count, tail = input_address(r, 0), out_address(r), param(r, COUNT), tail_room()
    t = min(iteration(r), count - 1)
    start = first_key(r, t)
    clear(y + 4 * param(r, LENGTH), y + 32 * tiles)
    for row in range(udiv(param(r, LENGTH), count)):
        source, target = x + 4 * count * row, y + 4 * count * row
        clear(target, target + 4 * start)
        clear(target + 4 * (t + 1), target + 4 * count)
        dense_row(source + 4 * start, target + 4 * start, t + 1 - start, tail, LOWEST, ONE)


@jit
def mix_tile(r, tile):  # type: ignore[no-untyped-def]
    p, history, y = input_address(r, 0), input_address(r, 1), out_address(r)
    count, depth = param(r, COUNT), param(r, DEPTH)
    t = min(iteration(r), count - 1)
    start, stop = first_key(r, t), min(LEAF_FLOATS * (tile + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * tile, stop):
        head, d = udiv(e, depth), urem(e, depth)
        value = history + start * param(r, APART) + 4 * (depth * udiv(head, param(r, SHARING)) + d)
        store_f32(y + 4 * e, dot(p + 4 * (count * head + start), 4, value, param(r, APART), t + 1 - start))
    clear(y + 4 * stop, y + 32 * (tile + 1))


@jit
def mix_tiles(r, first, tiles):  # type: ignore[no-untyped-def]
    """Natively, groups of heads by whole vectors of the values; part of an output, or odd depths, by tiles."""
    depth = param(r, DEPTH)
    if tiles * LEAF_FLOATS < param(r, LENGTH) or urem(depth, LANES) != 0:
        for tile in range(first, first + tiles):
            mix_tile(r, tile)
        return
    y, count, apart, sharing = out_address(r), param(r, COUNT), param(r, APART), param(r, SHARING)
    t = min(iteration(r), count - 1)
    start = first_key(r, t)
    table, sums = table_room(), sums_room()
    linear(table, apart, min(t + 1 - start, BLOCK))
    clear(y + 4 * param(r, LENGTH), y + 32 * tiles)
    for group in range(param(r, SHARED)):
        for top in range(group * sharing, (group + 1) * sharing, STRIPE):
            rows = min((group + 1) * sharing - top, STRIPE)
            for d in range(0, depth, COLUMNS):
                columns = min(depth - d, COLUMNS)
                second = 4 * LANES if columns > LANES else 0
                for j in range(start, t + 1, BLOCK):
                    n = min(t + 1 - j, BLOCK)
                    values = input_address(r, 1) + j * apart + 4 * (depth * group + d)
                    p = input_address(r, 0) + 4 * (count * top + j)
                    accumulate(rows, p, 4 * count, 4, values, second, table, n, sums, int(j == start))
                for i in range(rows):
                    finish(y + 4 * ((top + i) * depth + d), sums + 4 * COLUMNS * i, columns, 0, 0)


def _entry(name: str, history: TensorType) -> tuple[int, int, int]:
    """(iterations, shared heads, depth) of a history of keys or values."""
    take_dtype(name, history, (DType.FLOAT32,))
    count, shared, depth = take_rank(name, history, 3, "history")
    return count, shared, depth


def _window(name: str, attrs: Attrs) -> int:
    only(name, attrs, "window")
    window = int_attr(name, attrs, "window", 0)
    if not 0 <= window < 1 << 31:
        raise refuse(name, f"attribute 'window' is {window}")
    return window


def infer_scores(types: Types, attrs: Attrs) -> TensorType:
    """Queries [heads, depth], a history of keys [count, shared, depth] → their products [heads, count].

    -infinity for what is still to come and, with a window, for all but so many of the last entries.
    """
    name = "attend_scores"
    q, history = take_inputs(name, types, 2)
    take_dtype(name, q, (DType.FLOAT32,))
    heads, depth = take_rank(name, q, 2, "queries")
    count, shared, key_depth = _entry(name, history)
    if depth != key_depth or heads % shared:
        raise refuse(name, f"queries {list(q.shape)} do not fit keys {list(history.shape)}")
    _window(name, attrs)
    return TensorType(DType.FLOAT32, (heads, count))


def infer_weights(types: Types, attrs: Attrs) -> TensorType:
    """Scores [heads, count] → of each row the softmax of those that `attend_scores` leaves open; the others are 0.

    A row of nothing but -infinity, as masks make it, gives zeros.
    """
    name = "attend_weights"
    (x,) = take_inputs(name, types, 1)
    take_dtype(name, x, (DType.FLOAT32,))
    take_rank(name, x, 2, "scores")
    _window(name, attrs)
    return x


def _weights_params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return [out.elements, out.shape[1], 0, 0, 0, int_attr("attend_weights", attrs, "window", 0)]


def infer_mix(types: Types, attrs: Attrs) -> TensorType:
    """Weights [heads, count], a history of values [count, shared, depth] → sums of the values [heads, depth].

    Entries that `attend_scores` closes take no part.
    """
    name = "attend_mix"
    p, history = take_inputs(name, types, 2)
    take_dtype(name, p, (DType.FLOAT32,))
    heads, entries = take_rank(name, p, 2, "weights")
    count, shared, depth = _entry(name, history)
    if entries != count or heads % shared:
        raise refuse(name, f"weights {list(p.shape)} do not fit values {list(history.shape)}")
    _window(name, attrs)
    return TensorType(DType.FLOAT32, (heads, depth))


def _params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    history = types[1]
    assert history is not None
    count, shared, depth = history.shape
    apart = stride_of(TensorType(history.dtype, history.shape[1:]))
    return [out.elements, count, out.shape[0] // shared, shared, depth, int_attr("attend", attrs, "window", 0), apart]


def _grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    return tile_count(out)


def _cost(terms: int) -> int:
    return COST_TILE + LEAF_FLOATS * (256 + COST_FLOAT * (terms + terms // BLOCK + 2))


def cost_scores(types: Types, out: TensorType, attrs: Attrs) -> int:
    return _cost(_params(types, out, attrs)[DEPTH])


def cost_weights(types: Types, out: TensorType, attrs: Attrs) -> int:
    heads, count = out.shape
    rows = min(heads, 2 + (LEAF_FLOATS - 1) // count)
    element = 24 * COST_FLOAT
    return COST_TILE + rows * (count * element + 32 * COST_FLOAT) + LEAF_FLOATS * (element + COST_DIVIDE)


def cost_mix(types: Types, out: TensorType, attrs: Attrs) -> int:
    return _cost(_params(types, out, attrs)[COUNT])


OPS = [
    Op(
        *("attend_weights", 483, infer_weights, _weights_params, weights_tile, cost_weights, weights_tiles, _grain),
        iterates=True,
    ),
    Op(
        *("attend_scores", 481, infer_scores, _params, scores_tile, cost_scores, scores_tiles, _grain),
        histories={1: True}, iterates=True,
    ),
    Op(
        *("attend_mix", 482, infer_mix, _params, mix_tile, cost_mix, mix_tiles, _grain),
        histories={1: True}, iterates=True,
    ),
]  # fmt: skip
