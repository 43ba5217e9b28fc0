"""Decoders that generate: files with a past and a present as repeated programs, beside ONNX Runtime's greedy loop."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from convert_gguf_files import write_gguf
from onnx import helper, numpy_helper

from opml.compiler import compile_program
from opml.convert.gguf import read_gguf
from opml.decoding import Decoding
from opml.engine import Engine
from opml.errors import UnsupportedError
from opml.graph import Array
from opml.program import Program

CONTEXT = 12
PROMPT = [5, 70, 9, 200]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, "Q4_1")
    return read_gguf(path).model


def feeds(prompt: list[int], length: int) -> dict[str, Array]:
    tokens = np.zeros(CONTEXT, np.int32)
    tokens[: len(prompt)] = prompt
    return {
        "prompt": tokens,
        "prompt_length": np.array([len(prompt)], np.int32),
        "length": np.array([length], np.int32),
    }


class Theirs:
    """A decoder in ONNX Runtime, with the past that it has so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.session = onnxruntime.InferenceSession(model.SerializeToString())
        self.names = [output.name for output in self.session.get_outputs()]
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.past = {
            name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
            for name, value in self.inputs.items()
            if name.startswith("past")
        }
        self.start = 0

    def step(self, tokens: list[int]) -> Array:
        """The last token's logits."""
        stop = self.start + len(tokens)
        feeds = {
            "input_ids": np.array([tokens]),
            "position_ids": np.arange(self.start, stop)[None],
            "attention_mask": np.ones((1, stop), np.int64),
        }
        given = {name: value for name, value in feeds.items() if name in self.inputs} | self.past
        results = dict(zip(self.names, self.session.run(None, given), strict=True))
        self.start = stop
        self.past = {name: results[name.replace("past_key_values", "present")] for name in self.past}
        return np.asarray(results["logits"][0, -1])

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        tokens = [int(self.step(prompt).argmax())]
        while len(tokens) < count:
            tokens.append(int(self.step(tokens[-1:]).argmax()))
        return tokens


def logits_of(program: Program, inputs: dict[str, Array]) -> Array:
    """What the tokens are the best of, in every iteration."""
    (node,) = (node for node in program.nodes if node.op == "argmax")
    tensor = program.tensors[node.inputs[0]]
    lines = Engine(program).run_full(inputs)[tensor.name].reshape(-1, tensor.stride)
    return np.ascontiguousarray(lines[:, : tensor.type.nbytes]).view(np.float32)


def test_the_tokens_are_onnx_runtimes(decoder: onnx.ModelProto) -> None:
    program = compile_program(decoder.SerializeToString(), decoding=Decoding(CONTEXT, ()))
    tokens = Engine(program).run(feeds(PROMPT, CONTEXT))["tokens"]
    assert tokens[len(PROMPT) - 1 :].tolist() == Theirs(decoder).greedy(PROMPT, CONTEXT - len(PROMPT) + 1)
    assert len(set(tokens.tolist())) > 2, "a decoder that always says the same would prove little"


def test_token_by_token_is_the_whole_sequence_at_once(decoder: onnx.ModelProto) -> None:
    """The logits of the repeated body, and those of the same file compiled for five tokens and no past."""
    tokens = [*PROMPT, 31]
    program = compile_program(decoder.SerializeToString(), decoding=Decoding(CONTEXT, ()))
    ours = logits_of(program, feeds(tokens, len(tokens)))
    whole = compile_program(decoder.SerializeToString(), {"sequence": len(tokens), "past": 0})
    ids = {"input_ids": np.array([tokens]), "position_ids": np.arange(len(tokens))[None]}
    both = Engine(whole).run(ids | Theirs(decoder).past)["logits"][0]
    np.testing.assert_allclose(ours, both, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours[-1], Theirs(decoder).step(tokens), rtol=1e-3, atol=1e-3)


