"""A small decoder that is repeated: each token is the vocabulary's best after the mean of all embeddings before it."""

import numpy as np

from opml.graph import Array, DType, Graph, Node, Repeat, TensorType
from opml.lowering.builder import Builder
from opml.passes import run_passes

VOCABULARY, WIDTH, COUNT = 23, 12, 6


def decoder(count: int = COUNT, ends: tuple[int, ...] = (), seed: int = 5) -> Graph:
    """prompt, prompt_length, length -> tokens. Constants are random, but always the same."""
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    build = Builder("decoder", set())
    graph = build.graph
    for name, shape in {"prompt": (count,), "prompt_length": (1,), "length": (1,)}.items():
        graph.inputs.append(name)
        graph.types[name] = TensorType(DType.INT32, shape)
    graph.types["chosen"] = TensorType(DType.INT32, (count,))
    graph.types["seen"] = TensorType(DType.FLOAT32, (count, 1, WIDTH))

    token = build.emit("next_token", ["prompt", "prompt_length", "chosen"], vocabulary=VOCABULARY)
    spot = build.emit("cast", [build.view(token, [1, 1])], to="float32")
    # One where the vocabulary's number is the token's: 1 - min(|number - token|, 1).
    apart = build.emit("sub", [build.constant(np.arange(VOCABULARY, dtype=np.float32)[None]), spot])
    near = build.emit("min", [build.emit("abs", [apart]), build.scalar(1.0)])
    one_hot = build.emit("sub", [build.scalar(1.0), near])
    embedded = build.emit("matmul", [one_hot, build.constant(weights(VOCABULARY, WIDTH))], trans_b=0)
    place = build.view(build.emit("row", [build.constant(weights(count, WIDTH))]), [1, WIDTH])
    key = build.emit("add", [embedded, place])
    mixed = build.emit("tanh", [build.emit("add", [build.emit("history_mean", ["seen"]), key])])
    logits = build.emit("matmul", [mixed, build.constant(weights(WIDTH, VOCABULARY))], trans_b=0)
    best = build.emit("argmax", [logits], axis=1, keepdims=0)
    graph.nodes.append(Node("chosen_token", (best, token, "prompt_length"), ("tokens",), {"ends": list(ends)}))
    graph.types["tokens"] = TensorType(DType.INT32, ())
    graph.outputs.append("tokens")
    graph.repeat = Repeat(count, "length", {"chosen": "tokens", "seen": key})
    return run_passes(graph)


def feeds(prompt: list[int], length: int, count: int = COUNT, prompt_length: int | None = None) -> dict[str, Array]:
    tokens = np.zeros(count, np.int32)
    tokens[: len(prompt)] = prompt
    lengths = (len(prompt) if prompt_length is None else prompt_length), length
    return {"prompt": tokens} | {
        name: np.array([value], np.int32) for name, value in zip(("prompt_length", "length"), lengths, strict=True)
    }
