"""Graph of primitives → program: where every tensor lies, which tiles there are, and the table the guest reads.

All of it is a deterministic function of the graph, so whoever holds the graph can repeat and compare it. A tensor is an
aligned power-of-two subtree of memory; tile `t` of a node writes leaf `t` of its output and nothing else.

Where the graph is repeated, the nodes are the body of a loop, and a tensor that they write has one instance per
iteration, one after the other in one subtree. The tiles of iteration `i` follow those of iteration `i - 1`, and those
of iterations that do not take place write nothing.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute, Graph, Node, Repeat, TensorType
from opml.ops import OPS, make_record
from opml.passes.check import VIEW, storage
from vm.constants import LEAF_BYTES, PAGE_LEVEL, SCRATCH_BASE
from vm.guest.record import (
    RECORD_BYTES,
    RECORD_WORDS,
    TABLE_BASE,
    TABLE_BODY,
    TABLE_COUNT,
    TABLE_INTERFACE,
    TABLE_LENGTH,
    TABLE_MAGIC,
    TABLE_MAX_LOG2,
)
from vm.keccak import keccak256

TENSOR_BASE = TABLE_BASE + (1 << TABLE_MAX_LOG2)

# A tile that could cost more must be decomposed: its whole trace is kept in checkpoints during a dispute.
MAX_TILE_STEPS = 1 << 30
# What the guest adds to the tiles' own instructions: start-up, table search and exit; the call of each tile; and the
# copy of a record, with the addresses of its iteration, in a program that is repeated.
ENTRY_STEPS = 1 << 12
CALL_STEPS = 1 << 8
COPY_STEPS = 1 << 10


class Kind(Enum):
    """Who writes a tensor: the compiler, the claim, or a node (an output lies in the region that a claim shows)."""

    CONSTANT = "constant"
    INPUT = "input"
    VALUE = "value"
    OUTPUT = "output"


@dataclass(frozen=True)
class Tensor:
    """A tensor in memory: `32 << level` bytes from `address` on are its own; those after its end are zero.

    In a program that is repeated that is the first instance of a tensor that a node writes, and `count` of them follow
    one another, `stride` bytes apart.
    """

    name: str
    type: TensorType
    kind: Kind
    level: int
    address: int
    count: int = 1

    @property
    def leaves(self) -> int:
        """32-byte leaves that hold elements."""
        return leaves(self.type.nbytes)

    @property
    def stride(self) -> int:
        """Bytes of an instance, the zeros after its end included."""
        return LEAF_BYTES << self.level

    @property
    def span(self) -> int:
        """Level of the subtree that holds all instances."""
        return self.level + (self.count - 1).bit_length()

    @property
    def nbytes(self) -> int:
        """The distance to the end of the last instance."""
        return (self.count - 1) * self.stride + self.type.nbytes


@dataclass(frozen=True)
class Port:
    """A graph input or output: name and shape for the user, and the tensor that holds it, maybe in another shape.

    An output of a program that is repeated has all instances of its tensor, the first axis being the iterations.
    """

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
    """A primitive with everything bound. `inputs` name tensors ("" where absent), read under the shapes in `types`.

    In a program that is repeated `first_tile` and the addresses in `record` are those of the first iteration.
    """

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
    def repeat(self) -> Repeat | None:
        """How the program is repeated, if it is."""
        return self.graph.repeat

    @property
    def body_tiles(self) -> int:
        """Tiles of one iteration; all tiles of a program that is not repeated."""
        return self.tiles // self.repeat.count if self.repeat else self.tiles

    def iterations(self, inputs: Mapping[str, Array]) -> int:
        """How often the nodes run on these inputs, or their bytes; once in a program that is not repeated."""
        if self.repeat is None:
            return 1
        (length,) = np.ascontiguousarray(inputs[self.repeat.length]).reshape(-1).view(np.int32)
        return min(max(int(length), 0), self.repeat.count)

    @cached_property
    def lasting(self) -> frozenset[str]:
        """The tensors that are read after their iteration: outputs, and what is remembered. None without `repeat`."""
        if self.repeat is None:
            return frozenset()
        roots = storage(self.graph)
        return frozenset(roots[name] for name in self.graph.kept)

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
        if self.repeat:
            header[TABLE_COUNT], header[TABLE_BODY] = self.repeat.count, self.body_tiles
            header[TABLE_LENGTH] = self.tensors[self.repeat.length].address
        return b"".join(record.astype("<i8").tobytes() for record in (header, *(node.record for node in self.nodes)))

    @cached_property
    def interface(self) -> bytes:
        """keccak256 of what inputs and outputs mean: names, dtypes and shapes, in order, and which output counts which.

        It lies in the table for the model's id to commit to it; neither guest nor kernels read it. Without it, an image
        with the names of two inputs exchanged would have the same id.
        """
        said: list[object] = [
            [[p.name, p.type.dtype.value, *p.type.shape] for p in side] for side in (self.inputs, self.outputs)
        ]
        if self.graph.counts:
            said.append([[name, count.tensor, count.axis] for name, count in sorted(self.graph.counts.items())])
        return keccak256(json.dumps(said, separators=(",", ":")).encode())

    @cached_property
    def max_tile_steps(self) -> int:
        """Bound of the guest's instructions for one tile."""
        return ENTRY_STEPS + self._call_steps + max(node.cost for node in self.nodes)

    @cached_property
    def max_steps(self) -> int:
        """Bound of the guest's instructions for the whole program."""
        body = sum(node.tiles * (self._call_steps + node.cost) for node in self.nodes)
        return ENTRY_STEPS + body * (self.repeat.count if self.repeat else 1)

    @property
    def _call_steps(self) -> int:
        return CALL_STEPS + (COPY_STEPS if self.repeat else 0)

    @cached_property
    def _first_tiles(self) -> list[int]:
        return [node.first_tile for node in self.nodes]

    def node_of_tile(self, tile: int) -> ProgramNode:
        """The node that computes a tile, in whatever iteration; IndexError outside of 0..tiles-1."""
        if not 0 <= tile < self.tiles:
            raise IndexError(f"tile {tile} of {self.tiles}")
        return self.nodes[bisect_right(self._first_tiles, tile % self.body_tiles) - 1]

    def place_of_tile(self, tile: int) -> tuple[int, int]:
        """A tile's iteration, and the leaf within the instance that it writes; IndexError as above."""
        iteration, rest = divmod(tile, self.body_tiles)
        return iteration, rest - self.node_of_tile(tile).first_tile


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
    count = graph.repeat.count if graph.repeat else 1
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
        strides = _strides(graph, node, tensors, roots) if graph.repeat else ()
        record = make_record(op, types, out_type, node.attrs, tensors[output].address, addresses, tile, strides)
        tiles = leaves(out_type.nbytes)
        nodes.append(
            ProgramNode(node.name, node.op, inputs, types, output, out_type, node.attrs, tile, tiles, cost, record)
        )
        tile += tiles
    return Program(
        graph,
        tensors,
        tuple(nodes),
        tuple(Port(name, graph.types[name], roots[name]) for name in graph.inputs),
        tuple(Port(name, _shown(graph, name), roots[name]) for name in graph.outputs),
        input_region,
        output_region,
        tile * count,
    )


