"""A constant matrix of small codes, as it comes from a model, and as the primitives `qmatmul` and `qgather` take it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array, Attribute
from opml.lowering.builder import Builder
from opml.ops.qmatmul import pack_codes, panels_of


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

    def operands(self, build: Builder) -> list[str]:
        """The primitive's operands: codes, scales and, unless they are all the same, zeros."""
        n = self.codes.shape[1]
        constants = [pack_codes(self.codes, self.bits), *(panels_of(_wide(values, n)) for values in self._grids())]
        return [build.constant(value) for value in constants]

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
