"""Constant folding: a node of constants is computed now, by the operators' own kernels.

The bits are those that the guest would compute, since a fast kernel has the bits of its definition. What folding may
cost is bounded, so that a small file cannot make a large image; a node beyond the bound stays in the program.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opml.graph import Array, TensorType
from opml.ops import OPS, evaluate, type_of
from opml.ops.base import Attrs
from vm.constants import LEAF_BYTES

FREE_BYTES = 1 << 30
MAX_STEPS = 1 << 36


@dataclass
class Budget:
    """What folded constants may still take: bytes of results, and the steps that the guest would need for them."""

    bytes: int = FREE_BYTES
    steps: int = MAX_STEPS

    def take(self, nbytes: int, steps: int = 0) -> bool:
        """Takes both if there is enough of both."""
        if nbytes > self.bytes or steps > self.steps:
            return False
        self.bytes -= nbytes
        self.steps -= steps
        return True


def fold(op: str, inputs: Sequence[Array | None], out: TensorType, attrs: Attrs, budget: Budget) -> Array | None:
    """The result of primitive `op` on constants; None if the budget does not reach."""
    types = [None if x is None else type_of(x) for x in inputs]
    if out.elements == 0:
        return np.zeros(out.shape, out.dtype.numpy)
    tiles = -(-out.nbytes // LEAF_BYTES)
    if not budget.take(out.nbytes, tiles * OPS[op].cost(types, out, attrs)):
        return None
    return evaluate(op, inputs, attrs, fast=True)
