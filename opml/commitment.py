"""The commitment to a computation: S_m, the root of the model half of memory after the first m tiles.

S_m is the root of the finished memory with the leaves of all tiles >= m set to zero. Every tensor is a `Region`, an
aligned power-of-two subtree that is constant or written tile by tile. Its page roots and the nodes above them are
hashed once, in batch. Above the regions, each node keeps one hash per time at which a tensor below it was completed,
so that a root, a node or a page "at m" costs at most one path of hashes, that of the one tensor then half written.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce

import numpy as np

from opml.errors import ImageError
from opml.regions import PAGE_LEAVES, Bytes, Instances, Place, Region, Versions, page_root
from vm.constants import DEPTH, LEAF_BYTES, LEAF_LOG2, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL, PAGE_LOG2, SCRATCH_BASE
from vm.keccak import hash_pairs, hash_subtrees, keccak256
from vm.merkle import ZERO, encode_path, fold

Spot = tuple[int, int]


class ModelMemory:
    """The model half of memory after every number of tiles, from the bytes of the finished computation.

    `regions` may come in any order; those that are written must together write the tiles 0..M-1, or, with instances,
    those of one iteration. `tiles` is M where further tiles write nothing. `input` and `output` are the subtrees that
    hold all inputs and all outputs. Raises ImageError where regions overlap, lie outside the model half or leave a tile
    out. Nothing is hashed before it is asked for.
    """

    def __init__(self, regions: Iterable[Region], input: Place, output: Place, tiles: int | None = None) -> None:
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
        self._body = self._ends[-1] if self._ends else 0
        repeats = {r.data.size >> (r.instances.level + LEAF_LOG2) if r.instances else 1 for r in self._written}
        if len(repeats) > 1 or any(r.instances and r.instances.period != self._body for r in self._written):
            raise ImageError("the regions are not written equally often")
        self._written_tiles = self._body * repeats.pop() if repeats else 0
        self._tiles = self._written_tiles if tiles is None else tiles
        if self._tiles < self._written_tiles:
            raise ImageError(f"{self._written_tiles} tiles are written, of {self._tiles}")

    @property
    def regions(self) -> Sequence[Region]:
        """All regions in order of their addresses."""
        return self._regions

    @property
    def tiles(self) -> int:
        """M, the number of tiles."""
        return self._tiles

    @property
    def written_tiles(self) -> int:
        """The number of tiles that write something: those before all others."""
        return self._written_tiles

    @property
    def nbytes(self) -> int:
        """Bytes of what is this computation's own, about: tensors and their nodes, without the constants."""
        own = [region for region in self._regions if region.first_tile is not None]
        # 32 bytes for each page of 4096, and as much again for all nodes above.
        versions = self.__dict__.get("_versions", {}).values()
        above = sum(times.nbytes + hashes.nbytes for times, hashes in versions)
        return int(above) + sum(region.data.nbytes + region.data.nbytes // 64 for region in own)

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
        versions = self._versions.get((level, index))
        if versions is None:
            return ZERO[level]
        times, hashes = versions
        i = int(np.searchsorted(times, m, "right"))
        return hashes[i - 1].tobytes() if i else ZERO[level]

    def _page_node(self, index: int, m: int) -> bytes:
        page = self.page(index, m)
        return ZERO[PAGE_LEVEL] if page is None else page_root(page)

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
        if m >= self._written_tiles:
            return None
        region = self._written[bisect_right(self._ends, m % self._body)]
        return region if region.partial(m) else None

    @cached_property
    def _versions(self) -> dict[Spot, Versions]:
        """The nodes that hold more than one region, or one smaller than a page, in all their versions."""
        found: dict[Spot, Versions] = {}
        level = dict(self._page_versions())
        large = sorted((r for r in self._regions if r.level >= PAGE_LEVEL), key=lambda r: -r.level)
        for height in range(PAGE_LEVEL, MODEL_LEVEL):
            found |= {(height, index): versions for index, versions in level.items()}
            while large and large[-1].level == height:
                region = large.pop()
                level[region.index] = region.versions
            level = _parents(level, height)
        return found | {(MODEL_LEVEL, index): versions for index, versions in level.items()}

    def _page_versions(self) -> Iterator[tuple[int, Versions]]:
        """The pages that hold regions smaller than a page."""
        small: dict[int, set[int]] = {}
        for region in self._regions:
            if region.level < PAGE_LEVEL:
                small.setdefault(region.address >> PAGE_LOG2, set()).update(region.times.tolist())
        for index, moments in small.items():
            times = sorted(moments)
            pages = np.zeros((len(times), PAGE_BYTES), np.uint8)
            for row, m in zip(pages, times, strict=True):
                page = self.page(index, m)
                if page is not None:
                    row[:] = page
            yield index, (np.array(times, np.int64), hash_subtrees(pages, PAGE_LEAVES))


def _parents(nodes: Mapping[int, Versions], level: int) -> dict[int, Versions]:
    """The versions of the nodes above those of a level, which are all but zeros: hashed in one batch."""
    if not nodes:
        return {}
    indices = sorted({index >> 1 for index in nodes})
    zero = np.frombuffer(ZERO[level], np.uint8)
    every, pairs = [], []
    for index in indices:
        sides = [nodes.get(2 * index), nodes.get(2 * index + 1)]
        times = reduce(np.union1d, [side[0] for side in sides if side])
        pair = np.empty((len(times), 2, LEAF_BYTES), np.uint8)
        for place, side in enumerate(sides):
            if side is None:
                pair[:, place] = zero
                continue
            at = np.searchsorted(side[0], times, "right") - 1
            pair[:, place] = side[1][at]
            pair[at < 0, place] = zero
        every.append(times)
        pairs.append(pair)
    hashes = np.split(hash_pairs(np.concatenate(pairs)), np.cumsum([len(times) for times in every])[:-1])
    return dict(zip(indices, zip(every, hashes, strict=True), strict=True))


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


__all__ = ["Bytes", "Cut", "Instances", "ModelMemory", "Place", "Region"]
