"""Operators on small integers: exact sums in int32, scaled and rounded once; the others in float32 between both."""

from collections.abc import Sequence
from math import prod

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Node
from opml.lowering.call import RULES, Call, lowers
from opml.lowering.linear import broadcast_shape
from opml.lowering.quantised import dequantize, quantize
from opml.lowering.windows import Window


@lowers("MatMulInteger")
def matmul_integer(c: Call) -> str:
    return integer_product(c, c.input(0), c.input(1), c.optional(2), c.optional(3))


def integer_product(c: Call, a: str, b: str, a_zero: str, b_zero: str) -> str:
    """numpy.matmul of bytes less their zero points, as int32; one zero point, or one to a row of a, or column of b."""
    left, right = c.build.shape(a), c.build.shape(b)
    if not left or not right:
        raise UnsupportedError("an input is a scalar")
    drop_row, drop_column = len(left) == 1, len(right) == 1
    left = (1, *left) if drop_row else left
    right = (*right, 1) if drop_column else right
    batch = broadcast_shape(left[:-2], right[:-2])
    count, rows, columns = prod(batch), left[-2], right[-1]
    a_zero, b_zero = _zeros(c, a_zero, rows), _zeros(c, b_zero, columns)
    if prod(right[:-2]) == 1:
        tall = not a_zero or c.build.type(a_zero).elements == 1
        a = c.view(a, (count * rows, left[-1]) if tall else (count, rows, left[-1]))
        b = c.view(b, right[-2:])
    else:
        a, b = (_stretched(c, name, shape, batch) for name, shape in ((a, left), (b, right)))
    product = c.emit("matmul_int", _trim([a, b, a_zero, b_zero]))
    return c.view(product, [*batch, *([] if drop_row else [rows]), *([] if drop_column else [columns])])


def _stretched(c: Call, name: str, shape: tuple[int, ...], batch: tuple[int, ...]) -> str:
    """One matrix, or as many as `batch` has."""
    if prod(shape[:-2]) == 1:
        return c.view(name, shape[-2:])
    if shape[:-2] != batch:
        aligned = (1,) * (len(batch) + 2 - len(shape)) + shape
        name = c.emit("expand", [c.view(name, aligned)], shape=[*batch, *shape[-2:]])
    return c.view(name, (prod(batch), *shape[-2:]))


def _zeros(c: Call, name: str, size: int) -> str:
    """Zero points without axes of size 1; "" where there are none."""
    if not name:
        return ""
    elements = c.build.type(name).elements
    if elements not in (1, size) or max(c.build.shape(name), default=1) != elements:
        raise UnsupportedError(f"zero points of shape {list(c.build.shape(name))} for {size} rows or columns")
    return c.view(name, () if elements == 1 else (size,))


def _trim(names: Sequence[str]) -> list[str]:
    names = list(names)
    while not names[-1]:
        names.pop()
    return names


@lowers("ConvInteger")
def conv_integer(c: Call) -> str:
    return _convolution(c, c.input(0), c.input(1), c.optional(2), c.optional(3))


def _convolution(c: Call, x: str, w: str, x_zero: str, w_zero: str, bias: str = "") -> str:
    """Sums in int32, plus maybe a bias for each channel. A window over one axis is one over two, of height 1."""
    shape, kernel = c.build.shape(x), c.build.shape(w)
    attrs = Window(c, list(kernel[2:])).attrs()
    if len(shape) == 3:
        x, w = c.view(x, (*shape[:2], 1, shape[2])), c.view(w, (*kernel[:2], 1, kernel[2]))
        before, after = attrs["pads"]
        attrs = {name: [1, *attrs[name]] for name in ("strides", "dilations")} | {"pads": [0, before, 0, after]}
    zeros = [_zeros(c, x_zero, 1), _zeros(c, w_zero, kernel[0])]
    y = c.emit("conv_int", _trim([x, w, *zeros]), group=c.integer("group", 1), **attrs)
    if bias:
        y = c.emit("add", [y, c.view(bias, (kernel[0], 1, 1))])
    out = c.build.shape(y)
    return c.view(y, (*out[:2], out[3])) if len(shape) == 3 else y


@lowers("QLinearConv")
def qlinear_conv(c: Call) -> str:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (c.input(index) for index in range(8))
    sums = _convolution(c, x, w, x_zero, w_zero, c.optional(8))
    return requantize(c, sums, _factor(c, x_scale, w_scale, y_scale), y_zero, axis=1)


