"""Non-maximum suppression: which boxes of a class are kept, the best first.

The boxes of each class are visited in a given order. One is kept if its score is greater than the threshold, fewer
than the limit are kept so far, and no kept box before it overlaps it too much. The result is the running count of
kept boxes over all batches and classes, so that a tile sees in its own node's earlier leaves what was kept.
"""

from typing import Final

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import ONE, ZERO
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    Attrs,
    Op,
    Types,
    clear,
    input_address,
    jit,
    out_address,
    param,
)
from opml.ops.checks import flag_attr, int_attr, only, refuse, take_inputs, take_rank
from opml.ops.gather import wrapped
from opml.ops.native import allocate, release
from opml.ops.select import undivided
from vm.guest.intrinsics import load_f32, load_i64, store_i64, udiv, urem

NAME = "nms"
HALF: Final = np.float32(0.5)
LEAF = 4
LENGTH, BOXES, CLASSES, LIMIT, CENTER = range(5)


@jit
def low_edge(box, i, center):  # type: ignore[no-untyped-def]
    """The smaller coordinate of a box along dimension i (0 or 1)."""
    a, b = load_f32(box + 4 * i), load_f32(box + 4 * (i + 2))
    if center != 0:
        return a - HALF * b
    return a if a < b else b


@jit
def high_edge(box, i, center):  # type: ignore[no-untyped-def]
    a, b = load_f32(box + 4 * i), load_f32(box + 4 * (i + 2))
    if center != 0:
        return a + HALF * b
    return b if a < b else a


@jit
def overlaps(p, q, center, threshold):  # type: ignore[no-untyped-def]
    """Whether intersection over union of two boxes is greater than the threshold; false where an area is none."""
    inter, area_p, area_q = ONE, ONE, ONE
    for i in range(2):
        p_low, p_high, q_low, q_high = (
            low_edge(p, i, center),
            high_edge(p, i, center),
            low_edge(q, i, center),
            high_edge(q, i, center),
        )
        low, high = p_low if p_low > q_low else q_low, p_high if p_high < q_high else q_high
        if not high > low:
            return False
        inter *= high - low
        area_p *= p_high - p_low
        area_q *= q_high - q_low
    union = area_p + area_q - inter
    if not (inter > ZERO and area_p > ZERO and area_q > ZERO and union > ZERO):
        return False
    return inter / union > threshold


@jit
def limit_of(r):  # type: ignore[no-untyped-def]
    """How many boxes of a class are kept at most."""
    given = input_address(r, 4)
    return min(param(r, LIMIT), load_i64(given)) if given != 0 else param(r, LIMIT)


@jit
def passes(r, e, box):  # type: ignore[no-untyped-def]
    """Whether the score of a box is above the threshold; without a threshold every score is."""
    score, threshold = input_address(r, 1), input_address(r, 5)
    n = param(r, BOXES)
    return threshold == 0 or load_f32(score + 4 * (udiv(e, n) * n + box)) > load_f32(threshold)


@jit
def box_address(r, e, box):  # type: ignore[no-untyped-def]
    n = param(r, BOXES)
    return input_address(r, 0) + 16 * (udiv(e, n * param(r, CLASSES)) * n + box)


@jit
def nms_tile(r, t):  # type: ignore[no-untyped-def]
    order, y, n, center = input_address(r, 2), out_address(r), param(r, BOXES), param(r, CENTER)
    threshold, limit = load_f32(input_address(r, 3)), limit_of(r)
    stop = min(LEAF * (t + 1), param(r, LENGTH))
    for e in range(LEAF * t, stop):
        j = urem(e, n)
        before = load_i64(y + 8 * (e - 1)) if e > 0 else 0
        already = load_i64(y + 8 * (e - j - 1)) if e > j else 0
        box = wrapped(load_i64(order + 8 * e), n)
        keep = before - already < limit and passes(r, e, box)
        seen = already
        for i in range(e - j, e):
            now = load_i64(y + 8 * i)
            if keep and now != seen:
                other = wrapped(load_i64(order + 8 * i), n)
                keep = not overlaps(box_address(r, e, other), box_address(r, e, box), center, threshold)
            seen = now
        store_i64(y + 8 * e, before + (1 if keep else 0))
    clear(y + 8 * stop, y + 32 * (t + 1))


