"""Where tensors lie on the happy path: one arena, in which a tensor's bytes are used again after its last reader.

Only a dispute lays tensors out at their committed addresses; natively, a kernel gets a pointer per tensor.
"""

from dataclasses import dataclass

from opml.program import Kind, Program
from vm.constants import LEAF_BYTES

# A cache line, which is also the widest vector's alignment.
ALIGNMENT = 64


@dataclass(frozen=True)
class Plan:
    """`size` bytes of arena, and the offset in it of every tensor that is no constant.

    A tensor's room is a whole number of leaves, since the tile that writes the last leaf clears what follows the end.
    """

    size: int
    offsets: dict[str, int]


@dataclass(frozen=True)
class _Life:
    name: str
    size: int
    first: int
    last: int


def make_plan(program: Program) -> Plan:
    """Offsets such that tensors that are alive at the same time do not overlap.

    Inputs live from the start, outputs to the end. Large tensors are placed first, each at the lowest free offset.
    """
    placed: list[tuple[int, _Life]] = []
    offsets: dict[str, int] = {}
    for life in sorted(_lives(program), key=lambda life: (-life.size, life.first, life.name)):
        offset = 0
        for start, other in placed:
            if other.first <= life.last and life.first <= other.last:
                if offset + life.size <= start:
                    break
                offset = max(offset, start + other.size)
        offsets[life.name] = offset
        placed.append((offset, life))
        placed.sort(key=lambda item: item[0])
    return Plan(max((start + life.size for start, life in placed), default=0), offsets)


def _lives(program: Program) -> list[_Life]:
    """From the node that writes a tensor to the last that reads it."""
    end = len(program.nodes)
    first = {port.tensor: -1 for port in program.inputs}
    last = dict(first)
    for index, node in enumerate(program.nodes):
        first[node.output] = last[node.output] = index
        for name in node.inputs:
            if name in first:
                last[name] = index
    for tensor in program.tensors.values():
        if tensor.kind is Kind.OUTPUT:
            last[tensor.name] = end
    return [
        _Life(name, -(-program.tensors[name].leaves * LEAF_BYTES // ALIGNMENT) * ALIGNMENT, first[name], last[name])
        for name in first
    ]
