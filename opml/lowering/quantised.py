"""Quantised models: weights of few bits stay what they are, in the image and in memory."""

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.linear import multiply, pick
from opml.lowering.weights import Quantised, from_blocks
from opml.tensors import narrow_dtype

# A constant with fewer elements is made floats at once, since that takes no room worth speaking of.
KEEP = 1024
FLOAT = 1


@lowers("QuantizeLinear", "com.microsoft.QuantizeLinear")
def quantize_linear(c: Call) -> str:
    """The dtype is that of the zero point, or `output_dtype`, or uint8."""
    c.ignore("saturate")
    c.only("precision", FLOAT if c.node.attrs.get("precision") else 0)
    x, scale, zero = c.input(0), c.input(1), c.optional(2)
    number = c.integer("output_dtype", 0)
    dtype, bits = narrow_dtype(number, "attribute 'output_dtype'") if number else (None, 0)
    if zero:
        if dtype not in (None, c.build.type(zero).dtype):
            raise UnsupportedError(f"attribute 'output_dtype' is {number}, not the zero point's dtype")
        dtype, bits = c.build.type(zero).dtype, c.build.narrow.get(zero, bits)
    return quantize(c, x, scale, zero, to=dtype.value if dtype else "uint8", bits=bits, **_grid(c, scale))


def quantize(c: Call, x: str, scale: str, zero: str, to: str = "", bits: int = 0, **attrs: int) -> str:
    """x / scale + zero, rounded and saturated."""
    to = to or (c.build.type(zero).dtype.value if zero else "uint8")
    operands = [x, scale, c.view(zero, c.build.shape(scale))] if zero else [x, scale]
    name = c.emit("quantize", operands, to=to, **({"bits": bits} if bits else {}), **attrs)
    if bits:
        c.build.narrow[name] = bits
    return name


@lowers("DequantizeLinear", "com.microsoft.DequantizeLinear")
def dequantize_linear(c: Call) -> str:
    """A constant that is not small stays what it is; see `Builder.quantised`."""
    c.only("output_dtype", FLOAT if c.node.attrs.get("output_dtype") else 0)
    return dequantize(c, c.input(0), c.input(1), c.optional(2), **_grid(c, c.input(1)))


def dequantize(c: Call, x: str, scale: str, zero: str, **attrs: int) -> str:
    """(x - zero) * scale."""
    zero = c.view(zero, c.build.shape(scale)) if zero else ""
    value, factor, offset = c.build.value(x), c.build.value(scale), c.build.value(zero)
    if value is None or factor is None or (zero and offset is None) or value.ndim < 2 or value.size < KEEP:
        return c.emit("dequantize", [x, scale, zero] if zero else [x, scale], **attrs)
    return c.build.dequantised(
        Quantised(value, factor, offset, attrs.get("axis", 0) % value.ndim, attrs.get("block", 0))
    )


def _grid(c: Call, scale: str) -> dict[str, int]:
    """The attributes `axis` and `block` of the primitives, for a node's."""
    axis, block = c.integer("axis", 1), c.integer("block_size", 0)
    if block < 0:
        raise UnsupportedError(f"attribute 'block_size' is {block}")
    if block == 0 and c.build.type(scale).elements == 1 and len(c.build.shape(scale)) < 2:
        return {}
    return {"axis": c.axis(axis, c.rank()), "block": block}


@lowers("com.microsoft.MatMulNBits")
def matmul_nbits(c: Call) -> str:
    """A by a constant of 2, 4 or 8 bits, in blocks along K with a scale, and maybe a zero point, each."""
    c.ignore("accuracy_level", "weight_prepacked")
    k, n, bits, block = (
        c.integer(name, default) for name, default in (("K", 0), ("N", 0), ("bits", 4), ("block_size", 0))
    )
    if bits not in (2, 4, 8) or min(k, n) < 1 or block < 16 or block & (block - 1):
        raise UnsupportedError(f"K={k}, N={n}, bits={bits}, block_size={block}")
    if c.optional(4):
        raise UnsupportedError("input 'g_idx'")
    zeros = c.constant(3, "zero_points") if c.optional(3) else None
    weights = from_blocks(c.constant(1, "B"), c.constant(2, "scales"), zeros, bits, block, (k, n))
    return multiply(c, c.input(0), weights, c.optional(5))


@lowers("com.microsoft.GatherBlockQuantized")
def gather_block_quantized(c: Call) -> str:
    """Rows of a constant table, in blocks along its last axis with a scale, and maybe a zero point, each."""
    rank = c.rank(0)
    axis, quantised = (
        c.axis(c.integer(name, default), rank) for name, default in (("gather_axis", 0), ("quantize_axis", 1))
    )
    bits, block = c.integer("bits", 4), c.integer("block_size", 128)
    if rank != 2 or axis != 0 or quantised != 1 or bits not in (2, 4, 8) or block < 16 or block & (block - 1):
        raise UnsupportedError(f"rank {rank}, gather_axis {axis}, quantize_axis {quantised}, {bits} bits in {block}")
    table, scales = c.constant(0, "data"), c.constant(2, "scales")
    zeros = c.constant(3, "zero_points") if c.optional(3) else None
    if c.inputs[0] in c.build.narrow:  # int4 or uint4, not packed into bytes
        zero = zeros if zeros is not None else np.zeros(scales.shape, table.dtype)
        weights = Quantised(table, scales, zero, 1, block).transposed((1, 0)).matrix()
        if weights is None or scales.shape != (len(table), -(-table.shape[1] // block)) or zero.shape != scales.shape:
            raise UnsupportedError(f"scales of shape {list(scales.shape)}")
        return pick(c, c.input(1), weights)
    n, k = len(table), table.shape[1] * (8 // bits)
    if table.dtype != np.uint8 or k % block:
        raise UnsupportedError(f"a table {table.dtype.name}{list(table.shape)} in blocks of {block}")
    return pick(c, c.input(1), from_blocks(table, scales, zeros, bits, block, (k, n)))
