"""What the tests of operators share: odd values, and the comparison of definition and fast kernel."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opml.engine import aligned
from opml.graph import Attribute, TensorType
from opml.ops import OPS, make_record, type_of
from opml.ops.base import tile_count
from vm.constants import LEAF_BYTES

Array = NDArray[Any]

# NaN of both signs and with payloads, infinities, zeros, subnormals, the ends of the normal range, ties.
SPECIAL_BITS = [
    0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFABCDEF, 0x7F800000, 0xFF800000, 0x00000000, 0x80000000,
    0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000, 0xBF800000,
    0x3F800001, 0x4B000001, 0x4B7FFFFF, 0x4F000000, 0xCF000000, 0x5F000000, 0xDF000000, 0x42B17218,
]  # fmt: skip
SPECIALS = np.array(SPECIAL_BITS, np.uint32).view(np.float32)


def floats(seed: int, shape: Sequence[int], odd: float = 0.0, scale: float = 1.0) -> NDArray[np.float32]:
    """Normal floats times `scale`, of which a share `odd` is replaced by special values."""
    rng = np.random.default_rng(seed)
    values = (scale * rng.standard_normal(shape)).astype(np.float32)
    chosen = rng.random(shape) < odd
    return np.where(chosen, rng.choice(SPECIALS, shape), values).astype(np.float32)


def integers(seed: int, shape: Sequence[int], dtype: str) -> Array:
    """Integers over the whole range of a dtype, small ones and the ends more often."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    wide = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    ends = rng.choice(np.array([info.min, info.max, 0, 1, 2, info.max - 1], dtype), shape)
    return np.where(rng.random(shape) < 0.3, ends, wide).astype(dtype)


def leaves(
    name: str, inputs: Sequence[Array | None], attrs: dict[str, Attribute], cuts: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """All leaves of an operator's output: by definition, or by the fast kernel over ranges of tiles cut at `cuts`."""
    op = OPS[name]
    types = [None if array is None else type_of(array) for array in inputs]
    out_type: TensorType = op.infer(types, attrs)
    tiles = tile_count(out_type)
    room = aligned(tiles * LEAF_BYTES + 64)
    room[:] = 0xA5
    addresses = [0 if array is None else array.ctypes.data for array in inputs]
    record = make_record(op, types, out_type, attrs, room.ctypes.data, addresses, 0).ctypes
    if cuts is None:
        for t in range(tiles):
            op.tile(record.data, t)
    else:
        assert op.fast is not None
        edges = sorted({0, tiles, *(min(cut, tiles) for cut in cuts)})
        for start, end in pairwise(edges):
            op.fast(record.data, start, end - start)
    assert (room[tiles * LEAF_BYTES :] == 0xA5).all(), "written beyond the last leaf"
    assert not room[out_type.nbytes : tiles * LEAF_BYTES].any(), "the end of the last leaf is not zero"
    return room[: tiles * LEAF_BYTES]


def assert_same_bits(
    name: str, inputs: Sequence[Array | None], attrs: dict[str, Attribute], cuts: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """The definition's leaves, after the fast kernel has given the same."""
    arrays = [None if array is None else np.array(array, order="C") for array in inputs]
    defined = leaves(name, arrays, attrs)
    assert defined.tobytes() == leaves(name, arrays, attrs, cuts).tobytes()
    return defined
