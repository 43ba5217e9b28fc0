"""Building guests from small kernels, and what such a guest does, on our machine and on an independent one."""

import os
from collections.abc import Callable

import guest_kernels as kernels
import numpy as np
import pytest
from guest_machine import run_guest
from guest_program import TENSORS, run_machine, table
from numpy.typing import NDArray

from opml import fpenv
from vm.guest import main
from vm.guest.build import build
from vm.guest.errors import GuestError
from vm.guest.record import (
    GUEST_LOG2,
    RECORD_BYTES,
    RECORD_WORDS,
    TABLE_BASE,
    WORD_FIRST_TILE,
    WORD_INPUT,
    WORD_OP,
    WORD_OUT,
    WORD_PARAM,
    WORD_TILES,
)

MATMUL, MIXED, COUNT = 3, 7, 1000
KERNELS = {MATMUL: kernels.matmul_tile, MIXED: kernels.mixed_tile, COUNT: kernels.count_tile}
INPUTS = [TENSORS + ((i + 1) << 24) for i in range(3)]

Memory = dict[int, bytes]


@pytest.fixture(scope="module")
def image() -> bytes:
    return build(KERNELS)


def record(op: int, first: int, tiles: int, *params: int, out: int = TENSORS) -> NDArray[np.int64]:
    words = np.zeros(RECORD_WORDS, np.int64)
    words[[WORD_OP, WORD_FIRST_TILE, WORD_TILES, WORD_OUT]] = op, first, tiles, out
    words[WORD_INPUT : WORD_INPUT + 3] = INPUTS
    words[WORD_PARAM : WORD_PARAM + len(params)] = params
    return words


def natively(kernel: Callable[[int, int], None], words: NDArray[np.int64], inputs: list[NDArray[np.float32]]) -> bytes:
    """The output leaves of a record by the native kernel."""
    tiles = int(words[WORD_TILES])
    out = np.zeros(32 * tiles, np.uint8)
    local = words.copy()
    local[WORD_OUT] = out.ctypes.data
    local[WORD_INPUT : WORD_INPUT + 3] = [x.ctypes.data for x in inputs]
    with fpenv.standard():
        for t in range(tiles):
            kernel(local.ctypes.data, t)
    return out.tobytes()


def both(image: bytes, memory: Memory, first: int, count: int, size: int) -> tuple[bytes, int]:
    """Output and a0, after our machine and unicorn have agreed on them and on the number of instructions."""
    ours, a0, steps = run_machine({0: image, **memory}, first, count)
    other = run_guest({0: image, **memory}, first, count, counted=steps < 200_000)
    assert (other.a0, other.read(TENSORS, size)) == (a0, ours.read(TENSORS, size))
    assert other.steps in (steps, -1)
    return ours.read(TENSORS, size), a0


