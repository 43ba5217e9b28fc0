"""Cases of what works along an axis: sums, maxima, softmax, argmax, running sums."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import NUMBERS, Draw, Sample, case, shape, values


@case("softmax")
def softmax(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 3, 60)
    attrs = {"axis": draw(st.integers(-len(size), len(size) - 1)), "masked": draw(st.integers(0, 1))}
    x = values(draw, "float32", size, odd=draw(st.booleans()))
    if draw(st.booleans()):
        x[..., :1] = -np.inf  # in a row of one element, and in rows along another axis, nothing else
    return Sample([x], attrs)


@case("argmax")
def argmax(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 3)
    attrs = {"axis": draw(st.integers(-len(size), len(size) - 1))}
    attrs |= {name: draw(st.integers(0, 1)) for name in ("keepdims", "select_last", "least")}
    return Sample([values(draw, draw(st.sampled_from(NUMBERS)), size)], attrs)


@case("reduce_sum", "reduce_prod", "reduce_mean", "reduce_max", "reduce_min")
def reduction(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 4)
    first = draw(st.integers(0, len(size) - 1))
    last = draw(st.integers(first, len(size) - 1))
    dtype = "float32" if op == "reduce_mean" else draw(st.sampled_from(NUMBERS))
    attrs = {"axes": list(range(first, last + 1)), "keepdims": draw(st.integers(0, 1))}
    return Sample([values(draw, dtype, size, odd=draw(st.booleans()))], attrs)


@case("cumsum", "cumprod")
def cumulation(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 4)
    attrs = {"axis": draw(st.integers(-len(size), len(size) - 1))}
    return Sample([values(draw, draw(st.sampled_from(NUMBERS)), size, odd=draw(st.booleans()))], attrs)
