"""Keccak-256 as Ethereum has it (padding 0x01, not SHA-3's 0x06).

Trees are hashed with our own permutation over eight states at once: the rounds are emitted as LLVM vectors of eight
64-bit lanes, one state per lane, which every CPU's back end splits into the registers it has. A single short message
is faster in C, so `keccak256` is that of `safe-pysha3`; tests hold the two equal.
Source: Bertoni et al., "The Keccak reference" 3.0; FIPS 202 for the step mappings.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import numpy as np
import sha3
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numpy.typing import NDArray

from vm.errors import VmError
from vm.guest.intrinsics import load_i64, store_i64
from vm.jit import intrinsic, jit

cgutils = cast(Any, untyped_cgutils)

HASH_BYTES: Final = 32
PAIR_BYTES: Final = 2 * HASH_BYTES
LANES: Final = 8
ROUNDS: Final = 24
WORDS: Final = 25
RATE_WORDS: Final = 17  # 1088 bits
PAD_FIRST: Final = 0x01
PAD_LAST: Final = -(1 << 63)  # 0x80 in the last byte of the rate
# What one thread hashes at a time of large data.
_SHARE_BYTES: Final = 1 << 22


def keccak256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 hash of `data`."""
    return cast(bytes, sha3.keccak_256(data).digest())


def _round_constants() -> list[int]:
    """The constants of iota, from the LFSR x^8 + x^6 + x^5 + x^4 + 1."""
    constants, register = [], 1
    for _ in range(ROUNDS):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


