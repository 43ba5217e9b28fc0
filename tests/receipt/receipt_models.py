"""Small models for receipts: two inputs of odd sizes, two outputs, intermediate tensors; and ways to forge."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from opml.compiler import compile_onnx
from opml.evidence.receipt import Receipt, to_hex
from opml.model import Inference, Model

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
W = np.full((7, 3), 1.5, np.float32)


def onnx_bytes() -> bytes:
    """y = relu(a + b), z = (y * w) + b."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["y"], name="relu"),
        helper.make_node("Mul", ["y", "w"], ["p"], name="scale"),
        helper.make_node("Add", ["p", "b"], ["z"], name="shift"),
    ]
    f32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("a", f32, [3]), helper.make_tensor_value_info("b", f32, [7, 3])],
        [helper.make_tensor_value_info("y", f32, [7, 3]), helper.make_tensor_value_info("z", f32, [7, 3])],
        [helper.make_tensor("w", f32, W.shape, W.reshape(-1))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@cache
def small(one_phase: bool = False) -> Model:
    return Model(compile_onnx(onnx_bytes(), one_phase=one_phase))


def inputs(seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"a": random.normal(size=3).astype(np.float32), "b": random.normal(size=(7, 3)).astype(np.float32)}


def infer(seed: int = 0, one_phase: bool = False) -> Inference:
    return small(one_phase).infer(inputs(seed), keep_tensors=True)


def lying(seed: int, tensor: str, byte: int, bit: int = 0) -> Inference:
    """An inference in which one bit of one operator's output is another, and what is computed from it is not."""
    honest = infer(seed)
    tensors = {name: data.copy() for name, data in honest.tensors.items()}
    tensors[tensor][byte] ^= 1 << bit
    outputs = dict(honest.outputs)
    for port in honest.model.image.program.outputs:
        outputs[port.name] = tensors[port.tensor].view(port.type.dtype.numpy).reshape(port.type.shape)
    return Inference(honest.model, honest.posted, outputs, tensors)


def resealed(receipt: Receipt, **fields: Any) -> Receipt:
    """The receipt with other fields, by "a.b.0.c" as a path with __ between, and a digest that fits: a forger's."""
    plain = receipt.model_dump()
    for path, value in fields.items():
        *way, last = path.split("__")
        place: Any = plain
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value
    forged = Receipt.model_validate(plain)
    return forged.model_copy(update={"digest": to_hex(forged.made_digest())})


def flipped(text: str, bit: int = 0) -> str:
    """0x-hex with one bit changed."""
    data = bytearray.fromhex(text[2:])
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return to_hex(bytes(data))
