"""Whatever an image names: a node that a validator accepts reads its inputs and writes its output, nothing else.

The nodes are those of `test_parity_hostile`, which runs them natively; here the machine does, and the pages that it
asks for are known.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from primitive_base import CASES, Array, Sample
from test_parity_hostile import MAX_COST, MAX_TILES, NONSENSE, hostile
from test_parity_primitives import QUIET

from opml.errors import ImageError, UnsupportedError
from opml.graph import Graph, Node
from opml.guest import load as load_guest
from opml.ops import OPS, type_of
from opml.passes.check import infer
from opml.program import Program, Tensor
from opml.validator import build_checked
from vm.constants import HALTED, PAGE_BYTES, PAGE_LOG2, SCRATCH_BASE
from vm.guest.record import GUEST_BASE, TABLE_BASE
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state


class Watched:
    """A source of pages that remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    def page(self, index: int) -> None:
        self.asked.add(index)


def pages(tensor: Tensor) -> set[int]:
    return set(range(tensor.address >> PAGE_LOG2, (tensor.address + tensor.leaves * 32 - 1 >> PAGE_LOG2) + 1))


def program_of(name: str, sample: Sample) -> tuple[Program, dict[str, Array]] | None:
    """The program of one node as a validator builds it, and its inputs; None where it is refused, by name."""
    feeds = {f"x{i}": x for i, x in enumerate(sample.inputs) if x is not None}
    names = tuple("" if x is None else f"x{i}" for i, x in enumerate(sample.inputs))
    node = Node(name, names, ("y",), sample.attrs)
    graph = Graph("wild", list(feeds), ["y"], [node], {}, {n: type_of(x) for n, x in feeds.items()})
    try:
        graph.types["y"] = infer(graph, node)
    except NONSENSE:
        return None
    try:
        return build_checked(graph), feeds
    except (UnsupportedError, ImageError):
        return None


def run_tile(program: Program, feeds: dict[str, Array], tile: int) -> set[int]:
    """Runs a tile in the machine; the pages that it touched beyond inputs, guest, table and stack."""
    watched = Watched()
    memory = Memory(watched)  # type: ignore[arg-type]
    memory.write(GUEST_BASE, load_guest())
    memory.write(TABLE_BASE, program.table)
    for port in program.inputs:
        memory.write(program.tensors[port.tensor].address, np.ascontiguousarray(feeds[port.name]).tobytes())
    before = set(watched.asked)
    watched.asked.clear()
    state = entry_state(memory, 0, tile, 1)
    run(state, program.max_tile_steps + 1)
    assert (state.status, state.registers[10]) == (HALTED, 0), "a tile always ends well, within its bound"
    return {page for page in watched.asked if page < SCRATCH_BASE // PAGE_BYTES} - before


def check_pages(name: str, sample: Sample) -> bool:
    """Whether the node was accepted; then what it touches is right."""
    built = program_of(name, sample)
    if built is None:
        return False
    program, feeds = built
    if program.nodes[0].cost > MAX_COST or program.tiles > MAX_TILES:
        return False
    allowed = pages(program.tensors["y"])
    for tile in {0, program.tiles // 2, program.tiles - 1}:
        assert run_tile(program, feeds, tile) <= allowed
    return True


def run_many(name: str, examples: int, derandomize: bool) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=derandomize, database=None,
              suppress_health_check=[*QUIET, HealthCheck.filter_too_much])  # fmt: skip
    @given(sample=hostile(name))
    def property_(sample: Sample) -> None:
        event("run" if check_pages(name, sample) else "refused")

    property_()


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_accepted_node_touches_nothing_else(name: str) -> None:
    run_many(name, 40, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_many_accepted_nodes(name: str) -> None:
    run_many(name, 600, False)


def test_a_node_that_touches_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is too low; a page that is not among those that it may write."""
    sample = Sample([np.arange(4096, dtype=np.float32)], {})
    assert check_pages("exp", sample)
    good = OPS["exp"]
    monkeypatch.setitem(OPS, "exp", type(good)(**(vars(good) | {"cost": lambda *_: 10})))
    with pytest.raises(AssertionError, match="within its bound"):
        check_pages("exp", sample)
    monkeypatch.setitem(OPS, "exp", good)
    monkeypatch.setattr("test_parity_wild.pages", lambda tensor: set())
    with pytest.raises(AssertionError):
        check_pages("exp", sample)
