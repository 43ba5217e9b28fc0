"""Memory with its Merkle tree: a copy-on-write overlay over a source of pages and nodes.

Pages and nodes are kept where they differ from the source. A write marks the page's path dirty; asking for a node
hashes what is dirty below it and nothing else. Nodes below a page are not kept: a page is rehashed in microseconds.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vm.constants import DEPTH, LEAF_BYTES, LEAF_LOG2, MEMORY_BYTES, PAGE_BYTES, PAGE_LEVEL, PAGE_LOG2
from vm.errors import VmError
from vm.keccak import hash_pairs, hash_subtrees
from vm.merkle import ZERO, hash_level

Page = NDArray[np.uint8]

_OFFSET: Final = PAGE_BYTES - 1
_LEAVES: Final = PAGE_BYTES // LEAF_BYTES


def _read_only_zeros() -> Page:
    page = np.zeros(PAGE_BYTES, np.uint8)
    page.flags.writeable = False
    return page


# What an absent page reads as.
ZERO_PAGE: Final = _read_only_zeros()


def _children(parents: Iterable[int]) -> Iterator[int]:
    for parent in parents:
        yield 2 * parent
        yield 2 * parent + 1


class TreeSource(Protocol):
    """Bytes and nodes of a whole memory that does not change."""

    def page(self, index: int) -> Page | None:
        """The PAGE_BYTES bytes of page `index`, contiguous, not to be written; None if they are all zero."""

    def node(self, level: int, index: int) -> bytes:
        """The tree's node, for PAGE_LEVEL <= level <= DEPTH."""


class _ZeroSource:
    def page(self, index: int) -> None:
        return None

    def node(self, level: int, index: int) -> bytes:
        return ZERO[level]


# The memory in which every byte is zero.
ZERO_SOURCE: Final[TreeSource] = _ZeroSource()


