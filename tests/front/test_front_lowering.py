"""Every operator that opml reads, in every form it is written in, computes what ONNX Runtime computes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from front_models import TensorProto, helper, make_model, numbers, one_node, run_onnxruntime, run_opml

from opml.compiler import compile_graph
from opml.errors import ModelError, UnsupportedError
from opml.graph import Array
from opml.lowering import OPERATORS

Case = tuple[onnx.ModelProto, Mapping[str, Array]]
CASES: dict[str, Case] = {}


def add(label: str, op: str, x: Array, *constants: Any, opset: int = 18, **attrs: Any) -> None:
    feeds = {"x": x}
    named = {f"c{i}": np.asarray(value) for i, value in enumerate(constants)}
    CASES[f"{op}-{label}-{opset}"] = one_node(op, feeds, named, opset, **attrs), feeds


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


image = numbers(2, 4, 7, 6)
line = numbers(2, 4, 9)
matrix = numbers(3, 5)

# Gemm and MatMul
add("plain", "Gemm", matrix, numbers(5, 4))
add("bias", "Gemm", matrix, numbers(5, 4), numbers(4))
add("column bias", "Gemm", matrix, numbers(5, 4), numbers(3, 1))
add("scalar bias", "Gemm", matrix, numbers(5, 4), np.float32(2))
add("one-element bias", "Gemm", matrix, numbers(5, 4), numbers(1, 1))
add("transposed", "Gemm", matrix, numbers(4, 3), transA=1, transB=1)
add("factors", "Gemm", matrix, numbers(4, 5), numbers(4), transB=1, alpha=0.5, beta=-2.0)
add("beta zero", "Gemm", matrix, numbers(5, 4), np.full(4, np.inf, np.float32), beta=0.0)
add("old", "Gemm", matrix, numbers(5, 4), numbers(4), opset=7)
add("matrices", "MatMul", matrix, numbers(5, 4))
add("wide", "MatMul", matrix, numbers(5, 33))
add("long", "MatMul", numbers(2, 1030), numbers(1030, 3))
add("vector left", "MatMul", numbers(5), numbers(5, 4))
add("vector right", "MatMul", matrix, numbers(5))
add("vectors", "MatMul", numbers(5), numbers(5))
add("batch left", "MatMul", numbers(2, 3, 4, 5), numbers(5, 6))
add("batch right", "MatMul", numbers(4, 5), numbers(3, 5, 6))
add("batches", "MatMul", numbers(2, 3, 4, 5), numbers(2, 3, 5, 6))
add("broadcast batches", "MatMul", numbers(2, 1, 4, 5), numbers(3, 5, 6))
add("broadcast both", "MatMul", numbers(2, 1, 4, 5), numbers(1, 3, 5, 6))
add("batch by vector", "MatMul", numbers(2, 3, 4, 5), numbers(5))
add("vector by batch", "MatMul", numbers(4), numbers(2, 4, 5))

# Conv and pools
add("plain", "Conv", image, numbers(3, 4, 3, 3), kernel_shape=[3, 3])
add("no kernel_shape", "Conv", image, numbers(3, 4, 3, 2), numbers(3))
add("strides pads", "Conv", image, numbers(3, 4, 3, 3), strides=[2, 3], pads=[1, 0, 2, 1])
add("dilations", "Conv", image, numbers(3, 4, 2, 3), dilations=[2, 2], pads=[1, 1, 1, 1])
add("groups", "Conv", image, numbers(6, 2, 3, 3), numbers(6), group=2)
add("depthwise", "Conv", image, numbers(4, 1, 3, 3), group=4)
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    add(auto, "Conv", image, numbers(3, 4, 4, 3), auto_pad=auto, strides=[2, 3])
    add(auto, "MaxPool", image, auto_pad=auto, kernel_shape=[4, 3], strides=[2, 3])
    add(auto, "AveragePool", image, auto_pad=auto, kernel_shape=[4, 3], strides=[2, 3])
add("1-D", "Conv", line, numbers(3, 4, 3), numbers(3), strides=[2], pads=[1, 2])
add("1-D dilated", "Conv", line, numbers(4, 2, 3), group=2, dilations=[2])
for pool in ("MaxPool", "AveragePool"):
    add("plain", pool, image, kernel_shape=[2, 2])
    add("strides pads", pool, image, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])
    add("ceil", pool, image, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    add("1-D", pool, line, kernel_shape=[3], strides=[2], pads=[1, 1])
    add("dilations", pool, image, kernel_shape=[2, 2], dilations=[2, 3], opset=18 if pool == "MaxPool" else 19)
add("count pads", "AveragePool", image, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
for pool in ("GlobalAveragePool", "GlobalMaxPool"):
    add("2-D", pool, image)
    add("1-D", pool, line)

# Elementwise
_SMOOTH = ("Sigmoid", "Tanh", "Exp", "Erf", "Reciprocal")
_PIECEWISE = ("Relu", "Abs", "Neg", "Floor", "Ceil", "LeakyRelu", "HardSigmoid", "HardSwish")
for unary in (*_SMOOTH, *_PIECEWISE):
    add("plain", unary, image)
add("positive", "Log", np.abs(image) + 0.1)
add("positive", "Sqrt", np.abs(image))
add("alpha", "LeakyRelu", image, alpha=0.2)
add("alpha beta", "HardSigmoid", image, alpha=0.3, beta=0.4)
add("slope", "PRelu", image, numbers(4, 1, 1))
add("none", "Gelu", image, opset=20)
add("tanh", "Gelu", image, opset=20, approximate="tanh")
for binary in ("Add", "Sub", "Mul", "Div"):
    add("same", binary, image, numbers(*image.shape, seed=1))
    add("channel", binary, image, numbers(4, 1, 1) + 3)
    add("stretched", binary, numbers(3, 1), numbers(2, 1, 4) + 3)
    add("int64", binary, numbers(3, 4, dtype=np.int64), np.array([-3, 2, 5, 1]))
    add("int32", binary, numbers(3, 4, dtype=np.int32), np.int32(-4))
for variadic in ("Max", "Min", "Sum"):
    add("one", variadic, matrix)
    add("three", variadic, matrix, numbers(5), numbers(3, 1))
for exponent in (1.0, 2.0, 3.0, 0.5, -1.0):
    add(f"{exponent}", "Pow", np.abs(matrix) + 0.5, np.float32(exponent))
add("int64 exponent", "Pow", matrix, np.int64(2))
add("attributes", "Clip", matrix, opset=6 + 1, min=-0.5, max=0.25)
add("one attribute", "Clip", matrix, opset=10, max=0.25)
add("inputs", "Clip", matrix, np.float32(-0.5), np.float32(0.25))
add("lower", "Clip", matrix, np.float32(-0.5), opset=11)
add("neither", "Clip", matrix)
add("int64", "Clip", numbers(3, 4, dtype=np.int64), np.int64(-2), np.int64(5))
for to in ("FLOAT", "INT64", "INT32", "UINT8", "INT8", "BOOL"):
    add(to, "Cast", numbers(3, 4, dtype=np.uint8), to=getattr(TensorProto, to))
    add(f"int64 {to}", "Cast", numbers(3, 4, dtype=np.int64), to=getattr(TensorProto, to))

# Normalisation
_channel = [numbers(4, seed=seed) for seed in range(3)] + [np.abs(numbers(4, seed=4)) + 0.1]
for opset in (7, 9, 15):
    add("4-D", "BatchNormalization", image, *_channel, opset=opset, epsilon=1e-3)
add("3-D", "BatchNormalization", line, *_channel)
add("2-D", "BatchNormalization", numbers(3, 4), *_channel)
for softmax in ("Softmax", "LogSoftmax"):
    add("default", softmax, image)
    add("axis", softmax, image, axis=1)
    add("default", softmax, image, opset=11)
    add("axis", softmax, image, opset=11, axis=2)
    add("axis -1", softmax, image, opset=11, axis=-1)
    add("axis 0", softmax, image, opset=11, axis=0)
add("plain", "LayerNormalization", matrix, numbers(5), numbers(5))
add("axis", "LayerNormalization", image, numbers(7, 6), axis=2)

# Reductions
for reduction in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
    for axes in ([0], [1, 2], [0, 2], [0, 2, 3], [-1], [0, 1, 2, 3]):
        for keepdims in (0, 1):
            old = 11 if keepdims else 12
            add(f"{axes} {keepdims}", reduction, image, opset=old, axes=axes, keepdims=keepdims)
            add(f"{axes} {keepdims}", reduction, image, ints(*axes), keepdims=keepdims)
    add("all", reduction, image)
    add("no axes", reduction, image, ints(), keepdims=0)
    add("noop", reduction, image, ints(), noop_with_empty_axes=1)
    add("around a one", reduction, numbers(3, 1, 4), ints(0, 2))
for axis in (0, 1, -1):
    add(f"{axis} drop", "ArgMax", image, axis=axis, keepdims=0)
add("default", "ArgMax", image)
add("first", "ArgMax", np.ones((2, 3), np.float32), axis=1)
add("last", "ArgMax", np.ones((2, 3), np.float32), axis=1, select_last_index=1)

# Shapes
add("axis 0", "Flatten", image, axis=0)
add("default", "Flatten", image)
add("axis -1", "Flatten", image, axis=-1)
add("axis rank", "Flatten", image, axis=4)
add("plain", "Reshape", image, ints(8, 42))
add("zero and rest", "Reshape", image, ints(0, -1, 6))
add("rest", "Reshape", image, ints(-1))
add("allowzero", "Reshape", image, ints(2, -1), allowzero=1)
add("reversed", "Transpose", image)
add("perm", "Transpose", image, perm=[0, 2, 3, 1])
add("a view", "Transpose", numbers(1, 3, 1, 4), perm=[1, 0, 3, 2])
add("int8", "Transpose", numbers(3, 5, dtype=np.int8))
_ones = numbers(1, 3, 1, 4)
add("all", "Squeeze", _ones)
add("attribute", "Squeeze", _ones, opset=11, axes=[0])
add("input", "Squeeze", _ones, ints(-2))
add("attribute", "Unsqueeze", matrix, opset=11, axes=[0, 3])
add("input", "Unsqueeze", matrix, ints(1, -1))
for count in (1, 2, 4, 5, 17):
    add(f"{count}", "Concat", matrix, *(numbers(3, 1 + i % 3, seed=i) for i in range(count - 1)), axis=1)
add("negative", "Concat", image, image, axis=-3)
add("plain", "Slice", image, ints(1, 2), ints(3, 9), ints(1, 2))
add("steps", "Slice", image, ints(-1, 0), ints(-9, 100), ints(3, 2), ints(-2, 3))
add("attributes", "Slice", image, opset=9, starts=[1], ends=[3], axes=[1])
add("all of it", "Slice", image, ints(0), ints(100))
add("one", "Gather", image, np.array(2), axis=1)
add("range", "Gather", image, ints(0, 2, 4), axis=2)
add("any", "Gather", image, ints(3, 0, -1, 3), axis=3)
add("matrix", "Gather", image, np.array([[0, 1], [1, 0]]))
add("more", "Expand", numbers(3, 1), ints(2, 1, 4))
add("same", "Expand", matrix, ints(1))
add("zeros", "Pad", matrix, ints(0, 1, 2, 3))
add("value", "Pad", matrix, ints(1, 1, 0, 0), np.float32(-7))
add("axes", "Pad", matrix, ints(1, 2), np.float32(1), ints(-1))
add("attributes", "Pad", matrix, opset=10, pads=[1, 0, 0, 2], value=2.5)
add("nothing", "Pad", matrix, ints(0, 0, 0, 0))
add("plain", "Identity", image)
add("plain", "Dropout", image, opset=10, ratio=0.5)
add("inputs", "Dropout", image, np.float32(0.5), np.bool_(False))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_operator_computes_what_onnxruntime_computes(case: Case) -> None:
    model, feeds = case
    assert_same(model, feeds)


def assert_same(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
    for mine, theirs in zip(run_opml(model, feeds), run_onnxruntime(model, feeds), strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    """Here, among ONNX's own, or in a test that names it; operators of other domains have tests of their own."""
    measured = json.loads((Path(__file__).parents[1] / "conformance" / "results.json").read_text())["operators"]
    here = {node.op_type for model, _ in CASES.values() for node in model.graph.node}
    rest = {name for name in OPERATORS if "." not in name} - here - set(measured)
    tests = "".join(file.read_text() for file in Path(__file__).parents[1].glob("*/test_*.py"))
    assert not {name for name in rest if f'"{name}"' not in tests}