def test_an_end_token_ends_the_answer(decoder: onnx.ModelProto) -> None:
    free = Theirs(decoder).greedy(PROMPT, 4)
    program = compile_program(decoder.SerializeToString(), decoding=Decoding(CONTEXT, (free[1],)))
    tokens = Engine(program).run(feeds(PROMPT, CONTEXT))["tokens"][len(PROMPT) - 1 :].tolist()
    first = free.index(free[1])
    assert tokens == free[:first] + [free[1]] * (len(tokens) - first)
    named = compile_program(decoder.SerializeToString(), decoding=Decoding(CONTEXT))
    assert [node.attrs["ends"] for node in named.nodes if node.op == "chosen_token"] == [[1]], "as the metadata say"


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same decoder with ONNX Runtime's GroupQueryAttention, which turns queries and keys itself, and a mask."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "RotaryEmbedding"}
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "row"], ["seen"], keepdims=0),
        helper.make_node("Sub", ["seen", "one"], ["last"]),
        helper.make_node("Cast", ["last"], ["seqlens_k"], to=onnx.TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["size"], start=1),
        helper.make_node("Squeeze", ["size"], ["length"]),
        helper.make_node("Cast", ["length"], ["total"], to=onnx.TensorProto.INT32),
    ]
    for node in graph.node:
        if node.op_type == "Attention":
            q, k, v, _, *past = node.input
            inputs = [turned[q], turned[k], v, *past, "seqlens_k", "total", "cosines", "sines"]
            attrs = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "rotary_interleaved": 1}
            nodes.append(helper.make_node("GroupQueryAttention", inputs, node.output, domain="com.microsoft", **attrs))
        elif node.op_type != "RotaryEmbedding":
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("row", [1]), ("one", 1))
    )
    mask = helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, [1, "total_sequence"])
    graph.input[1].CopyFrom(mask)
    return changed


def test_a_decoder_with_onnx_runtimes_own_attention(decoder: onnx.ModelProto) -> None:
    model = fused(decoder)
    program = compile_program(model.SerializeToString(), decoding=Decoding(CONTEXT, ()))
    tokens = Engine(program).run(feeds(PROMPT, CONTEXT))["tokens"][len(PROMPT) - 1 :].tolist()
    assert tokens == Theirs(model).greedy(PROMPT, len(tokens)) == Theirs(decoder).greedy(PROMPT, len(tokens))


def test_what_is_no_decoder(decoder: onnx.ModelProto) -> None:
    def refused(change: Callable[[onnx.GraphProto], object], reason: str) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(decoder)
        change(model.graph)
        with pytest.raises(UnsupportedError, match=reason):
            compile_program(model.SerializeToString(), decoding=Decoding(CONTEXT, ()))

    def swap(graph: onnx.GraphProto) -> None:
        """The second layer's values go on in the first layer's place."""
        for node in graph.node:
            for index, name in enumerate(node.output):
                swapped = {"present.0.value": "present.1.value", "present.1.value": "present.0.value"}
                node.output[index] = swapped.get(name, name)

    def read(graph: onnx.GraphProto) -> None:
        """The past is read by something else, too."""
        graph.node.append(helper.make_node("Relu", ["past_key_values.0.key"], ["positive"]))
        graph.output.append(onnx.ValueInfoProto(name="positive"))

    def measure(graph: onnx.GraphProto) -> None:
        """A position from the past's length, which would be that of the last token, always."""
        graph.node.insert(0, helper.make_node("Shape", ["past_key_values.0.key"], ["counted"], start=2, end=3))
        graph.node.insert(1, helper.make_node("Unsqueeze", ["counted", "axis"], ["place"]))
        graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
        for node in graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = "place" if name == "position_ids" else name

    def rename(graph: onnx.GraphProto) -> None:
        graph.input[1].name = "weather"
        for node in graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = "weather" if name == "position_ids" else name

    refused(swap, r"'present\.0\.value' is not 'past_key_values\.0\.value' with the newest")
    refused(measure, "the size of the past")
    refused(rename, "input 'weather'")
    refused(read, "'positive' reads the past")
    with pytest.raises(UnsupportedError, match="context of 1 token"):
        compile_program(decoder.SerializeToString(), decoding=Decoding(1))
