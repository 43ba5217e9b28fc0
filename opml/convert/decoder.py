"""A decoder of the Llama family as an ONNX model: operator set 23, keys and values of the past as inputs and outputs.

    input_ids, position_ids          int64 [1, sequence]
    past_key_values.N.key, .value    float [1, heads, past, depth]; none at first: past is 0
    logits                           float [1, sequence, vocabulary]
    present.N.key, .value            float [1, heads, past + sequence, depth]

Matrices of few bits stay what they are (`com.microsoft.MatMulNBits`), also in the embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from opml.graph import Array

OPSET = 23
IR_VERSION = 11
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder; `depth` is a head's, `rotated` of which are turned by the rotary embedding."""

    name: str
    layers: int
    width: int
    heads: int
    shared: int
    depth: int
    hidden: int
    vocabulary: int
    context: int
    epsilon: float
    base: float
    rotated: int
    interleaved: bool


@dataclass(frozen=True, eq=False)
class Matrix:
    """Rows of codes with a scale, and maybe a zero, for every `block` neighbours: (code - zero) * scale.

    codes   uint8 [outputs, inputs], of `bits` bits: 4 or 8
    scales  float32 [outputs, inputs / block]
    zeros   float32 of the same shape, with 4 bits only; None: 8, or 128 with 8 bits
    """

    codes: Array
    bits: int
    block: int
    scales: Array
    zeros: Array | None = None

    def values(self) -> Array:
        """The weights as float32 [outputs, inputs]."""
        rows = self.codes.shape[0]
        zeros = self.zeros[..., None] if self.zeros is not None else np.float32(1 << (self.bits - 1))
        blocks = self.codes.reshape(rows, -1, self.block).astype(np.float32)
        return np.asarray(((blocks - zeros) * self.scales[..., None]).reshape(rows, -1))

    def packed(self) -> Array:
        """The codes as MatMulNBits takes them: [outputs, blocks, bytes], the first of two in the low bits."""
        blocks = self.codes.reshape(self.codes.shape[0], -1, self.block)
        return blocks if self.bits == 8 else blocks[..., 0::2] | blocks[..., 1::2] << 4


Weights = Mapping[str, Array | Matrix]
"""By the names that GGUF files use: `token_embd`, `output_norm`, `output`, `blk.N.attn_q`, …

Matrices are [outputs, inputs]. `output` may be missing: then it is the embedding.
"""


