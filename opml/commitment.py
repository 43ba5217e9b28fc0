"""The commitment to a computation: S_m, the root of the model half of memory after the first m tiles.

S_m is the root of the finished memory with the leaves of all tiles >= m set to zero. Every tensor is a `Region`, an
aligned power-of-two subtree that is constant or written tile by tile. Its page roots and the nodes above them are
hashed once, in batch. Above the regions, each node keeps one hash per time at which a region below it was completed,
so that a root, a node or a page "at m" costs at most one path of hashes, that of the one tensor then half written.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opml.errors import ImageError
from vm.constants import DEPTH, LEAF_BYTES, LEAF_LOG2, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL, PAGE_LOG2, SCRATCH_BASE
from vm.keccak import hash_pairs, hash_subtrees, keccak256
from vm.merkle import ZERO, encode_path, fold

Bytes = NDArray[np.uint8]
PAGE_LEAVES = PAGE_BYTES // LEAF_BYTES


@dataclass(frozen=True)
class Place:
    """An aligned subtree of memory: the `32 << level` bytes from `address` on."""

    address: int
    level: int

    @property
    def size(self) -> int:
        """Bytes, those of the zero tail included."""
        return LEAF_BYTES << self.level

    @property
    def index(self) -> int:
        """Index of the subtree's root within its level."""
        return self.address >> (self.level + LEAF_LOG2)

    def check(self) -> None:
        """Raises ImageError unless the place is aligned and in the model half."""
        if not 0 <= self.level <= MODEL_LEVEL or self.address % self.size:
            raise ImageError(f"address {self.address:#x} is not aligned for a subtree of level {self.level}")
        if not 0 <= self.address <= SCRATCH_BASE - self.size:
            raise ImageError(f"address {self.address:#x} is outside the model half of memory")


