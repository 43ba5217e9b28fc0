"""Where the tensors of a computation lie: places in memory, and regions of it that are constant or written in order.

A region holds one tensor or, in a program that is repeated, the instances of one, one after the other. So what is
written at any time is a beginning of it, followed by zeros, and its hashes are those of the finished region but for one
path.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opml.errors import ImageError
from vm.constants import LEAF_BYTES, LEAF_LOG2, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL, PAGE_LOG2, SCRATCH_BASE
from vm.keccak import hash_pairs, hash_subtrees, keccak256
from vm.merkle import ZERO

Bytes = NDArray[np.uint8]
PAGE_LEAVES = PAGE_BYTES // LEAF_BYTES

# The hashes of a node: row i holds from the time on at which times[i] tiles are done.
Versions = tuple[NDArray[np.int64], Bytes]


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


@dataclass(frozen=True)
class Instances:
    """Subtrees of `level`, of which each has `leaves` leaves that are written; `period` is the tiles per iteration."""

    level: int
    leaves: int
    period: int

    def prefix(self, tiles: int) -> int:
        """The leaves of an instance that are as they stay after that many of its tiles: zeros follow the last one."""
        return 1 << self.level if tiles >= self.leaves else tiles

    def check(self, region: "Region") -> None:
        """Raises ImageError unless the instances fit the region."""
        whole = region.data.size % (LEAF_BYTES << self.level) == 0
        if not whole or not 0 < self.leaves <= 1 << self.level or not self.level <= region.level:
            raise ImageError(f"the instances of the region at {region.address:#x} do not fit it")
        if region.first_tile is None or not 0 <= region.first_tile <= self.period - self.leaves:
            raise ImageError(f"the region at {region.address:#x} is not written within {self.period} tiles")


@dataclass(frozen=True, eq=False)
class Region(Place):
    """A tensor in its place: `data` are its bytes (uint8, one-dimensional), zeros follow to the subtree's end.

    `first_tile` is None where the region is constant; else its leaf i is written by tile `first_tile + i`. A region
    may be part of several memories and is hashed once for all of them.

    With `instances`, the data are those of a tensor in every iteration: of each, the first `instances.leaves` leaves
    are written by the tiles from `first_tile` on, `instances.period` tiles later than those of the one before.
    `roots` are those of the pages, where they are known: then `data` may be any object that gives bytes for a slice.
    """

    data: Bytes
    first_tile: int | None = None
    instances: Instances | None = None
    roots: Bytes | None = None

    @property
    def tiles(self) -> int:
        """Leaves that the data fill, the last one perhaps in part."""
        return -(-self.data.size // LEAF_BYTES)

    @property
    def end_tile(self) -> int:
        """The tile after the last one that writes here, in the first iteration; 0 where the region is constant."""
        if self.first_tile is None:
            return 0
        return self.first_tile + (self.instances.leaves if self.instances else self.tiles)

    def kept(self, m: int) -> int:
        """How many of the leaves lie before the first one that is not yet written before tile `m`."""
        if self.first_tile is None:
            return self.tiles
        if self.instances is None:
            return min(max(m - self.first_tile, 0), self.tiles)
        done, more = divmod(max(m - self.first_tile, 0), self.instances.period)
        return min((done << self.instances.level) + self.instances.prefix(more), self.tiles)

    def partial(self, m: int) -> bool:
        """Whether tile `m` - 1 and tile `m` both write to one tensor here."""
        if self.first_tile is None or m <= self.first_tile:
            return False
        if self.instances is None:
            return m < self.end_tile
        more = (m - self.first_tile) % self.instances.period
        return 0 < more < self.instances.leaves and self.kept(m) < self.tiles

    def tile_of(self, leaf: int) -> int:
        """The tile that writes a leaf; of a leaf that none writes, the last one before it. 0 where none does."""
        if self.first_tile is None:
            return 0
        if self.instances is None:
            return self.first_tile + leaf
        iteration, leaf = divmod(leaf, 1 << self.instances.level)
        return self.first_tile + iteration * self.instances.period + min(leaf, self.instances.leaves - 1)

    def check(self) -> None:
        """Raises ImageError unless the place is good and the data fit into it."""
        super().check()
        if self.instances:
            self.instances.check(self)
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
        bottom = self.instances.level if self.instances else PAGE_LEVEL
        if self.roots is not None:
            bottom, nodes = PAGE_LEVEL, self.roots
        else:
            nodes = self._instance_roots(bottom) if bottom < PAGE_LEVEL else page_roots(self.data)
        for level in range(bottom, PAGE_LEVEL):
            nodes = hash_pairs(even(nodes, level))
        levels = [nodes]
        for level in range(PAGE_LEVEL, self.level):
            nodes = hash_pairs(even(nodes, level))
            levels.append(nodes)
        return levels

    @property
    def times(self) -> NDArray[np.int64]:
        """The times at which one more tensor is finished here: 0 for a constant."""
        if self.instances is None:
            return np.array([self.end_tile], np.int64)
        count = self.data.size >> (self.instances.level + LEAF_LOG2)
        return self.end_tile + np.arange(count, dtype=np.int64) * self.instances.period

    @cached_property
    def _small_roots(self) -> Bytes:
        assert self.instances is not None
        leaves = self.data.reshape(-1, LEAF_BYTES)
        return hash_subtrees(self.data, 1 << self.instances.level) if self.instances.level else leaves

    def _instance_roots(self, level: int) -> Bytes:
        """The roots of the instances, which are of `level`; the data are hashed once, for this and for `levels`."""
        return self._small_roots if level < PAGE_LEVEL else self.levels[level - PAGE_LEVEL]

    @cached_property
    def versions(self) -> Versions:
        """Those times for a region of at least a page, and its root at each of them."""
        if self.instances is None:
            return self.times, self.levels[-1]
        nodes = self._instance_roots(self.instances.level)
        # Row j becomes the node above the instances up to j, as it is when there are no more.
        roots, places = nodes, np.arange(len(nodes))
        for level in range(self.instances.level, self.level):
            zero = np.frombuffer(ZERO[level], np.uint8)
            left = np.where((places & 1)[:, None] == 1, nodes[places - (places & 1)], roots)
            right = np.where((places & 1)[:, None] == 1, roots, zero)
            roots = hash_pairs(np.concatenate([left, right], axis=1))
            nodes = hash_pairs(even(nodes, level))
            places >>= 1
        return self.times, roots

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
            return page_root(padded(self.read(start, start + PAGE_BYTES, m)))
        return keccak256(self.node(level - 1, 2 * index, m) + self.node(level - 1, 2 * index + 1, m))


def even(nodes: Bytes, level: int) -> Bytes:
    """Nodes of a level, an even number of them."""
    return np.concatenate([nodes, np.frombuffer(ZERO[level], np.uint8)[None]]) if len(nodes) % 2 else nodes


def page_roots(data: Bytes) -> Bytes:
    """The roots of all pages, (n, 32), the last one filled up with zeros."""
    whole = data.size // PAGE_BYTES * PAGE_BYTES
    roots = hash_subtrees(data[:whole], PAGE_LEAVES)
    if whole == data.size:
        return roots
    return np.concatenate([roots, hash_subtrees(padded(data[whole:]), PAGE_LEAVES)])


def padded(data: Bytes) -> Bytes:
    page = np.zeros(PAGE_BYTES, np.uint8)
    page[: data.size] = data
    return page


def page_root(page: Bytes) -> bytes:
    return bytes(hash_subtrees(page, PAGE_LEAVES)[0])
