"""GGUF's blocks of quantised numbers → codes, scales and zeros. Layouts as in ggml's `ggml-quants.c`."""

from collections.abc import Callable
from typing import Final

import numpy as np

from opml.convert.decoder import Matrix
from opml.graph import Array

BLOCK = 32


def _halves(blocks: Array, start: int) -> Array:
    """The float16 at a byte of each block, as float32."""
    return np.ascontiguousarray(blocks[..., start : start + 2]).view(np.float16)[..., 0].astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """The low halves of all bytes, then the high halves."""
    return np.concatenate([packed & 15, packed >> 4], -1)


def _fifth_bits(packed: Array) -> Array:
    """Bit 4 of 32 codes, from 4 bytes."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << 4


def shifted(codes: Array, scales: Array, least: Array) -> Matrix:
    """code * scale + least, of 4 bits, with a zero in place of the least value."""
    flat = scales == 0
    # A block of one value for all: that value is its scale, times one.
    codes = np.where(flat[..., None], np.uint8(1), codes)
    safe = np.where(flat, np.float32(1), scales)
    zeros = np.where(flat, np.float32(0), -least / safe).astype(np.float32)
    return _matrix(codes, 4, np.where(flat, least, scales), zeros)


def _matrix(codes: Array, bits: int, scales: Array, zeros: Array | None = None) -> Matrix:
    rows = codes.shape[0]
    return Matrix(codes.reshape(rows, -1), bits, codes.shape[-1], scales.reshape(rows, -1).astype(np.float32), zeros)


def q4_0(blocks: Array) -> Matrix:
    return _matrix(_nibbles(blocks[..., 2:]), 4, _halves(blocks, 0))


def q4_1(blocks: Array) -> Matrix:
    return shifted(_nibbles(blocks[..., 4:]), _halves(blocks, 0), _halves(blocks, 2))


def q5_0(blocks: Array) -> Matrix:
    codes = _nibbles(blocks[..., 6:]) | _fifth_bits(blocks[..., 2:6])
    return _matrix(codes + np.uint8(128 - 16), 8, _halves(blocks, 0))


def q8_0(blocks: Array) -> Matrix:
    return _matrix(blocks[..., 2:] ^ 128, 8, _halves(blocks, 0))


def q4_k(blocks: Array) -> Matrix:
    """256 numbers: 8 blocks, whose scales and least values have 6 bits and share two halves."""
    packed = blocks[..., 4:16]
    low, high, mixed = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([low & 63, (mixed & 15) | (low >> 6) << 4], -1)
    least = np.concatenate([high & 63, (mixed >> 4) | (high >> 6) << 4], -1)
    pairs = blocks[..., 16:].reshape(*blocks.shape[:-1], 4, 32)
    codes = np.stack([pairs & 15, pairs >> 4], -2).reshape(*blocks.shape[:-1], 8, 32)
    rows = blocks.shape[0]
    return shifted(
        codes.reshape(rows, -1, 32),
        (_halves(blocks, 0)[..., None] * scales).reshape(rows, -1).astype(np.float32),
        -(_halves(blocks, 2)[..., None] * least).reshape(rows, -1).astype(np.float32),
    )


def q6_k(blocks: Array) -> Matrix:
    """256 numbers: 16 blocks of 16 codes of 6 bits, whose scales are int8."""
    shape = blocks.shape[:-1]
    low, high = blocks[..., :128].reshape(*shape, 2, 64), blocks[..., 128:192].reshape(*shape, 2, 32)
    four = np.stack([low & 15, low >> 4], -2).reshape(*shape, 2, 4, 32)
    two = np.stack([(high >> shift) & 3 for shift in (0, 2, 4, 6)], -2)
    codes = (four | two << 4) + np.uint8(128 - 32)
    scales = blocks[..., 192:208].view(np.int8) * _halves(blocks, 208)[..., None]
    rows = blocks.shape[0]
    return _matrix(codes.reshape(rows, -1, 16), 8, scales.reshape(rows, -1))


# By GGUF's name: the bytes of a block, and how they are read.
KINDS: Final[dict[str, tuple[int, Callable[[Array], Matrix]]]] = {
    "Q4_0": (18, q4_0),
    "Q4_1": (20, q4_1),
    "Q5_0": (22, q5_0),
    "Q8_0": (34, q8_0),
    "Q4_K": (144, q4_k),
    "Q6_K": (210, q6_k),
}
