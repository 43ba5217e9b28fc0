"""A faulty bit in a quantised layer, down to the one instruction on chain that tells who is right."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_e2e_faults import World

from opml.dispute.faults import Bluff, with_fault
from opml.dispute.game import Role
from opml.dispute.player import player
from opml.model import Inference, Model, load
from opml.prover import register

OPERATORS = ("qgather", "qmatmul", "quantize", "matmul_int", "dequantize", "conv_int")


def source() -> bytes:
    """An embedding and a product of four bits, then a quantised product and a quantised convolution."""
    rng = np.random.default_rng(11)
    constants = {
        "table": rng.integers(0, 256, (40, 32)).astype(np.uint8),
        "table_scales": rng.random((40, 2), np.float32),
        "codes": rng.integers(0, 256, (48, 2, 16)).astype(np.uint8),
        "scales": rng.random((48, 2), np.float32),
        "zeros": rng.integers(0, 256, (48, 1)).astype(np.uint8),
        "w": rng.integers(-128, 128, (48, 20)).astype(np.int8),
        "k": rng.integers(-128, 128, (2, 3, 3)).astype(np.int8),
        "step": np.array(4.0, np.float32),
        "small": np.array(0.01, np.float32),
        "zero": np.array(120, np.uint8),
        "none": np.array(0, np.int8),
    }
    own = {"domain": "com.microsoft", "block_size": 32, "bits": 4}
    convolution = ["pq", "step", "zero", "k", "small", "none", "step", "zero"]
    nodes = [
        helper.make_node("GatherBlockQuantized", ["table", "ids", "table_scales"], ["e"], **own),
        helper.make_node("MatMulNBits", ["e", "codes", "scales", "zeros"], ["h"], K=64, N=48, **own),
        helper.make_node("QuantizeLinear", ["h", "step", "zero"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "step", "zero", "w", "small", "none", "step", "zero"], ["pq"]),
        helper.make_node("QLinearConv", convolution, ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "step", "zero"], ["y"]),
    ]
    shapes = {"ids": (onnx.TensorProto.INT64, (1, 3)), "y": (onnx.TensorProto.FLOAT, None)}
    ports = {name: helper.make_tensor_value_info(name, *kind) for name, kind in shapes.items()}
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "few bits", [ports["ids"]], [ports["y"]], tensors)
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Inference]:
    path: Path = tmp_path_factory.mktemp("few-bits") / "model.onnx"
    path.write_bytes(source())
    world = World()
    model: Model = load(path)
    register(world.client, world.accounts[Role.PROVER], model)
    return world, model.infer({"ids": np.array([[3, 39, 17]])})


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_fault_in_a_quantised_layer_is_caught(scene: tuple[World, Inference], operator: str) -> None:
    world, inference = scene
    program = inference.model.image.program
    node = next(node for node in program.nodes if node.op == operator)
    address = program.tensors[node.output].address
    size = node.out_type.dtype.size
    faults = (with_fault(inference.trace, address + offset + size - 1, 6) for offset in range(0, 40, size))
    faulty = next(fault for fault in faults if fault.output_root != inference.output_root)
    liar = Bluff(faulty, step=300)
    view = world.match(inference, Role.PROVER, liar.output_root, player(liar, Role.PROVER))
    assert (view.position, view.length) == (300, 1)