@dataclass(frozen=True, eq=False)
class Region(Place):
    """A tensor in its place: `data` are its bytes (uint8, one-dimensional), zeros follow to the subtree's end.

    `first_tile` is None where the region is constant; else its leaf i is written by tile `first_tile + i`. A region
    may be part of several memories and is hashed once for all of them.
    """

    data: Bytes
    first_tile: int | None = None

    @property
    def tiles(self) -> int:
        """Leaves that the data fill, the last one perhaps in part."""
        return -(-self.data.size // LEAF_BYTES)

    @property
    def end_tile(self) -> int:
        """The tile after the last one that writes here; 0 where the region is constant."""
        return 0 if self.first_tile is None else self.first_tile + self.tiles

    def kept(self, m: int) -> int:
        """How many of the leaves have been written before tile `m`."""
        return self.tiles if self.first_tile is None else min(max(m - self.first_tile, 0), self.tiles)

    def check(self) -> None:
        """Raises ImageError unless the place is good and the data fit into it."""
        super().check()
        if not 0 < self.data.size <= self.size:
            raise ImageError(f"{self.data.size} bytes at {self.address:#x} do not fit a subtree of level {self.level}")

    def read(self, start: int, stop: int, m: int) -> Bytes:
        """The bytes [start, stop) of the region before tile `m`, read-only; shorter where the rest is zero."""
        view = self.data[start : min(stop, self.kept(m) * LEAF_BYTES)]
        view.flags.writeable = False
        return view

    @cached_property
    def levels(self) -> list[Bytes]:
        """The finished region's nodes from PAGE_LEVEL up to its root, (n, 32) each, without those of the zero tail."""
        nodes = _page_roots(self.data)
        levels = [nodes]
        for level in range(PAGE_LEVEL, self.level):
            if len(nodes) % 2:
                nodes = np.concatenate([nodes, np.frombuffer(ZERO[level], np.uint8)[None]])
            nodes = hash_pairs(nodes)
            levels.append(nodes)
        return levels

    def node(self, level: int, index: int, m: int) -> bytes:
        """Node (level, index) of this region of at least a page before tile `m`, PAGE_LEVEL <= level <= self.level."""
        local = index - (self.index << (self.level - level))
        first, kept = local << level, self.kept(m)
        if first >= kept:
            return ZERO[level]
        if kept == self.tiles or first + (1 << level) <= kept:
            return bytes(self.levels[level - PAGE_LEVEL][local])
        if level == PAGE_LEVEL:
            start = local << PAGE_LOG2
            return _page_root(_padded(self.read(start, start + PAGE_BYTES, m)))
        return keccak256(self.node(level - 1, 2 * index, m) + self.node(level - 1, 2 * index + 1, m))


def _page_roots(data: Bytes) -> Bytes:
    """The roots of all pages, (n, 32), the last one filled up with zeros."""
    whole = data.size // PAGE_BYTES * PAGE_BYTES
    roots = hash_subtrees(data[:whole], PAGE_LEAVES)
    if whole == data.size:
        return roots
    return np.concatenate([roots, hash_subtrees(_padded(data[whole:]), PAGE_LEAVES)])


def _padded(data: Bytes) -> Bytes:
    page = np.zeros(PAGE_BYTES, np.uint8)
    page[: data.size] = data
    return page


def _page_root(page: Bytes) -> bytes:
    return bytes(hash_subtrees(page, PAGE_LEAVES)[0])


class _History:
    """A node's hashes: `hashes[i]` holds from the time on at which `times[i]` tiles are done."""

    __slots__ = ("hashes", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.hashes: list[bytes] = []


class ModelMemory:
    """The model half of memory after every number of tiles, from the bytes of the finished computation.

    `regions` may come in any order; those that are written must together write the tiles 0..M-1. `input` and `output`
    are the subtrees that hold all inputs and all outputs. Raises ImageError where regions overlap, lie outside the
    model half or leave a tile out. Nothing is hashed before it is asked for.
    """

    def __init__(self, regions: Iterable[Region], input: Place, output: Place) -> None:
        self.input = input
        self.output = output
        self._regions = sorted(regions, key=lambda r: r.address)
        self._starts = [r.address for r in self._regions]
        for place in (input, output, *self._regions):
            place.check()
        for left, right in zip(self._regions, self._regions[1:], strict=False):
            if left.address + left.size > right.address:
                raise ImageError(f"the regions at {left.address:#x} and {right.address:#x} overlap")
        self._written = sorted((r for r in self._regions if r.first_tile is not None), key=lambda r: r.end_tile)
        self._ends = [r.end_tile for r in self._written]
        for start, region in zip([0, *self._ends], self._written, strict=False):
            if region.first_tile != start:
                raise ImageError(f"the region at {region.address:#x} starts at tile {region.first_tile}, not {start}")

    @property
    def regions(self) -> Sequence[Region]:
        """All regions in order of their addresses."""
        return self._regions

    @property
    def tiles(self) -> int:
        """M, the number of tiles."""
        return self._ends[-1] if self._ends else 0

    @property
    def nbytes(self) -> int:
        """Bytes of what is this computation's own, about: tensors and their nodes, without the constants."""
        own = [region for region in self._regions if region.first_tile is not None]
        # 32 bytes for each page of 4096, and as much again for all nodes above.
        return sum(region.data.nbytes + region.data.nbytes // 64 for region in own)

    def root(self, m: int) -> bytes:
        """S_m, 0 <= m <= tiles."""
        return self.node(MODEL_LEVEL, 0, m)

    @property
    def model_root(self) -> bytes:
        """The root with nothing in it but the model: the input region and all written tensors are zero."""
        return fold(ZERO[self.input.level], *self._spot(self.input), self._siblings(self.input, 0), MODEL_LEVEL)

    @property
    def input_root(self) -> bytes:
        """Root of the input region."""
        return self.node(*self._spot(self.input), 0)

    def input_path(self) -> bytes:
        """The encoded path of the input region, in the model root and in S_0 alike."""
        return encode_path(self._siblings(self.input, 0), self.input.level)

    @property
    def output_root(self) -> bytes:
        """Root of the output region after the last tile."""
        return self.node(*self._spot(self.output), self.tiles)

    def output_path(self) -> bytes:
        """The encoded path of the output region in S_M."""
        return encode_path(self._siblings(self.output, self.tiles), self.output.level)

    def cut(self, m: int) -> "Cut":
        """The whole memory before tile `m` with an empty scratch half, 0 <= m <= tiles: a source for the machine."""
        if not 0 <= m <= self.tiles:
            raise ValueError(f"tile {m} of {self.tiles}")
        return Cut(self, m)

    def page(self, index: int, m: int) -> Bytes | None:
        """The 4096 bytes of page `index` before tile `m`, read-only; None where they are all unwritten."""
        address = index << PAGE_LOG2
        pieces = []
        for region in self._within(address, PAGE_BYTES):
            start = max(address - region.address, 0)
            data = region.read(start, start + PAGE_BYTES, m)
            if data.size:
                pieces.append((max(region.address - address, 0), data))
        if not pieces:
            return None
        if pieces[0][1].size == PAGE_BYTES:
            return pieces[0][1]
        page = np.zeros(PAGE_BYTES, np.uint8)
        for offset, data in pieces:
            page[offset : offset + data.size] = data
        page.flags.writeable = False
        return page

    def node(self, level: int, index: int, m: int) -> bytes:
        """Node (level, index) of the model half before tile `m`, 0 <= level <= MODEL_LEVEL."""
        if level < PAGE_LEVEL:
            return self._node_in_page(Place(index << (level + LEAF_LOG2), level), m)
        return self._node(level, index, m, self._active(m))

    def _node(self, level: int, index: int, m: int, active: Region | None) -> bytes:
        shift = level + LEAF_LOG2
        region = self._at(index << shift)
        if region and region.level >= level:
            return region.node(level, index, m)
        if active and active.address >> shift == index:
            if level == PAGE_LEVEL:
                return self._page_node(index, m)
            left, right = (self._node(level - 1, child, m, active) for child in (2 * index, 2 * index + 1))
            return keccak256(left + right)
        history = self._histories.get((level, index))
        i = bisect_right(history.times, m) if history else 0
        return history.hashes[i - 1] if history and i else ZERO[level]

    def _page_node(self, index: int, m: int) -> bytes:
        page = self.page(index, m)
        return ZERO[PAGE_LEVEL] if page is None else _page_root(page)

    def _node_in_page(self, place: Place, m: int) -> bytes:
        page = self.page(place.address >> PAGE_LOG2, m)
        if page is None:
            return ZERO[place.level]
        start = place.address % PAGE_BYTES
        data = page[start : start + place.size]
        return hash_subtrees(data, 1 << place.level)[0].tobytes() if place.level else data.tobytes()

    @staticmethod
    def _spot(place: Place) -> tuple[int, int]:
        return place.level, place.index

    def _siblings(self, place: Place, m: int) -> list[bytes]:
        levels = range(place.level, MODEL_LEVEL)
        return [self.node(level, place.index >> (level - place.level) ^ 1, m) for level in levels]

    def _at(self, address: int) -> Region | None:
        """The region whose subtree holds `address`."""
        i = bisect_right(self._starts, address)
        if not i:
            return None
        region = self._regions[i - 1]
        return region if address < region.address + region.size else None

    def _within(self, address: int, size: int) -> Sequence[Region]:
        """The region that holds [address, address + size), or the smaller ones in it."""
        region = self._at(address)
        if region and region.size >= size:
            return [region]
        return self._regions[bisect_right(self._starts, address - 1) : bisect_right(self._starts, address + size - 1)]

    def _active(self, m: int) -> Region | None:
        """The region of which tile `m` - 1 and tile `m` are both part: the only one partly written before `m`."""
        i = bisect_right(self._ends, m)
        region = self._written[i] if i < len(self._written) else None
        return region if region and region.kept(m) else None

    @cached_property
    def _histories(self) -> dict[tuple[int, int], _History]:
        """The nodes that hold more than one region, or one smaller than a page, in all their versions."""
        histories: dict[tuple[int, int], _History] = {}

        def child(level: int, index: int, m: int) -> bytes:
            region = self._at(index << (level + LEAF_LOG2)) if level >= PAGE_LEVEL else None
            if region and region.level >= level:
                return region.node(level, index, m)
            history = histories.get((level, index))
            return history.hashes[-1] if history else ZERO[level]

        def update(level: int, index: int, m: int) -> None:
            if level == PAGE_LEVEL:
                node = self._page_node(index, m)
            else:
                node = keccak256(child(level - 1, 2 * index, m) + child(level - 1, 2 * index + 1, m))
            history = histories.setdefault((level, index), _History())
            history.times.append(m)
            history.hashes.append(node)

        def ancestors(region: Region) -> list[tuple[int, int]]:
            bottom = max(region.level + 1, PAGE_LEVEL)
            return [(level, region.address >> (level + LEAF_LOG2)) for level in range(bottom, MODEL_LEVEL + 1)]

        for spot in sorted({spot for r in self._regions if r.first_tile is None for spot in ancestors(r)}):
            update(*spot, 0)
        for region in self._written:
            for spot in ancestors(region):
                update(*spot, region.end_tile)
        return histories


class Cut:
    """The memory before tile `m` as the machine starts on it (a `vm.memory.TreeSource`)."""

    def __init__(self, memory: ModelMemory, m: int) -> None:
        self._memory = memory
        self._m = m

    def page(self, index: int) -> Bytes | None:
        """The page's 4096 bytes, read-only; None where they are zero."""
        return self._memory.page(index, self._m) if index << PAGE_LOG2 < SCRATCH_BASE else None

    def node(self, level: int, index: int) -> bytes:
        """Node (level, index), PAGE_LEVEL <= level <= DEPTH."""
        if level == DEPTH:
            return keccak256(self._memory.root(self._m) + ZERO[MODEL_LEVEL])
        if index >> (MODEL_LEVEL - level):
            return ZERO[level]
        return self._memory.node(level, index, self._m)
