"""Weighted sums of two or four lines, 16 neighbouring floats at a time. Native only."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from opml.ops.native import LANES, VECTOR, ZERO, load_vector, splat, vector_pointer
from vm.guest.fma import emit_fma
from vm.jit import intrinsic


def _codegen(taps: int) -> Callable[..., Any]:
    """`(y, line, ..., weight, ...)`: each lane is the fma chain from +0 of the definition, its NaN canonical."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        y, lines, weights = args[0], args[1 : 1 + taps], args[1 + taps :]
        total = ZERO
        for line, weight in zip(lines, weights, strict=True):
            total = emit_fma(builder, splat(builder, weight), load_vector(builder, line), total)
        total = builder.fadd(ZERO, total)
        nan = ir.Constant(VECTOR, [float("nan")] * LANES)
        total = builder.select(builder.fcmp_unordered("uno", total, total), nan, total)
        builder.store(total, vector_pointer(builder, y)).align = 4
        return context.get_dummy_value()

    return codegen


@intrinsic
def mix_two(typingctx: Any, y: Any, a: Any, b: Any, wa: Any, wb: Any) -> Any:
    """16 floats at y from those at a and b."""
    return types.void(*[types.int64] * 3, *[types.float32] * 2), _codegen(2)


@intrinsic
def mix_four(typingctx: Any, y: Any, a: Any, b: Any, c: Any, d: Any, wa: Any, wb: Any, wc: Any, wd: Any) -> Any:
    """16 floats at y from those at a, b, c and d."""
    return types.void(*[types.int64] * 5, *[types.float32] * 4), _codegen(4)
