"""Cases of the functions that go element by element, and of conversions."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import DTYPES, INTEGERS, NUMBERS, Draw, Sample, broadcasting, case, shape, values

from opml.graph import DType

FLOAT_FUNCTIONS = (
    "sigmoid", "tanh", "exp", "log", "sqrt", "erf", "floor", "ceil", "reciprocal", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "round", "is_nan", "softplus", "softsign", "mish", "expm1",
    "log1p",
)  # fmt: skip
ATTRIBUTES = {
    "leaky_relu": ("alpha",), "hard_sigmoid": ("alpha", "beta"), "elu": ("alpha", "gamma"), "celu": ("alpha",),
    "thresholded_relu": ("alpha",), "shrink": ("lambd", "bias"), "is_inf": ("negative", "positive"),
}  # fmt: skip


@case(*FLOAT_FUNCTIONS)
def float_function(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, "float32", shape(draw))], {})


@case("relu", "abs", "neg", "sign")
def number_function(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, draw(st.sampled_from(NUMBERS)), shape(draw))], {})


@case("not", "bitwise_not")
def bit_function(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, "bool" if op == "not" else draw(st.sampled_from(INTEGERS)), shape(draw))], {})


@case(*ATTRIBUTES)
def with_attributes(draw: Draw, op: str) -> Sample:
    numbers = st.sampled_from((0.0, 1.0, 0.25, -2.0, 1e-40, 3e38))
    attrs = {name: draw(numbers) for name in ATTRIBUTES[op] if draw(st.booleans())}
    return Sample([values(draw, "float32", shape(draw))], attrs)


@case("clip")
def clip(draw: Draw, op: str) -> Sample:
    dtype = draw(st.sampled_from(NUMBERS))
    bound = (
        st.floats(-9, 9, width=32) | st.sampled_from((0.0, -0.0))
        if dtype == "float32"
        else st.integers(0 if dtype[0] == "u" else -9, 99)
    )
    attrs = {name: draw(bound) for name in ("min", "max") if draw(st.booleans())}
    return Sample([values(draw, dtype, shape(draw))], attrs)


def pair(draw: Draw, dtypes: tuple[str, ...], odd: bool = True) -> Sample:
    dtype = draw(st.sampled_from(dtypes))
    a, b = broadcasting(draw)
    inputs = [values(draw, dtype, a, odd=odd), values(draw, dtype, b, odd=odd)]
    return Sample(inputs, {}, draw(st.sampled_from(((), (0,), (1,)))))


@case("add", "sub", "mul", "div", "max", "min", "pow", "fmod", "mod", "prelu", "less", "less_equal")
def arithmetic(draw: Draw, op: str) -> Sample:
    return pair(draw, NUMBERS, draw(st.integers(0, 3)) != 0)


@case("equal")
def equality(draw: Draw, op: str) -> Sample:
    return pair(draw, (*NUMBERS, "bool"))


@case("and", "or", "xor")
def bitwise(draw: Draw, op: str) -> Sample:
    return pair(draw, (*INTEGERS, "bool"))


@case("shift_left", "shift_right")
def shift(draw: Draw, op: str) -> Sample:
    sample = pair(draw, INTEGERS)
    x, places = sample.inputs
    assert x is not None
    assert places is not None
    few = values(draw, places.dtype.name, places.shape, low=0, high=70)
    return Sample([x, draw(st.sampled_from((places, few)))], {})


@case("where")
def where(draw: Draw, op: str) -> Sample:
    dtype = draw(st.sampled_from(DTYPES))
    a, b = broadcasting(draw)
    whole = np.broadcast_shapes(a, b)
    condition = tuple(1 if draw(st.booleans()) else size for size in whole)
    return Sample([values(draw, "bool", condition), values(draw, dtype, a), values(draw, dtype, b)], {})


@case("cast")
def cast(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw))
    return Sample([x], {"to": draw(st.sampled_from(DTYPES))})


@case("bitcast")
def bitcast(draw: Draw, op: str) -> Sample:
    source = draw(st.sampled_from(DTYPES))
    fitting = [dtype for dtype in DTYPES if DType(dtype).size == DType(source).size]
    return Sample([values(draw, source, shape(draw))], {"to": draw(st.sampled_from(fitting))})
