"""The commitment to a program that is repeated, against a memory in which the tiles are written one by one."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.commitment import Instances, ModelMemory, Place, Region
from opml.errors import ImageError
from vm.constants import LEAF_BYTES, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL
from vm.memory import Memory

INPUT = Region(0, 2, np.arange(1, 101, dtype=np.uint8))
OUTPUT = Place(1 << 30, 3)


def instances(address: int, span: int, level: int, size: int, times: int, first: int, period: int) -> Region:
    """A region of `times` random tensors of `size` bytes."""
    data = np.zeros((times, LEAF_BYTES << level), np.uint8)
    data[:, :size] = np.random.default_rng([address, size]).integers(1, 256, (times, size), np.uint8)
    return Region(address, span, data.reshape(-1), first, Instances(level, -(-size // LEAF_BYTES), period))


def naive(regions: Sequence[Region], m: int) -> Memory:
    """The memory before tile `m`."""
    memory = Memory()
    for region in regions:
        if region.first_tile is None or region.instances is None:
            memory.write(region.address, region.data.tobytes())
            continue
        lines = region.data.reshape(-1, LEAF_BYTES << region.instances.level)
        for iteration, line in enumerate(lines):
            done = m - region.first_tile - iteration * region.instances.period
            size = min(max(done, 0), region.instances.leaves) * LEAF_BYTES
            memory.write(region.address + iteration * line.size, line[:size].tobytes())
    return memory


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Region], int, int]:
    """Up to five tensors of a leaf to two pages, in 1 to 40 instances; the tiles of an iteration, and iterations."""
    count = draw(st.integers(1, 40))
    times = draw(st.integers(1, count))
    levels = sorted(draw(st.lists(st.integers(0, 8), min_size=1, max_size=5)), reverse=True)
    sizes = [draw(st.integers((16 << level) + 1 if level else 1, 32 << level)) for level in levels]
    period = sum(-(-size // LEAF_BYTES) for size in sizes)
    regions, address, first = [INPUT], 1 << 25, 0
    for level, size in zip(levels, sizes, strict=True):
        span = level + (count - 1).bit_length()
        address = -(-address // (LEAF_BYTES << span)) * (LEAF_BYTES << span)
        regions.append(instances(address, span, level, size, times, first, period))
        address += LEAF_BYTES << span
        first += -(-size // LEAF_BYTES)
    return regions, period, times


@given(layouts(), st.data())
@settings(max_examples=60, deadline=None)
def test_roots_pages_and_nodes_are_those_of_a_memory_written_tile_by_tile(layout, data):  # type: ignore[no-untyped-def]
    regions, period, times = layout
    memory = ModelMemory(regions, INPUT, OUTPUT, period * 50)
    assert (memory.tiles, memory.written_tiles) == (period * 50, period * times)
    moments = data.draw(st.lists(st.integers(0, period * (times + 1)), max_size=6))
    for m in {0, 1, period - 1, period, period * times, period * 50, *moments}:
        expected = naive(regions, m)
        assert memory.root(m) == expected.node(MODEL_LEVEL, 0), m
        cut = memory.cut(m)
        for region in regions[1:]:
            for address in (region.address, region.address + region.data.size - 1):
                page = cut.page(address // PAGE_BYTES)
                assert (bytes(PAGE_BYTES) if page is None else page.tobytes()) == expected.read(
                    address // PAGE_BYTES * PAGE_BYTES, PAGE_BYTES
                )
                for level in (0, 3, PAGE_LEVEL, PAGE_LEVEL + 2, region.level, 20):
                    index = address >> (level + 5)
                    assert memory.node(level, index, m) == expected.node(level, index), (m, level)


def test_the_tile_of_a_leaf_is_the_one_that_writes_it() -> None:
    region = instances(1 << 25, 6, 2, 70, 9, 4, 11)
    memory = ModelMemory([INPUT, instances(1 << 26, 5, 1, 40, 9, 0, 11), instances(1 << 27, 5, 1, 60, 9, 2, 11), region,
                          instances(1 << 28, 6, 2, 128, 9, 7, 11)], INPUT, OUTPUT)  # fmt: skip
    for leaf in range(9 * 4):
        tile = region.tile_of(leaf)
        before, after = (memory.page(region.address // PAGE_BYTES, m) for m in (tile, tile + 1))
        at = slice(LEAF_BYTES * leaf, LEAF_BYTES * (leaf + 1))
        assert before is None or not before[at].any() or leaf % 4 == 3
        assert after is not None
        assert after[at].any() == (leaf % 4 < 3)


def test_regions_that_do_not_fit_together_are_refused() -> None:
    good = instances(1 << 25, 5, 2, 128, 3, 0, 4)
    assert ModelMemory([INPUT, good], INPUT, OUTPUT).tiles == 12
    with pytest.raises(ImageError, match="are written, of 11"):
        ModelMemory([INPUT, good], INPUT, OUTPUT, 11)
    with pytest.raises(ImageError, match="equally often"):
        ModelMemory([INPUT, instances(1 << 25, 5, 2, 128, 3, 0, 5)], INPUT, OUTPUT)
    other = instances(1 << 26, 5, 0, 32, 2, 4, 5)
    with pytest.raises(ImageError, match="equally often"):
        ModelMemory([INPUT, instances(1 << 25, 5, 2, 128, 3, 0, 5), other], INPUT, OUTPUT)
    with pytest.raises(ImageError, match="do not fit"):
        ModelMemory([INPUT, Region(1 << 25, 5, np.ones(96, np.uint8), 0, Instances(1, 2, 2))], INPUT, OUTPUT)
    with pytest.raises(ImageError, match="not written within 3 tiles"):
        ModelMemory([INPUT, instances(1 << 25, 5, 2, 128, 3, 0, 3)], INPUT, OUTPUT)
    with pytest.raises(ImageError, match="do not fit"):
        ModelMemory([INPUT, instances(1 << 25, 1, 2, 32, 1, 0, 1)], INPUT, OUTPUT)


def test_a_program_that_is_not_run_at_all_writes_nothing() -> None:
    memory = ModelMemory([INPUT], INPUT, OUTPUT, 100)
    assert {memory.root(m) for m in (0, 1, 57, 100)} == {naive([INPUT], 0).node(MODEL_LEVEL, 0)}
    assert (memory.tiles, memory.written_tiles) == (100, 0)