def _factor(c: Call, *scales: str, alpha: float = 1.0) -> str:
    """alpha * the first scale * the second, divided by the third if there is one: a scalar or a vector."""
    flat = []
    for name in scales:
        elements = c.build.type(name).elements
        if max(c.build.shape(name), default=1) != elements:
            raise UnsupportedError(f"scales of shape {list(c.build.shape(name))}")
        flat.append(c.view(name, () if elements == 1 else (elements,)))
    first = c.emit("mul", [c.build.scalar(alpha), flat[0]]) if alpha != 1.0 else flat[0]
    product = c.emit("mul", [first, flat[1]])
    return c.emit("div", [product, flat[2]]) if len(flat) > 2 else product


def _nothing(c: Call, like: str) -> str:
    """A zero point of 0 of a tensor's dtype."""
    return c.build.constant(np.zeros((), c.build.type(like).dtype.numpy))


def requantize(c: Call, sums: str, factor: str, zero: str, axis: int) -> str:
    """sums * factor, rounded, plus zero, in the zero point's dtype; a vector of factors goes along `axis`."""
    shape, zero = c.build.shape(factor), c.view(zero, ())
    if not shape:
        return quantize(c, sums, factor, zero, multiply=1)
    return quantize(c, sums, factor, c.emit("expand", [zero], shape=list(shape)), multiply=1, axis=axis)


@lowers("QLinearMatMul")
def qlinear_matmul(c: Call) -> str:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (c.input(index) for index in range(8))
    sums = integer_product(c, a, b, a_zero, b_zero)
    by_row = c.build.type(a_scale).elements > 1
    if by_row and c.build.type(b_scale).elements > 1:
        raise UnsupportedError("scales of rows and of columns at once")
    return requantize(c, sums, _factor(c, a_scale, b_scale, y_scale), y_zero, axis=-2 if by_row else -1)


@lowers("com.microsoft.QGemm")
def qgemm(c: Call) -> str:
    """alpha * A' @ B' + C, quantised where there is a scale for it, else float32."""
    a, a_scale, a_zero, b, b_scale, b_zero = (c.input(index) for index in range(6))
    bias, y_scale, y_zero = (c.optional(index) for index in (6, 7, 8))
    a, b = (c.build.transpose(name, (1, 0)) if c.flag(flag) else name for name, flag in ((a, "transA"), (b, "transB")))
    sums = integer_product(c, a, b, a_zero, b_zero)
    if bias:
        sums = c.emit("add", [sums, bias])
    factor = _factor(c, a_scale, b_scale, *([y_scale] if y_scale else []), alpha=c.number("alpha", 1.0))
    if y_scale:
        return requantize(c, sums, factor, y_zero or _nothing(c, a), axis=1)
    return c.emit("dequantize", [sums, factor], **({"axis": 1} if c.build.shape(factor) else {}))


@lowers("com.microsoft.MatMulIntegerToFloat")
def matmul_integer_to_float(c: Call) -> str:
    a, b, a_scale, b_scale = (c.input(index) for index in range(4))
    return _to_float(c, a, a_scale, c.optional(4), b, b_scale, c.optional(5), c.optional(6))


def _to_float(c: Call, a: str, a_scale: str, a_zero: str, b: str, b_scale: str, b_zero: str, bias: str) -> str:
    """The product of bytes, scaled to float32, plus maybe a bias."""
    sums, factor = integer_product(c, a, b, a_zero, b_zero), _factor(c, a_scale, b_scale)
    axis = {"axis": len(c.build.shape(sums)) - 1} if c.build.shape(factor) else {}
    product = c.emit("dequantize", [sums, factor], **axis)
    return c.emit("add", [product, bias]) if bias else product


@lowers("DynamicQuantizeLinear")
def dynamic_quantize_linear(c: Call) -> Sequence[str]:
    return dynamic(c, c.input())


def dynamic(c: Call, x: str) -> tuple[str, str, str]:
    """x as uint8 over the range of its elements and zero, the scale, and the zero point."""
    zero, flat = c.build.scalar(0.0), c.view(x, (c.build.type(x).elements,))
    high = c.emit("max", [c.emit("reduce_max", [flat], axes=[0], keepdims=0), zero])
    low = c.emit("min", [c.emit("reduce_min", [flat], axes=[0], keepdims=0), zero])
    scale = c.emit("div", [c.emit("sub", [high, low]), c.build.scalar(255.0)])
    point = c.emit("quantize", [c.emit("sub", [zero, low]), scale], to="uint8")
    return c.emit("quantize", [x, scale, point], to="uint8"), scale, point


