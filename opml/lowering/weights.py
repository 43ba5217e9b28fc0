"""A constant matrix of small codes, as it comes from a model, and as the primitives `qmatmul` and `qgather` take it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute
from opml.ops import evaluate
from opml.ops.codes import BITS
from opml.ops.few_bits import pack_codes, panels_of


@dataclass(frozen=True, eq=False)
class Weights:
    """(codes - zeros) * scales, of shape [K, N].

    codes   unsigned, one to an element, of `bits` bits
    scales  float32 [G, N] or [G, 1], each for `group` neighbouring rows
    zeros   float32 or uint8 of the scales' shape, or one number for all
    """

    codes: Array
    bits: int
    group: int
    scales: Array
    zeros: Array | float

    def operands(self) -> list[Array]:
        """The primitive's operands: codes, scales and, unless they are all the same, zeros."""
        n = self.codes.shape[1]
        return [pack_codes(self.codes, self.bits), *(panels_of(_wide(values, n)) for values in self._grids())]

    def _grids(self) -> list[Array]:
        return [self.scales] if isinstance(self.zeros, float) else [self.scales, self.zeros]

    def attrs(self) -> dict[str, Attribute]:
        """The primitive's attributes."""
        k, n = self.codes.shape
        attrs: dict[str, Attribute] = {"bits": self.bits, "k": k, "n": n, "group": self.group}
        return {**attrs, "zero": self.zeros} if isinstance(self.zeros, float) else attrs

    def small(self) -> "Weights":
        """The same weights; zeros that are all the same are one number."""
        if isinstance(self.zeros, float) or not (self.zeros == self.zeros.flat[0]).all():
            return self
        return replace(self, zeros=float(self.zeros.flat[0]))


@dataclass(frozen=True, eq=False)
class Quantised:
    """What DequantizeLinear makes floats of: elements, scales and zero points, which are constants.

    `axis` (from 0) and `block` say which scale goes with which element, as in the primitive `dequantize`.
    """

    x: Array
    scale: Array
    zero: Array | None
    axis: int
    block: int

    def operands(self) -> list[Array]:
        """The operands of the primitive `dequantize`."""
        return [self.x, self.scale, *([] if self.zero is None else [self.zero])]

    def attrs(self) -> dict[str, Attribute]:
        """The attributes of the primitive `dequantize`."""
        return {"axis": self.axis, "block": self.block}

    @cached_property
    def value(self) -> Array:
        """The floats."""
        return evaluate("dequantize", self.operands(), self.attrs(), fast=True)

    def transposed(self, perm: Sequence[int]) -> "Quantised":
        """The same with its axes moved."""

        def moved(grid: Array) -> Array:
            return np.ascontiguousarray(grid.transpose(perm)) if self.block else grid

        zero = None if self.zero is None else moved(self.zero)
        x = np.ascontiguousarray(self.x.transpose(perm))
        return Quantised(x, moved(self.scale), zero, list(perm).index(self.axis), self.block)

    def matrix(self) -> Weights | None:
        """The matrix as a constant of few bits; None where it is none, or has too many scales to stay small."""
        if self.x.ndim != 2 or self.x.dtype not in (np.int8, np.uint8):
            return None
        if self.scale.size > 1 and (self.axis == 0) != bool(self.block):
            return None
        shape = (1, -1) if not self.block else self.scale.shape
        signed = self.x.dtype == np.int8
        bits = next(bits for bits in BITS if _fits(self.x, bits, signed))
        offset = 1 << (bits - 1) if signed else 0
        codes = (self.x.astype(np.int16) + offset).astype(np.uint8)
        zeros = np.full(self.scale.shape, offset) if self.zero is None else self.zero.astype(np.int64) + offset
        grid = zeros.astype(np.uint8 if 0 <= zeros.min() <= zeros.max() < 256 else np.float32)
        scales = self.scale.reshape(shape)
        return Weights(codes, bits, self.block or self.x.shape[0], scales, grid.reshape(shape)).small()


def _fits(x: Array, bits: int, signed: bool) -> bool:
    low, high = (-1 << (bits - 1), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return bool(low <= x.min() and x.max() <= high)


def _wide(values: Array, n: int) -> Array:
    return np.ascontiguousarray(np.broadcast_to(values, (values.shape[0], n)))


def unpack_bits(packed: Array, bits: int) -> Array:
    """The codes along the last axis of a uint8 array, the first one in the lowest bits of its byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], -1)


def from_blocks(
    packed: Array, scales: Array, zeros: Array | None, bits: int, block: int, sizes: Sequence[int]
) -> Weights:
    """The weights of `com.microsoft.MatMulNBits`: codes [N, blocks, bytes of a block], scales and zeros by column.

    `sizes` is K, N. Zeros are floats, or codes packed as the weights are. Raises UnsupportedError where shapes differ.
    """
    k, n = sizes
    blocks = -(-k // block)
    if packed.dtype != np.uint8 or packed.size != n * blocks * (block * bits // 8):
        raise UnsupportedError(f"codes {packed.dtype.name}{list(packed.shape)} for K={k}, N={n}, blocks of {block}")
    if scales.dtype != np.float32 or scales.size != n * blocks:
        raise UnsupportedError(f"scales {scales.dtype.name}{list(scales.shape)} for {n} columns of {blocks} blocks")
    codes = unpack_bits(packed.reshape(n, -1), bits)[:, :k].T
    grid: Array | float = float(1 << (bits - 1))
    if zeros is not None and zeros.dtype == np.float32 and zeros.size == n * blocks:
        grid = zeros.reshape(n, blocks).T
    elif zeros is not None and zeros.dtype == np.uint8 and zeros.size == n * -(-blocks * bits // 8):
        grid = unpack_bits(zeros.reshape(n, -1), bits)[:, :blocks].T
    elif zeros is not None:
        raise UnsupportedError(f"zero points {zeros.dtype.name}{list(zeros.shape)} for {n} columns of {blocks} blocks")
    return Weights(codes, bits, block, scales.reshape(n, blocks).T, grid).small()
