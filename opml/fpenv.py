"""The floating-point environment is ours: round to nearest even, subnormals kept, no traps.

Another library may have set flush-to-zero or another rounding mode in a thread that we borrow; results would change
without a word. So every task runs within `standard()`, which sets the thread's control register and puts it back.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from llvmlite import ir
from numba import types

from vm.jit import intrinsic, jit

_ARM: Final = platform.machine().lower() in ("aarch64", "arm64")

# x86: MXCSR with all exceptions masked, nearest even, no FTZ and no DAZ. ARM: FPCR 0 says the same.
STANDARD: Final = 0 if _ARM else 0x1F80
# Flush-to-zero (and on x86 denormals-are-zero), for tests.
FLUSH_TO_ZERO: Final = 1 << 24 if _ARM else 0x9FC0

_I64, _I32 = ir.IntType(64), ir.IntType(32)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), arguments)


@intrinsic
def _get(typingctx: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if _ARM:
            return _call(builder, "llvm.aarch64.get.fpcr", _I64, [])
        slot = builder.alloca(_I32)
        _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        return builder.zext(builder.load(slot), _I64)

    return types.int64(), codegen


@intrinsic
def _set(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if _ARM:
            _call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [args[0]])
        else:
            slot = builder.alloca(_I32)
            builder.store(builder.trunc(args[0], _I32), slot)
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@jit
def exchange(value):  # type: ignore[no-untyped-def]
    """Sets this thread's control register (MXCSR, FPCR) and returns what it was."""
    previous = _get()
    _set(value)
    return previous


@contextmanager
def standard() -> Iterator[None]:
    """Runs its body with the standard floating-point environment in this thread."""
    previous = exchange(STANDARD)
    try:
        yield
    finally:
        exchange(previous)