@jit
def nms_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """Keeps the addresses of a class's kept boxes in a list."""
    order, y, n, center = input_address(r, 2), out_address(r), param(r, BOXES), param(r, CENTER)
    threshold, limit = load_f32(input_address(r, 3)), limit_of(r)
    room = allocate(8 * n)
    if room == 0:
        for t in range(first, first + count):
            nms_tile(r, t)
        return
    start, stop = LEAF * first, min(LEAF * (first + count), param(r, LENGTH))
    before = load_i64(y + 8 * (start - 1)) if start > 0 else 0
    kept = 0
    if 0 < start < stop:
        row = start - urem(start, n)
        seen = load_i64(y + 8 * (row - 1)) if row > 0 else 0
        for i in range(row, start):
            now = load_i64(y + 8 * i)
            if now != seen:
                store_i64(room + 8 * kept, box_address(r, i, wrapped(load_i64(order + 8 * i), n)))
                kept += 1
            seen = now
    for e in range(start, stop):
        if urem(e, n) == 0:
            kept = 0
        box = wrapped(load_i64(order + 8 * e), n)
        here = box_address(r, e, box)
        keep = kept < limit and passes(r, e, box)
        i = 0
        while keep and i < kept:
            keep = not overlaps(load_i64(room + 8 * i), here, center, threshold)
            i += 1
        if keep:
            store_i64(room + 8 * kept, here)
            kept += 1
            before += 1
        store_i64(y + 8 * e, before)
    release(room)
    clear(y + 8 * stop, y + 32 * (first + count))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """boxes float32 [batches, n, 4], scores float32 [batches, classes, n], order int64 of the scores' shape,
    overlap threshold float32 [1], limit int64 [1] and score threshold float32 [1] (both may be absent).

    Attributes: limit (at most so many per class), center (boxes are x, y, width, height, not two corners).
    """
    if len(types) != 6:
        raise refuse(NAME, f"takes 6 inputs, not {len(types)}")
    boxes, scores, order, overlap, *_ = take_inputs(NAME, types, 4, 6)
    only(NAME, attrs, "limit", "center")
    flag_attr(NAME, attrs, "center")
    batches, n, four = take_rank(NAME, boxes, 3)
    take_rank(NAME, scores, 3)
    one = TensorType(DType.FLOAT32, (1,))
    if (boxes.dtype, scores.dtype, order.dtype, overlap) != (DType.FLOAT32, DType.FLOAT32, DType.INT64, one):
        raise refuse(NAME, "boxes, scores and the overlap [1] must be float32, the order int64")
    if four != 4 or (scores.shape[0], scores.shape[2]) != (batches, n) or order.shape != scores.shape:
        shapes = f"boxes {list(boxes.shape)}, scores {list(scores.shape)}, order {list(order.shape)}"
        raise refuse(NAME, f"{shapes} do not belong together")
    if types[4] not in (None, TensorType(DType.INT64, (1,))) or types[5] not in (None, one):
        raise refuse(NAME, "the limit must be int64 [1], the score threshold float32 [1]")
    if not 0 <= int_attr(NAME, attrs, "limit") <= n:
        raise refuse(NAME, f"a limit of {int_attr(NAME, attrs, 'limit')} for {n} boxes")
    return order


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    _, classes, n = out.shape
    return [out.elements, n, classes, int_attr(NAME, attrs, "limit"), flag_attr(NAME, attrs, "center")]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    n, limit = out.shape[2], int_attr(NAME, attrs, "limit")
    return COST_TILE + LEAF * (1024 + 32 * n + min(n, limit) * (COST_DIVIDE + 16 * COST_FLOAT))


OPS = [Op(NAME, 312, infer, params, nms_tile, cost, nms_tiles, undivided)]
