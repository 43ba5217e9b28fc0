"""Operators that depend on the iteration, each in a program that is repeated."""

import random
from collections.abc import Sequence

import numpy as np
from parity_builder import Array
from parity_ways import check_bits

from opml import guest
from opml.graph import Attribute, DType, Graph, Node, Repeat, TensorType
from opml.image import Image, build_image
from opml.model import Model
from opml.ops import OPS, evaluate, type_of
from opml.passes.check import check, infer
from opml.program import COPY_STEPS, build_program
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

COUNT = 5


def repeated_image(
    name: str, inputs: Sequence[Array | None], attrs: dict[str, Attribute]
) -> tuple[Image, dict[str, Array]]:
    """The operator as body. What a history remembers is copied, row by row, from an input of the same shape."""
    op = OPS[name]
    counts = {len(x) for p, x in enumerate(inputs) if x is not None and p in op.histories}
    (count,) = counts or {COUNT}
    graph = Graph(name, ["length"], ["out"], [], {}, {"length": TensorType(DType.INT32, (1,))})
    histories: dict[str, str] = {}
    names, feeds = [], {}
    for position, array in enumerate(inputs):
        names.append("" if array is None else f"in{position}")
        if array is None:
            continue
        source = names[-1]
        graph.inputs.append(source)
        graph.types[source] = type_of(array)
        feeds[source] = array
        if position in op.histories:
            names[-1] = f"history{position}"
            graph.nodes.append(Node("row", (source,), (f"row{position}",), {}, "row"))
            graph.types[f"row{position}"] = TensorType(type_of(array).dtype, array.shape[1:])
            graph.types[names[-1]] = type_of(array)
            histories[names[-1]] = f"row{position}"
    graph.repeat = Repeat(count, "length", histories)
    node = Node(name, tuple(names), ("out",), attrs, "node")
    graph.types["out"] = infer(graph, node)
    graph.nodes.append(node)
    check(graph)
    return build_image(build_program(graph), guest.load(), window=1, clock=1), feeds


def check_repeated(name: str, inputs: Sequence[Array | None], attrs: dict[str, Attribute], seed: int) -> None:
    """Definition, engine and machine give the same bits in every iteration, as does the operator alone."""
    image, feeds = repeated_image(name, inputs, attrs)
    program, chance = image.program, random.Random(seed)
    assert program.repeat is not None
    times = chance.randrange(1, program.repeat.count + 1)
    feeds["length"] = np.array([times], np.int32)
    found = check_bits(image, feeds, seed)["out"]
    for i in range(times):
        for fast in (False, True):
            alone = evaluate(name, inputs, attrs, fast=fast, iteration=i)
            assert alone.tobytes() == found[i].tobytes(), f"{name}: iteration {i}, fast: {fast}"
    assert not found[times:].any()

    node, memory = program.nodes[-1], Model(image).infer(feeds).memory
    for iteration in {0, times - 1}:
        tile = iteration * program.body_tiles + node.first_tile + chance.randrange(node.tiles)
        state = entry_state(Memory(memory.cut(tile)), image.header.entry, tile, 1)
        steps = run(state, 2 * program.max_tile_steps)
        assert steps <= node.cost + COPY_STEPS, f"{name}: tile {tile} takes {steps} steps, more than {node.cost}"
