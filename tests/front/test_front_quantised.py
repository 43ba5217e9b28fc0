"""Quantised models: against ONNX Runtime, their size, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from opml.compiler import compile_program
from opml.engine import Engine
from opml.errors import ModelError, UnsupportedError

Array = NDArray[np.generic]
ELEMENTS = {name: getattr(onnx.TensorProto, name.upper()) for name in ("int8", "uint8", "int16", "int32", "int64")}
ELEMENTS |= {"float32": onnx.TensorProto.FLOAT, "bool": onnx.TensorProto.BOOL}


def model(nodes: list, inputs: dict, outputs: dict, constants: dict[str, Array], opset: int = 17) -> bytes:
    """A model from nodes, (dtype, shape) of inputs and outputs, and constants."""

    def ports(side: dict) -> list:
        return [helper.make_tensor_value_info(name, ELEMENTS[dtype], shape) for name, (dtype, shape) in side.items()]

    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ports(inputs), ports(outputs), tensors)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()


def run_both(source: bytes, feeds: dict[str, Array]) -> tuple[list[Array], list[Array]]:
    """The outputs of opml and of ONNX Runtime, which left to itself would quantise the activations of some products."""
    ours = Engine(compile_program(source)).run(feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    theirs = onnxruntime.InferenceSession(source, options).run(None, feeds)
    return list(ours.values()), theirs


def nbits(
    m: int,
    k: int,
    n: int,
    bits: int,
    block: int,
    zeros: str = "",
    bias: bool = False,
    changed: dict[str, int] | None = None,
) -> tuple[bytes, dict]:
    rng = np.random.default_rng(k)
    blocks = -(-k // block)
    constants: dict[str, Array] = {
        "B": rng.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8),
        "scales": rng.random(n * blocks, np.float32),
    }
    if zeros == "uint8":
        constants["zeros"] = rng.integers(0, 256, n * -(-blocks * bits // 8)).astype(np.uint8)
    elif zeros:
        constants["zeros"] = rng.random((n, blocks), np.float32) * 8
    names = ["A", *constants]
    if bias:
        names += [""] * (5 - len(names)) + ["bias"]
        constants["bias"] = rng.random(n, np.float32)
    sizes = {"K": k, "N": n, "bits": bits, "block_size": block} | (changed or {})
    node = helper.make_node("MatMulNBits", names, ["Y"], domain="com.microsoft", **sizes)
    source = model([node], {"A": ("float32", (m, k))}, {"Y": ("float32", (m, n))}, constants)
    return source, {"A": rng.standard_normal((m, k)).astype(np.float32)}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", ["", "uint8", "float32"])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_of_few_bits(bits: int, zeros: str, bias: bool) -> None:
    if (bits, zeros) == (8, "float32"):
        zeros = ""  # ONNX Runtime does not have it
    for sizes in ((1, 64, 40, 32), (5, 100, 33, 16), (2, 1024, 64, 128)):
        m, k, n, block = sizes
        (ours,), (theirs,) = run_both(*nbits(m, k, n, bits, block, zeros, bias))
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_weights_of_few_bits_stay_so() -> None:
    program = compile_program(nbits(1, 1024, 512, 4, 32)[0])
    assert sum(value.nbytes for value in program.constants.values()) == 1024 * 512 // 2 + 1024 * 512 // 32 * 4


@pytest.mark.parametrize(
    ("attrs", "reason"), [({"bits": 3}, "bits=3"), ({"block_size": 24}, "block_size=24"), ({"K": 60000}, "codes")]
)
def test_unknown_layouts_of_few_bits_are_refused(attrs: dict[str, int], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        compile_program(nbits(1, 64, 32, 4, 32, changed=attrs)[0])


def dequantised(kind: str, consumer: str) -> tuple[bytes, dict[str, Array], int]:
    """A constant, dequantised and used by one operator; the constant's own bits per element."""
    rng = np.random.default_rng(8)
    bits = 4 if kind == "int4" else 8
    codes = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (128, 96)).astype(np.int8)
    axis, block = {"tensor": (1, 0), "int4": (0, 32), "columns": (1, 0)}[kind]
    sizes = {"tensor": (), "int4": (4, 96), "columns": (96,)}[kind]
    turned = consumer in ("Gemm", "Transpose", "Gather")
    scale = rng.random(sizes, np.float32) + np.float32(0.01)
    if turned:
        codes, axis, scale = codes.T.copy(), 1 - axis, scale.T.copy()
    tensors = {"scale": scale}
    if kind == "int4":
        element = onnx.TensorProto.INT4
        weight = helper.make_tensor("q", element, codes.shape, codes.reshape(-1).tolist())
    else:
        weight = numpy_helper.from_array(codes, "q")
    feeds: dict[str, Array] = {"x": rng.standard_normal((3, 128)).astype(np.float32)}
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale"], ["w"], axis=axis, block_size=block)]
    if consumer == "Gemm":
        tensors["c"] = rng.random(96, np.float32)
        nodes.append(helper.make_node("Gemm", ["x", "w", "c"], ["y"], transB=1))
    elif consumer == "Gather":
        feeds = {"x": np.array([[5, 95], [-1, 0]], np.int64)}
        nodes.append(helper.make_node("Gather", ["w", "x"], ["y"]))
    elif consumer == "Transpose":
        nodes += [helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    else:
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    inputs = {name: (value.dtype.name, value.shape) for name, value in feeds.items()}
    proto = onnx.ModelProto.FromString(model(nodes, inputs, {"y": ("float32", None)}, tensors, opset=21))
    proto.graph.initializer.append(weight)
    return proto.SerializeToString(), feeds, bits


@pytest.mark.parametrize("kind", ["tensor", "columns", "int4"])
@pytest.mark.parametrize("consumer", ["MatMul", "Gemm", "Transpose", "Gather"])
def test_a_dequantised_constant_stays_small(kind: str, consumer: str) -> None:
    source, feeds, bits = dequantised(kind, consumer)
    (ours,), (theirs,) = run_both(source, feeds)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    program = compile_program(source)
    assert [node.op for node in program.nodes] == ["qgather" if consumer == "Gather" else "qmatmul"]
    scales = 4 * 96 * (4 if kind == "int4" else 1)
    assert sum(value.nbytes for value in program.constants.values()) <= 128 * 96 * bits // 8 + scales + 4 * 96


def test_a_product_and_an_embedding_share_their_constant() -> None:
    """As the first and the last layer of many language models do."""
    rng = np.random.default_rng(3)
    constants: dict[str, Array] = {
        "table": rng.integers(0, 256, (80, 32)).astype(np.uint8),
        "codes": np.empty(0),
        "scales": rng.random((80, 2), np.float32),
    }
    constants["codes"] = constants["table"].reshape(80, 2, 16)
    sizes = {"K": 64, "N": 80, "bits": 4, "block_size": 32}
    nodes = [
        helper.make_node("GatherBlockQuantized", ["table", "ids", "scales"], ["x"], domain="com.microsoft",
                         block_size=32, gather_axis=0, quantize_axis=1, bits=4),
        helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", **sizes),
    ]  # fmt: skip
    source = model(nodes, {"ids": ("int64", (2, 3))}, {"y": ("float32", None)}, constants, opset=21)
    (ours,), (theirs,) = run_both(source, {"ids": np.array([[1, 79, 0], [7, 7, 40]])})
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    sizes_ = sorted(value.nbytes for value in compile_program(source).constants.values())
    assert sizes_ == [80 * 2 * 4, 80 * 64 // 2]


def test_small_constants_and_what_is_no_matrix_are_floats() -> None:
    rng = np.random.default_rng(8)
    bias, plane = rng.integers(-128, 128, 96).astype(np.int8), rng.integers(-128, 128, (1, 4, 400)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"]),
        helper.make_node("DequantizeLinear", ["plane", "scale"], ["p"]),
        helper.make_node("ReduceSum", ["p"], ["s"]),
        helper.make_node("Add", ["x", "b"], ["z"]),
        helper.make_node("Add", ["z", "s"], ["y"]),
    ]
    constants: dict[str, Array] = {"bias": bias, "plane": plane, "scale": np.array(0.5, np.float32)}
    source = model(nodes, {"x": ("float32", (96,))}, {"y": ("float32", None)}, constants, opset=21)
    (ours,), (theirs,) = run_both(source, {"x": rng.random(96, np.float32)})
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), rtol=1e-5)


