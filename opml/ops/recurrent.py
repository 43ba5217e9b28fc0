"""Recurrent cells over a whole sequence, and their output in the order of time.

One primitive runs a sequence: a thousand steps are one node. What x adds to the gates is one matrix product before it.
The state of a step is [h] (rnn, and gru that resets after the product), [r h, h] (gru) or [c, h] (lstm): an element
reads only elements that come before it.
"""

from collections.abc import Callable
from typing import Any

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    float_word,
    input_address,
    jit,
    out_address,
    param,
    template,
    tile_count,
)
from opml.ops.cells import (
    ACTIVATIONS,
    BATCH,
    COST_ACTIVATION,
    HIDDEN,
    LENGTH,
    MAX_ACTIVATIONS,
    REVERSE,
    STEPS,
    WIDTH,
    before,
    gate,
    gru_gate,
    gru_h,
    gru_linear,
    length_of,
    lstm_c,
    lstm_h,
    projected,
    rnn_h,
)
from opml.ops.checks import flag_attr, float_attr, int_attr, ints_attr, only, refuse, take_dtype, take_inputs
from opml.ops.recurrent_fast import gru_linear_steps, gru_steps, lstm_steps, rnn_steps
from vm.guest.intrinsics import load_f32, load_i32, store_f32, store_i32, udiv, urem


@jit
def rnn_cell(r, last, x, here, j):  # type: ignore[no-untyped-def]
    return rnn_h(r, x, j, gate(r, last, 0, j))


@jit
def lstm_cell(r, last, x, here, j):  # type: ignore[no-untyped-def]
    hidden = param(r, HIDDEN)
    h = last + 4 * hidden
    if j < hidden:
        c = load_f32(last + 4 * j)
        return lstm_c(r, x, c, j, gate(r, h, 0, j), gate(r, h, 2, j), gate(r, h, 3, j))
    j -= hidden
    return lstm_h(r, x, load_f32(here + 4 * j), j, gate(r, h, 1, j))


@jit
def gru_cell(r, last, x, here, j):  # type: ignore[no-untyped-def]
    hidden = param(r, HIDDEN)
    h = last + 4 * hidden
    if j < hidden:
        return gru_gate(r, x, 1, j, gate(r, h, 1, j)) * load_f32(h + 4 * j)
    j -= hidden
    z = gru_gate(r, x, 0, j, gate(r, h, 0, j))
    return gru_h(r, x, load_f32(h + 4 * j), z, j, gate(r, here, 2, j))


@jit
def gru_linear_cell(r, last, x, here, j):  # type: ignore[no-untyped-def]
    z = gru_gate(r, x, 0, j, gate(r, last, 0, j))
    reset = gru_gate(r, x, 1, j, gate(r, last, 1, j))
    return gru_h(r, x, load_f32(last + 4 * j), z, j, gru_linear(r, reset, j, gate(r, last, 2, j)))


@template
def elements(cell, r, start, stop):  # type: ignore[no-untyped-def]
    """Elements start..stop-1 of the history. After its end a sequence keeps its state."""
    width, batch = param(r, WIDTH), param(r, BATCH)
    for e in range(start, stop):
        j, row = urem(e, width), udiv(e, width)
        s, n = udiv(row, batch), urem(row, batch)
        last, y = before(r, s, n), out_address(r) + 4 * e
        if s < length_of(r, n):
            store_f32(y, cell(r, last, projected(r, s, n), y - 4 * j, j))
        else:
            store_i32(y, load_i32(last + 4 * j))


@template
def history(cell, steps, r, first, count):  # type: ignore[no-untyped-def]
    """Tiles of the history: whole steps by vectors, the rest as it is defined."""
    line = param(r, BATCH) * param(r, WIDTH)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    begin, end = udiv(e + line - 1, line), udiv(stop, line)
    if begin < end:
        elements(cell, r, e, begin * line)
        steps(r, begin, end)
        e = end * line
    elements(cell, r, e, stop)
    clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))


@template
def tile_of(cell, r, t):  # type: ignore[no-untyped-def]
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    elements(cell, r, LEAF_FLOATS * t, stop)
    clear(out_address(r) + 4 * stop, out_address(r) + 32 * (t + 1))