@lowers("com.microsoft.DynamicQuantizeMatMul")
def dynamic_quantize_matmul(c: Call) -> str:
    a, b, b_scale = (c.input(index) for index in range(3))
    quantised, scale, point = dynamic(c, a)
    return _to_float(c, quantised, scale, point, b, b_scale, c.optional(3), c.optional(4))


def _float(c: Call, first: int) -> str:
    """The tensor whose elements, scale and zero point are the inputs from `first` on, as floats."""
    return dequantize(c, c.input(first), c.view(c.input(first + 1), ()), c.optional(first + 2))


def _between(c: Call, op: str, inputs: Sequence[str], opset: int = 0, without: Sequence[str] = ()) -> str:
    """One of ONNX's own operators on other inputs, with this node's attributes."""
    attrs = {name: value for name, value in c.node.attrs.items() if name not in without}
    node = Node(op, c.node.inputs, c.node.outputs[:1], attrs, c.node.name)
    call = Call(c.build, node, opset or c.opset, tuple(inputs))
    result = RULES[op](call)
    c.attrs_read |= call.attrs_read
    return result if isinstance(result, str) else result[0]


def _back(c: Call, y: str, first: int) -> str:
    """y quantised with the scale and zero point from input `first` on."""
    zero = c.optional(first + 1) or _nothing(c, c.input(first - 3))
    return quantize(c, y, c.view(c.input(first), ()), zero)


@lowers("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def qlinear_binary(c: Call) -> str:
    op = "add" if c.op.endswith("Add") else "mul"
    return _back(c, c.emit(op, [_float(c, 0), _float(c, 3)]), 6)


# Operators of one tensor that are computed as floats: ONNX's name, and attributes of the quantised one alone.
AROUND = {
    "com.microsoft.QLinearAveragePool": ("AveragePool", ("channels_last",)),
    "com.microsoft.QLinearGlobalAveragePool": ("GlobalAveragePool", ("channels_last",)),
    "com.microsoft.QLinearLeakyRelu": ("LeakyRelu", ()),
    "com.microsoft.QLinearSigmoid": ("Sigmoid", ()),
    "com.microsoft.QLinearSoftmax": ("Softmax", ("opset",)),
}


@lowers(*AROUND)
def qlinear_unary(c: Call) -> str:
    op, without = AROUND[c.op]
    if "channels_last" in without:
        c.only("channels_last", 0)
    opset = c.integer("opset", 13) if "opset" in without else 13
    return _back(c, _between(c, op, [_float(c, 0)], opset, without), 3)


@lowers("com.microsoft.QLinearConcat")
def qlinear_concat(c: Call) -> str:
    parts = [quantize(c, _float(c, at), c.view(c.input(0), ()), c.input(1)) for at in range(2, len(c.inputs), 3)]
    if not parts:
        raise UnsupportedError("nothing to concatenate")
    return c.build.concat(parts, c.axis(c.integer("axis", 0), len(c.build.shape(parts[0]))))


@lowers("com.microsoft.QLinearWhere")
def qlinear_where(c: Call) -> str:
    return _back(c, _between(c, "Where", [c.input(0), _float(c, 1), _float(c, 4)]), 7)


@lowers("com.microsoft.FusedMatMul")
def fused_matmul(c: Call) -> str:
    """alpha * A' @ B', both with their last two axes exchanged where asked for."""
    c.only("transBatchA", 0)
    c.only("transBatchB", 0)
    operands = []
    for index, flag in enumerate(("transA", "transB")):
        rank = c.rank(index)
        turn = c.flag(flag) and rank > 1
        operands.append(
            c.build.transpose(c.input(index), (*range(rank - 2), rank - 1, rank - 2)) if turn else c.input(index)
        )
    own = ("alpha", "transA", "transB", "transBatchA", "transBatchB")
    product, alpha = _between(c, "MatMul", operands, 0, own), c.number("alpha", 1.0)
    return c.emit("mul", [product, c.build.scalar(alpha)]) if alpha != 1.0 else product