def decoder_model(form: Architecture, weights: Weights, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The model; `metadata` becomes its `metadata_props`. KeyError where a weight is missing."""
    return _Writer(form, weights).model(metadata or {})


class _Writer:
    def __init__(self, form: Architecture, weights: Weights) -> None:
        self.form, self.weights = form, weights
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}

    def model(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        form = self.form
        angles = np.arange(form.context)[:, None] * form.base ** (-np.arange(0, form.rotated, 2) / form.rotated)
        self.constant("cosines", np.cos(angles).astype(np.float32))
        self.constant("sines", np.sin(angles).astype(np.float32))
        x = self.embed("input_ids")
        for layer in range(form.layers):
            x = self.attention(x, layer)
            x = self.feed_forward(x, layer)
        output = "output" if "output" in self.weights else "token_embd"
        self.matmul(self.norm(x, "output_norm"), output, "logits")
        inputs = [_tensor(name, TensorProto.INT64, [1, "sequence"]) for name in ("input_ids", "position_ids")]
        outputs = [_tensor("logits", TensorProto.FLOAT, [1, "sequence", form.vocabulary])]
        for layer in range(form.layers):
            for part in ("key", "value"):
                cache: list[int | str] = [1, form.shared, "past", form.depth]
                inputs.append(_tensor(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, cache))
                cache = [1, form.shared, "past + sequence", form.depth]
                outputs.append(_tensor(f"present.{layer}.{part}", TensorProto.FLOAT, cache))
        graph = helper.make_graph(self.nodes, form.name, inputs, outputs, list(self.initialisers.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="opml")
        helper.set_model_props(model, dict(metadata))
        return model

    def constant(self, name: str, value: Array) -> str:
        if name not in self.initialisers:
            self.initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, op: str, inputs: list[str], output: str, *, domain: str = "", **attrs: Any) -> str:
        outputs: list[str] = attrs.pop("outputs", [output])
        self.nodes.append(helper.make_node(op, inputs, outputs, name=output, domain=domain, **attrs))
        return output

    def embed(self, tokens: str) -> str:
        """Rows of the embedding; where it is also the last matrix, of the very same initialiser."""
        weight = self.weights["token_embd"]
        if not isinstance(weight, Matrix):
            return self.add("Gather", [self.constant("token_embd", weight), tokens], "embedded", axis=0)
        if weight.zeros is not None:
            return self.add("Gather", [self.constant("token_embd.rows", weight.values()), tokens], "embedded", axis=0)
        codes, scales, _ = self.codes("token_embd", weight)
        flat = self.constant("token_embd.shape", np.array([len(weight.codes), -1], np.int64))
        rows = self.add("Reshape", [codes, flat], "token_embd.flat")
        attrs = {"bits": weight.bits, "block_size": weight.block, "gather_axis": 0, "quantize_axis": 1}
        return self.add("GatherBlockQuantized", [rows, tokens, scales], "embedded", domain=MICROSOFT, **attrs)

    def codes(self, name: str, weight: Matrix) -> tuple[str, str, list[str]]:
        zeros = [] if weight.zeros is None else [self.constant(f"{name}.zeros", weight.zeros)]
        return self.constant(f"{name}.codes", weight.packed()), self.constant(f"{name}.scales", weight.scales), zeros

    def matmul(self, x: str, name: str, output: str) -> str:
        weight = self.weights[name]
        if isinstance(weight, Matrix):
            codes, scales, zeros = self.codes(name, weight)
            n, k = weight.codes.shape
            attrs = {"K": k, "N": n, "bits": weight.bits, "block_size": weight.block}
            return self.add("MatMulNBits", [x, codes, scales, *zeros], output, domain=MICROSOFT, **attrs)
        return self.add("MatMul", [x, self.constant(f"{name}.columns", weight.T)], output)

    def project(self, x: str, name: str) -> str:
        """A product, with a bias where there is one."""
        y = self.matmul(x, name, f"{name}.product")
        bias = self.weights.get(f"{name}.bias")
        if bias is None:
            return y
        assert not isinstance(bias, Matrix)
        return self.add("Add", [y, self.constant(f"{name}.bias", bias)], f"{name}.shifted")

    def norm(self, x: str, name: str) -> str:
        scale = self.weights[name]
        assert not isinstance(scale, Matrix)
        inputs = [x, self.constant(name, scale)]
        return self.add("RMSNormalization", inputs, f"{name}.normed", epsilon=self.form.epsilon)

    def attention(self, x: str, layer: int) -> str:
        form, at = self.form, f"blk.{layer}"
        normed = self.norm(x, f"{at}.attn_norm")
        parts = {part: self.project(normed, f"{at}.attn_{part}") for part in "qkv"}
        for part, heads in (("q", form.heads), ("k", form.shared)):
            inputs = [parts[part], "cosines", "sines", "position_ids"]
            attrs: dict[str, Any] = {"num_heads": heads, "interleaved": int(form.interleaved)}
            if form.rotated != form.depth:
                attrs["rotary_embedding_dim"] = form.rotated
            parts[part] = self.add("RotaryEmbedding", inputs, f"{at}.{part}.turned", **attrs)
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        outputs = [f"{at}.attended", *(f"present.{layer}.{part}" for part in ("key", "value"))]
        attrs = {"q_num_heads": form.heads, "kv_num_heads": form.shared, "is_causal": 1}
        self.add("Attention", [*parts.values(), "", *past], outputs[0], outputs=outputs, **attrs)
        return self.add("Add", [x, self.project(outputs[0], f"{at}.attn_output")], f"{at}.middle")

    def feed_forward(self, x: str, layer: int) -> str:
        at = f"blk.{layer}"
        normed = self.norm(x, f"{at}.ffn_norm")
        gate, up = (self.project(normed, f"{at}.ffn_{part}") for part in ("gate", "up"))
        opened = self.add("Mul", [gate, self.add("Sigmoid", [gate], f"{at}.open")], f"{at}.opened")
        product = self.add("Mul", [opened, up], f"{at}.gated")
        return self.add("Add", [x, self.project(product, f"{at}.ffn_down")], f"{at}.out")


def _tensor(name: str, dtype: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)
