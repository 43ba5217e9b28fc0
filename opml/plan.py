"""Where tensors lie on the happy path: one arena, in which a tensor's bytes are used again after its last reader.

Only a dispute lays tensors out at their committed addresses; natively, a kernel gets a pointer per tensor.
"""

from bisect import bisect, insort
from dataclasses import dataclass
from heapq import heappop, heappush

from opml.program import Kind, Program
from vm.constants import LEAF_BYTES

# A cache line, which is also the widest vector's alignment.
ALIGNMENT = 64
# Neighbours in time that are looked at before the simpler way is taken: about a second.
MAX_WORK = 1 << 22


@dataclass(frozen=True)
class Plan:
    """`size` bytes of arena, and the offset in it of every tensor that is no constant and does not last.

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

    Inputs live from the start, outputs to the end. Large tensors are placed first, each at the lowest free offset. In a
    large graph where too many live side by side for that, the small ones follow in the order of execution.
    """
    lives = sorted(_lives(program), key=lambda life: (-life.size, life.first, life.name))
    alive = _Alive(len(program.nodes) + 2)
    offsets: dict[str, int] = {}
    work = size = 0
    for index, life in enumerate(lives):
        others = alive.beside(life)
        work += len(others) + life.last - life.first
        if work > MAX_WORK:
            return _sweep(lives[index:], offsets, size)
        offset = 0
        for start, end in others:
            if offset + life.size <= start:
                break
            offset = max(offset, end)
        offsets[life.name] = offset
        alive.add(life, offset)
        size = max(size, offset + life.size)
    return Plan(size, offsets)


class _Alive:
    """Where tensors have been placed, by the times at which they are alive; times run from -1 on.

    A tree of intervals of time: a life is kept at the few nodes that together make it up.
    """

    def __init__(self, times: int) -> None:
        self.times = times
        self.nodes: dict[int, list[tuple[int, int]]] = {}
        self.begun: list[list[tuple[int, int]]] = [[] for _ in range(times)]

    def add(self, life: _Life, offset: int) -> None:
        place = (offset, offset + life.size)
        self.begun[life.first + 1].append(place)
        low, high = life.first + 1 + self.times, life.last + 2 + self.times
        while low < high:
            if low & 1:
                self.nodes.setdefault(low, []).append(place)
                low += 1
            if high & 1:
                high -= 1
                self.nodes.setdefault(high, []).append(place)
            low, high = low >> 1, high >> 1

    def beside(self, life: _Life) -> list[tuple[int, int]]:
        """Start and end of all that is alive when `life` begins or begins while it lives, in ascending order."""
        found = [place for places in self.begun[life.first + 2 : life.last + 2] for place in places]
        node = life.first + 1 + self.times
        while node:
            found += self.nodes.get(node, ())
            node >>= 1
        return sorted(found)


def _sweep(lives: list[_Life], offsets: dict[str, int], base: int) -> Plan:
    """Places the rest from `base` on, in the order of execution, each in the first gap that takes it."""
    gaps: list[list[int]] = []
    size = base
    ending: list[tuple[int, int, int]] = []
    for life in sorted(lives, key=lambda life: (life.first, life.name)):
        while ending and ending[0][0] < life.first:
            _, start, end = heappop(ending)
            _free(gaps, start, end)
        gap = next((gap for gap in gaps if gap[1] - gap[0] >= life.size), None)
        if gap is None:
            gap = [size, size + life.size]
            size += life.size
            insort(gaps, gap)
        offsets[life.name] = gap[0]
        heappush(ending, (life.last, gap[0], gap[0] + life.size))
        gap[0] += life.size
        if gap[0] == gap[1]:
            gaps.remove(gap)
    return Plan(size, offsets)


def _free(gaps: list[list[int]], start: int, end: int) -> None:
    """Puts a range back among the gaps, which are in ascending order and never touch each other."""
    at = bisect(gaps, [start, end])
    if at < len(gaps) and gaps[at][0] == end:
        end = gaps.pop(at)[1]
    if at and gaps[at - 1][1] == start:
        gaps[at - 1][1] = end
    else:
        gaps.insert(at, [start, end])


def _lives(program: Program) -> list[_Life]:
    """From the node that writes a tensor to the last that reads it."""
    end = len(program.nodes)
    first = {port.tensor: -1 for port in program.inputs}
    last = dict(first)
    for index, node in enumerate(program.nodes):
        if node.output not in program.lasting:
            first[node.output] = last[node.output] = index
        for name in node.inputs:
            if name in first:
                last[name] = index
    for tensor in program.tensors.values():
        if tensor.kind is Kind.OUTPUT and tensor.name in first:
            last[tensor.name] = end
    return [
        _Life(name, -(-program.tensors[name].leaves * LEAF_BYTES // ALIGNMENT) * ALIGNMENT, first[name], last[name])
        for name in first
    ]
