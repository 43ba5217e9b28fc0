"""What an operator is: one scalar definition per tile, and what surrounds it.

A *tile* is one 32-byte leaf of the operator's output. The definition `tile(r, t)` computes tile `t` from the node
record at address `r` (see `vm.guest.record`); it is compiled natively, where it is the reference, and for the guest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np

from opml.graph import Attribute, DType, TensorType
from vm.constants import LEAF_BYTES
from vm.guest.intrinsics import (
    load_f32,
    load_i8,
    load_i16,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    store_i8,
    store_i16,
    store_i32,
    store_i64,
)
from vm.guest.record import PARAMS, WORD_INPUT, WORD_ITERATION, WORD_OUT, WORD_PARAM
from vm.jit import jit

_OPML = Path(__file__).parent.parent
SOURCES: Final = (_OPML.parent / "vm", _OPML / "ops", _OPML / "numerics.py")

Attrs = dict[str, Attribute]
Types = Sequence[TensorType | None]

# Element types as kernels know them: the low two bits are the binary logarithm of the size in bytes.
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, BOOL = range(9)
FLOAT16, FLOAT32, FLOAT64, BFLOAT16 = 13, 14, 15, 17
DTYPE_CODES: Final = {
    DType.FLOAT32: FLOAT32,
    DType.INT64: INT64,
    DType.INT32: INT32,
    DType.INT8: INT8,
    DType.UINT8: UINT8,
    DType.BOOL: BOOL,
    DType.INT16: INT16,
    DType.UINT16: UINT16,
    DType.UINT32: UINT32,
    DType.UINT64: UINT64,
    DType.FLOAT16: FLOAT16,
    DType.BFLOAT16: BFLOAT16,
    DType.FLOAT64: FLOAT64,
}
LEAF_FLOATS: Final = LEAF_BYTES // 4
SMALLEST_INT64: Final = -1 << 63

# Machine instructions of one softfloat call, from above, with the call itself and its place in a loop; for `Op.cost`.
# The slowest is an fma of three subnormal numbers, 361 instructions: inputs may be chosen to be slow.
COST_FLOAT: Final = 384
COST_DIVIDE: Final = 1024
COST_TILE: Final = 512


def template(function: Callable[..., Any]) -> Callable[..., Any]:
    """A jitted function that takes a jitted function as an argument: put in place of each call, before typing.

    (numba neither caches nor names reproducibly a function that is handed a function in the ordinary way.)
    """
    inlined: Callable[..., Any] = numba.njit(inline="always", nogil=True, error_model="numpy", fastmath=False)(function)
    return inlined


@dataclass(frozen=True)
class Op:
    """A primitive operator. Everything is a pure function of types and attributes, so a validator can repeat it.

    name    unique, lower case
    code    the number in the record; never reused for another meaning
    infer   (input types, attrs) -> output type; raises UnsupportedError by name for what it does not have
    params  (input types, output type, attrs) -> at most PARAMS signed 64-bit words for the record
    tile    jitted `(r: int64, t: int64) -> None`: the definition
    cost    (input types, output type, attrs) -> upper bound of machine instructions for its most expensive tile
    fast    jitted `(r, first, count) -> None`, bit-equal to `tile` over those tiles; None: the loop over `tile`
    grain   (input types, output type, attrs) -> tiles at whose multiples `fast` is best divided; None: any
    histories  inputs that must be histories (`opml.graph.Repeat`): position -> whether the entry of this very
               iteration may be read, too; entries before it always may, others never. They lie `stride_of` bytes apart
    iterates   whether the output depends on the iteration
    """

    name: str
    code: int
    infer: Callable[[Types, Attrs], TensorType]
    params: Callable[[Types, TensorType, Attrs], list[int]]
    tile: Callable[[int, int], None]
    cost: Callable[[Types, TensorType, Attrs], int]
    fast: Callable[[int, int, int], None] | None = None
    grain: Callable[[Types, TensorType, Attrs], int] | None = None
    histories: Mapping[int, bool] = field(default_factory=dict)
    iterates: bool = False


@jit
def out_address(r):  # type: ignore[no-untyped-def]
    """Base address of the output tensor of the record at `r`."""
    return load_i64(r + 8 * WORD_OUT)


@jit
def input_address(r, i):  # type: ignore[no-untyped-def]
    """Base address of input `i`; 0 where it is absent."""
    return load_i64(r + 8 * (WORD_INPUT + i))


@jit
def iteration(r):  # type: ignore[no-untyped-def]
    """How often the program has run before, in a program that is repeated; else 0."""
    return load_i64(r + 8 * WORD_ITERATION)


@jit
def param(r, i):  # type: ignore[no-untyped-def]
    """Integer parameter `i` of the record at `r`."""
    return load_i64(r + 8 * (WORD_PARAM + i))


@jit
def param_f32(r, i):  # type: ignore[no-untyped-def]
    """binary32 parameter `i`: the low half of its word."""
    return load_f32(r + 8 * (WORD_PARAM + i))


@jit
def element_size(dtype):  # type: ignore[no-untyped-def]
    """Bytes of an element of a dtype code."""
    return 1 << (dtype & 3)


@jit
def load_int(address, dtype):  # type: ignore[no-untyped-def]
    """The element of an integer or bool dtype at an address, of uint64 its bits; a bool is 0 or 1."""
    if dtype & 3 == 3:
        return load_i64(address)
    if dtype == INT32:
        return load_i32(address)
    if dtype == UINT8:
        return load_u8(address)
    if dtype == INT8:
        return load_i8(address)
    if dtype == BOOL:
        return np.int64(load_u8(address) != 0)
    if dtype == INT16:
        return load_i16(address)
    return load_u16(address) if dtype == UINT16 else load_u32(address)


@jit
def store_int(address, dtype, value):  # type: ignore[no-untyped-def]
    """Stores the low bits of an int64 as an element of an integer or bool dtype."""
    size = dtype & 3
    if size == 3:
        store_i64(address, value)
    elif size == 2:
        store_i32(address, value)
    elif size == 0:
        store_i8(address, value)
    else:
        store_i16(address, value)


@jit
def order_flip(dtype):  # type: ignore[no-untyped-def]
    """What `load_int`'s result is xored with to be ordered by a signed comparison: the top bit for uint64, else 0."""
    return SMALLEST_INT64 if dtype == UINT64 else 0


