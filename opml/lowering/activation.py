"""The activations of transformers, in ONNX's and in ONNX Runtime's domain."""

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers

SQRT_HALF = 0.5**0.5
SQRT_2_PI = (2 / np.pi) ** 0.5
CUBE = 0.044715


def gelu_erf(c: Call, x: str) -> str:
    """x/2 * (1 + erf(x / sqrt 2))."""
    return _half(c, x, c.emit("erf", [c.emit("mul", [x, c.build.scalar(SQRT_HALF)])]))


def gelu_tanh(c: Call, x: str) -> str:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."""
    number = c.build.scalar
    cube = c.emit("mul", [c.emit("mul", [x, x]), x])
    total = c.emit("add", [x, c.emit("mul", [cube, number(CUBE)])])
    return _half(c, x, c.emit("tanh", [c.emit("mul", [total, number(SQRT_2_PI)])]))


def _half(c: Call, x: str, inner: str) -> str:
    number = c.build.scalar
    return c.emit("mul", [c.emit("mul", [x, number(0.5)]), c.emit("add", [inner, number(1.0)])])


def silu(c: Call, x: str, alpha: float = 1.0) -> str:
    """x * sigmoid(alpha * x)."""
    inner = x if alpha == 1.0 else c.emit("mul", [x, c.build.scalar(alpha)])
    return c.emit("mul", [x, c.emit("sigmoid", [inner])])


@lowers("Gelu", "com.microsoft.Gelu")
def gelu(c: Call) -> str:
    form = c.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise UnsupportedError(f"attribute 'approximate' is {form!r}")
    return gelu_erf(c, c.input()) if form == "none" else gelu_tanh(c, c.input())


@lowers("com.microsoft.BiasGelu")
def bias_gelu(c: Call) -> str:
    return gelu_erf(c, c.emit("add", [c.input(0), c.input(1)]))


@lowers("com.microsoft.FastGelu")
def fast_gelu(c: Call) -> str:
    bias = c.optional(1)
    return gelu_tanh(c, c.emit("add", [c.input(0), bias]) if bias else c.input(0))


@lowers("com.microsoft.QuickGelu")
def quick_gelu(c: Call) -> str:
    return silu(c, c.input(), c.number("alpha", 1.702))


@lowers("Swish")
def swish(c: Call) -> str:
    return silu(c, c.input(), c.number("alpha", 1.0))