def place(records: list[NDArray[np.int64]], tiles: int, inputs: list[NDArray[np.float32]], out: int) -> Memory:
    memory = {TABLE_BASE: table(records, tiles), TENSORS: bytes(out)}
    return memory | {a: x.tobytes() for a, x in zip(INPUTS, inputs, strict=False)}


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 8), (2, 600, 4), (4, 64, 10)])
def test_a_product_equals_the_native_one(image: bytes, m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(3)
    inputs = [rng.normal(size=size).astype(np.float32) for size in (m * k, k * n, n)]
    words = record(MATMUL, 0, m * n // 8, k, n)
    result, a0 = both(image, place([words], m * n // 8, inputs, 4 * m * n), 0, m * n // 8, 4 * m * n)
    assert a0 == main.OK
    assert result == natively(kernels.matmul_tile, words, inputs)


def test_every_operation_equals_the_native_one(image: bytes) -> None:
    rng = np.random.default_rng(5)
    corners = [0, 0x80000000, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000]
    bits = rng.integers(0, 1 << 32, (3, 400), np.uint32)
    bits = np.where(rng.random((3, 400)) < 0.4, rng.choice(np.array(corners, np.uint32), (3, 400)), bits)
    inputs = list(np.ascontiguousarray(bits).view(np.float32))
    words = record(MIXED, 0, 400)
    result, a0 = both(image, place([words], 400, inputs, 32 * 400), 0, 400, 32 * 400)
    assert a0 == main.OK
    ours, native = (
        np.frombuffer(x, np.uint32).reshape(400, 8) for x in (result, natively(kernels.mixed_tile, words, inputs))
    )
    wrong = np.argwhere(ours != native)
    assert not len(wrong), (wrong[0], bits[:, wrong[0][0]])


@pytest.mark.parametrize("nodes", [[1], [3, 1, 2], [1, 1, 1, 1, 5], [2] * 33])
def test_each_tile_of_each_record_once(image: bytes, nodes: list[int]) -> None:
    """Any range of tiles is exactly those tiles of those records, whichever record it starts in."""
    firsts = np.cumsum([0, *nodes])
    total = int(firsts[-1])
    records = [record(COUNT, f, n, out=TENSORS + 32 * int(f)) for f, n in zip(firsts[:-1], nodes, strict=True)]
    memory = place(records, total, [], 32 * total)
    ranges = [(0, total), (0, 1), (total - 1, 1), (total - 1, 1 << 40), (total // 2, 1), (total // 2, total)]
    for first, count in [*ranges, (0, 0), *((f, 1) for f in range(total))]:
        result, a0 = both(image, memory, first, count, 32 * total)
        assert a0 == main.OK
        leaves = np.frombuffer(result, np.int64).reshape(total, 4)
        expected = np.zeros_like(leaves)
        for tile in range(first, min(first + count, total)):
            node = int(np.searchsorted(firsts, tile, "right")) - 1
            expected[tile, :3] = TABLE_BASE + RECORD_BYTES * (1 + node), tile - firsts[node], 1
        np.testing.assert_array_equal(leaves, expected)


def test_bad_arguments_and_tables_are_refused(image: bytes) -> None:
    good = record(COUNT, 0, 4)
    memory = place([good], 4, [], 128)
    assert [both(image, memory, first, 1, 128)[1] for first in (0, 3)] == [main.OK, main.OK]
    for first in (4, 5, (1 << 64) - 1, 1 << 63):
        assert both(image, memory, first, 1, 128) == (bytes(128), main.BAD_TILE)
    assert both(image, memory | {TABLE_BASE: table([good], 4, magic=1)}, 0, 1, 128)[1] == main.BAD_TABLE
    assert both(image, memory | {TABLE_BASE: table([], 4)}, 0, 1, 128)[1] == main.BAD_TABLE
    unknown = memory | {TABLE_BASE: table([record(MATMUL + 1, 0, 4)], 4)}
    assert both(image, unknown, 0, 1, 128) == (bytes(128), main.BAD_OPERATOR)


def test_building_is_reproducible(image: bytes, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the folder, nor numba's settings, nor the order of the kernels leaves a trace."""
    assert len(image) < 1 << GUEST_LOG2
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("NUMBA_OPT", "3")
    monkeypatch.setenv("NUMBA_DEBUGINFO", "1")
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    assert build(dict(reversed(KERNELS.items()))) == image
    assert os.getcwd() == str(tmp_path)


REFUSED = {
    "double arithmetic in double_tile": kernels.double_tile,
    "converting_tile .*undefined symbol __fixsfdi": kernels.converting_tile,
    "library_tile .*undefined symbol sinf": kernels.library_tile,
    "raising_tile .*undefined symbol an exception": kernels.raising_tile,
    "undefined symbol NRT": kernels.allocating_tile,
    "not compiled: guest_kernels.unbuildable_tile: ": kernels.unbuildable_tile,
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_by_name(message: str) -> None:
    with pytest.raises(GuestError, match=message):
        build({1: REFUSED[message]})


def test_kernels_must_have_a_name() -> None:
    @kernels.jit
    def local_tile(r, t):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(GuestError, match="local_tile cannot be imported"):
        build({1: local_tile})
    with pytest.raises(GuestError, match="at least one kernel"):
        build({})
