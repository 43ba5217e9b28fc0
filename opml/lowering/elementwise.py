"""Element by element: one primitive each, or a few."""

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.tensors import onnx_dtype

UNARY = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Neg": "neg",
    "Erf": "erf",
    "Floor": "floor",
    "Ceil": "ceil",
    "Reciprocal": "reciprocal",
}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
VARIADIC = {"Max": "max", "Min": "min", "Sum": "add"}


@lowers(*UNARY)
def unary(c: Call) -> str:
    return c.emit(UNARY[c.op], [c.input()])


@lowers(*BINARY)
def binary(c: Call) -> str:
    return c.emit(BINARY[c.op], [c.input(0), c.input(1)])


@lowers(*VARIADIC)
def variadic(c: Call) -> str:
    """From the left, two at a time."""
    result, *rest = c.all_inputs()
    for other in rest:
        result = c.emit(VARIADIC[c.op], [result, other])
    return result


@lowers("LeakyRelu")
def leaky_relu(c: Call) -> str:
    return c.emit("leaky_relu", [c.input()], alpha=c.number("alpha", 0.01))


@lowers("HardSigmoid")
def hard_sigmoid(c: Call) -> str:
    return c.emit("hard_sigmoid", [c.input()], alpha=c.number("alpha", 0.2), beta=c.number("beta", 0.5))


@lowers("HardSwish")
def hard_swish(c: Call) -> str:
    """x * hard_sigmoid(x / 6 + 1/2)."""
    return c.emit("mul", [c.input(), c.emit("hard_sigmoid", [c.input()], alpha=1 / 6, beta=0.5)])


@lowers("PRelu")
def prelu(c: Call) -> str:
    """max(x, 0) + slope * min(x, 0)."""
    x, slope, zero = c.input(0), c.input(1), c.build.scalar(0.0)
    return c.emit("add", [c.emit("max", [x, zero]), c.emit("mul", [slope, c.emit("min", [x, zero])])])


@lowers("Pow")
def power(c: Call) -> str:
    """The constant exponents 2, 3, 1/2, 1 and -1; others are not supported."""
    x, exponent = c.input(0), c.constant(1, "Y")
    if exponent.size != 1 or len(exponent.shape) > c.rank(0):
        raise UnsupportedError("an exponent that is no single number")
    match float(exponent.reshape(())):
        case 1.0:
            return x
        case 2.0:
            return c.emit("mul", [x, x])
        case 3.0:
            return c.emit("mul", [c.emit("mul", [x, x]), x])
        case 0.5 if c.is_float(x):
            return c.emit("sqrt", [x])
        case -1.0 if c.is_float(x):
            return c.emit("reciprocal", [x])
        case other:
            raise UnsupportedError(f"the exponent {other}; opml has 1, 2, 3, 0.5 and -1")


@lowers("Clip")
def clip(c: Call) -> str:
    """Bounds are attributes before operator set 11, then optional inputs, which need not be constant."""
    x = c.input(0)
    if c.opset < 11:
        lowest = float(np.finfo(np.float32).min)
        return c.emit("clip", [x], min=c.number("min", lowest), max=c.number("max", -lowest))
    bounds = {"min": c.optional(1), "max": c.optional(2)}
    for name, bound in bounds.items():
        if bound and (c.build.type(bound).dtype is not c.build.type(x).dtype or c.build.type(bound).elements != 1):
            raise UnsupportedError(f"input {name!r} is no single {c.build.type(x).dtype.value}")
    values = {name: c.build.value(bound) for name, bound in bounds.items() if bound}
    if all(value is not None and not np.isnan(value).any() for value in values.values()):
        plain = float if c.is_float(x) else int
        numbers = {name: plain(value.reshape(())) for name, value in values.items() if value is not None}
        return c.emit("clip", [x], **numbers) if numbers else x
    for op, bound in (("max", bounds["min"]), ("min", bounds["max"])):
        if bound:
            x = c.emit(op, [x, c.view(bound, ())])
    return x


@lowers("Cast")
def cast(c: Call) -> str:
    c.ignore("saturate", "round_mode")
    to = onnx_dtype(c.integer("to", 0), "attribute 'to'")
    x = c.input()
    return x if c.build.type(x).dtype is to else c.emit("cast", [x], to=to.value)
