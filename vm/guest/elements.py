"""Elements of an array, for loops over many of them.

As `load_f32(base + 4 * i)` and `store_f32`, but base and index reach the compiler apart. It then sees that the loop
walks through memory and makes vectors of it, which it cannot where an address is only a number.
"""

from typing import Any

from llvmlite import ir
from numba import types

from vm.jit import intrinsic

_BITS = ir.IntType(32)


def _element(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.gep(builder.inttoptr(base, kind.as_pointer()), [index])


@intrinsic
def load_f32_at(typingctx: Any, base: Any, index: Any) -> Any:
    """The binary32 number `index` of an array."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(_element(builder, args[0], args[1], ir.FloatType()))

    return types.float32(types.int64, types.int64), codegen


@intrinsic
def store_f32_at(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """Stores the result of an arithmetic operation there: any NaN becomes 0x7fc00000, as by `store_f32`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.bitcast(args[2], _BITS)
        nan = builder.fcmp_unordered("uno", args[2], args[2])
        bits = builder.select(nan, ir.Constant(_BITS, 0x7FC00000), bits)
        builder.store(bits, _element(builder, args[0], args[1], _BITS))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), codegen
