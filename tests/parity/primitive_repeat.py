"""Cases of the operators of programs that are repeated."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import DTYPES, Draw, Sample, case, shape, values


def lengths(draw: Draw, count: int) -> np.ndarray:
    """A prompt's length, in range and out of it."""
    return np.array([draw(st.sampled_from([1, 2, count, 0, -3, 2**31 - 1, -(2**31)]))], np.int32)


@case("next_token")
def next_token(draw: Draw, op: str) -> Sample:
    count = draw(st.integers(1, 7))
    tokens = [values(draw, "int32", (count,)) for _ in range(2)]
    vocabulary = draw(st.sampled_from([1, 2, 50000, 2**31 - 1]))
    return Sample([tokens[0], lengths(draw, count), tokens[1]], {"vocabulary": vocabulary})


@case("chosen_token")
def chosen_token(draw: Draw, op: str) -> Sample:
    best = values(draw, draw(st.sampled_from(["int32", "int64"])), draw(st.sampled_from([(), (1,), (1, 1)])))
    token = values(draw, "int32", ())
    ends = draw(st.lists(st.sampled_from([int(token), 0, 7, -1]), max_size=4))
    return Sample([best, token, lengths(draw, 5)], {"ends": ends})


@case("row")
def row(draw: Draw, op: str) -> Sample:
    size = shape(draw, 0, 3)
    return Sample([values(draw, draw(st.sampled_from(DTYPES)), (draw(st.integers(1, 7)), *size))], {})


@case("history_mean")
def history_mean(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, "float32", (draw(st.integers(1, 7)), *shape(draw, 0, 3, 40)))], {})
