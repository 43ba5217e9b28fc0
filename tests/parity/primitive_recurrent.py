"""Cases of recurrent cells."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import Array, Draw, Sample, case, values

from opml.ops.cells import ACTIVATIONS

# Gates, parts of the state, activations, rows of the further input.
CELLS = {"rnn": (1, 1, 1, 0), "gru": (3, 2, 2, 0), "gru_linear": (3, 1, 2, 1), "lstm": (4, 2, 3, 3)}


def lengths(draw: Draw, batch: int) -> Array:
    return values(draw, "int32", (batch,), low=-1, high=6)


@case(*CELLS)
def cell(draw: Draw, op: str) -> Sample:
    gates, states, activations, rows = CELLS[op]
    steps, batch, hidden = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 4, 5, 33)))
    odd = draw(st.integers(0, 3)) == 0

    def floats(*size: int) -> Array:
        numbers = values(draw, "float32", size, odd=odd)
        return numbers if odd else numbers / np.float32(8)

    inputs: list[Array | None] = [floats(steps, batch, gates * hidden), floats(hidden, gates * hidden)]
    inputs += [floats(batch, states * hidden), lengths(draw, batch) if draw(st.booleans()) else None]
    if rows and draw(st.booleans()):
        inputs.append(floats(rows, hidden))
    elif inputs[-1] is None:
        inputs.pop()
    codes = [draw(st.integers(0, len(ACTIVATIONS) - 1)) for _ in range(activations)]
    attrs: dict = {"activations": codes, "reverse": draw(st.integers(0, 1))}
    for a in range(activations):
        attrs |= {f"alpha{a}": draw(st.sampled_from((0.5, -1.0))), f"beta{a}": draw(st.sampled_from((0.25, 2.0)))}
    if draw(st.booleans()):
        attrs["clip"] = draw(st.sampled_from((0.5, 3.0)))
    if op == "lstm":
        attrs["input_forget"] = draw(st.integers(0, 1))
    return Sample(inputs, attrs)


@case("in_time")
def in_time(draw: Draw, op: str) -> Sample:
    steps, batch, width = (draw(st.integers(1, 5)) for _ in range(3))
    offset = draw(st.integers(0, width - 1))
    attrs = {"reverse": draw(st.integers(0, 1)), "offset": offset, "size": draw(st.integers(1, width - offset))}
    return Sample([values(draw, "float32", (steps, batch, width)), lengths(draw, batch)], attrs)
