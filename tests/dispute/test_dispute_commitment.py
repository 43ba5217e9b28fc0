"""The commitment at every tile against a memory in which the tiles are written one by one."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.commitment import ModelMemory, Place, Region
from opml.errors import ImageError
from vm.constants import DEPTH, LEAF_BYTES, MODEL_LEVEL, PAGE_BYTES, PAGE_LEVEL, SCRATCH_BASE
from vm.memory import Memory
from vm.merkle import ZERO, decode_path, fold

PAGE = PAGE_BYTES


def region(address: int, level: int, size: int, first_tile: int | None = None, seed: int = 0) -> Region:
    data = np.random.default_rng([seed, address % 2**32, size]).integers(1, 256, size, np.uint8)
    return Region(address, level, data, first_tile)


def naive(regions: Sequence[Region], m: int) -> Memory:
    """The memory before tile `m`: every constant, and the leaves of all earlier tiles."""
    memory = Memory()
    for r in regions:
        data = r.data.tobytes()
        if r.first_tile is not None:
            data = data[: max(0, m - r.first_tile) * LEAF_BYTES]
        memory.write(r.address, data)
    return memory


def model_half(memory: Memory) -> bytes:
    return memory.node(MODEL_LEVEL, 0)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Region], Place, Place]:
    """Up to nine regions of 1 byte to 4 pages in naturally aligned places, some small ones within one page."""
    levels = sorted(draw(st.lists(st.integers(0, 9), min_size=2, max_size=9)), reverse=True)
    address = draw(st.sampled_from([0, 1 << 25, SCRATCH_BASE - (1 << 20)]))
    places, sizes = [], []
    for level in levels:
        address = -(-address // (32 << level)) * (32 << level)
        places.append(Place(address, level))
        sizes.append(draw(st.integers(1, 32 << level)))
        address += (32 << level) * draw(st.sampled_from([1, 1, 2]))
    order = draw(st.permutations(range(len(levels))))
    written = order[: draw(st.integers(1, len(levels) - 1))]
    regions, tile = [], 0
    for i in written:
        regions.append(region(places[i].address, places[i].level, sizes[i], tile, seed=i))
        tile = regions[-1].end_tile
    for i in order[len(written) :]:
        regions.append(region(places[i].address, places[i].level, sizes[i], seed=i))
    return regions, Place(regions[-1].address, regions[-1].level), Place(regions[0].address, regions[0].level)


@given(layouts(), st.data())
@settings(max_examples=40, deadline=None)
def test_roots_pages_and_nodes_are_those_of_a_memory_written_tile_by_tile(layout, data):  # type: ignore[no-untyped-def]
    regions, inputs, outputs = layout
    memory = ModelMemory(regions, inputs, outputs)
    for m in {0, 1, memory.tiles, *data.draw(st.lists(st.integers(0, memory.tiles), max_size=6))}:
        expected = naive(regions, min(m, memory.tiles))
        m = min(m, memory.tiles)
        cut = memory.cut(m)
        assert memory.root(m) == model_half(expected)
        for r in regions:
            for address in (r.address, r.address + r.size - 1):
                page = cut.page(address // PAGE)
                assert (bytes(PAGE) if page is None else page.tobytes()) == expected.read(address // PAGE * PAGE, PAGE)
                for level in (*range(PAGE_LEVEL, 14), MODEL_LEVEL, DEPTH):
                    index = address >> (level + 5)
                    assert cut.node(level, index) == expected.node(level, index)
                    assert cut.node(level, index ^ 1 if level < DEPTH else 0) == expected.node(
                        level, index ^ 1 if level < DEPTH else 0
                    )


@given(layouts())
@settings(max_examples=25, deadline=None)
def test_the_input_path_leads_from_nothing_to_the_model_and_from_the_input_to_the_first_state(layout):  # type: ignore[no-untyped-def]
    regions, inputs, outputs = layout
    memory = ModelMemory(regions, inputs, outputs)
    siblings = decode_path(memory.input_path(), inputs.level, MODEL_LEVEL)
    bare = [r for r in regions if r.first_tile is None and r.address != inputs.address]
    assert memory.model_root == model_half(naive(bare, 0))
    assert fold(ZERO[inputs.level], inputs.level, inputs.index, siblings, MODEL_LEVEL) == memory.model_root
    assert fold(memory.input_root, inputs.level, inputs.index, siblings, MODEL_LEVEL) == memory.root(0)


@given(layouts())
@settings(max_examples=25, deadline=None)
def test_the_output_path_leads_to_the_last_root_and_to_no_other(layout):  # type: ignore[no-untyped-def]
    regions, inputs, outputs = layout
    memory = ModelMemory(regions, inputs, outputs)
    siblings = decode_path(memory.output_path(), outputs.level, MODEL_LEVEL)
    assert memory.output_root == naive(regions, memory.tiles).node(outputs.level, outputs.index)
    assert fold(memory.output_root, outputs.level, outputs.index, siblings, MODEL_LEVEL) == memory.root(memory.tiles)
    assert fold(ZERO[outputs.level], outputs.level, outputs.index, siblings, MODEL_LEVEL) != memory.root(memory.tiles)


def test_a_region_that_spans_smaller_ones_can_be_input_or_output() -> None:
    spread = [region(1 << 13, 3, 200), region((1 << 13) + 256, 0, 32, 0)]
    regions = [region(0, 0, 32), *spread, region(1 << 14, 8, 5000, 1)]
    memory = ModelMemory(regions, Place(0, 4), Place(1 << 13, 4))
    finished = naive(regions, memory.tiles)
    assert memory.output_root == finished.node(4, (1 << 13) >> 9)
    assert memory.input_root == finished.node(4, 0)
    siblings = decode_path(memory.output_path(), 4, MODEL_LEVEL)
    assert fold(memory.output_root, 4, (1 << 13) >> 9, siblings, MODEL_LEVEL) == memory.root(memory.tiles)


def test_every_tile_changes_the_root_and_the_bytes_of_later_tiles_do_not() -> None:
    regions = [region(0, 8, 5000), region(1 << 13, 8, 4100, 0), region(1 << 14, 1, 40, 129)]
    memory = ModelMemory(regions, Place(0, 8), Place(1 << 14, 1))
    roots = [memory.root(m) for m in range(memory.tiles + 1)]
    assert len(set(roots)) == memory.tiles + 1
    for tile in (0, 1, 127, 128, 129, 130):
        other = [Region(r.address, r.level, r.data.copy(), r.first_tile) for r in regions]
        changed = next(r for r in other if r.first_tile is not None and r.first_tile <= tile < r.end_tile)
        changed.data[(tile - (changed.first_tile or 0)) * 32] ^= 1
        lying = ModelMemory(other, memory.input, memory.output)
        assert [m for m in range(memory.tiles + 1) if lying.root(m) == roots[m]] == list(range(tile + 1))


def test_large_regions_are_hashed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vm.keccak._SHARE_BYTES", 2 * PAGE)
    for size in (2 * PAGE, 6 * PAGE, 7 * PAGE, 7 * PAGE + 1):
        r = region(0, 10, size)
        assert r.node(10, 0, 0) == naive([r], 0).node(10, 0)


def test_pages_are_read_only_and_whole_ones_are_not_copied() -> None:
    memory = ModelMemory([region(0, 8, 2 * PAGE), region(2 * PAGE, 0, 3, 0)], Place(0, 8), Place(2 * PAGE, 0))
    cut = memory.cut(1)
    first, last = cut.page(0), cut.page(2)
    assert first is not None
    assert last is not None
    assert np.shares_memory(first, memory.page(0, 0))
    assert not first.flags.writeable
    assert not last.flags.writeable
    assert memory.cut(0).page(2) is None
    assert cut.page(SCRATCH_BASE // PAGE) is None
    assert cut.node(PAGE_LEVEL, SCRATCH_BASE // PAGE) == ZERO[PAGE_LEVEL]


def test_a_machine_that_writes_its_tile_on_a_cut_arrives_at_the_next_root() -> None:
    regions = [region(0, 0, 32), region(1 << 14, 9, 16000, 0), region(1 << 15, 2, 100, 500)]
    memory = ModelMemory(regions, Place(0, 0), Place(1 << 15, 2))
    for tile in (0, 127, 128, 499, 500, 503):
        machine = Memory(memory.cut(tile))
        r = next(r for r in regions[1:] if (r.first_tile or 0) <= tile < r.end_tile)
        offset = (tile - (r.first_tile or 0)) * 32
        machine.write(r.address + offset, r.data[offset : offset + 32].tobytes())
        machine.write(SCRATCH_BASE + 100, b"stack")
        assert machine.node(MODEL_LEVEL, 0) == memory.root(tile + 1)


@pytest.mark.parametrize(
    "regions",
    [
        [region(0, 1, 64), region(32, 0, 32, 0)],
        [region(0, 0, 32), region(16, 0, 16, 0)],
        [region(0, 0, 33)],
        [Region(0, 0, np.zeros(0, np.uint8))],
        [region(SCRATCH_BASE, 0, 32)],
        [region(0, 0, 32, 1)],
        [region(0, 1, 64, 0), region(64, 0, 32, 1)],
        [region(0, 1, 64, 0), region(64, 0, 32, 3)],
    ],
    ids=["overlap", "misaligned", "too long", "empty", "scratch", "no first tile", "tile twice", "tile left out"],
)
def test_bad_layouts_are_refused(regions: list[Region]) -> None:
    with pytest.raises(ImageError):
        ModelMemory(regions, Place(0, 0), Place(0, 0))


def test_a_cut_beyond_the_last_tile_is_refused() -> None:
    memory = ModelMemory([region(0, 0, 32, 0)], Place(32, 0), Place(0, 0))
    with pytest.raises(ValueError, match="tile 2 of 1"):
        memory.cut(2)
