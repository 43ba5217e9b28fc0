"""Operators on quantised tensors, one node each: opml's integers are ONNX Runtime's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper
from test_front_quantised import Array, model, run_both

from opml.compiler import compile_program
from opml.errors import UnsupportedError

RNG = np.random.default_rng(5)
Case = tuple[str, list[Array | None], list[int], dict[str, Any], str]

CASES: dict[str, Callable[[], Case]] = {}


def integers(dtype: str, *shape: int) -> Array:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def number(value: float) -> Array:
    return np.array(value, np.float32)


def scales(n: int) -> Array:
    return (RNG.random(n) / 50 + 0.01).astype(np.float32)


def case(name: str, op: str, inputs: list[Array | None], fed: list[int], result: str = "uint8", **attrs: Any) -> None:
    """`fed` are the positions of the inputs that the model is fed; the others are constants."""
    CASES[name] = lambda: (op, inputs, fed, attrs, result)


U8, I8 = np.uint8, np.int8
image, taps = integers("uint8", 1, 4, 9, 7), integers("int8", 6, 4, 3, 3)
matrix, weight = integers("uint8", 5, 40), integers("int8", 40, 24)
floats = (RNG.standard_normal((2, 3, 40)) * 3).astype(np.float32)

case("quantise", "QuantizeLinear", [floats, number(0.05), U8(128)], [0])
case("quantise axis", "QuantizeLinear", [floats, scales(3), integers("int8", 3)], [0], "int8")
case("quantise last axis", "QuantizeLinear", [floats, scales(40), integers("uint8", 40)], [0], axis=-1)
case("quantise dtype", "QuantizeLinear", [floats, number(0.001)], [0], "int16", output_dtype=5)
case("quantise computed", "QuantizeLinear", [floats, number(0.05), U8(128)], [0, 1, 2])
case("quantise blocks", "QuantizeLinear", [floats, scales(30).reshape(2, 3, 5), None], [0], axis=2, block_size=8)
case("dequantise", "DequantizeLinear", [matrix, number(0.3), U8(7)], [0], "float32")
case("dequantise axis", "DequantizeLinear", [taps, scales(4), integers("int8", 4)], [0], "float32", axis=1)
case("dequantise int32", "DequantizeLinear", [integers("int32", 9), number(0.3)], [0], "float32")
case("dequantise blocks", "DequantizeLinear", [matrix, scales(15).reshape(5, 3), None], [0], "float32", block_size=16)
case("dynamic", "DynamicQuantizeLinear", [floats], [0])
case("product", "MatMulInteger", [matrix, weight, U8(9), I8(3)], [0], "int32")
case("product batches", "MatMulInteger", [integers("uint8", 2, 5, 40), weight, U8(9)], [0], "int32")
case("product computed", "MatMulInteger", [integers("uint8", 2, 5, 4), integers("int8", 2, 4, 6)], [0, 1], "int32")
case("product columns", "MatMulInteger", [matrix, weight, U8(1), integers("int8", 24)], [0], "int32")
case("convolution", "ConvInteger", [image, integers("uint8", 6, 4, 3, 3), U8(9), U8(8)], [0], "int32", pads=[1] * 4)
case("convolution line", "ConvInteger",
     [integers("uint8", 1, 2, 9), integers("uint8", 3, 2, 2), U8(9)], [0], "int32", strides=[2])  # fmt: skip
case("qconv", "QLinearConv",
     [image, number(0.1), U8(9), taps, number(0.02), I8(0), number(1.5), U8(100), integers("int32", 6) // 100000],
     [0])  # fmt: skip
case("qconv channels", "QLinearConv",
     [image, number(0.1), U8(9), taps, scales(6), np.zeros(6, I8), number(1.5), U8(100)],
     [0], group=1, pads=[1] * 4)  # fmt: skip
case("qmatmul", "QLinearMatMul", [matrix, number(0.1), U8(9), weight, number(0.05), I8(0), number(2.5), U8(99)], [0])
case("qmatmul columns", "QLinearMatMul",
     [matrix, number(0.1), U8(9), weight, scales(24), np.zeros(24, I8), number(1.5), U8(99)], [0])  # fmt: skip
case("qgemm", "QGemm", [matrix, number(0.1), U8(9), weight.T.copy(), scales(24), np.zeros(24, I8),
     integers("int32", 24) // 100000, number(1.5), U8(99)], [0], transB=1)  # fmt: skip
case("qgemm floats", "QGemm",
     [matrix, number(0.1), U8(9), weight, number(0.1), I8(0)], [0], "float32", alpha=0.5)  # fmt: skip
case("to floats", "MatMulIntegerToFloat",
     [matrix, weight, number(0.1), scales(24), U8(9), integers("int8", 24), scales(24)], [0], "float32")  # fmt: skip
case("dynamic product", "DynamicQuantizeMatMul", [floats, weight, number(0.1), I8(3), scales(24)], [0], "float32")
case("sum", "QLinearAdd",
     [matrix, number(0.1), U8(9), integers("uint8", 40), number(0.2), U8(1), number(0.3), U8(4)], [0, 3])  # fmt: skip
case("product of elements", "QLinearMul",
     [matrix, number(0.107), U8(99), integers("uint8", 40), number(0.2), U8(1), number(3), U8(4)], [0])  # fmt: skip
case("average", "QLinearAveragePool", [image, number(0.1), U8(9), number(0.1), U8(20)], [0], kernel_shape=[3, 2])
case("average of all", "QLinearGlobalAveragePool", [image, number(0.1), U8(9), number(0.05), U8(20)], [0])
case("leaky", "QLinearLeakyRelu", [matrix, number(0.1), U8(99), number(0.1), U8(20)], [0], alpha=0.1)
case("sigmoid", "QLinearSigmoid", [matrix, number(0.05), U8(99), number(1 / 256), U8(0)], [0])
case("softmax", "QLinearSoftmax", [matrix, number(0.05), U8(99), number(1 / 256), U8(0)], [0], axis=-1, opset=13)
case("concatenation", "QLinearConcat",
     [number(0.2), U8(3), matrix, number(0.1), U8(9), integers("uint8", 5, 2), number(0.3), U8(1)],
     [2, 5], axis=1)  # fmt: skip
case("choice", "QLinearWhere",
     [matrix > 100, matrix, number(0.1), U8(9), integers("uint8", 5, 40), number(0.3), U8(1), number(0.2), U8(3)],
     [0, 1, 4])  # fmt: skip
case("fused", "FusedMatMul", [floats, RNG.random((2, 7, 40), np.float32)], [0], "float32", transB=1, alpha=0.25)
case("fused turned", "FusedMatMul", [floats, RNG.random((2, 3, 6), np.float32)], [0, 1], "float32", transA=1)

MICROSOFT = {"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "FusedMatMul"}


def built(case: Case) -> tuple[bytes, dict[str, Array]]:
    op, inputs, fed, attrs, result = case
    arrays = [None if x is None else np.asarray(x) for x in inputs]
    names = ["" if x is None else f"x{position}" for position, x in enumerate(arrays)]
    while not names[-1]:
        names.pop()
    known = {name: x for name, x in zip(names, arrays, strict=False) if x is not None}
    feeds = {names[position]: known.pop(names[position]) for position in fed}
    own = op in MICROSOFT or (op.startswith("QLinear") and op not in ("QLinearConv", "QLinearMatMul"))
    outputs = {"y": (result, None)}
    if op == "DynamicQuantizeLinear":
        outputs |= {"scale": ("float32", ()), "zero": ("uint8", ())}
    node = helper.make_node(op, names, list(outputs), domain="com.microsoft" if own else "", **attrs)
    source = model([node], {n: (x.dtype.name, x.shape) for n, x in feeds.items()}, outputs, known, opset=21)
    return source, feeds


@pytest.mark.parametrize("name", CASES)
def test_a_node_is_as_onnxruntime_has_it(name: str) -> None:
    ours, theirs = run_both(*built(CASES[name]()))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        if mine.dtype == np.float32:
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
        else:
            # A mean of six is halfway between two integers now and then, and float32 may be on either side.
            most = 1 if name == "average" else 0
            assert abs(mine.astype(np.int64) - other).max() <= most


def refused(name: str, op: str, inputs: list[Array | None], fed: list[int], **attrs: Any) -> tuple[str, Case]:
    return name, (op, inputs, fed, attrs, "uint8")


REFUSED = [
    refused("float8", "QuantizeLinear", [floats, number(1)], [0], output_dtype=17),
    refused("output_dtype", "QuantizeLinear", [floats, number(1), U8(0)], [0], output_dtype=3),
    refused("precision", "QuantizeLinear", [floats, number(1)], [0], precision=10),
    refused("block_size", "QuantizeLinear", [floats, number(1)], [0], block_size=-1),
    refused("scales", "QuantizeLinear", [floats, scales(7)], [0]),
    refused("rows and of columns", "QLinearMatMul",
            [matrix, scales(5), U8(9), weight, scales(24), np.zeros(24, I8), number(1), U8(99)], [0]),
    refused("channels_last", "QLinearGlobalAveragePool",
            [image, number(0.1), U8(9), number(0.05), U8(20)], [0], channels_last=1),
    refused("dimensions", "ConvInteger", [integers("uint8", 1, 2, 3, 3, 3), integers("uint8", 1, 2, 1, 1, 1)], [0]),
    refused("transBatchA", "FusedMatMul", [floats, floats], [0], transBatchA=1),
    refused("QLinearUnheardOf", "QLinearUnheardOf", [matrix], [0]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "case"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_opml_does_not_have_is_refused_by_name(reason: str, case: Case) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        compile_program(built(case)[0])
