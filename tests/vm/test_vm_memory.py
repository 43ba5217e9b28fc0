"""Memory against a plain bytearray and a naive tree; forks; sources other than zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm.constants import DEPTH, MEMORY_BYTES, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL, SCRATCH_BASE
from vm.errors import VmError
from vm.keccak import keccak256
from vm.memory import ZERO_PAGE, ZERO_SOURCE, Memory
from vm.merkle import ZERO, encode_path, fold, subtree_root
from vm.run import run
from vm.state import State

WINDOW = 5 * PAGE_BYTES
# Windows far apart: at both ends, across the middle, and somewhere.
BASES = (0, SCRATCH_BASE - 2 * PAGE_BYTES, MEMORY_BYTES - WINDOW, 0x12345 * PAGE_BYTES)


class BytesSource:
    """A source with given bytes at address 0."""

    def __init__(self, data: bytes) -> None:
        self.memory = Memory()
        self.memory.write(0, data)
        self.asked: list[tuple[int, int]] = []

    def page(self, index):
        return self.memory.page(index)

    def node(self, level, index):
        assert PAGE_LEVEL <= level <= DEPTH
        self.asked.append((level, index))
        return self.memory.node(level, index)


def naive_node(window: bytes, base: int, level: int, index: int) -> bytes:
    """Node (level, index) of a memory that is zero but for `window` at `base`."""
    start, size = index << (level + 5), 32 << level
    if start + size <= base or start >= base + len(window):
        return ZERO[level]
    if level == 0:
        return window[start - base : start - base + 32]
    children = (naive_node(window, base, level - 1, 2 * index + i) for i in (0, 1))
    return keccak256(b"".join(children))


writes = st.lists(
    st.tuples(st.sampled_from((0, 31, 32, 4090, 4096, 8191, 3 * 4096)), st.integers(0, 4096), st.binary(max_size=70)),
    max_size=8,
)


@settings(max_examples=40)
@given(st.sampled_from(BASES), writes, st.integers(0, 7))
def test_writes_reads_and_nodes_equal_a_naive_memory(base, edits, ask_after):
    memory, mirror = Memory(), bytearray(WINDOW)
    for i, (offset, more, data) in enumerate(edits):
        offset += more
        memory.write(base + offset, data)
        mirror[offset : offset + len(data)] = data
        assert memory.read(base + offset, len(data)) == data
        if i == ask_after:  # nodes hashed early must not go stale
            assert memory.root() == naive_node(bytes(mirror), base, DEPTH, 0)
    assert memory.read(base, WINDOW) == mirror
    for level, index in (
        (DEPTH, 0),
        (MODEL_LEVEL, 0),
        (MODEL_LEVEL, 1),
        (8, base >> 13),
        (7, base >> 12),
        (3, base >> 8),
    ):
        assert memory.node(level, index) == naive_node(bytes(mirror), base, level, index)


@settings(max_examples=30)
@given(st.sampled_from(BASES), writes, st.integers(0, DEPTH), st.integers(0, WINDOW - 1), st.integers(0, DEPTH))
def test_siblings_fold_to_the_root(base, edits, level, offset, top):
    memory = Memory()
    for start, more, data in edits:
        memory.write(base + start + more, data)
    top = max(level, top)
    index = (base + offset) >> (level + 5)
    siblings = memory.siblings(level, index, top)
    assert fold(memory.node(level, index), level, index, siblings, top) == memory.node(top, index >> (top - level))


def test_a_path_costs_little_where_memory_is_empty():
    memory = Memory()
    memory.write(0, b"x")
    memory.write(SCRATCH_BASE, b"y")
    assert len(encode_path(memory.siblings(0, 0), 0)) == 5 + 32


def test_pitfall_14_a_page_written_back_to_zero_gives_the_old_root():
    memory = Memory()
    memory.write(100, b"something")
    before = memory.root()
    for address in (5 * PAGE_BYTES, SCRATCH_BASE + 7, MEMORY_BYTES - 1, 200):
        memory.write(address, b"\xff")
        assert memory.root() != before
        memory.write(address, b"\0")
        assert memory.root() == before
    memory.write(100, bytes(9))
    assert memory.root() == ZERO[DEPTH]


def test_pitfall_14_an_absent_page_is_a_page_of_zeros():
    absent, present = Memory(), Memory()
    present.write(4096, bytes(4096))
    assert absent.page(1) is None
    assert present.page(1) is not None
    assert absent.root() == present.root() == ZERO[DEPTH]
    assert absent.leaf(128) == present.leaf(128) == bytes(32)
    assert absent.siblings(0, 130) == present.siblings(0, 130)


def test_forks_do_not_see_each_other():
    first = Memory()
    first.write(0, b"base")
    root = first.root()
    second = first.fork()
    third = second.fork()
    first.write(0, b"ONE!")
    second.write(4096, b"two")
    assert (third.root(), third.read(0, 4), third.read(4096, 3)) == (root, b"base", bytes(3))
    assert (first.read(0, 4), first.read(4096, 3)) == (b"ONE!", bytes(3))
    assert (second.read(0, 4), second.read(4096, 3)) == (b"base", b"two")
    second.write(4096, bytes(3))
    assert second.root() == root
    first.write(0, b"base")
    assert first.root() == root


def test_a_fork_of_dirty_memory_hashes_for_itself():
    first = Memory()
    first.write(0, b"dirty")
    second = first.fork()
    assert second.root() == subtree_root(b"dirty", DEPTH)
    first.write(0, b"other")
    assert first.root() == subtree_root(b"other", DEPTH)
    assert second.root() == subtree_root(b"dirty", DEPTH)


def test_pages_are_shared_until_written():
    first = Memory()
    first.write(0, bytes(range(100)))
    second = first.fork()
    assert np.shares_memory(first.page(0), second.page(0))
    second.write(0, b"x")
    assert not np.shares_memory(first.page(0), second.page(0))


def test_over_a_source_that_is_not_zero():
    data = np.random.default_rng(1).integers(0, 256, 5 * PAGE_BYTES, dtype=np.uint8).tobytes()
    source = BytesSource(data)
    memory = Memory(source)
    assert memory.read(4000, 200) == data[4000:4200]
    assert memory.root() == subtree_root(data, DEPTH)
    assert fold(memory.leaf(77), 0, 77, memory.siblings(0, 77)) == memory.root()
    memory.write(4095, b"ab")
    changed = data[:4095] + b"ab" + data[4097:]
    assert memory.root() == subtree_root(changed, DEPTH)
    assert memory.node(3, 16) == subtree_root(changed[4096:4352], 3)
    assert source.memory.read(4095, 2) == data[4095:4097]
    assert source.memory.root() == subtree_root(data, DEPTH)
    memory.write(4095, data[4095:4097])
    assert memory.root() == subtree_root(data, DEPTH)


def test_a_source_is_asked_for_no_node_above_a_written_page():
    source = BytesSource(b"x" * 20000)
    memory = Memory(source)
    memory.write(4096, b"y")
    source.asked.clear()
    memory.root()
    assert all(index != 1 >> (level - PAGE_LEVEL) for level, index in source.asked)
    source.asked.clear()
    memory.root()
    assert source.asked == []


def test_a_memory_over_a_memory():
    lower = Memory()
    lower.write(0, b"lower")
    upper = Memory(lower)
    upper.write(5, b"upper")
    assert upper.read(0, 10) == b"lowerupper"
    assert upper.root() == subtree_root(b"lowerupper", DEPTH)
    assert lower.root() == subtree_root(b"lower", DEPTH)


def test_zeroing_what_the_source_has():
    memory = Memory(BytesSource(b"abc"))
    memory.write(0, bytes(3))
    assert memory.root() == ZERO[DEPTH]


@pytest.mark.parametrize(
    "page",
    [
        np.zeros(PAGE_BYTES - 1, np.uint8),
        np.zeros(PAGE_BYTES + 1, np.uint8),
        np.zeros(2 * PAGE_BYTES, np.uint8)[::2],
        np.zeros(PAGE_BYTES, np.int8),
    ],
)
def test_sources_whose_pages_are_no_pages_are_refused(page):
    class Bad(BytesSource):
        def page(self, index):
            return page

    memory = Memory(Bad(b""))
    with pytest.raises(VmError):
        memory.read(4090, 1)
    with pytest.raises(VmError):
        memory.page(3)
    with pytest.raises(VmError):
        memory.write(0, b"x")
    with pytest.raises(VmError):
        run(State(memory), 1)


def test_pages_are_read_only():
    memory = Memory()
    memory.write(0, b"x")
    for page in (memory.page(0), ZERO_PAGE):
        with pytest.raises(ValueError, match="read-only"):
            page[0] = 1


def test_load_and_store_are_little_endian_and_cut():
    memory = Memory()
    memory.store(4094, 4, 0xAABB_CCDD_1122_3344)
    assert memory.read(4094, 4) == bytes.fromhex("44332211")
    assert memory.load(4094, 4) == 0x11223344
    memory.store(8, 8, -1)
    assert memory.load(8, 8) == (1 << 64) - 1


@pytest.mark.parametrize(("address", "size"), [(-1, 1), (MEMORY_BYTES, 1), (MEMORY_BYTES - 1, 2), (0, -1)])
def test_addresses_outside_are_refused(address, size):
    memory = Memory()
    with pytest.raises(VmError):
        memory.read(address, size)
    if size > 0:
        with pytest.raises(VmError):
            memory.write(address, bytes(size))
    assert memory.root() == ZERO[DEPTH]


def test_pitfall_13_nodes_outside_the_tree_are_refused():
    memory = Memory()
    for level, index in ((-1, 0), (36, 0), (35, 1), (0, 1 << 35), (34, 2), (0, -1)):
        with pytest.raises(VmError):
            memory.node(level, index)
        with pytest.raises(VmError):
            memory.siblings(level, index)
    with pytest.raises(VmError):
        memory.siblings(7, 0, 6)
    with pytest.raises(VmError):
        memory.page(1 << 28)


def test_the_zero_source():
    assert ZERO_SOURCE.page(123) is None
    assert ZERO_SOURCE.node(12, 5) == ZERO[12]
