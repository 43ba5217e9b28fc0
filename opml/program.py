"""Graph of primitives → program: where every tensor lies, which tiles there are, and the table the guest reads.

All of it is a deterministic function of the graph, so whoever holds the graph can repeat and compare it. A tensor is an
aligned power-of-two subtree of memory; tile `t` of a node writes leaf `t` of its output and nothing else.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute, Graph, TensorType
from opml.ops import OPS, make_record
from opml.passes.check import VIEW, storage
from vm.constants import LEAF_BYTES, PAGE_LEVEL, SCRATCH_BASE
from vm.guest.record import RECORD_BYTES, RECORD_WORDS, TABLE_BASE, TABLE_INTERFACE, TABLE_MAGIC, TABLE_MAX_LOG2
from vm.keccak import keccak256

TENSOR_BASE = TABLE_BASE + (1 << TABLE_MAX_LOG2)

# A tile that could cost more must be decomposed: its whole trace is kept in checkpoints during a dispute.
MAX_TILE_STEPS = 1 << 30
# What the guest adds to the tiles' own instructions: start-up, table search and exit; the call of each tile.
ENTRY_STEPS = 1 << 12
CALL_STEPS = 1 << 8


class Kind(Enum):
    """Who writes a tensor: the compiler, the claim, or a node (an output lies in the region that a claim shows)."""

    CONSTANT = "constant"
    INPUT = "input"
    VALUE = "value"
    OUTPUT = "output"


@dataclass(frozen=True)
class Tensor:
    """A tensor in memory: `32 << level` bytes from `address` on are its own; those after its end are zero."""

    name: str
    type: TensorType
    kind: Kind
    level: int
    address: int

    @property
    def leaves(self) -> int:
        """32-byte leaves that hold elements."""
        return leaves(self.type.nbytes)


@dataclass(frozen=True)
class Port:
    """A graph input or output: name and shape for the user, and the tensor that holds it, maybe in another shape."""

    name: str
    type: TensorType
    tensor: str


@dataclass(frozen=True)
class Region:
    """The subtree that holds all inputs or all outputs, in order; `nbytes` is the distance to the end of the last."""

    address: int
    level: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class ProgramNode:
    """A primitive with everything bound. `inputs` name tensors ("" where absent), read under the shapes in `types`."""

    name: str
    op: str
    inputs: tuple[str, ...]
    types: tuple[TensorType | None, ...]
    output: str
    out_type: TensorType
    attrs: dict[str, Attribute]
    first_tile: int
    tiles: int
    cost: int
    record: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Program:
    """What the engine runs, the guest executes and a dispute is about."""

    graph: Graph
    tensors: dict[str, Tensor]
    nodes: tuple[ProgramNode, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_region: Region
    output_region: Region
    tiles: int

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def constants(self) -> dict[str, Array]:
        """Values of the tensors of kind CONSTANT."""
        return self.graph.constants

    @cached_property
    def table(self) -> bytes:
        """The node table as it lies at TABLE_BASE: header, then one record per node."""
        header = np.zeros(RECORD_WORDS, np.int64)
        header[:3] = TABLE_MAGIC, len(self.nodes), self.tiles
        header[TABLE_INTERFACE : TABLE_INTERFACE + 4] = np.frombuffer(self.interface, "<i8")
        return b"".join(record.astype("<i8").tobytes() for record in (header, *(node.record for node in self.nodes)))

    @cached_property
    def interface(self) -> bytes:
        """keccak256 of what inputs and outputs mean: names, dtypes and shapes, in order.

        It lies in the table for the model's id to commit to it; neither guest nor kernels read it. Without it, an image
        with the names of two inputs exchanged would have the same id.
        """
        ports = [[[p.name, p.type.dtype.value, *p.type.shape] for p in side] for side in (self.inputs, self.outputs)]
        return keccak256(json.dumps(ports, separators=(",", ":")).encode())

    @cached_property
    def max_tile_steps(self) -> int:
        """Bound of the guest's instructions for one tile."""
        return ENTRY_STEPS + CALL_STEPS + max(node.cost for node in self.nodes)

    @cached_property
    def max_steps(self) -> int:
        """Bound of the guest's instructions for the whole program."""
        return ENTRY_STEPS + sum(node.tiles * (CALL_STEPS + node.cost) for node in self.nodes)

    @cached_property
    def _first_tiles(self) -> list[int]:
        return [node.first_tile for node in self.nodes]

    def node_of_tile(self, tile: int) -> ProgramNode:
        """The node that computes a tile; IndexError outside of 0..tiles-1."""
        if not 0 <= tile < self.tiles:
            raise IndexError(f"tile {tile} of {self.tiles}")
        return self.nodes[bisect_right(self._first_tiles, tile) - 1]