class Memory:
    """2**40 bytes that can be read, written, hashed and forked. Itself a TreeSource.

    Everything out of range raises VmError. Not safe for use by several threads at once.
    """

    def __init__(self, source: TreeSource = ZERO_SOURCE) -> None:
        self._source = source
        self._pages: dict[int, Page] = {}
        # Pages that no fork shares: the others are copied before they are written.
        self._owned: set[int] = set()
        # Nodes over at least one page of our own, by level; None is dirty, and so is then every ancestor.
        self._nodes: list[dict[int, bytes | None]] = [{} for _ in range(DEPTH + 1)]

    def fork(self) -> "Memory":
        """A memory with the same content; from here on neither sees the other's writes. Shares all pages."""
        other = Memory(self._source)
        other._pages = self._pages.copy()
        other._nodes = [level.copy() for level in self._nodes]
        self._owned.clear()
        return other

    @property
    def own_pages(self) -> Collection[Page]:
        """The pages that differ from the source's; forks share them."""
        return self._pages.values()

    @property
    def own_nodes(self) -> int:
        """How many nodes are kept."""
        return sum(map(len, self._nodes))

    # Bytes.

    def page(self, index: int) -> Page | None:
        """As TreeSource.page. The view shows later writes of this memory."""
        if not 0 <= index < MEMORY_BYTES >> PAGE_LOG2:
            raise VmError(f"there is no page {index}")
        page = self._pages.get(index)
        if page is None:
            return self._source_page(index)
        view = page.view()
        view.flags.writeable = False
        return view

    def writable_page(self, index: int) -> Page:
        """Page `index`, to be written in place until the next call of `node`, `root`, `siblings` or `fork`."""
        page = self._pages.get(index)
        if page is None or index not in self._owned:
            if page is None:
                page = self.page(index)
            page = np.zeros(PAGE_BYTES, np.uint8) if page is None else page.copy()
            self._pages[index] = page
            self._owned.add(index)
        nodes, level, node = self._nodes, PAGE_LEVEL, index
        while level <= DEPTH and nodes[level].get(node, b"") is not None:
            nodes[level][node] = None
            level, node = level + 1, node >> 1
        return page

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address` on."""
        self._check(address, size)
        parts = []
        while size:
            offset = address & _OFFSET
            count = min(size, PAGE_BYTES - offset)
            page = self._pages.get(address >> PAGE_LOG2)
            if page is None:
                page = self._source_page(address >> PAGE_LOG2)
            parts.append(bytes(count) if page is None else page[offset : offset + count].tobytes())
            address, size = address + count, size - count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Puts `data` at `address`."""
        self._check(address, len(data))
        array = np.frombuffer(data, np.uint8)
        done = 0
        while done < len(data):
            offset = (address + done) & _OFFSET
            count = min(len(data) - done, PAGE_BYTES - offset)
            page = self.writable_page((address + done) >> PAGE_LOG2)
            page[offset : offset + count] = array[done : done + count]
            done += count

    def load(self, address: int, size: int) -> int:
        """The unsigned little-endian number of `size` bytes at `address`."""
        return int.from_bytes(self.read(address, size), "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Writes the low `size` bytes of `value` at `address`, little endian."""
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def leaf(self, index: int) -> bytes:
        """The LEAF_BYTES bytes of leaf `index`."""
        return self.read(index << LEAF_LOG2, LEAF_BYTES)

    def _source_page(self, index: int) -> Page | None:
        page = self._source.page(index)
        # The fast loop reads pages by their host address.
        if page is not None and (page.dtype != np.uint8 or page.size != PAGE_BYTES or not page.flags.c_contiguous):
            raise VmError(f"the source's page {index} is not {PAGE_BYTES} contiguous bytes")
        return page

    @staticmethod
    def _check(address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > MEMORY_BYTES:
            raise VmError(f"{size} bytes at {address:#x} are not in memory")

    # The tree.

    def root(self) -> bytes:
        """The node (DEPTH, 0)."""
        return self.node(DEPTH, 0)

    def node(self, level: int, index: int) -> bytes:
        """The node of any level 0..DEPTH."""
        if not 0 <= level <= DEPTH or not 0 <= index < 1 << (DEPTH - level):
            raise VmError(f"there is no node ({level}, {index})")
        if level < PAGE_LEVEL:
            shift = PAGE_LEVEL - level
            return self._page_tree(index >> shift, level)[level][index & ((1 << shift) - 1)]
        known = self._nodes[level].get(index, b"")
        if known is None:
            self._clean(level, index)
            known = self._nodes[level][index]
            assert known is not None
        return known or self._source.node(level, index)

    def siblings(self, level: int, index: int, top: int = DEPTH) -> list[bytes]:
        """The siblings of node (level, index) at levels level..top-1, bottom up: the path to its ancestor at `top`."""
        if not 0 <= level <= top <= DEPTH or not 0 <= index < 1 << (DEPTH - level):
            raise VmError(f"there is no node ({level}, {index}) below level {top}")
        siblings = []
        if level < PAGE_LEVEL:
            shift = PAGE_LEVEL - level
            tree = self._page_tree(index >> shift, PAGE_LEVEL - 1)
            inside = index & ((1 << shift) - 1)
            for height in range(level, min(top, PAGE_LEVEL)):
                siblings.append(tree[height][(inside >> (height - level)) ^ 1])
        for height in range(max(level, PAGE_LEVEL), top):
            siblings.append(self.node(height, (index >> (height - level)) ^ 1))
        return siblings

    def _page_tree(self, index: int, top: int) -> list[list[bytes]]:
        """The nodes of one page by level, from 0 to `top`."""
        page = self.page(index)
        if page is None:
            return [[ZERO[level]] * (_LEAVES >> level) for level in range(top + 1)]
        nodes, levels = page.reshape(_LEAVES, LEAF_BYTES), []
        for level in range(top + 1):
            data = nodes.tobytes()
            levels.append([data[i : i + LEAF_BYTES] for i in range(0, len(data), LEAF_BYTES)])
            if level < top:
                nodes = hash_pairs(nodes)
        return levels

    def _clean(self, top: int, index: int) -> None:
        """Hashes all that is dirty at or below node (top, index), level by level."""
        layers = [[index]]
        for level in range(top - 1, PAGE_LEVEL - 1, -1):
            nodes = self._nodes[level]
            layers.append([child for child in _children(layers[-1]) if nodes.get(child, b"") is None])
        dirty = layers.pop()
        if dirty:
            pages = np.concatenate([self._pages[page] for page in dirty])
            roots = hash_subtrees(pages, _LEAVES)
            self._nodes[PAGE_LEVEL].update((page, root.tobytes()) for page, root in zip(dirty, roots, strict=True))
        for level in range(PAGE_LEVEL, top):
            dirty = layers.pop()
            children = [self.node(level, child) for child in _children(dirty)]
            self._nodes[level + 1].update(zip(dirty, hash_level(children), strict=True))
