"""An encoder of BERT's kind, end to end beside ONNX Runtime: as exporters write it, and as optimisers fuse it."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from front_models import make_model
from onnx import NodeProto, helper

from opml.compiler import compile_program
from opml.engine import Engine
from opml.graph import Array

WIDTH, HEADS, HIDDEN, LAYERS, ROWS, VOCABULARY = 48, 4, 96, 2, 9, 60


class Encoder:
    """Nodes and random weights, in the shape of MiniLM but smaller."""

    def __init__(self, fused: bool) -> None:
        self.fused, self.rng = fused, np.random.default_rng(8)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = (self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        return name

    def constant(self, value: Any, dtype: str = "int64") -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.array(value, dtype)
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attrs: Any) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attrs))
        return output

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(inputs, outputs)), self.weight(outputs))

    def norm(self, x: str, skip: str) -> str:
        gamma, beta = self.weight(WIDTH), self.weight(WIDTH)
        if self.fused:
            return self.add("SkipLayerNormalization", x, skip, gamma, beta, domain="com.microsoft", epsilon=1e-12)
        return self.add("LayerNormalization", self.add("Add", x, skip), gamma, beta, epsilon=1e-12)

    def heads(self, x: str) -> str:
        split = self.add("Reshape", x, self.constant([0, 0, HEADS, WIDTH // HEADS]))
        return self.add("Transpose", split, perm=[0, 2, 1, 3])

    def attention(self, x: str, mask: str) -> str:
        if self.fused:
            inputs = (x, self.weight(WIDTH, 3 * WIDTH), self.weight(3 * WIDTH), "mask")
            return self.add("Attention", *inputs, domain="com.microsoft", num_heads=HEADS)
        q, k, v = (self.heads(self.dense(x, WIDTH, WIDTH)) for _ in range(3))
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.add("Div", scores, self.constant(np.sqrt(WIDTH / HEADS), "float32"))
        weights = self.add("Softmax", self.add("Add", scores, mask), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.add("Reshape", mixed, self.constant([0, 0, WIDTH]))

    def gelu(self, x: str) -> str:
        if self.fused:
            return self.add("BiasGelu", x, self.weight(HIDDEN), domain="com.microsoft")
        shifted = self.add("Add", x, self.weight(HIDDEN))
        error = self.add("Erf", self.add("Div", shifted, self.constant(np.sqrt(2), "float32")))
        opened = self.add("Mul", shifted, self.add("Add", error, self.constant(1, "float32")))
        return self.add("Mul", opened, self.constant(0.5, "float32"))

    def model(self, feeds: dict[str, Array]) -> onnx.ModelProto:
        x = self.add("Gather", self.weight(VOCABULARY, WIDTH), "ids")
        x = self.norm(x, self.weight(1, ROWS, WIDTH) if not self.fused else self.weight(ROWS, WIDTH))
        mask = ""
        if not self.fused:
            wide = self.add("Cast", self.add("Unsqueeze", "mask", self.constant([1, 2])), to=onnx.TensorProto.FLOAT)
            closed = self.add("Sub", self.constant(1, "float32"), wide)
            mask = self.add("Mul", closed, self.constant(np.finfo(np.float32).min, "float32"))
        for _ in range(LAYERS):
            x = self.norm(self.dense(self.attention(x, mask), WIDTH, WIDTH), x)
            inner = self.gelu(self.add("MatMul", x, self.weight(WIDTH, HIDDEN)))
            x = self.norm(self.dense(inner, HIDDEN, WIDTH), x)
        self.nodes.append(helper.make_node("ReduceMean", [x, self.constant([1])], ["embedding"], keepdims=0))
        model = make_model(self.nodes, feeds, ["embedding"], self.weights)
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model


@pytest.mark.parametrize("fused", [False, True])
def test_an_encoder_embeds_as_in_onnx_runtime(fused: bool) -> None:
    rng = np.random.default_rng(2)
    mask = np.ones((2, ROWS), np.int32)
    mask[1, 5:] = 0
    feeds = {"ids": rng.integers(0, VOCABULARY, (2, ROWS)), "mask": mask}
    data = Encoder(fused).model(feeds).SerializeToString()
    (theirs,) = onnxruntime.InferenceSession(data).run(None, feeds)
    program = compile_program(data)
    ours = Engine(program).run(feeds)["embedding"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)
    assert ours.tobytes() == Engine(program, definition_only=True).run(feeds)["embedding"].tobytes()
    # What is masked has no say.
    other = {**feeds, "ids": feeds["ids"].copy()}
    other["ids"][1, 6] = (other["ids"][1, 6] + 1) % VOCABULARY
    assert Engine(program).run(other)["embedding"][0].tobytes() == ours[0].tobytes()