@jit
def rnn_tile(r, t):  # type: ignore[no-untyped-def]
    tile_of(rnn_cell, r, t)


@jit
def rnn_tiles(r, first, count):  # type: ignore[no-untyped-def]
    history(rnn_cell, rnn_steps, r, first, count)


@jit
def lstm_tile(r, t):  # type: ignore[no-untyped-def]
    tile_of(lstm_cell, r, t)


@jit
def lstm_tiles(r, first, count):  # type: ignore[no-untyped-def]
    history(lstm_cell, lstm_steps, r, first, count)


@jit
def gru_tile(r, t):  # type: ignore[no-untyped-def]
    tile_of(gru_cell, r, t)


@jit
def gru_tiles(r, first, count):  # type: ignore[no-untyped-def]
    history(gru_cell, gru_steps, r, first, count)


@jit
def gru_linear_tile(r, t):  # type: ignore[no-untyped-def]
    tile_of(gru_linear_cell, r, t)


@jit
def gru_linear_tiles(r, first, count):  # type: ignore[no-untyped-def]
    history(gru_linear_cell, gru_linear_steps, r, first, count)


# in_time: WIDTH elements of a state, of which HIDDEN from OFFSET on are taken.
OFFSET = 9


@jit
def in_time_tile(r, t):  # type: ignore[no-untyped-def]
    """Element [time, n, j] is that of the step in which the time was reached, +0 after the sequence's end."""
    hidden, batch, width = param(r, HIDDEN), param(r, BATCH), param(r, WIDTH)
    y, stop = out_address(r), min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        j, row = urem(e, hidden), udiv(e, hidden)
        time, n = udiv(row, batch), urem(row, batch)
        length = min(max(load_i32(input_address(r, 1) + 4 * n), 0), param(r, STEPS))
        bits = 0
        if time < length:
            s = length - 1 - time if param(r, REVERSE) != 0 else time
            bits = load_i32(input_address(r, 0) + 4 * ((s * batch + n) * width + param(r, OFFSET) + j))
        store_i32(y + 4 * e, bits)
    clear(y + 4 * stop, y + 32 * (t + 1))


