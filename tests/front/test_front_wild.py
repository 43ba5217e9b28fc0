"""Whatever attributes an image names: a node that is accepted reads its inputs and writes its output, nothing else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from opml.errors import ImageError, UnsupportedError
from opml.graph import DType, Graph, Node, TensorType
from opml.guest import load as load_guest
from opml.ops import OPS
from opml.passes.check import infer
from opml.program import Program, Tensor
from opml.validator import build_checked
from vm.constants import HALTED, PAGE_BYTES, PAGE_LOG2, SCRATCH_BASE
from vm.guest.record import GUEST_BASE, TABLE_BASE
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

GOOD = st.integers(1, 3)
FLAG = st.integers(0, 1)
AXIS = st.integers(-2, 1)
FLOAT = st.floats(width=32)
WILD_INTEGER = st.sampled_from([-(1 << 63), -1, 0, 2, 5, 8, 1 << 19, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1])
WILD = st.one_of(WILD_INTEGER, st.lists(WILD_INTEGER, max_size=5), FLOAT, st.just("wild"))
Attrs = dict[str, st.SearchStrategy[Any]]


def several(values: st.SearchStrategy[int], count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(values, min_size=count, max_size=count)


WINDOW: Attrs = {"strides": several(GOOD, 2), "pads": several(FLAG, 4), "dilations": several(st.integers(1, 2), 2)}
POOL: Attrs = {**WINDOW, "kernel": several(st.integers(2, 3), 2), "ceil_mode": FLAG}
REDUCTION: Attrs = {"axes": st.lists(AXIS, min_size=1, max_size=2), "keepdims": FLAG}
INDEX = several(st.integers(0, 1), 2)
DEEP: Attrs = {"strides": several(GOOD, 3), "pads": several(FLAG, 6), "dilations": several(st.integers(1, 2), 3)}
BINS: Attrs = {"size": several(GOOD, 2), "scale": FLOAT}
# Inputs of another type than the others.
INDICES = {"resample": (1,), "roi_align": (2,)}
ATTRS: dict[str, Attrs] = {
    "matmul": {"trans_a": FLAG, "trans_b": FLAG},
    "conv": {**WINDOW, "group": st.sampled_from([1, 1, 1, 2])},
    "maxpool": POOL,
    "avgpool": {**POOL, "count_include_pad": FLAG},
    "transpose": {"perm": st.permutations(range(2))},
    "concat": {"axis": AXIS},
    "slice": {"starts": INDEX, "steps": several(st.sampled_from([1, 2, -1]), 2), "sizes": several(GOOD, 2)},
    "expand": {"shape": several(st.integers(1, 4), 3)},
    "copy": {"shape": several(st.integers(1, 4), 2)},
    "pad": {"pads": several(st.integers(0, 3), 4), "value": GOOD},
    "softmax": {"axis": AXIS},
    "argmax": {"axis": AXIS, "keepdims": FLAG, "select_last": FLAG},
    "cast": {"to": st.sampled_from([dtype.value for dtype in DType])},
    "clip": {"min": GOOD, "max": GOOD},
    "leaky_relu": {"alpha": FLOAT},
    "hard_sigmoid": {"alpha": FLOAT, "beta": FLOAT},
    "conv_nd": {**DEEP, "group": st.sampled_from([1, 1, 1, 2])},
    "maxpool_index": {**DEEP, "kernel": several(st.integers(2, 3), 3), "ceil_mode": FLAG, "column_major": FLAG},
    "fold_blocks": {"image": st.just([5, 4]), "kernel": st.just([2, 3]), "pads": st.sampled_from([[0, 0, 0, 0]])},
    "resample": {"axis": AXIS},
    "grid_sample": {
        "mode": st.sampled_from(["nearest", "linear", "cubic"]),
        "padding": st.sampled_from(["zeros", "border", "reflection"]),
        "align_corners": FLAG,
    },
    "deform_columns": {"kernel": st.just([2, 2]), "groups": st.just(1)},
    "roi_align": {**BINS, "samples": st.integers(0, 3), "half_pixel": FLAG, "maximum": FLAG},
    "roi_max": BINS,
    "eliminate": {"step": st.integers(0, 3)},
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), REDUCTION),
}


@st.composite
def shapes(draw: st.DrawFn, op: str) -> list[tuple[int, ...]]:
    """Shapes of an operator's inputs: those of which it can make something, and sometimes others."""
    size = st.integers(1, 4)

    def tuple_of(rank: int) -> tuple[int, ...]:
        return draw(st.tuples(*[size] * rank))

    wild = draw(st.integers(0, 19)) == 0
    match op:
        case "matmul":
            m, k, n = tuple_of(3)
            right = draw(st.sampled_from([(k, n), (n, k), (1, k, 16), (-(-n // 16), m, 16)]))
            result = [draw(st.sampled_from([(m, k), (k, m)])), right, draw(st.sampled_from([(n,), (m, 1), ()]))]
            result = result[: draw(st.integers(2, 3))]
        case "conv":
            image, kernel = (*tuple_of(2), *draw(st.tuples(*[st.integers(5, 8)] * 2))), tuple_of(2)
            out = draw(st.integers(1, 4))
            result = [image, (out, image[1], *kernel), (out,)][: draw(st.integers(2, 3))]
        case "maxpool" | "avgpool":
            result = [(*tuple_of(2), *draw(st.tuples(*[st.integers(5, 8)] * 2)))]
        case "conv_nd":
            image, kernel = (*tuple_of(2), *draw(st.tuples(*[st.integers(5, 6)] * 3))), tuple_of(3)
            out = draw(st.integers(1, 4))
            result = [image, (out, image[1], *kernel), (out,)][: draw(st.integers(2, 3))]
        case "maxpool_index":
            result = [(*tuple_of(2), *draw(st.tuples(*[st.integers(5, 6)] * 3)))]
        case "fold_blocks":
            n, channels = tuple_of(2)
            result = [(n, 6 * channels, draw(st.sampled_from([8, 8, 8, 6])))]
        case "resample":
            rows = tuple_of(2)
            result = [tuple_of(3), rows, rows]
        case "grid_sample":
            image, places = tuple_of(4), tuple_of(2)
            result = [image, (image[0], *places, 2)]
            if draw(st.booleans()):
                deep = draw(size)
                result = [(*image, deep), (image[0], *places, deep, 3)]
        case "deform_columns":
            n, channels, height, width = tuple_of(4)
            places = (height, width)
            result = [(n, channels, height + 1, width + 1), (n, 8, *places), (n, 4, *places)]
            result = result[: draw(st.integers(2, 3))]
        case "roi_align" | "roi_max":
            count = draw(size)
            result = [tuple_of(4), (count, 4), (count,)] if op == "roi_align" else [tuple_of(4), (count, 5)]
        case "eliminate":
            count, rows = tuple_of(2)
            result = [(count, rows, rows)]
        case "concat" | "add" | "sub" | "mul" | "div" | "max" | "min":
            rank = draw(st.integers(0, 3))
            result = [tuple_of(rank)] * draw(st.integers(2, 4 if op == "concat" else 2))
        case _:
            result = [tuple_of(2)]
    return [*result, tuple_of(2)] if wild else result


@st.composite
def graphs(draw: st.DrawFn, op: str) -> Graph:
    """One primitive over random inputs with random attributes."""
    dtype = draw(st.sampled_from([*[DType.FLOAT32] * 20, *DType]))
    types = {f"x{index}": TensorType(dtype, shape) for index, shape in enumerate(draw(shapes(op)))}
    for index in INDICES.get(op, ()):
        types[f"x{index}"] = TensorType(DType.INT64, types[f"x{index}"].shape)
    attrs = {name: draw(values) for name, values in ATTRS.get(op, {}).items()}
    if op == "matmul" and len(types["x1"].shape) == 3:
        attrs |= {"trans_b": 0, "packed": 1, "n": draw(st.integers(1, 18))}
    if attrs and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(attrs)))
        value = attrs.pop(name)
        if isinstance(value, list) and draw(st.booleans()):
            value[draw(st.integers(0, len(value) - 1))] = draw(WILD_INTEGER)
            attrs[name] = value
        elif draw(st.booleans()):
            attrs[name] = draw(WILD)
    return Graph("wild", list(types), ["y"], [Node(op, tuple(types), ("y",), attrs)], {}, types)


class Watched:
    """A source of pages that remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    def page(self, index: int) -> None:
        self.asked.add(index)


def pages(tensor: Tensor) -> set[int]:
    return set(range(tensor.address >> PAGE_LOG2, (tensor.address + tensor.leaves * 32 - 1 >> PAGE_LOG2) + 1))


def run_tile(program: Program, tile: int) -> set[int]:
    """Runs a tile in the machine; the pages that it touched beyond guest, table and stack."""
    watched = Watched()
    memory = Memory(watched)  # type: ignore[arg-type]
    memory.write(GUEST_BASE, load_guest())
    memory.write(TABLE_BASE, program.table)
    given = set(watched.asked)
    watched.asked.clear()
    for port in program.inputs:
        tensor = program.tensors[port.tensor]
        data = np.random.default_rng(1).integers(0, 256, tensor.type.nbytes, np.uint8)
        memory.write(tensor.address, data.tobytes())
    watched.asked.clear()
    state = entry_state(memory, 0, tile, 1)
    run(state, program.max_tile_steps + 1)
    assert (state.status, state.registers[10]) == (HALTED, 0), "a tile always ends well, within its bound"
    return {page for page in watched.asked if page < SCRATCH_BASE // PAGE_BYTES} - given


@pytest.mark.parametrize("op", sorted(OPS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_an_accepted_node_touches_nothing_else(op: str, data: st.DataObject) -> None:
    graph = data.draw(graphs(op))
    try:
        graph.types["y"] = infer(graph, graph.nodes[0])
        program = build_checked(graph)
    except (UnsupportedError, ImageError):
        event("refused")
        return
    assume(program.nodes[0].cost < 1 << 24 and program.tiles < 1 << 24)
    event("run")
    allowed = pages(program.tensors["y"])
    for tile in {0, program.tiles // 2, program.tiles - 1}:
        assert run_tile(program, tile) <= allowed