# Neighbours that must be refused, with a word that must be in the message.
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "gemm vectors": (lambda: one_node("Gemm", {"x": numbers(3)}, {"w": numbers(3, 4)}), "matrices"),
    "gemm sizes": (lambda: one_node("Gemm", {"x": matrix}, {"w": numbers(4, 4)}), "inner sizes"),
    "gemm int": (lambda: one_node("Gemm", {"x": ints(1)[None]}, {"w": ints(1)[None]}), "int64"),
    "matmul scalar": (lambda: one_node("MatMul", {"x": numbers(3)}, {"w": np.float32(1)}), "scalar"),
    "matmul sizes": (lambda: one_node("MatMul", {"x": matrix}, {"w": numbers(4, 4)}), "fit"),
    "matmul batches": (lambda: one_node("MatMul", {"x": numbers(2, 3, 5)}, {"w": numbers(3, 5, 2)}), "fit"),
    "conv kernel": (
        lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, kernel_shape=[2, 3]),
        "kernel_shape",
    ),
    "conv strides": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, strides=[1]), "strides"),
    "conv stride 0": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, strides=[0, 1]), "positive"),
    "conv pads": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, pads=[-1, 0, 0, 0]), "pads"),
    "conv auto and pads": (
        lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, pads=[1, 0, 0, 0], auto_pad="VALID"),
        "beside",
    ),
    "conv auto": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, auto_pad="SAME"), "auto_pad"),
    "conv groups": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3, 3)}, group=2), "groups"),
    "conv rank": (lambda: one_node("Conv", {"x": image}, {"w": numbers(3, 4, 3)}), "kernel"),
    "pool kernel": (lambda: one_node("MaxPool", {"x": image}), "kernel_shape"),
    "pool flag": (lambda: one_node("MaxPool", {"x": image}, kernel_shape=[2, 2], ceil_mode=2), "ceil_mode"),
    "pool too large": (lambda: one_node("MaxPool", {"x": image}, kernel_shape=[9, 2]), "larger"),
    "global of a matrix": (lambda: one_node("GlobalAveragePool", {"x": matrix}), "nothing to pool"),
    "broadcast": (lambda: one_node("Add", {"x": matrix}, {"w": numbers(4)}), "add"),
    "mixed dtypes": (lambda: one_node("Add", {"x": matrix}, {"w": ints(1)}), "int64"),
    "exponent": (lambda: one_node("Pow", {"x": matrix}, {"w": numbers(7)}), "broadcast"),
    "clip vector": (lambda: one_node("Clip", {"x": matrix}, {"w": numbers(5)}), "min"),
    "clip dtype": (lambda: one_node("Clip", {"x": matrix}, {"w": np.int64(1)}), "min"),
    "gelu": (lambda: one_node("Gelu", {"x": matrix}, opset=20, approximate="fast"), "approximate"),
    "cast": (lambda: one_node("Cast", {"x": matrix}, to=TensorProto.FLOAT8E4M3FN), "float8"),
    "norm sizes": (
        lambda: one_node("BatchNormalization", {"x": image}, {name: numbers(3) for name in "abcd"}),
        "not [4]",
    ),
    "norm spatial": (
        lambda: one_node("BatchNormalization", {"x": image}, {n: numbers(4) for n in "abcd"}, 7, spatial=0),
        "spatial",
    ),
    "softmax axis": (lambda: one_node("Softmax", {"x": matrix}, axis=2), "axis 2"),
    "reduce axis": (lambda: one_node("ReduceSum", {"x": matrix}, {"w": ints(2)}), "axis 2"),
    "reduce twice": (lambda: one_node("ReduceSum", {"x": matrix}, {"w": ints(0, -2)}), "twice"),
    "argmax axis": (lambda: one_node("ArgMax", {"x": matrix}, axis=5), "axis 5"),
    "flatten axis": (lambda: one_node("Flatten", {"x": matrix}, axis=3), "axis 3"),
    "reshape size": (lambda: one_node("Reshape", {"x": matrix}, {"w": ints(4, 4)}), "shape"),
    "reshape rest": (lambda: one_node("Reshape", {"x": matrix}, {"w": ints(4, -1)}), "cannot become"),
    "reshape two rests": (lambda: one_node("Reshape", {"x": matrix}, {"w": ints(-1, -1)}), "-1"),
    "reshape keep": (lambda: one_node("Reshape", {"x": matrix}, {"w": ints(3, 5, 0)}), "keeps"),
    "reshape allowzero": (lambda: one_node("Reshape", {"x": matrix}, {"w": ints(0, -1)}, allowzero=1), "allowzero"),
    "transpose perm": (lambda: one_node("Transpose", {"x": matrix}, perm=[0, 0]), "perm"),
    "squeeze wide": (lambda: one_node("Squeeze", {"x": matrix}, {"w": ints(0)}), "size 1"),
    "unsqueeze axes": (lambda: one_node("Unsqueeze", {"x": matrix}), "axes"),
    "unsqueeze twice": (lambda: one_node("Unsqueeze", {"x": matrix}, {"w": ints(0, 0)}), "twice"),
    "concat axis": (lambda: one_node("Concat", {"x": matrix}, {"w": matrix}), "axis"),
    "concat sizes": (lambda: one_node("Concat", {"x": matrix}, {"w": numbers(4, 5)}, axis=1), "concat"),
    "slice step": (
        lambda: one_node("Slice", {"x": matrix}, {"s": ints(0), "e": ints(1), "a": ints(0), "t": ints(0)}),
        "step of 0",
    ),
    "slice lists": (lambda: one_node("Slice", {"x": matrix}, {"s": ints(0), "e": ints(1, 1)}), "belong"),
    "gather index": (lambda: one_node("Gather", {"x": matrix}, {"w": ints(3)}), "outside"),
    "expand": (lambda: one_node("Expand", {"x": matrix}, {"w": ints(2, 2)}), "fit"),
    "pad count": (lambda: one_node("Pad", {"x": matrix}, {"w": ints(1, 1)}), "axes"),
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_is_not_supported_is_named(label: str) -> None:
    make, word = REFUSED[label]
    model = make()
    with pytest.raises(ModelError) as caught:
        compile_graph(model.SerializeToString())
    assert word in caught.value.message
    assert model.graph.node[0].op_type in caught.value.message


