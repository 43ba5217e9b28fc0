"""Cases of the functions of one and two tensors, and of conversions."""

from hypothesis import strategies as st
from primitive_base import DTYPES, NUMBERS, Draw, Sample, broadcasting, case, shape, values

FLOAT_FUNCTIONS = ("sigmoid", "tanh", "exp", "log", "sqrt", "erf", "floor", "ceil", "reciprocal")


@case(*FLOAT_FUNCTIONS)
def float_function(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, "float32", shape(draw))], {})


@case("relu", "abs", "neg")
def number_function(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, draw(st.sampled_from(NUMBERS)), shape(draw))], {})


@case("leaky_relu", "hard_sigmoid")
def with_alpha(draw: Draw, op: str) -> Sample:
    names = ("alpha", "beta") if op == "hard_sigmoid" else ("alpha",)
    attrs = {name: draw(st.sampled_from((0.0, 0.25, -2.0, 1e-40, 3e38))) for name in names if draw(st.booleans())}
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


@case("add", "sub", "mul", "div", "max", "min")
def arithmetic(draw: Draw, op: str) -> Sample:
    dtype = draw(st.sampled_from(NUMBERS))
    a, b = broadcasting(draw)
    inputs = [values(draw, dtype, a), values(draw, dtype, b)]
    return Sample(inputs, {}, draw(st.sampled_from(((), (0,), (1,)))))


@case("cast")
def cast(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw))
    return Sample([x], {"to": draw(st.sampled_from(DTYPES))})
