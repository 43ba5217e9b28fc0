"""The layout: every tensor an aligned subtree of its own, every tile once, the table as the guest reads it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from front_models import helper, make_model, numbers, one_node
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.compiler import compile_program
from opml.errors import UnsupportedError
from opml.graph import DType, Graph, Node, TensorType
from opml.ops import OPS
from opml.passes.check import check
from opml.plan import ALIGNMENT, make_plan
from opml.program import (
    CALL_STEPS,
    ENTRY_STEPS,
    TENSOR_BASE,
    Kind,
    Program,
    build_program,
    leaves,
    subtree_level,
)
from vm.constants import LEAF_BYTES, PAGE_BYTES, SCRATCH_BASE
from vm.guest import record

MODELS = Path(__file__).parent.parent.parent / "examples" / "models"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random legal graphs of elementwise primitives and views over tensors of random sizes."""
    graph = Graph("random", [], [], [], {}, {})
    for index in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.integers(1, 40), max_size=3)))
        dtype = draw(st.sampled_from([DType.FLOAT32, DType.UINT8, DType.INT64]))
        graph.inputs.append(f"x{index}")
        graph.types[f"x{index}"] = TensorType(dtype, shape)
    for index in range(draw(st.integers(0, 3))):
        value = numbers(draw(st.integers(1, 3000)))
        graph.constants[f"c{index}"] = value
        graph.types[f"c{index}"] = TensorType(DType.FLOAT32, value.shape)
    for index in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(sorted(graph.types)))
        kind = graph.types[source]
        op = draw(st.sampled_from(["view", "copy", "relu"] if kind.dtype is not DType.UINT8 else ["view", "copy"]))
        shape = (kind.elements,) if op == "view" else kind.shape
        graph.nodes.append(Node(op, (source,), (f"n{index}",), {"shape": list(shape)} if op == "view" else {}))
        graph.types[f"n{index}"] = TensorType(kind.dtype, shape)
    roots = {}
    for node in graph.nodes:
        roots[node.outputs[0]] = roots.get(node.inputs[0], node.inputs[0]) if node.op == "view" else node.outputs[0]
    free = {roots[node.outputs[0]]: node.outputs[0] for node in graph.nodes if roots[node.outputs[0]].startswith("n")}
    if not free:
        graph.nodes.append(Node("copy", ("x0",), ("last",), {}))
        graph.types["last"] = graph.types["x0"]
        free = {"last": "last"}
    graph.outputs = draw(st.lists(st.sampled_from(sorted(free.values())), min_size=1, max_size=3, unique=True))
    check(graph)
    return graph


