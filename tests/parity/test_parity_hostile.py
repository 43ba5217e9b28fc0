"""Primitives with attributes, shapes and data that nobody sane would give: refused, or harmless.

What a primitive accepts reads its inputs and writes its output, nothing else, in the definition and in the native
kernel alike: inputs lie between stretches of garbage, and other garbage must give the same bytes. A process of its own
computes them, so that a stray address is a failed test.
"""

import os
import signal
import traceback
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from primitive_base import CASES, Array, Draw, Sample, samples
from test_parity_primitives import QUIET

from opml.engine import aligned
from opml.errors import OpmlError
from opml.graph import DType
from opml.ops import OPS, make_record, type_of
from opml.ops.base import tile_count
from vm.constants import LEAF_BYTES

GAP = 1 << 14
MAX_COST = 1 << 21
MAX_TILES = 1 << 9
# What a validator makes a refusal of, when a shape rule meets attributes that make no sense.
NONSENSE = (OpmlError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

WILD_INTEGER = st.sampled_from(
    [-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]
)
WILD = st.one_of(WILD_INTEGER, st.lists(WILD_INTEGER, max_size=6), st.floats(width=32), st.just("wild"))


@st.composite
def hostile(draw: Draw, name: str) -> Sample:
    """A sound sample of which something has been changed."""
    sample = draw(samples(name))
    for _ in range(draw(st.integers(1, 2))):
        change = draw(st.sampled_from(["data", "data", "attribute", "item", "shape", "dtype", "absent"]))
        present = [i for i, x in enumerate(sample.inputs) if x is not None]
        position = draw(st.sampled_from(present))
        array = sample.inputs[position]
        assert array is not None
        if change == "data" and array.dtype.kind in "iu":
            info = np.iinfo(array.dtype)
            rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            ends = np.array([info.min, info.min + 1, info.max - 1, info.max, 0, 1, 2, 3], array.dtype)
            wide = rng.integers(info.min, info.max, array.shape, array.dtype, endpoint=True)
            sample.inputs[position] = np.where(
                rng.integers(0, 2, array.shape) == 0, rng.choice(ends, array.shape), wide
            )
        elif change in ("attribute", "item") and sample.attrs:
            key = draw(st.sampled_from(sorted(sample.attrs)))
            value: Any = sample.attrs[key]
            if change == "item" and isinstance(value, list) and value:
                value = list(value)
                value[draw(st.integers(0, len(value) - 1))] = draw(WILD_INTEGER)
                sample.attrs = {**sample.attrs, key: value}
            else:
                sample.attrs = {**sample.attrs, key: draw(WILD)}
        elif change == "shape" and array.ndim:
            axis = draw(st.integers(0, array.ndim - 1))
            sample.inputs[position] = np.repeat(array, 2, axis) if draw(st.booleans()) else array.take([0], axis)
        elif change == "dtype":
            dtype = draw(st.sampled_from(list(DType))).numpy
            raw = np.resize(np.frombuffer(array.tobytes() or b"\0", np.uint8), array.size * dtype.itemsize)
            sample.inputs[position] = raw.view(dtype).reshape(array.shape)
        elif change == "absent" and len(present) > 1:
            sample.inputs[position] = None
    return sample


def accepted(name: str, sample: Sample) -> Any:
    """The type of the output, or None where the sample is refused or too large to run."""
    op, types = OPS[name], [None if x is None else type_of(x) for x in sample.inputs]
    try:
        out = op.infer(types, sample.attrs)
        make_record(op, types, out, sample.attrs, 0, [0] * len(types), 0)
        small = op.cost(types, out, sample.attrs) <= MAX_COST and tile_count(out) <= MAX_TILES
    except NONSENSE:
        return None
    return out if small and out.elements > 0 else None


def leaves(name: str, sample: Sample, out: Any, garbage: int, fast: bool) -> bytes:
    """The output's leaves, with `garbage` around inputs and output."""
    op, types = OPS[name], [None if x is None else type_of(x) for x in sample.inputs]
    tiles = tile_count(out)
    sizes = [0 if x is None else -(-x.nbytes // 64) * 64 for x in sample.inputs]
    room = aligned(sum(sizes) + GAP * (len(sizes) + 2) + tiles * LEAF_BYTES)
    room[:] = garbage
    addresses, at = [], GAP
    for array, size in zip(sample.inputs, sizes, strict=True):
        addresses.append(0 if array is None else room.ctypes.data + at)
        if array is not None:
            room[at : at + array.nbytes] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        at += size + GAP
    before = room.copy()
    record = make_record(op, types, out, sample.attrs, room.ctypes.data + at, addresses, 0)
    if fast and op.fast is not None:
        op.fast(record.ctypes.data, 0, tiles)
    else:
        for tile in range(tiles):
            op.tile(record.ctypes.data, tile)
    end = at + tiles * LEAF_BYTES
    assert (room[:at] == before[:at]).all(), "writes before its output"
    assert (room[end:] == before[end:]).all(), "writes after its output"
    return room[at:end].tobytes()


def harmless(name: str, sample: Sample, out: Any) -> None:
    defined = leaves(name, sample, out, 0x00, False)
    assert defined == leaves(name, sample, out, 0xFF, False), "the definition reads what is not its input"
    for garbage in (0x00, 0x5A):
        assert defined == leaves(name, sample, out, garbage, True), f"the native kernel differs, garbage {garbage:#x}"


def in_a_process(name: str, sample: Sample, out: Any) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            harmless(name, sample, out)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    types = [None if x is None else f"{x.dtype}{list(x.shape)}" for x in sample.inputs]
    assert status == 0, f"{name} {types} {sample.attrs}: wait status {status}"


def run(name: str, examples: int, derandomize: bool) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=derandomize, database=None,
              suppress_health_check=[*QUIET, HealthCheck.filter_too_much])  # fmt: skip
    @given(sample=hostile(name))
    def property_(sample: Sample) -> None:
        sample.inputs = [None if x is None else np.ascontiguousarray(x) for x in sample.inputs]
        out = accepted(name, sample)
        event("refused" if out is None else "run")
        if out is not None:
            in_a_process(name, sample, out)

    property_()


@pytest.mark.parametrize("name", sorted(CASES))
def test_hostile_samples_are_refused_or_harmless(name: str) -> None:
    run(name, 15, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_many_hostile_samples(name: str) -> None:
    run(name, 1500, False)


def test_a_stray_read_and_a_stray_write_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample([np.arange(20, dtype=np.float32)], {})
    good = OPS["abs"]
    inputs: list[Array | None] = sample.inputs
    out = accepted("abs", sample)
    harmless("abs", sample, out)

    def stray(r: int, t: int) -> None:
        words = (np.ctypeslib.ctypes.c_int64 * 64).from_address(r)
        leaf = (np.ctypeslib.ctypes.c_uint8 * 32).from_address(words[3] + 32 * t)
        leaf[0] = np.ctypeslib.ctypes.c_uint8.from_address(words[4] - 1).value

    monkeypatch.setitem(OPS, "abs", type(good)(**(vars(good) | {"tile": stray, "fast": None})))
    with pytest.raises(AssertionError, match="not its input"):
        harmless("abs", sample, out)

    def writes(r: int, t: int) -> None:
        words = (np.ctypeslib.ctypes.c_int64 * 64).from_address(r)
        np.ctypeslib.ctypes.c_uint8.from_address(words[3] - 1).value ^= 1

    monkeypatch.setitem(OPS, "abs", type(good)(**(vars(good) | {"tile": writes, "fast": None})))
    with pytest.raises(AssertionError, match="writes before"):
        harmless("abs", sample, out)
    assert inputs is sample.inputs
