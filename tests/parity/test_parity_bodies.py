"""Random bodies, repeated: operators on vectors that read each other and what went before."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_ways import check_bits

from opml import guest
from opml.graph import Array, DType, Graph, Repeat, TensorType
from opml.image import build_image
from opml.lowering.builder import Builder
from opml.passes import run_passes
from opml.program import build_program


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Graph, int]:
    """A graph of up to a dozen operators on vectors of up to 600 floats, and how often it is to run."""
    count = draw(st.sampled_from([1, 2, 3, 8, 9, 33]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    build = Builder("body", set())
    graph, histories = build.graph, dict[str, str]()
    graph.inputs += ["x", "length"]
    width = draw(st.sampled_from([1, 3, 8, 17, 150, 600]))
    graph.types["x"] = TensorType(DType.FLOAT32, (width,))
    graph.types["length"] = TensorType(DType.INT32, (1,))

    def vector(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    names = ["x", build.emit("row", [build.constant(vector(count, width))])]
    for step in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(["tanh", "add", "mul", "constant", "history", "history", "row"]))
        if kind == "history":
            source = draw(st.sampled_from(names[1:]))
            graph.types[f"past{step}"] = TensorType(DType.FLOAT32, (count, width))
            histories[f"past{step}"] = source
            names.append(build.emit("history_mean", [f"past{step}"]))
        elif kind == "row":
            names.append(build.emit("row", [build.constant(vector(draw(st.integers(1, count + 2)), width))]))
        elif kind == "tanh":
            names.append(build.emit("tanh", [draw(st.sampled_from(names))]))
        elif kind == "constant":
            names.append(build.emit("mul", [draw(st.sampled_from(names)), build.constant(vector(width))]))
        else:
            names.append(build.emit(kind, [draw(st.sampled_from(names)) for _ in range(2)]))
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True))
    graph.outputs += dict.fromkeys(build.copy(name) for name in outputs)
    graph.repeat = Repeat(count, "length", histories)
    return run_passes(graph), draw(st.integers(0, count))


@given(bodies(), st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_definition_native_and_machine_agree(body: tuple[Graph, int], seed: int) -> None:
    graph, length = body
    image = build_image(build_program(graph), guest.load(), window=1, clock=1)
    x = np.random.default_rng(seed).normal(size=graph.types["x"].shape).astype(np.float32)
    found = check_bits(image, {"x": x, "length": np.array([length], np.int32)}, seed)
    assert all(not values[length:].any() for values in found.values())
