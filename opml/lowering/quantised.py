"""Quantised models: weights of few bits stay what they are, in the image and in memory."""

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.weights import from_blocks


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
    zeros, bias = c.constant(3, "zero_points") if c.optional(3) else None, c.optional(5)
    weights = from_blocks(c.constant(1, "B"), c.constant(2, "scales"), zeros, bits, block, (k, n))
    operands = [c.input(0), *weights.operands(c.build)]
    if bias:
        operands += [""] * (4 - len(operands)) + [bias]
    return c.emit("qmatmul", operands, **weights.attrs())
