"""The fused multiply-add of native kernels: the CPU's own where it has one, else made of binary64 operations.

Left to itself, LLVM would call the C library's `fmaf` on a CPU without FMA. For the guest, `llvm.fma.f32` stays as it
is: the builder replaces it by our softfloat.
"""

from functools import cache
from typing import Any, ClassVar

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.registry import cpu_target

_I64 = ir.IntType(64)


class Target:
    """What this process compiles for; `vm.guest.frontend`, which runs in a process of its own, sets `guest`."""

    guest: ClassVar[bool] = False


@cache
def native_assembly() -> str:
    """What LLVM makes of an fma of 16 floats for the CPU that numba compiles for."""
    kind = ir.VectorType(ir.FloatType(), 16)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(kind, [kind] * 3), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(_call(builder, f"llvm.fma.{_suffix(kind)}", kind, list(function.args)))
    machine: Any = cpu_target.target_context.codegen()._tm
    return str(machine.emit_assembly(llvm.parse_assembly(str(module))))


def emulates_fma() -> bool:
    """Whether `emit_fma` makes an fma of other operations."""
    return not Target.guest and "fmaf" in native_assembly()


def emit_fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c with one rounding, for floats or vectors of floats."""
    if emulates_fma():
        return _emit_emulation(builder, a, b, c)
    return _call(builder, f"llvm.fma.{_suffix(a.type)}", a.type, [a, b, c])


def _emit_emulation(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """By rounding to odd in binary64 (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).

    The product is exact in binary64. The sum is rounded to odd: where it is not exact, the neighbour with an odd
    significand is taken. 53 bits are at least 24 + 2, so rounding that to binary32 rounds the exact value.
    """
    single = a.type
    double = _like(single, ir.DoubleType())
    word = _like(single, _I64)

    def constant(value: int) -> ir.Constant:
        return word(value) if word is _I64 else ir.Constant(word, [value] * word.count)

    wide_a, wide_b, wide_c = (builder.fpext(value, double) for value in (a, b, c))
    product = builder.fmul(wide_a, wide_b)
    total = builder.fadd(product, wide_c)
    # Knuth's two-sum: total + error == product + wide_c exactly.
    part = builder.fsub(total, product)
    error = builder.fadd(builder.fsub(product, builder.fsub(total, part)), builder.fsub(wide_c, part))
    bits = builder.bitcast(total, word)
    # Not exact and even: one step towards the exact value, away from zero where error and total have the same sign.
    # An infinite or NaN total has a NaN error, which is not "ordered and not equal".
    zero = ir.Constant(double, 0.0) if word is _I64 else ir.Constant(double, [0.0] * word.count)
    inexact = builder.fcmp_ordered("!=", error, zero)
    even = builder.icmp_signed("==", builder.and_(bits, constant(1)), constant(0))
    opposite = builder.icmp_signed("<", builder.xor(bits, builder.bitcast(error, word)), constant(0))
    moved = builder.add(bits, builder.select(opposite, constant(-1), constant(1)))
    odd = builder.select(builder.and_(inexact, even), moved, bits)
    return builder.fptrunc(builder.bitcast(odd, double), single)


def _like(kind: ir.Type, element: ir.Type) -> ir.Type:
    """`element`, or a vector of as many as `kind` has."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _suffix(kind: ir.Type) -> str:
    return f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else "f32"


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    function = builder.module.globals.get(name)
    function = function or ir.Function(builder.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(function, arguments)