def _rho_pi() -> Iterator[tuple[int, int, int]]:
    """`(from, to, rotation)` for each of the 25 words, word (x, y) at x + 5y."""
    yield 0, 0, 0
    x, y = 1, 0
    for t in range(WORDS - 1):
        yield x + 5 * y, y + 5 * ((2 * x + 3 * y) % 5), (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5


_WORD: Final = ir.IntType(64)
_VECTOR: Final = ir.VectorType(_WORD, LANES)


def _splat(value: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _emit_round(builder: ir.IRBuilder, a: list[ir.Value], constant: ir.Value) -> list[ir.Value]:
    def rotate(value: ir.Value, count: int) -> ir.Value:
        if count == 0:
            return value
        return builder.or_(builder.shl(value, _splat(count)), builder.lshr(value, _splat(64 - count)))

    column = [a[x] for x in range(5)]
    for word in range(5, WORDS):
        column[word % 5] = builder.xor(column[word % 5], a[word])
    theta = [builder.xor(column[(x + 4) % 5], rotate(column[(x + 1) % 5], 1)) for x in range(5)]
    b: list[ir.Value] = [None] * WORDS
    for source, target, rotation in _rho_pi():
        b[target] = rotate(builder.xor(a[source], theta[source % 5]), rotation)
    for y in range(0, WORDS, 5):
        row = b[y : y + 5]
        for x in range(5):
            b[y + x] = builder.xor(row[x], builder.and_(builder.not_(row[(x + 1) % 5]), row[(x + 2) % 5]))
    b[0] = builder.xor(b[0], constant)
    return b


def _emit_permutation(builder: ir.IRBuilder, state: list[ir.Value]) -> list[ir.Value]:
    """Keccak-f[1600]; word w of the state in lane l is element l of vector w."""
    slots = [cgutils.alloca_once_value(builder, value) for value in state]
    constants = ir.Constant(ir.ArrayType(_WORD, ROUNDS), _round_constants())
    table = cgutils.global_constant(builder.module, "keccak_iota", constants)
    with cgutils.for_range(builder, _WORD(ROUNDS)) as loop:
        constant = builder.load(builder.gep(table, [_WORD(0), loop.index]))
        lane0 = builder.insert_element(_splat(0), constant, _WORD(0))
        state = _emit_round(
            builder, [builder.load(slot) for slot in slots], _shuffle(builder, lane0, lane0, [0] * LANES)
        )
        for value, slot in zip(state, slots, strict=True):
            builder.store(value, slot)
    return [builder.load(slot) for slot in slots]


def _emit_transpose(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Of the 8x8 words: swaps off-diagonal blocks of 4, 2 and 1."""
    for size in (4, 2, 1):
        upper = [j if not j & size else LANES + j - size for j in range(LANES)]
        lower = [j + size if not j & size else LANES + j for j in range(LANES)]
        for i in range(LANES):
            if not i & size:
                a, b = rows[i], rows[i + size]
                rows[i], rows[i + size] = _shuffle(builder, a, b, upper), _shuffle(builder, a, b, lower)
    return rows


@intrinsic
def _hash_block(typingctx: Any, source: Any, target: Any) -> Any:
    """Hashes LANES messages of 64 bytes at address `source` to LANES x 32 bytes at `target`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        messages = builder.inttoptr(args[0], _VECTOR.as_pointer())
        rows = [builder.load(builder.gep(messages, [_WORD(i)]), align=1) for i in range(LANES)]
        state = _emit_transpose(builder, rows) + [_splat(0)] * (WORDS - LANES)
        state[PAIR_BYTES // 8] = _splat(PAD_FIRST)
        state[RATE_WORDS - 1] = _splat(PAD_LAST)
        words = _emit_permutation(builder, state)[: HASH_BYTES // 8]
        digest = ir.VectorType(_WORD, len(words))
        digests = builder.inttoptr(args[1], digest.as_pointer())
        for i, row in enumerate(_emit_transpose(builder, words + [_splat(0)] * (LANES - len(words)))):
            low = _shuffle(builder, row, row, list(range(len(words))))
            builder.store(low, builder.gep(digests, [_WORD(i)]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@jit
def _copy_words(source: int, target: int, words: int) -> None:
    for offset in range(0, words * 8, 8):
        store_i64(target + offset, load_i64(source + offset))


@jit
def _hash_pairs(source: int, target: int, count: int, spare: int) -> None:
    """Hashes `count` messages of 64 bytes at address `source` to 32 bytes each at `target`, in order.

    `target` may be `source`: a block is read before its hashes are written, which is never beyond what was read.
    `spare` is room for one block of messages, where an incomplete last block is hashed.
    """
    whole = count - count % LANES
    for first in range(0, whole, LANES):
        _hash_block(source + first * PAIR_BYTES, target + first * HASH_BYTES)
    if whole < count:
        _copy_words(source + whole * PAIR_BYTES, spare, (count - whole) * PAIR_BYTES // 8)
        _hash_block(spare, spare)
        _copy_words(spare, target + whole * HASH_BYTES, (count - whole) * HASH_BYTES // 8)


@jit
def _hash_subtrees(source: int, leaves: int, roots: int, count: int, group: int, levels: int, spare: int) -> None:
    """The root of each of `count` subtrees of `leaves` raw leaves that follow one another, `group` trees at a time."""
    for first in range(0, count, group):
        trees = min(group, count - first)
        nodes = trees * leaves // 2
        children = source + first * leaves * HASH_BYTES
        while nodes > trees:
            _hash_pairs(children, levels, nodes, spare)
            children = levels
            nodes //= 2
        _hash_pairs(children, roots + first * HASH_BYTES, trees, spare)


def _spare() -> NDArray[np.uint8]:
    return np.zeros(LANES * PAIR_BYTES, np.uint8)


def hash_pairs(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One level of a tree: the hash of each 64 bytes of contiguous `data` (64n), shape (n, 32).

    Raises VmError if the size is not a multiple of 64. Releases the GIL.
    """
    if data.size % PAIR_BYTES:
        raise VmError(f"{data.size} bytes are not whole pairs of hashes")
    data = np.ascontiguousarray(data)
    out = np.empty((data.size // PAIR_BYTES, HASH_BYTES), np.uint8)
    spare = _spare()
    _hash_pairs(data.ctypes.data, out.ctypes.data, len(out), spare.ctypes.data)
    return out


def hash_subtrees(data: NDArray[np.uint8], leaves: int) -> NDArray[np.uint8]:
    """Roots of consecutive subtrees of `leaves` 32-byte leaves each (a power of two >= 2), shape (n, 32).

    Large data are hashed on all processors. Raises VmError if the size is not a multiple of one subtree's.
    """
    if leaves < 2 or leaves & (leaves - 1) or data.size % (leaves * HASH_BYTES):
        raise VmError(f"{data.size} bytes are not whole subtrees of {leaves} leaves")
    data = np.ascontiguousarray(data).reshape(-1)
    roots = np.empty((data.size // (leaves * HASH_BYTES), HASH_BYTES), np.uint8)
    share = max(1, _SHARE_BYTES // (leaves * HASH_BYTES))
    if len(roots) < 2 * share:
        _hash_share(data, leaves, roots)
        return roots
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        shares = [slice(first, first + share) for first in range(0, len(roots), share)]
        trees = data.reshape(len(roots), -1)
        list(pool.map(lambda part: _hash_share(trees[part], leaves, roots[part]), shares))
    return roots


def _hash_share(data: NDArray[np.uint8], leaves: int, roots: NDArray[np.uint8]) -> None:
    # A group of at least eight trees keeps all lanes busy up to the roots; 64 KiB of leaves stay in the cache.
    group = max(LANES, (1 << 16) // (leaves * HASH_BYTES))
    levels = np.empty(group * leaves // 2 * HASH_BYTES, np.uint8)
    spare = _spare()
    addresses = (data.ctypes.data, leaves, roots.ctypes.data, len(roots), group, levels.ctypes.data, spare.ctypes.data)
    _hash_subtrees(*addresses)
