"""What programs that are repeated are made of: rows by the number of the iteration, what went before, and tokens.

The rules for tokens are total, since prompt and lengths are anybody's: a prompt has at least one token, and a token
outside the vocabulary is its nearest one.
"""

import numpy as np

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    input_address,
    iteration,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
    stride_of,
)
from opml.ops.checks import int_attr, ints_attr, only, refuse, take_dtype, take_inputs
from opml.ops.movement import copy_run
from vm.guest.intrinsics import i64_f32, load_f32, load_i32, store_f32, store_i32, udiv

SCALAR = TensorType(DType.INT32, ())
ENDS_MAX = 16

LENGTH = 0


@jit
def store_scalar(y, value):  # type: ignore[no-untyped-def]
    """The one leaf of an int32 without dimensions."""
    store_i32(y, value)
    clear(y + 4, y + 32)


# next_token
VOCABULARY, COUNT, STRIDE = range(3)


@jit
def next_token_tile(r, t):  # type: ignore[no-untyped-def]
    i, past = iteration(r), max(1, load_i32(input_address(r, 1)))
    if i < past:
        token = load_i32(input_address(r, 0) + 4 * min(i, param(r, COUNT) - 1))
    else:
        token = load_i32(input_address(r, 2) + (min(i, param(r, COUNT)) - 1) * param(r, STRIDE))
    store_scalar(out_address(r), min(max(token, 0), param(r, VOCABULARY) - 1))


def infer_next_token(types: Types, attrs: Attrs) -> TensorType:
    """prompt int32 [count], prompt length int32 [1], history of chosen tokens int32 [count]; attribute vocabulary.

    In iteration i the token prompt[i] while i is below the prompt's length, afterwards the one chosen before.
    """
    name = "next_token"
    prompt, length, chosen = take_inputs(name, types, 3)
    for kind in (prompt, length, chosen):
        take_dtype(name, kind, [DType.INT32])
    if length.shape != (1,) or len(chosen.shape) != 1 or prompt.shape != chosen.shape:
        raise refuse(name, "takes a prompt [count], its length [1] and a history of scalars [count]")
    only(name, attrs, "vocabulary")
    if not 1 <= int_attr(name, attrs, "vocabulary") < 1 << 31:
        raise refuse(name, "the vocabulary must have 1 to 2^31 - 1 tokens")
    return SCALAR


def params_next_token(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    prompt, _, _ = take_inputs("next_token", types, 3)
    return [int_attr("next_token", attrs, "vocabulary"), prompt.shape[0], stride_of(SCALAR)]


# chosen_token
ENDS = 1


@jit
def chosen_token_tile(r, t):  # type: ignore[no-untyped-def]
    best, token = load_int(input_address(r, 0), param(r, LENGTH)), load_i32(input_address(r, 1))
    chosen = min(max(best, 0), 0x7FFFFFFF)
    if iteration(r) >= max(1, load_i32(input_address(r, 2))):
        for k in range(param(r, ENDS)):
            if param(r, ENDS + 1 + k) == token:
                chosen = token
    store_scalar(out_address(r), chosen)


def infer_chosen_token(types: Types, attrs: Attrs) -> TensorType:
    """The best token (int32 or int64, one element), this iteration's token, the prompt's length; attribute ends.

    The best one; but once the model has said one of `ends`, that one again.
    """
    name = "chosen_token"
    best, token, length = take_inputs(name, types, 3)
    take_dtype(name, best, [DType.INT32, DType.INT64])
    if best.elements != 1 or token != SCALAR or length != TensorType(DType.INT32, (1,)):
        raise refuse(name, "takes one best token, a token int32 [] and the prompt's length int32 [1]")
    only(name, attrs, "ends")
    if len(ints_attr(name, attrs, "ends")) > ENDS_MAX:
        raise refuse(name, f"more than {ENDS_MAX} end tokens")
    return SCALAR


def params_chosen_token(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    best, _, _ = take_inputs("chosen_token", types, 3)
    ends = ints_attr("chosen_token", attrs, "ends")
    return [DTYPE_CODES[best.dtype], len(ends), *ends]


# row
SIZE, ROWS = 1, 2


@jit
def row_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, n, size = out_address(r), param(r, LENGTH), param(r, SIZE)
    leaf = udiv(32, size)
    start, stop = leaf * first, min(leaf * (first + count), n)
    x = input_address(r, 0) + min(iteration(r), param(r, ROWS) - 1) * n * size
    copy_run(y + size * start, x + size * start, stop - start, size, size)
    clear(y + size * stop, y + 32 * (first + count))


@jit
def row_tile(r, t):  # type: ignore[no-untyped-def]
    row_tiles(r, t, 1)


def infer_row(types: Types, attrs: Attrs) -> TensorType:
    """[rows, ...], any dtype: the row with the iteration's number, from 0; the last one where there are no more."""
    (x,) = take_inputs("row", types, 1)
    only("row", attrs)
    if not x.shape:
        raise refuse("row", "takes at least one dimension")
    return TensorType(x.dtype, x.shape[1:])


def params_row(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("row", types, 1)
    return [out.elements, out.dtype.size, x.shape[0]]


# history_mean
PAST, APART = 1, 2


@jit
def history_mean_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, apart = input_address(r, 0), out_address(r), param(r, APART)
    n = min(iteration(r) + 1, param(r, PAST))
    first = LEAF_FLOATS * t
    stop = min(first + LEAF_FLOATS, param(r, LENGTH))
    for e in range(first, stop):
        total = np.float32(0)
        for j in range(n):
            total += load_f32(x + j * apart + 4 * e)
        store_f32(y + 4 * e, total / i64_f32(n))
    clear(y + 4 * stop, y + 4 * (first + LEAF_FLOATS))


def infer_history_mean(types: Types, attrs: Attrs) -> TensorType:
    """A float32 history [count, ...]: the mean of its entries up to this iteration's, added in their order."""
    (x,) = take_inputs("history_mean", types, 1)
    take_dtype("history_mean", x, [DType.FLOAT32])
    only("history_mean", attrs)
    if not x.shape:
        raise refuse("history_mean", "takes a history")
    return TensorType(x.dtype, x.shape[1:])


def params_history_mean(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("history_mean", types, 1)
    return [out.elements, x.shape[0], stride_of(out)]


def cost_history_mean(types: Types, out: TensorType, attrs: Attrs) -> int:
    (x,) = take_inputs("history_mean", types, 1)
    return COST_TILE + LEAF_FLOATS * (COST_DIVIDE + COST_FLOAT * x.shape[0])


OPS = [
    Op(
        "next_token", 464, infer_next_token, params_next_token, next_token_tile,
        lambda types, out, attrs: COST_TILE, histories={2: False}, iterates=True,
    ),
    Op(
        "chosen_token", 465, infer_chosen_token, params_chosen_token, chosen_token_tile,
        lambda types, out, attrs: COST_TILE + 16 * ENDS_MAX, iterates=True,
    ),
    Op(
        "row", 466, infer_row, params_row, row_tile,
        lambda types, out, attrs: COST_TILE + 32 * leaf_elements(out), row_tiles, iterates=True,
    ),
    Op(
        "history_mean", 467, infer_history_mean, params_history_mean, history_mean_tile, cost_history_mean,
        histories={0: True}, iterates=True,
    ),
]  # fmt: skip
