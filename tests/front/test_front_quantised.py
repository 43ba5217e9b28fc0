"""Quantised models: against ONNX Runtime, their size, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from opml.compiler import compile_program
from opml.engine import Engine
from opml.errors import UnsupportedError

Array = NDArray[np.generic]
ELEMENTS = {name: getattr(onnx.TensorProto, name.upper()) for name in ("int8", "uint8", "int16", "int32", "int64")}
ELEMENTS["float32"] = onnx.TensorProto.FLOAT


def model(nodes: list, inputs: dict, outputs: dict, constants: dict[str, Array], opset: int = 17) -> bytes:
    """A model from nodes, (dtype, shape) of inputs and outputs, and constants."""

    def ports(side: dict) -> list:
        return [helper.make_tensor_value_info(name, ELEMENTS[dtype], shape) for name, (dtype, shape) in side.items()]

    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ports(inputs), ports(outputs), tensors)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()


def run_both(source: bytes, feeds: dict[str, Array]) -> tuple[list[Array], list[Array]]:
    """The outputs of opml and of ONNX Runtime."""
    ours = Engine(compile_program(source)).run(feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
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