def test_integers_of_four_bits_are_read_and_bad_ones_refused() -> None:
    source, _, _ = dequantised("int4", "MatMul")
    proto = onnx.ModelProto.FromString(source)
    weight = proto.graph.initializer[-1]
    whole = bytes(weight.raw_data) or bytes(weight.int32_data)
    assert len(whole) == 128 * 96 // 2
    weight.ClearField("int32_data")
    for data, reason in ((whole[:-1], "6143 bytes"), (whole + b"\0", "6145 bytes")):
        weight.raw_data = data
        with pytest.raises(ModelError, match=reason):
            compile_program(proto.SerializeToString())
    weight.ClearField("raw_data")
    weight.int32_data.extend([256] * len(whole))
    with pytest.raises(ModelError, match="no bytes"):
        compile_program(proto.SerializeToString())


@pytest.mark.parametrize("element", ["INT4", "UINT4", "UINT8"])
@pytest.mark.parametrize("zeros", [False, True])
def test_an_embedding_in_blocks(element: str, zeros: bool) -> None:
    rng = np.random.default_rng(6)
    kind = getattr(onnx.TensorProto, element)
    low, high = {"INT4": (-8, 8), "UINT4": (0, 16), "UINT8": (0, 256)}[element]
    width, parts = (32, 2) if element == "UINT8" else (64, 4)
    tensors = [helper.make_tensor("table", kind, (50, width), rng.integers(low, high, 50 * width).tolist())]
    names = ["table", "ids", "scales"]
    if zeros:
        names.append("zeros")
        columns = parts // 2 if element == "UINT8" else parts
        tensors.append(helper.make_tensor("zeros", kind, (50, columns), rng.integers(low, high, 50 * columns).tolist()))
    attrs = {"block_size": 64 // parts, "gather_axis": 0, "quantize_axis": 1}
    node = helper.make_node("GatherBlockQuantized", names, ["y"], domain="com.microsoft", **attrs)
    constants: dict[str, Array] = {"scales": rng.random((50, parts), np.float32)}
    proto = onnx.ModelProto.FromString(
        model([node], {"ids": ("int64", (3, 1))}, {"y": ("float32", None)}, constants, opset=21)
    )
    proto.graph.initializer.extend(tensors)
    (ours,), (theirs,) = run_both(proto.SerializeToString(), {"ids": np.array([[0], [49], [-3]])})
    assert ours.tobytes() == theirs.tobytes()
