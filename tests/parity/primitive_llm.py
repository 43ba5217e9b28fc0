"""Cases of what transformers are made of."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import Draw, Sample, case, values


@case("rotary")
def rotary(draw: Draw, op: str) -> Sample:
    batch, heads, rows, pairs = (draw(st.integers(1, most)) for most in (2, 3, 3, 5))
    depth = 2 * pairs + draw(st.integers(0, 3))
    x = values(draw, "float32", (batch, heads, rows, depth), odd=draw(st.booleans()))
    size = (draw(st.sampled_from((1, batch))), rows, pairs)
    tables = [values(draw, "float32", size) for _ in range(2)]
    return Sample([x, *tables], {"interleaved": draw(st.integers(0, 1))})


@case("attend_scores", "attend_mix")
def attend(draw: Draw, op: str) -> Sample:
    count, shared, sharing = (draw(st.integers(1, most)) for most in (7, 2, 3))
    depth = draw(st.sampled_from((1, 3, 8, 16, 32, 48)))
    heads = shared * sharing
    odd = draw(st.booleans())
    first = values(draw, "float32", (heads, depth if op == "attend_scores" else count), odd=odd)
    attrs = {"window": draw(st.sampled_from((1, 2, 5)))} if draw(st.booleans()) else {}
    return Sample([first, values(draw, "float32", (count, shared, depth), odd=odd)], attrs)


@case("attend_weights")
def attend_weights(draw: Draw, op: str) -> Sample:
    scores = values(draw, "float32", (draw(st.integers(1, 4)), draw(st.integers(1, 20))), odd=draw(st.booleans()))
    if draw(st.booleans()):
        scores[draw(st.integers(0, len(scores) - 1))] = -np.inf
    return Sample([scores], {"window": draw(st.sampled_from((1, 2, 5)))} if draw(st.booleans()) else {})
