"""Parity by property: random inputs and attributes for every primitive, and the ways in which it is computed.

A file `primitive_AREA.py` beside this one registers the cases of some primitives; `test_parity_primitives.py` finds
the file by its name, runs every case, and fails for a primitive without one:

    @case("add", "sub")
    def arithmetic(draw: Draw, op: str) -> Sample:
        dtype = draw(st.sampled_from(NUMBERS))
        a, b = broadcasting(draw)
        return Sample([values(draw, dtype, a), values(draw, dtype, b)], {})

Shapes are small (the machine runs every tile): keep an output under about 100 elements. What can be drawn:

    shape(draw, least, most)        a shape of that many dimensions and at most `elements` elements
    broadcasting(draw)              two shapes that broadcast
    values(draw, dtype, shape)      any numbers of a dtype: all bits, special values, extremes, moderate ones
    values(..., low=, high=)        integers from `low` to `high`, both included, for indices and sizes
    values(..., odd=False)          moderate floats only, for what is interesting away from NaN
    present(draw, array)            the array, or None by chance: an optional input

Inputs become inputs of the graph; those whose positions are in `Sample.constants` become constants. An operator that
`iterates` runs in a program that is repeated (`parity_repeated`): its histories are given whole, [count, *shape].
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from parity_repeated import check_repeated

from opml import guest
from opml.engine import Engine, aligned
from opml.graph import DType, Graph, Node, TensorType
from opml.ops import OPS, make_record, type_of
from opml.ops.base import Attrs, tile_count
from opml.passes.check import infer
from opml.program import Kind, Program, build_program
from vm.constants import HALTED, LEAF_BYTES, MODEL_LEVEL, REG_A0
from vm.guest.record import TABLE_BASE
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

Array = NDArray[Any]
Shape = tuple[int, ...]
Draw = st.DrawFn

STORAGE = ("float16", "bfloat16", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
NUMBERS = ("float32", *INTEGERS)
DTYPES = (*NUMBERS, "bool", *STORAGE)

# Zeros, the ends of the subnormal and the normal range, infinity, NaNs, bounds of conversions, ties, one.
SPECIAL = np.array(
    [0, 1, 0x007FFFFF, 0x00800000, 0x33800000, 0x3F000000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x40200000, 0x42B17218,
     0x4B000001, 0x4B7FFFFF, 0x4F000000, 0x4F800000, 0x5F000000, 0x5F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001,
     0x7FC00000, 0x7FFFFFFF], np.uint32)  # fmt: skip


@dataclass
class Sample:
    """What one example computes. `constants` are the positions of the inputs that the model fixes."""

    inputs: list[Array | None]
    attrs: Attrs
    constants: tuple[int, ...] = ()


Make = Callable[[Draw, str], Sample]
CASES: dict[str, Make] = {}


def case(*names: str) -> Callable[[Make], Make]:
    """Registers how examples of some primitives are drawn: `make(draw, primitive's name)`."""

    def register(make: Make) -> Make:
        for name in names:
            assert name not in CASES, f"{name} has two cases"
            CASES[name] = make
        return make

    return register


@st.composite
def samples(draw: Draw, name: str) -> Sample:
    """The strategy of one primitive."""
    return CASES[name](draw, name)


def shape(draw: Draw, least: int = 0, most: int = 4, elements: int = 90) -> Shape:
    """`least` to `most` dimensions, each at least 1, with at most `elements` elements."""
    sizes: list[int] = []
    for _ in range(draw(st.integers(least, most))):
        room = elements // prod(sizes)
        sizes.append(min(room, draw(st.sampled_from((1, 2, 3, 4, 5, 9, 17, 40)))))
    return tuple(draw(st.permutations(sizes)))


def broadcasting(draw: Draw, most: int = 4, elements: int = 90) -> tuple[Shape, Shape]:
    """Two shapes that broadcast to one of at most `elements` elements."""
    whole = shape(draw, 0, most, elements)

    def part() -> Shape:
        cut = tuple(1 if draw(st.integers(0, 3)) == 0 else size for size in whole)
        return cut[draw(st.integers(0, len(cut))) :] if draw(st.booleans()) else cut

    return part(), part()


def values(
    draw: Draw, dtype: str, size: Shape, *, low: int | None = None, high: int | None = None, odd: bool = True
) -> Array:
    """An array; see the head of this file."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if low is not None or high is not None:
        assert low is not None
        assert high is not None
        return np.asarray(rng.integers(low, high, size, np.int64, endpoint=True)).astype(dtype)
    if dtype == "bool":
        # Any byte but zero is true.
        return np.asarray(rng.choice(np.array([0, 0, 1, 1, 2, 255], np.uint8), size)).view(bool)
    if dtype == "float32":
        return floats(rng, size, odd)
    if dtype in STORAGE:
        return storage(rng, DType(dtype).numpy, size, odd)
    info = np.iinfo(dtype)
    near = np.array([0, 1, 2, 3, 7, info.max // 2], np.int64).astype(dtype)
    ends = np.concatenate([near, np.array([info.min, info.min + 1, info.max - 1, info.max], dtype)])
    wide = rng.integers(info.min, info.max, size, dtype, endpoint=True)
    small = np.asarray(rng.integers(0 if info.min == 0 else -9, 9, size)).astype(dtype)
    return np.asarray(np.choose(rng.integers(0, 3, size), [rng.choice(ends, size), wide, small])).astype(dtype)


def floats(rng: np.random.Generator, size: Shape, odd: bool) -> Array:
    """Moderate numbers; with `odd` also special ones of both signs and random bits, a third of each."""
    moderate = np.asarray(rng.choice([1.0, 8.0, 100.0]) * rng.standard_normal(size)).astype(np.float32)
    if not odd:
        return moderate
    special = rng.choice(SPECIAL, size) | rng.integers(0, 2, size, dtype=np.uint32) << 31
    anything = rng.integers(0, 2**32, size, dtype=np.uint32)
    kinds = [special, anything, moderate.view(np.uint32)]
    return np.asarray(np.choose(rng.integers(0, 3, size), kinds)).astype(np.uint32).view(np.float32)


def storage(rng: np.random.Generator, dtype: np.dtype[Any], size: Shape, odd: bool) -> Array:
    """Float32 numbers in another float dtype; with `odd` also bits near those of a tie between two float32, or any."""
    with np.errstate(all="ignore"):
        near = np.asarray(floats(rng, size, odd).astype(dtype))
    if not odd:
        return near
    word = np.dtype(f"uint{8 * dtype.itemsize}")
    moved = near.view(word) + rng.choice(np.array([0, 1, 1 << 28, 3 << 28, (1 << 28) - 1], np.uint64), size).astype(
        word
    )
    anything = rng.integers(0, np.iinfo(word).max, size, word, endpoint=True)
    return np.where(rng.integers(0, 3, size) == 0, anything, moved).astype(word).view(dtype)


def present(draw: Draw, array: Array) -> Array | None:
    """The array, or by chance nothing."""
    return array if draw(st.booleans()) else None


def build(name: str, sample: Sample) -> tuple[Program, dict[str, Array]]:
    """The program of one node, and what its inputs are fed. Bytes of a bool that are not 0 or 1 stay as they are."""
    graph = Graph(name, [], ["out"], [], {}, {})
    names = []
    for position, array in enumerate(sample.inputs):
        names.append("" if array is None else f"in{position}")
        if array is not None:
            sample.inputs[position] = array = np.array(array, order="C")
            graph.types[names[-1]] = type_of(array)
            if position in sample.constants:
                graph.constants[names[-1]] = array
            else:
                graph.inputs.append(names[-1])
    node = Node(name, tuple(names), ("out",), sample.attrs, "node")
    graph.types["out"] = infer(graph, node)
    graph.nodes.append(node)
    feeds = {n: x for n, x in zip(names, sample.inputs, strict=True) if n in graph.inputs and x is not None}
    return build_program(graph), feeds


def defined_leaves(name: str, sample: Sample, seed: int) -> bytes:
    """All leaves by definition, after the fast kernel has given the same over random ranges of tiles."""
    op = OPS[name]
    types = [None if x is None else type_of(x) for x in sample.inputs]
    out: TensorType = op.infer(types, sample.attrs)
    tiles = tile_count(out)
    addresses = [0 if x is None else x.ctypes.data for x in sample.inputs]

    def leaves(cuts: list[int] | None) -> bytes:
        room = aligned(tiles * LEAF_BYTES + 64)
        room[:] = 0xA5
        record = make_record(op, types, out, sample.attrs, room.ctypes.data, addresses, 0).ctypes
        if cuts is None or op.fast is None:
            for tile in range(tiles):
                op.tile(record.data, tile)
        else:
            for start, end in pairwise(cuts):
                op.fast(record.data, start, end - start)
        assert (room[tiles * LEAF_BYTES :] == 0xA5).all(), f"{name} writes beyond its last leaf"
        assert not room[out.nbytes : tiles * LEAF_BYTES].any(), f"{name}: the end of the last leaf is not zero"
        return room[: tiles * LEAF_BYTES].tobytes()

    defined, chance = leaves(None), random.Random(seed)
    # A tile may read earlier ones of its own output, so the ranges run in ascending order.
    for cuts in ([0, tiles], sorted({0, tiles, *(chance.randrange(tiles + 1) for _ in range(2))})):
        assert defined == leaves(cuts), f"{name}: fast over {cuts} is not the definition for {sample.attrs}"
    return defined


@cache
def _guest_memory() -> Memory:
    memory = Memory()
    memory.write(0, guest.load())
    memory.root()
    return memory


def machine_memory(program: Program, feeds: dict[str, Array], written: bytes) -> Memory:
    """The model's memory with the inputs in it and the first bytes of the output."""
    memory = _guest_memory().fork()
    memory.write(TABLE_BASE, program.table)
    for name, tensor in program.tensors.items():
        if tensor.kind is Kind.OUTPUT:
            memory.write(tensor.address, written)
        else:
            memory.write(tensor.address, (program.constants | feeds)[name].tobytes())
    return memory


def check(name: str, sample: Sample, seed: int) -> None:
    """Definition, native kernel, engine and machine give the same bits, and no tile takes more than its bound."""
    if OPS[name].iterates:
        check_repeated(name, sample.inputs, sample.attrs, seed)
        return
    program, feeds = build(name, sample)
    defined = defined_leaves(name, sample, seed)
    (node,) = program.nodes
    tensors = Engine(program).run_full(feeds)
    assert tensors[node.output].tobytes() == defined[: node.out_type.nbytes], f"{name}: the engine differs"

    chance = random.Random(seed)
    singles = {0, program.tiles - 1, chance.randrange(program.tiles)}
    for first, count in [(0, program.tiles), *((tile, 1) for tile in sorted(singles))]:
        state = entry_state(machine_memory(program, feeds, defined[: first * LEAF_BYTES]), 0, first, count)
        steps = run(state, 2 * program.max_steps)
        code = state.registers[REG_A0]
        assert (state.status, code) == (HALTED, 0), f"{name}: status {state.status}, code {code}; is the guest built?"
        after = machine_memory(program, feeds, defined[: (first + count) * LEAF_BYTES])
        assert state.memory.node(MODEL_LEVEL, 0) == after.node(MODEL_LEVEL, 0), f"{name}: tiles {first}+{count} differ"
        if count == 1:
            assert steps <= node.cost, f"{name}: tile {first} takes {steps} steps, more than {node.cost}"