def _strides(graph: Graph, node: Node, tensors: Mapping[str, Tensor], roots: Mapping[str, str]) -> list[int]:
    """From one iteration's output and inputs to the next one's: 0 for what all share, and for a history."""
    strides = [tensors[node.outputs[0]].stride]
    for name in node.inputs:
        written = name and name not in graph.histories and tensors[roots[name]].kind in (Kind.VALUE, Kind.OUTPUT)
        strides.append(tensors[roots[name]].stride if written else 0)
    return strides


def _shown(graph: Graph, name: str) -> TensorType:
    """An output's type as it is shown."""
    kind = graph.types[name]
    return TensorType(kind.dtype, (graph.repeat.count, *kind.shape)) if graph.repeat else kind


def _lay_out(graph: Graph, roots: dict[str, str]) -> tuple[dict[str, Tensor], Region, Region]:
    """Constants, inputs, values, outputs, each group from a page of its own on, so that a page has one author.

    Constants and values are sorted by falling size: every tensor is then aligned without gaps, and paths are short.
    """
    outputs = [roots[name] for name in graph.outputs]
    written = [node.outputs[0] for node in graph.nodes if node.op != VIEW]
    shown = set(outputs)
    values = [name for name in written if name not in shown]
    # An input without elements keeps a leaf, for its name's sake; nothing reads it.
    for name in (*graph.constants, *written):
        if graph.types[name].elements == 0:
            raise UnsupportedError(f"tensor {name!r} of shape {list(graph.types[name].shape)} has no elements")

    tensors: dict[str, Tensor] = {}

    def counts(kind: Kind) -> int:
        return graph.repeat.count if graph.repeat and kind in (Kind.VALUE, Kind.OUTPUT) else 1

    def place(names: Iterable[str], kind: Kind, address: int) -> int:
        for name in names:
            tensor = Tensor(name, graph.types[name], kind, subtree_level(graph.types[name].nbytes), 0, counts(kind))
            address = _align(address, tensor.span)
            tensors[name] = replace(tensor, address=address)
            address += LEAF_BYTES << tensor.span
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
        nbytes = last.address + last.nbytes - start if last else 0
        return start + (LEAF_BYTES << level), Region(start, level, nbytes)

    cursor, _ = place_group(by_size(graph.constants), Kind.CONSTANT, TENSOR_BASE)
    cursor, input_region = place_group(graph.inputs, Kind.INPUT, cursor)
    cursor, _ = place_group(by_size(values), Kind.VALUE, cursor)
    cursor, output_region = place_group(outputs, Kind.OUTPUT, cursor)
    if cursor > SCRATCH_BASE:
        raise UnsupportedError(f"the model needs {cursor} bytes of memory, more than the model half's {SCRATCH_BASE}")
    return tensors, input_region, output_region


__all__ = ["Kind", "Port", "Program", "ProgramNode", "Region", "Tensor", "build_program", "leaves", "subtree_level"]
