"""Random bodies, repeated: operators on vectors that read each other and what went before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_ways import check_bits

from opml import guest
from opml.graph import Array, DType, Graph, Node, Repeat, TensorType
from opml.image import build_image
from opml.lean import Forgotten, LeanRun
from opml.lowering.builder import Builder
from opml.model import Model
from opml.model_memory import model_memory
from opml.passes import run_passes
from opml.passes.check import check
from opml.program import build_program
from vm.constants import PAGE_BYTES


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Graph, int]:
    """A graph of up to a dozen operators on vectors of up to 1500 floats, and how often it is to run."""
    count = draw(st.sampled_from([1, 2, 3, 8, 9, 33]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    build = Builder("body", set())
    graph, histories = build.graph, dict[str, str]()
    graph.inputs += ["x", "length"]
    width = draw(st.sampled_from([1, 3, 8, 17, 150, 600, 1500]))
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


@given(bodies(), st.integers(0, 2**16), st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_computed_again_is_what_was_computed(body: tuple[Graph, int], seed: int, data: st.DataObject) -> None:
    """The memory of a run that keeps no large tensors beside that of one which keeps all."""
    graph, length = body
    model = Model(build_image(build_program(graph), guest.load(), window=1, clock=1))
    x = np.random.default_rng(seed).normal(size=graph.types["x"].shape).astype(np.float32)
    inference = model.infer({"x": x, "length": np.array([length], np.int32)})
    lean, image = inference.memory, model.image
    full = model_memory(image, inference.tensors, inference.posted, model.constant_regions)
    written = full.written_tiles
    moments = data.draw(st.lists(st.integers(0, written), max_size=8))
    for m in {0, written // 2, written, image.program.tiles, *moments}:
        assert lean.root(m) == full.root(m)
        region = data.draw(st.sampled_from(full.regions))
        page = (region.address + data.draw(st.integers(0, region.data.size - 1))) // PAGE_BYTES
        left, right = lean.page(page, m), full.page(page, m)
        assert (left is None or left.tobytes()) == (right is None or right.tobytes())
        assert lean.node(3, page << 4, m) == full.node(3, page << 4, m)


def test_only_large_tensors_are_forgotten() -> None:
    graph = Graph("wide", ["x", "length"], ["y"], [], {}, {})
    graph.types = {"x": TensorType(DType.FLOAT32, (5000,)), "length": TensorType(DType.INT32, (1,))}
    for name, source in (("a", "x"), ("b", "a"), ("y", "b")):
        graph.nodes.append(Node("tanh", (source,), (name,)))
        graph.types[name] = graph.types["x"]
    graph.types["past"] = TensorType(DType.FLOAT32, (300, 5000))
    graph.nodes.append(Node("history_mean", ("past",), ("z",)))
    graph.types["z"] = graph.types["x"]
    graph.outputs.append("z")
    graph.repeat = Repeat(300, "length", {"past": "b"})
    check(graph)
    model = Model(build_image(build_program(graph), guest.load(), window=1, clock=1))
    x = np.linspace(-2, 2, 5000, dtype=np.float32)
    # A length of two bytes, which also what goes on after a fault must read.
    inference = model.infer({"x": x, "length": np.array([259], np.int32)})
    run = LeanRun(model.engine, {"x": x, "length": np.array([259], np.int32)})
    assert {name for name, data in run.tensors.items() if isinstance(data, Forgotten)} == {"a"}
    stride = model.image.program.tensors["a"].stride
    again = run.tensors["a"][7 * stride + 4096 : 7 * stride + 8192]
    assert again.tobytes() == inference.tensors["a"][7 * stride + 4096 :][:4096].tobytes()
    assert run.tensors["a"][5:5].size == 0
    with pytest.raises(IndexError, match="not of one iteration"):
        run.tensors["a"][stride - 10 : stride + 10]
    resumed = model.engine.resume(inference.tensors, 258 * model.image.program.body_tiles + 5)
    assert all(resumed[name].tobytes() == data.tobytes() for name, data in inference.tensors.items())
