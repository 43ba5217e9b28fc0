"""Element by element: one primitive each, or a few."""

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.tensors import narrow_dtype, onnx_dtype

UNARY = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Abs": "abs",
    "Neg": "neg", "Erf": "erf", "Floor": "floor", "Ceil": "ceil", "Reciprocal": "reciprocal", "Round": "round",
    "Sign": "sign", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan",
    "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "IsNaN": "is_nan",
    "Not": "not", "BitwiseNot": "bitwise_not", "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish",
}  # fmt: skip
BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "PRelu": "prelu", "Equal": "equal", "Less": "less",
    "LessOrEqual": "less_equal", "And": "and", "Or": "or", "Xor": "xor", "BitwiseAnd": "and", "BitwiseOr": "or",
    "BitwiseXor": "xor",
}  # fmt: skip
MIRRORED = {"Greater": "less", "GreaterOrEqual": "less_equal"}
VARIADIC = {"Max": "max", "Min": "min", "Sum": "add"}
# Primitives with ONNX's attributes and their defaults.
SCALED = {
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Selu": ("elu", {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Celu": ("celu", {"alpha": 1.0}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": 1.0}),
    "Shrink": ("shrink", {"lambd": 0.5, "bias": 0.0}),
}


@lowers(*UNARY)
def unary(c: Call) -> str:
    return c.emit(UNARY[c.op], [c.input()])


@lowers(*BINARY)
def binary(c: Call) -> str:
    return c.emit(BINARY[c.op], [c.input(0), c.input(1)])


@lowers(*MIRRORED)
def mirrored(c: Call) -> str:
    return c.emit(MIRRORED[c.op], [c.input(1), c.input(0)])


@lowers(*VARIADIC)
def variadic(c: Call) -> str:
    """From the left, two at a time."""
    result, *rest = c.all_inputs()
    for other in rest:
        result = c.emit(VARIADIC[c.op], [result, other])
    return result


@lowers("Mean")
def mean(c: Call) -> str:
    """The sum from the left, divided by the number of tensors."""
    result, *rest = names = c.all_inputs()
    for other in rest:
        result = c.emit("add", [result, other])
    return c.emit("div", [result, c.build.scalar(len(names))]) if rest else result


@lowers(*SCALED)
def scaled(c: Call) -> str:
    primitive, defaults = SCALED[c.op]
    return c.emit(primitive, [c.input()], **{name: c.number(name, value) for name, value in defaults.items()})


@lowers("IsInf")
def is_inf(c: Call) -> str:
    signs = {sign: float(c.flag(f"detect_{sign}", 1)) for sign in ("negative", "positive")}
    return c.emit("is_inf", [c.input()], **signs)


@lowers("Where")
def where(c: Call) -> str:
    return c.emit("where", [c.input(0), c.input(1), c.input(2)])


@lowers("BitShift")
def bit_shift(c: Call) -> str:
    direction = c.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise UnsupportedError(f"attribute 'direction' is {direction!r}")
    return c.emit(f"shift_{direction.lower()}", [c.input(0), c.input(1)])


@lowers("Mod")
def mod(c: Call) -> str:
    """The remainder with the sign of the divisor, with `fmod` of the dividend."""
    return c.emit("fmod" if c.flag("fmod") else "mod", [c.input(0), c.input(1)])


@lowers("HardSwish")
def hard_swish(c: Call) -> str:
    """x * hard_sigmoid(x / 6 + 1/2)."""
    return c.emit("mul", [c.input(), c.emit("hard_sigmoid", [c.input()], alpha=1 / 6, beta=0.5)])


@lowers("Pow")
def power(c: Call) -> str:
    """The simple constant exponents as products; of an integer to a power that is no integer, the integer part."""
    x, exponent = c.input(0), c.input(1)
    value = c.build.value(exponent)
    if value is not None and value.size == 1 and value.ndim <= c.rank(0):
        number = value.reshape(()).item()
        if number == 1:
            return x
        if number in (2, 3):
            square = c.emit("mul", [x, x])
            return c.emit("mul", [square, x]) if number == 3 else square
        if c.is_float(x) and number in (0.5, -1):
            return c.emit("sqrt" if number == 0.5 else "reciprocal", [x])
    if not c.is_float(x) and value is not None and np.array_equal(value, np.rint(value)) and (abs(value) < 2**31).all():
        exponent = c.build.constant(value.astype(np.int64))
    kind = "float32" if c.is_float(x) or c.is_float(exponent) else "int64"
    if c.build.type(x).dtype is c.build.type(exponent).dtype:
        return c.emit("pow", [x, exponent])
    y = c.emit("pow", [_as(c, x, kind), _as(c, exponent, kind)])
    return _as(c, y, c.build.type(x).dtype.value)


def _as(c: Call, name: str, dtype: str) -> str:
    return name if c.build.type(name).dtype.value == dtype else c.emit("cast", [name], to=dtype)


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
    dtype, bits = narrow_dtype(c.integer("to", 0), "attribute 'to'")
    return _converted(c, c.input(), dtype.value, bits)


@lowers("CastLike")
def cast_like(c: Call) -> str:
    c.ignore("saturate", "round_mode")
    like = c.input(1)
    return _converted(c, c.input(0), c.build.type(like).dtype.value, c.build.narrow.get(like, 0))


def _converted(c: Call, x: str, dtype: str, bits: int) -> str:
    """As another dtype; of an integer of fewer than eight bits, which has a byte here, the low ones."""
    if not bits:
        return _as(c, x, dtype)
    places = c.build.constant(np.array(8 - bits, dtype))
    byte = _as(c, _as(c, x, "int32"), dtype)
    result = c.emit("shift_right", [c.emit("shift_left", [byte, places]), places])
    c.build.narrow[result] = bits
    return result


@lowers("BitCast")
def bit_cast(c: Call) -> str:
    return c.emit("bitcast", [c.input()], to=onnx_dtype(c.integer("to", 0), "attribute 'to'").value)