class _Cell:
    """What tells one cell from another: gates, states, activations, a further input and a further flag."""

    def __init__(self, name: str, gates: int, states: int, activations: int, extra: int, flag: str = "") -> None:
        self.name, self.gates, self.states, self.activations = name, gates, states, activations
        self.extra, self.flag = extra, flag

    def sizes(self, types: Types, attrs: Attrs) -> tuple[int, int, int]:
        """Steps, batch and hidden size, after all checks."""
        x, weight, first = take_inputs(self.name, types, 3, 5)
        lengths, extra = (*types[3:], None, None)[:2]
        numbers = [f"{kind}{a}" for kind in ("alpha", "beta") for a in range(self.activations)]
        only(self.name, attrs, "reverse", "clip", "activations", *numbers, *filter(None, [self.flag]))
        for kind in (x, weight, first, extra):
            if kind is not None:
                take_dtype(self.name, kind, (DType.FLOAT32,))
        if len(x.shape) != 3 or len(weight.shape) != 2:
            raise refuse(self.name, f"takes [steps, batch, gates] by [hidden, gates], not {x.shape} by {weight.shape}")
        steps, batch, hidden = *x.shape[:2], weight.shape[0]
        if x.shape[2] != self.gates * hidden or weight.shape[1] != self.gates * hidden:
            raise refuse(self.name, f"{list(x.shape)} by {list(weight.shape)} are not {self.gates} gates of {hidden}")
        if first.shape != (batch, self.states * hidden):
            raise refuse(self.name, f"the first state is {list(first.shape)}, not {[batch, self.states * hidden]}")
        if lengths is not None and (lengths.dtype is not DType.INT32 or lengths.shape != (batch,)):
            raise refuse(self.name, f"the lengths are {lengths.dtype.value} {list(lengths.shape)}, not int32 {[batch]}")
        if extra is not None and (not self.extra or extra.shape != (self.extra, hidden)):
            raise refuse(self.name, f"input 4 is {list(extra.shape)}, not {[self.extra, hidden]}")
        codes = ints_attr(self.name, attrs, "activations", None, self.activations)
        if not all(0 <= code < len(ACTIVATIONS) for code in codes):
            raise refuse(self.name, f"there are no activations {codes}")
        if not float_attr(self.name, attrs, "clip", float("inf")) > 0:
            raise refuse(self.name, f"clip {attrs['clip']} must be positive")
        return steps, batch, hidden

    def infer(self, types: Types, attrs: Attrs) -> TensorType:
        """[steps, batch, states * hidden]."""
        steps, batch, hidden = self.sizes(types, attrs)
        self.params(types, TensorType(DType.FLOAT32, (1,)), attrs)
        return TensorType(DType.FLOAT32, (steps, batch, self.states * hidden))

    def params(self, types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        steps, batch, hidden = self.sizes(types, attrs)
        reverse = flag_attr(self.name, attrs, "reverse")
        option = flag_attr(self.name, attrs, self.flag) if self.flag else 0
        clip = float_word(float_attr(self.name, attrs, "clip", float("inf")))
        rest = [0] * (MAX_ACTIVATIONS - self.activations)
        words = [out.elements, steps, batch, hidden, self.gates, self.states * hidden, reverse, option, clip]
        words += [*ints_attr(self.name, attrs, "activations"), *rest]
        for kind in ("alpha", "beta"):
            values = [float_attr(self.name, attrs, f"{kind}{a}", 0.0) for a in range(self.activations)]
            words += [*map(float_word, values), *rest]
        return words

    def cost(self, types: Types, out: TensorType, attrs: Attrs) -> int:
        _, _, hidden = self.sizes(types, attrs)
        products = 3 * (64 + COST_FLOAT * (hidden + hidden // 512 + 2))
        return COST_TILE + LEAF_FLOATS * (512 + products + 3 * COST_ACTIVATION + 24 * COST_FLOAT)

    def op(self, code: int, tile: Callable[[int, int], None], tiles: Any) -> Op:
        # Steps follow one another: there is nothing to divide over threads.
        return Op(self.name, code, self.infer, self.params, tile, self.cost, tiles, lambda t, out, a: tile_count(out))


def _in_time(types: Types, attrs: Attrs) -> list[int]:
    """Parameters of in_time, after all checks."""
    states, lengths = take_inputs("in_time", types, 2)
    only("in_time", attrs, "reverse", "offset", "size")
    take_dtype("in_time", states, (DType.FLOAT32,))
    take_dtype("in_time", lengths, (DType.INT32,))
    if len(states.shape) != 3 or lengths.shape != states.shape[1:2]:
        raise refuse("in_time", f"states {list(states.shape)} and lengths {list(lengths.shape)} do not fit together")
    steps, batch, width = states.shape
    offset, size = int_attr("in_time", attrs, "offset"), int_attr("in_time", attrs, "size")
    if size < 1 or not 0 <= offset <= width - size:
        raise refuse("in_time", f"{size} elements from {offset} on leave a state of {width}")
    reverse = flag_attr("in_time", attrs, "reverse")
    return [steps * batch * size, steps, batch, size, 0, width, reverse, 0, 0, offset]


def infer_in_time(types: Types, attrs: Attrs) -> TensorType:
    """States [steps, batch, width] of a cell → [time, batch, size], zero after the end of each sequence."""
    words = _in_time(types, attrs)
    return TensorType(DType.FLOAT32, (words[STEPS], words[BATCH], words[HIDDEN]))


OPS = [
    _Cell("rnn", 1, 1, 1, 0).op(448, rnn_tile, rnn_tiles),
    _Cell("gru", 3, 2, 2, 0).op(449, gru_tile, gru_tiles),
    _Cell("gru_linear", 3, 1, 2, 1).op(450, gru_linear_tile, gru_linear_tiles),
    _Cell("lstm", 4, 2, 3, 3, "input_forget").op(451, lstm_tile, lstm_tiles),
    Op(
        "in_time",
        452,
        infer_in_time,
        lambda types, out, attrs: _in_time(types, attrs),
        in_time_tile,
        lambda types, out, attrs: COST_TILE + LEAF_FLOATS * 128,
    ),
]