@settings(max_examples=120, deadline=None)
@given(graphs())
def test_the_layout_of_any_graph(graph: Graph) -> None:
    program = build_program(graph)
    spans = []
    for tensor in program.tensors.values():
        size = LEAF_BYTES << tensor.level
        assert tensor.address % size == 0
        assert tensor.type.nbytes <= size < 2 * max(LEAF_BYTES, tensor.type.nbytes)
        assert TENSOR_BASE <= tensor.address <= SCRATCH_BASE - size
        spans.append((tensor.address, tensor.address + size))
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    kinds = {}
    for tensor in program.tensors.values():
        for page in range(tensor.address // PAGE_BYTES, (tensor.address + tensor.type.nbytes - 1) // PAGE_BYTES + 1):
            assert kinds.setdefault(page, tensor.kind) is tensor.kind, "a page has one author"
    check_regions(program)
    check_tiles(program)
    check_table(program)
    assert build_program(graph).table == program.table


def check_regions(program: Program) -> None:
    for region, ports, kind in (
        (program.input_region, program.inputs, Kind.INPUT),
        (program.output_region, program.outputs, Kind.OUTPUT),
    ):
        tensors = [program.tensors[port.tensor] for port in ports]
        assert region.address % (LEAF_BYTES << region.level) == 0
        assert region.address == tensors[0].address
        assert region.address + region.nbytes == tensors[-1].address + tensors[-1].type.nbytes
        assert region.nbytes <= LEAF_BYTES << region.level
        assert [tensor.address for tensor in tensors] == sorted(tensor.address for tensor in tensors)
        inside = [
            t.name for t in program.tensors.values() if 0 <= t.address - region.address < LEAF_BYTES << region.level
        ]
        assert sorted(inside) == sorted(tensor.name for tensor in tensors)
        assert all(tensor.kind is kind for tensor in tensors)
        assert all(port.type.elements == program.tensors[port.tensor].type.elements for port in ports)


def check_tiles(program: Program) -> None:
    written = set()
    done = {t.name for t in program.tensors.values() if t.kind in (Kind.CONSTANT, Kind.INPUT)}
    tile = 0
    for node in program.nodes:
        assert set(filter(None, node.inputs)) <= done
        assert node.first_tile == tile
        address = program.tensors[node.output].address
        leaf = {address // LEAF_BYTES + t for t in range(node.tiles)}
        assert not leaf & written
        written |= leaf
        done.add(node.output)
        assert program.node_of_tile(tile) is program.node_of_tile(tile + node.tiles - 1) is node
        tile += node.tiles
    assert tile == program.tiles
    for outside in (-1, tile):
        with pytest.raises(IndexError):
            program.node_of_tile(outside)


def check_table(program: Program) -> None:
    rows = np.frombuffer(program.table, "<i8").reshape(-1, record.RECORD_WORDS)
    assert rows[0].tolist()[:4] == [record.TABLE_MAGIC, len(program.nodes), program.tiles, 0]
    assert rows[0][record.TABLE_INTERFACE : record.TABLE_INTERFACE + 4].tobytes() == program.interface
    for row, node in zip(rows[1:], program.nodes, strict=True):
        assert row[record.WORD_OP] == OPS[node.op].code
        assert row[record.WORD_FIRST_TILE] == node.first_tile
        assert row[record.WORD_TILES] == node.tiles
        assert row[record.WORD_OUT] == program.tensors[node.output].address
        addresses = [program.tensors[name].address if name else 0 for name in node.inputs]
        assert row[record.WORD_INPUT :][: record.MAX_INPUTS].tolist()[: len(addresses)] == addresses


@settings(max_examples=120, deadline=None)
@given(graphs())
def test_tensors_alive_together_do_not_share_memory(graph: Graph) -> None:
    program = build_program(graph)
    plan = make_plan(program)
    computed = {t.name for t in program.tensors.values() if t.kind is not Kind.CONSTANT}
    assert set(plan.offsets) == computed
    owner: dict[int, str] = {}

    def span(name: str) -> range:
        start = plan.offsets[name]
        assert start % ALIGNMENT == 0
        assert start + program.tensors[name].leaves * LEAF_BYTES <= plan.size
        return range(start, start + program.tensors[name].leaves * LEAF_BYTES, LEAF_BYTES)

    for name in computed:
        if program.tensors[name].kind is Kind.INPUT:
            owner |= dict.fromkeys(span(name), name)
    for node in program.nodes:
        for name in filter(computed.__contains__, node.inputs):
            assert all(owner[leaf] == name for leaf in span(name)), "overwritten before its last reader"
        owner |= dict.fromkeys(span(node.output), node.output)
        assert all(owner[leaf] == name for name in filter(computed.__contains__, node.inputs) for leaf in span(name))
    for port in program.outputs:
        assert all(owner[leaf] == port.tensor for leaf in span(port.tensor)), "an output must survive"


def test_the_plan_uses_memory_again() -> None:
    nodes = [helper.make_node("Relu", [f"h{i}"], [f"h{i + 1}"]) for i in range(10)]
    program = compile_program(make_model(nodes, {"h0": numbers(1000)}, ["h10"]).SerializeToString())
    assert make_plan(program).size == 2 * 4032


def test_sizes() -> None:
    assert [leaves(nbytes) for nbytes in (0, 1, 32, 33, 96, 97)] == [1, 1, 1, 2, 3, 4]
    assert [subtree_level(nbytes) for nbytes in (0, 1, 32, 33, 96, 97, 129)] == [0, 0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_digit_models(name: str) -> None:
    program = compile_program(MODELS / f"{name}.onnx")
    check_regions(program)
    check_tiles(program)
    check_table(program)
    assert program.input_region.nbytes == 64
    assert program.output_region.nbytes == 40
    assert program.outputs[0].type == TensorType(DType.FLOAT32, (1, 10))
    assert program.max_tile_steps == ENTRY_STEPS + CALL_STEPS + max(node.cost for node in program.nodes)
    assert program.max_steps >= program.tiles * max(1, program.max_tile_steps // program.tiles)
    assert program.max_steps <= ENTRY_STEPS + program.tiles * program.max_tile_steps


def test_paths_are_short() -> None:
    """All of the CNN lies below one node of level 21: above it, every sibling of a path is zero and takes one bit."""
    program = compile_program(MODELS / "cnn.onnx")
    assert max(t.address + (LEAF_BYTES << t.level) for t in program.tensors.values()) <= LEAF_BYTES << 21


def test_several_inputs_lie_in_order() -> None:
    feeds = {"a": numbers(3, dtype=np.uint8), "b": numbers(100), "c": numbers(2)}
    nodes = [
        helper.make_node("Cast", ["a"], ["af"], to=1),
        helper.make_node("Concat", ["af", "b", "c"], ["y"], axis=0),
    ]
    program = compile_program(make_model(nodes, feeds, ["y"]).SerializeToString())
    base = program.input_region.address
    assert [program.tensors[name].address - base for name in "abc"] == [0, 512, 1024]
    assert program.input_region.nbytes == 1024 + 8


def test_a_tile_that_would_run_too_long_is_refused() -> None:
    model = one_node("ReduceMean", {"x": numbers(1)})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 30
    with pytest.raises(UnsupportedError, match=r"more than 2\^30"):
        compile_program(model.SerializeToString())


def test_memory_that_does_not_suffice_is_refused() -> None:
    model = one_node("Relu", {"x": numbers(1)})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 37
    with pytest.raises(UnsupportedError, match="memory"):
        compile_program(model.SerializeToString())
