"""float16, bfloat16 and float64 models: each operator computes in float32 and rounds its result once."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from front_models import helper
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opml.compiler import compile_graph, compile_program
from opml.engine import Engine
from opml.errors import InputError
from opml.graph import DType

STORED = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}


def model(dtype: str, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], outputs: list[str]) -> bytes:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(STORED[dtype]))
    graph = helper.make_graph(
        nodes,
        "floats",
        [helper.make_tensor_value_info(name, kind, size) for name, size in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def numbers(dtype: str, seed: int, *size: int) -> NDArray[np.generic]:
    return np.random.default_rng(seed).standard_normal(size).astype(STORED[dtype])


CHAIN = [
    helper.make_node("Mul", ["x", "y"], ["a"]),
    helper.make_node("Transpose", ["a"], ["b"]),
    helper.make_node("Add", ["b", "x"], ["c"]),
    helper.make_node("Exp", ["c"], ["d"]),
    helper.make_node("Concat", ["d", "x"], ["e"], axis=0),
    helper.make_node("ReduceSum", ["e"], ["f"], keepdims=0),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_each_operator_rounds_once(dtype: str, seed: int) -> None:
    """numpy computes in float32 here, and every result is rounded to the stored type."""
    x, y = numbers(dtype, seed, 3, 3), numbers(dtype, seed + 1, 3, 3)
    stored, single = STORED[dtype], np.float32
    found = Engine(compile_program(model(dtype, CHAIN, {"x": x.shape, "y": y.shape}, ["c", "d", "e", "f"]))).run(
        {"x": x, "y": y}
    )
    a = (x.astype(single) * y.astype(single)).astype(stored)
    c = (a.T.astype(single) + x.astype(single)).astype(stored)
    assert found["c"].tobytes() == c.tobytes()
    assert all(value.dtype == np.dtype(stored) for value in found.values())
    d = np.exp(c.astype(np.float64)).astype(stored)
    assert np.allclose(found["d"].astype(single), d.astype(single), rtol=2 * float(ml_dtypes.finfo(stored).eps))
    assert found["e"].tobytes() == np.concatenate([found["d"], x]).tobytes()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_float64_is_computed_as_float32(seed: int) -> None:
    x, y = numbers("float64", seed, 3, 3), numbers("float64", seed + 1, 3, 3)
    found = Engine(compile_program(model("float64", CHAIN, {"x": x.shape, "y": y.shape}, ["c", "f"]))).run(
        {"x": x, "y": y}
    )
    single = [value.astype(np.float32) for value in (x, y)]
    assert np.array_equal(found["c"], ((single[0] * single[1]).T + single[0]).astype(np.float64))
    assert found["f"].dtype == np.float64


def test_a_computed_float64_is_not_rounded_to_and_fro() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"])]
    graph = compile_graph(model("float64", nodes, {"x": (4,)}, ["y"]))
    assert [node.op for node in graph.nodes] == ["cast", "relu", "exp", "cast"]


def test_bfloat16_from_a_numpy_file(tmp_path: Path) -> None:
    engine = Engine(compile_program(model("bfloat16", [helper.make_node("Relu", ["x"], ["y"])], {"x": (4,)}, ["y"])))
    x = numbers("bfloat16", 3, 4)
    np.save(tmp_path / "x.npy", x)
    assert engine.run({"x": np.load(tmp_path / "x.npy")})["y"].tobytes() == engine.run({"x": x})["y"].tobytes()
    with pytest.raises(InputError, match="bfloat16"):
        engine.run({"x": x.view(np.float16)})


@pytest.mark.parametrize("dtype", STORED)
def test_bits_that_are_only_moved_stay(dtype: str) -> None:
    """NaN payloads, too; and a node that reads another type gives it back."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["y"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Cast", ["x"], ["whole"], to=onnx.TensorProto.INT64),
    ]
    size = np.dtype(STORED[dtype]).itemsize
    x = np.random.default_rng(1).integers(0, 256, (20, 30 * size), np.uint8).view(STORED[dtype])
    found = Engine(compile_program(model(dtype, nodes, {"x": x.shape}, ["y", "whole"]))).run({"x": x})
    assert found["y"].tobytes() == np.ascontiguousarray(x.T).tobytes()
    assert DType(found["whole"].dtype.name) is DType.INT64


@pytest.mark.parametrize(
    ("kind", "expected"), [("UINT4", [7, 15, 3, 1]), ("INT4", [7, -1, 3, 1]), ("INT2", [-1, -1, -1, 1])]
)
def test_narrow_integers_keep_the_low_bits(kind: str, expected: list[int]) -> None:
    """Whether the type is named, or is that of another tensor, here one without elements."""
    number = getattr(onnx.TensorProto, kind)
    for node in (helper.make_node("Cast", ["x"], ["y"], to=number), helper.make_node("CastLike", ["x", "like"], ["y"])):
        inputs = [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("like", number, [0]),
        ]
        graph = helper.make_graph([node], "narrow", inputs[: len(node.input)], [onnx.ValueInfoProto(name="y")])
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])
        given = {
            "x": np.array([-9, -1, 3, 17], np.float32),
            "like": np.zeros(0, np.int8 if kind[0] == "I" else np.uint8),
        }
        engine = Engine(compile_program(proto.SerializeToString()))
        assert engine.run({name: given[name] for name in node.input})["y"].tolist() == expected