@jit
def copy_element(target, source, size):  # type: ignore[no-untyped-def]
    """Copies the bits of an element of 1, 2, 4 or 8 bytes."""
    if size == 4:
        store_i32(target, load_i32(source))
    elif size == 8:
        store_i64(target, load_i64(source))
    elif size == 1:
        store_i8(target, load_u8(source))
    else:
        store_i16(target, load_u16(source))


@jit
def clear(start, end):  # type: ignore[no-untyped-def]
    """Zeroes the bytes from `start` up to `end`: what follows a tensor's last element in its leaf."""
    while start < end and (start & 3) != 0:
        store_i8(start, 0)
        start += 1
    while start < end:
        store_i32(start, 0)
        start += 4


def tile_count(tensor: TensorType) -> int:
    """Leaves, and so tiles, of a tensor."""
    return -(-tensor.nbytes // LEAF_BYTES)


def stride_of(tensor: TensorType) -> int:
    """Bytes from one iteration's instance of a tensor to the next one's: the smallest subtree that holds it."""
    return LEAF_BYTES << (max(1, tile_count(tensor)) - 1).bit_length()


def leaf_elements(tensor: TensorType) -> int:
    """Elements in a leaf of a tensor."""
    return LEAF_BYTES // tensor.dtype.size


def float_word(value: float) -> int:
    """A parameter word that holds a binary32 in its low half."""
    return int(np.float32(value).view(np.uint32))


def int_word(value: int) -> int:
    """A parameter word that holds an integer of any dtype: of uint64 the bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


__all__ = [
    "BFLOAT16",
    "BOOL",
    "COST_DIVIDE",
    "COST_FLOAT",
    "COST_TILE",
    "DTYPE_CODES",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "LEAF_FLOATS",
    "PARAMS",
    "SMALLEST_INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "Attrs",
    "Op",
    "Types",
    "clear",
    "copy_element",
    "element_size",
    "float_word",
    "input_address",
    "int_word",
    "iteration",
    "jit",
    "leaf_elements",
    "load_int",
    "order_flip",
    "out_address",
    "param",
    "param_f32",
    "store_int",
    "stride_of",
    "template",
    "tile_count",
]
