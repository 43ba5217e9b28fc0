"""Generation with a decoder of SmolLM2-135M's sizes: the happy path, what a dispute needs, and whole disputes.

    python benchmarks/generation.py                     30 layers, answers of 16 and 64 tokens
    python benchmarks/generation.py --layers 2 --tokens 8
    python benchmarks/generation.py --write             and records it in docs/generation.md

The weights are random, so it says nothing; rotary embedding and norms, which cost little, are left out. The liar has a
bit of a tile in the middle of the answer wrong, all that follows from it, and bluffs about the machine.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dispute_scale import Party, Stopwatch, dispute
from pages import markdown, write_table
from report import arguments, computer, show

from opml import guest
from opml.chain.deploy import DEFAULT_K
from opml.demo import Arena, random_lie
from opml.dispute.game import Role
from opml.dispute.trace import Trace
from opml.graph import DType, Graph, Node, Repeat, TensorType
from opml.image import build_image
from opml.lowering.builder import Builder
from opml.model import Model
from opml.passes import run_passes
from opml.program import build_program
from opml.prover import register

CONTEXT, VOCABULARY, WIDTH, INNER = 2048, 49152, 576, 1536
HEADS, SHARED, DEPTH = 9, 3, 64
LAYERS, TOKENS, PROMPT = 30, (16, 64), [1, 4093, 198, 2683]
PAGE = Path(__file__).parent.parent / "docs" / "generation.md"


def decoder(layers: int) -> Graph:
    """The program of such a decoder."""
    chance = np.random.default_rng(1)
    build = Builder("decoder", set())
    graph, histories = build.graph, {"chosen": "tokens"}

    def matrix(rows: int, columns: int) -> str:
        return build.constant(chance.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5))

    def times(x: str, columns: int) -> str:
        return build.emit("matmul", [x, matrix(build.shape(x)[1], columns)], trans_b=0)

    def remember(x: str, name: str) -> str:
        histories[name] = build.view(x, [SHARED, DEPTH])
        graph.types[name] = TensorType(DType.FLOAT32, (CONTEXT, SHARED, DEPTH))
        return name

    for name, size in {"prompt": CONTEXT, "prompt_length": 1, "length": 1}.items():
        graph.inputs.append(name)
        graph.types[name] = TensorType(DType.INT32, (size,))
    graph.types["chosen"] = TensorType(DType.INT32, (CONTEXT,))
    token = build.emit("next_token", ["prompt", "prompt_length", "chosen"], vocabulary=VOCABULARY)
    x = build.emit("gather", [matrix(VOCABULARY, WIDTH), build.view(token, [1])], axis=0)
    for layer in range(layers):
        keys, values = (remember(times(x, SHARED * DEPTH), f"{name}{layer}") for name in ("key", "value"))
        queries = build.view(times(x, HEADS * DEPTH), [HEADS, DEPTH])
        weights = build.emit("softmax", [build.emit("attend_scores", [queries, keys])], axis=1)
        seen = build.view(build.emit("attend_mix", [weights, values]), [1, HEADS * DEPTH])
        x = build.emit("add", [x, times(seen, WIDTH)])
        gate = build.emit("mul", [build.emit("sigmoid", [times(x, INNER)]), times(x, INNER)])
        x = build.emit("tanh", [build.emit("add", [x, times(gate, WIDTH)])])
    best = build.emit("argmax", [times(x, VOCABULARY)], axis=1, keepdims=0)
    graph.nodes.append(Node("chosen_token", (best, token, "prompt_length"), ("tokens",), {"ends": []}))
    graph.types["tokens"] = TensorType(DType.INT32, ())
    graph.outputs.append("tokens")
    graph.repeat = Repeat(CONTEXT, "length", histories)
    return run_passes(graph)


def measure(model: Model, tokens: int, arena: Arena) -> dict[str, Any]:
    """An answer of so many tokens, and a dispute about it with each liar."""
    done = model.generate(PROMPT, tokens)
    inference, watch = done.inference, Stopwatch()
    with watch.on("re-run"):
        memory = inference.memory
    with watch.on("hash pass"):
        memory.root(memory.tiles)
    party = Party(inference, inference.trace)
    false = random_lie(inference, tokens)
    tile = first_difference(inference.trace, false)
    played = [dispute(arena, party, liar, tokens, false, tile) for liar in Role]
    return {
        "tokens": tokens,
        "speed": done.speed,
        "tiles": model.header.tiles,
        "written": memory.written_tiles,
        **watch.seconds,
        "claim_gas": max(one["gas_by_method"]["claim"] for one in played),
        "gas": max(one["gas"] for one in played),
        "transactions": max(one["transactions"] for one in played),
        "instructions": max(one["instructions"] for one in played),
        "machine": max(one["machine"] for one in played),
        "chain": max(one["chain"] for one in played),
        "memory_mb": memory.nbytes / 1e6,
    }


def first_difference(truth: Trace, false: Trace) -> int:
    """The first tile after which two computations differ, who differ from there on."""
    low, high = 0, truth.tiles
    while high - low > 1:
        middle = (low + high) // 2
        if truth.tile_root(middle) == false.tile_root(middle):
            low = middle
        else:
            high = middle
    return low


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "new tokens": lambda r: str(r["tokens"]),
    "tokens/s": lambda r: f"{r['speed']:.1f}",
    "tiles": lambda r: f"{r['written']:,} of {r['tiles']:,}",
    "re-run s": lambda r: f"{r['re-run']:.2f}",
    "hash pass s": lambda r: f"{r['hash pass']:.2f}",
    "claim gas": lambda r: f"{r['claim_gas']:,}",
    "dispute gas": lambda r: f"{r['gas']:,}",
    "transactions": lambda r: str(r["transactions"]),
    "machine s": lambda r: f"{r['machine']:.2f}",
    "chain s": lambda r: f"{r['chain']:.2f}",
    "memory MB": lambda r: f"{r['memory_mb']:.1f}",
}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS, help="layers of the decoder")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="new tokens of each answer")
    parser.add_argument("--write", action="store_true", help="record the table in docs/generation.md")
    options = parser.parse_args()
    random.seed(1)
    began = time.perf_counter()
    image = build_image(build_program(decoder(options.layers)), guest.load(), window=86400, clock=86400)
    model, compiled = Model(image), time.perf_counter() - began
    for region in model.constant_regions:
        region.levels  # noqa: B018
    model.generate(PROMPT, 1)  # binds the kernels
    arena = Arena(DEFAULT_K)
    register(arena.prover, arena.prover.account, model)
    rows = [measure(model, tokens, arena) | {"compiled": compiled} for tokens in options.tokens]
    title = f"{options.layers} layers, {len(image.program.nodes)} operators, context {CONTEXT}"
    show(title, rows, COLUMNS, options.json)
    if options.write:
        where = computer()
        cells = [[column(row) for column in COLUMNS.values()] for row in rows]
        caption = f"{title}. {where['processors']} x {where['processor']}."
        write_table("generation", [*markdown(list(COLUMNS), cells), "", caption], PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