@pytest.mark.parametrize(("op", "shape", "word"), [("Reshape", (2,), "shape"), ("Unsqueeze", (1,), "axes")])
def test_a_computed_shape_is_refused_by_name(op: str, shape: tuple[int, ...], word: str) -> None:
    with pytest.raises(UnsupportedError, match=f"'{word}' is computed"):
        compile_graph(one_node(op, {"x": matrix, "s": np.zeros(shape, np.int64)}).SerializeToString())


# More than one operator.


def test_bounds_of_clip_may_be_computed() -> None:
    nodes = [helper.make_node("Abs", ["low"], ["bound"]), helper.make_node("Clip", ["x", "", "bound"], ["y"])]
    feeds = {"x": matrix, "low": np.array(-0.5, np.float32)}
    assert_same(make_model(nodes, feeds, ["y"]), feeds)


def test_shape_arithmetic_is_folded() -> None:
    """What exporters write for `x.view(x.size(0), -1)`."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["batch1"]),
        helper.make_node("Concat", ["batch1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("Shape", ["flat"], ["last"], start=-1),
        helper.make_node("Cast", ["last"], ["width"], to=TensorProto.FLOAT),
        helper.make_node("Size", ["flat"], ["size"]),
        helper.make_node("ConstantOfShape", ["axes"], ["one"], value=helper.make_tensor("v", 1, [1], [2.0])),
        helper.make_node("Div", ["flat", "width"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "size32"], ["wide"]),
        helper.make_node("Cast", ["size"], ["size32"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["wide"], ["y"]),
    ]
    nodes.insert(10, nodes.pop(11))
    model = make_model(nodes, {"x": image}, ["y"], {"zero": np.array(0), "axes": ints(0), "rest": ints(-1)})
    assert_same(model, {"x": image})
    assert [node.op for node in compile_graph(model.SerializeToString()).nodes] == ["view", "div", "mul", "relu"]


def test_outputs_always_have_bytes_of_their_own() -> None:
    """An output that is an initialiser, a view of an input, another output, or a view of one."""
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Flatten", ["r"], ["flat"], axis=0),
        helper.make_node("Identity", ["r"], ["again"]),
        helper.make_node("Neg", ["flat"], ["n"]),
    ]
    outputs = ["same", "flat", "w", "r", "again", "n"]
    model = make_model(nodes, {"x": matrix}, outputs, {"w": numbers(2, 2)})
    assert compile_graph(model.SerializeToString()).outputs == outputs
    assert_same(model, {"x": matrix})


def test_names_that_look_like_ours_do_not_collide() -> None:
    nodes = [helper.make_node("HardSwish", ["%1"], ["%2"]), helper.make_node("HardSwish", ["%2"], ["%3"])]
    model = make_model(nodes, {"%1": matrix}, ["%3"])
    assert_same(model, {"%1": matrix})


def test_inputs_that_nobody_reads_stay() -> None:
    feeds = {"x": matrix, "unused": ints(1, 2)}
    graph = compile_graph(make_model([helper.make_node("Relu", ["x"], ["y"])], feeds, ["y"]).SerializeToString())
    assert graph.inputs == ["x", "unused"]