def leaves(nbytes: int) -> int:
    """Leaves that hold `nbytes` bytes, at least one."""
    return max(1, -(-nbytes // LEAF_BYTES))


def subtree_level(nbytes: int) -> int:
    """Level of the smallest subtree that holds `nbytes` bytes."""
    return (leaves(nbytes) - 1).bit_length()


def _align(address: int, level: int) -> int:
    size = LEAF_BYTES << level
    return -(-address // size) * size


def build_program(graph: Graph) -> Program:
    """Lays out a checked graph of primitives. Raises UnsupportedError where it does not fit into memory."""
    roots = storage(graph)
    tensors, input_region, output_region = _lay_out(graph, roots)
    if (len(graph.nodes) + 1) * RECORD_BYTES > 1 << TABLE_MAX_LOG2:
        raise UnsupportedError(f"{len(graph.nodes)} nodes do not fit into the node table")
    nodes: list[ProgramNode] = []
    tile = 0
    for node in graph.nodes:
        if node.op == VIEW:
            continue
        inputs = tuple(roots[name] if name else "" for name in node.inputs)
        types = tuple(graph.types[name] if name else None for name in node.inputs)
        output = node.outputs[0]
        out_type = graph.types[output]
        op = OPS[node.op]
        cost = op.cost(types, out_type, node.attrs)
        if cost > MAX_TILE_STEPS:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: a tile of it may take {cost} instructions, more than 2^30"
            )
        addresses = [tensors[name].address if name else 0 for name in inputs]
        record = make_record(op, types, out_type, node.attrs, tensors[output].address, addresses, tile)
        count = leaves(out_type.nbytes)
        nodes.append(
            ProgramNode(node.name, node.op, inputs, types, output, out_type, node.attrs, tile, count, cost, record)
        )
        tile += count
    return Program(
        graph,
        tensors,
        tuple(nodes),
        tuple(Port(name, graph.types[name], roots[name]) for name in graph.inputs),
        tuple(Port(name, graph.types[name], roots[name]) for name in graph.outputs),
        input_region,
        output_region,
        tile,
    )


def _lay_out(graph: Graph, roots: dict[str, str]) -> tuple[dict[str, Tensor], Region, Region]:
    """Constants, inputs, values, outputs, each group from a page of its own on, so that a page has one author.

    Constants and values are sorted by falling size: every tensor is then aligned without gaps, and paths are short.
    """
    outputs = [roots[name] for name in graph.outputs]
    written = [node.outputs[0] for node in graph.nodes if node.op != VIEW]
    shown = set(outputs)
    values = [name for name in written if name not in shown]
    for name in (*graph.constants, *graph.inputs, *written):
        if graph.types[name].elements == 0:
            raise UnsupportedError(f"tensor {name!r} of shape {list(graph.types[name].shape)} has no elements")

    tensors: dict[str, Tensor] = {}

    def place(names: Iterable[str], kind: Kind, address: int) -> int:
        for name in names:
            level = subtree_level(graph.types[name].nbytes)
            address = _align(address, level)
            tensors[name] = Tensor(name, graph.types[name], kind, level, address)
            address += LEAF_BYTES << level
        return address

    def by_size(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: -subtree_level(graph.types[name].nbytes))

    def place_group(names: list[str], kind: Kind, address: int) -> tuple[int, Region]:
        """In the given order, within one subtree. An empty group still takes a leaf, which nothing uses."""
        # A trial at address 0 tells the size: offsets within the subtree depend on the order alone.
        level = subtree_level(place(names, kind, 0))
        start = _align(_align(address, PAGE_LEVEL), level)
        place(names, kind, start)
        last = tensors[names[-1]] if names else None
        nbytes = last.address + last.type.nbytes - start if last else 0
        return start + (LEAF_BYTES << level), Region(start, level, nbytes)

    cursor, _ = place_group(by_size(graph.constants), Kind.CONSTANT, TENSOR_BASE)
    cursor, input_region = place_group(graph.inputs, Kind.INPUT, cursor)
    cursor, _ = place_group(by_size(values), Kind.VALUE, cursor)
    cursor, output_region = place_group(outputs, Kind.OUTPUT, cursor)
    if cursor > SCRATCH_BASE:
        raise UnsupportedError(f"the model needs {cursor} bytes of memory, more than the model half's {SCRATCH_BASE}")
    return tensors, input_region, output_region


__all__ = ["Kind", "Port", "Program", "ProgramNode", "Region", "Tensor", "build_program", "leaves", "subtree_level"]
