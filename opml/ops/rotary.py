"""Rotary embedding: pairs of elements of each head, turned by an angle of which the cosine and the sine are given."""

from opml.graph import DType, TensorType
from opml.ops.base import (
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
from opml.ops.checks import flag_attr, only, refuse, take_dtype, take_inputs, take_rank
from vm.guest.intrinsics import load_f32, load_i32, store_f32, store_i32, udiv, urem

NAME = "rotary"
# Sizes of the output: elements, heads, rows, elements of a head; pairs of a head; rows of the tables per batch, or 0;
# and in elements, from one pair to the next and from the first of a pair to the second.
LENGTH, HEADS, ROWS, DEPTH, PAIRS, BATCH_ROWS, PAIR, PARTNER = range(8)


@jit
def rotary_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, cosines, sines, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    heads, rows, depth, pairs = param(r, HEADS), param(r, ROWS), param(r, DEPTH), param(r, PAIRS)
    pair, partner = param(r, PAIR), param(r, PARTNER)
    stop = min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    for e in range(LEAF_FLOATS * first, stop):
        at, line = urem(e, depth), udiv(e, depth)
        if at >= 2 * pairs:
            store_i32(y + 4 * e, load_i32(x + 4 * e))
        else:
            second = urem(udiv(at, partner), 2)
            base = at - second * partner
            row = udiv(udiv(line, rows), heads) * param(r, BATCH_ROWS) + urem(line, rows)
            angle = 4 * (row * pairs + udiv(base, pair))
            a, b = load_f32(x + 4 * (e - second * partner)), load_f32(x + 4 * (e + (1 - second) * partner))
            cosine, sine = load_f32(cosines + angle), load_f32(sines + angle)
            store_f32(y + 4 * e, a * cosine - b * sine if second == 0 else a * sine + b * cosine)
    clear(y + 4 * stop, y + 32 * (first + count))


@jit
def rotary_tile(r, t):  # type: ignore[no-untyped-def]
    rotary_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [B, heads, rows, depth], cosines and sines [B or 1, rows, pairs] with 2 * pairs <= depth → as x.

    The pairs are (0, 1), (2, 3), … with interleaved=1, else (0, pairs), (1, pairs + 1), …; what follows them is copied.
    """
    x, cosines, sines = take_inputs(NAME, types, 3)
    only(NAME, attrs, "interleaved")
    flag_attr(NAME, attrs, "interleaved")
    for kind in (x, cosines, sines):
        take_dtype(NAME, kind, (DType.FLOAT32,))
    batch, _, rows, depth = take_rank(NAME, x, 4)
    tables, lines, pairs = take_rank(NAME, cosines, 3, "cosines")
    if sines.shape != cosines.shape or tables not in (1, batch) or lines != rows or 2 * pairs > depth:
        raise refuse(NAME, f"tables {list(cosines.shape)} and {list(sines.shape)} do not fit {list(x.shape)}")
    return x


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    tables, _, pairs = take_inputs(NAME, types, 3)[1].shape
    _, heads, rows, depth = out.shape
    pair, partner = (2, 1) if flag_attr(NAME, attrs, "interleaved") else (1, pairs)
    return [out.elements, heads, rows, depth, pairs, rows if tables > 1 else 0, pair, partner]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF_FLOATS * (128 + 3 * COST_FLOAT)


OPS = [Op(NAME, 480, infer, params, rotary_tile, cost, rotary_tiles)]
