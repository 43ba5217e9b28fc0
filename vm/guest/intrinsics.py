"""What a kernel may do besides integer and binary32 arithmetic: raw memory and the bits of a float.

Each function means the same in a native kernel, where an address is a pointer, and in the guest, where it is an
address of the machine. Addresses and integers are int64, so that numba never mixes signs (which gives float64).
Loads and stores must be naturally aligned: the machine traps on others.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from vm.guest.fma import emit_fma
from vm.jit import intrinsic

_I64 = ir.IntType(64)


def _pointer(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.inttoptr(address, kind.as_pointer())


def _make_load(bits: int, signed: bool) -> Callable[..., Any]:
    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            value = builder.load(_pointer(builder, args[0], ir.IntType(bits)))
            if bits == 64:
                return value
            return builder.sext(value, _I64) if signed else builder.zext(value, _I64)

        return types.int64(types.int64), codegen

    return load


def _make_store(bits: int) -> Callable[..., Any]:
    @intrinsic
    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            word = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            builder.store(word, _pointer(builder, args[0], ir.IntType(bits)))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return store


load_u8, load_i8 = _make_load(8, False), _make_load(8, True)
load_u16, load_i16 = _make_load(16, False), _make_load(16, True)
load_u32, load_i32 = _make_load(32, False), _make_load(32, True)
load_i64 = _make_load(64, True)
store_i8, store_i16, store_i32, store_i64 = (_make_store(bits) for bits in (8, 16, 32, 64))


@intrinsic
def load_f32(typingctx: Any, address: Any) -> Any:
    """The binary32 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(_pointer(builder, args[0], ir.FloatType()))

    return types.float32(types.int64), codegen


@intrinsic
def store_f32(typingctx: Any, address: Any, value: Any) -> Any:
    """Stores the result of an arithmetic operation: any NaN becomes 0x7fc00000 (copies use load_u32/store_i32)."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.bitcast(args[1], ir.IntType(32))
        nan = builder.fcmp_unordered("uno", args[1], args[1])
        bits = builder.select(nan, ir.Constant(ir.IntType(32), 0x7FC00000), bits)
        builder.store(bits, _pointer(builder, args[0], ir.IntType(32)))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def f32_bits(typingctx: Any, value: Any) -> Any:
    """The 32 bits of a binary32, zero extended to int64. A NaN's payload is not defined: canonicalise before use."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.zext(builder.bitcast(args[0], ir.IntType(32)), _I64)

    return types.int64(types.float32), codegen


@intrinsic
def bits_f32(typingctx: Any, bits: Any) -> Any:
    """The binary32 whose bits are the low 32 of an int64."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


def _make_float(name: str) -> Callable[..., Any]:
    """A correctly rounded LLVM float intrinsic; in the guest it becomes a call of our softfloat."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, args)

    @intrinsic
    def unary(typingctx: Any, a: Any) -> Any:
        return types.float32(types.float32), emit

    return unary


sqrt32, abs32 = _make_float("llvm.sqrt.f32"), _make_float("llvm.fabs.f32")


@intrinsic
def fma32(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding; in the guest it becomes our softfloat."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_fma(builder, *args)

    return types.float32(types.float32, types.float32, types.float32), codegen


def _make_integer(emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Callable[..., Any]:
    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            return emit(builder, args[0], args[1])

        return types.int64(types.int64, types.int64), codegen

    return operation


def _mulhi(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    wide = ir.IntType(128)
    product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _I64)


# Of two int64 seen as unsigned. The divisor must not be zero (undefined natively): a caller proves it or tests it.
udiv, urem = _make_integer(ir.IRBuilder.udiv), _make_integer(ir.IRBuilder.urem)

# Modulo 2**64, where numba's own + and - leave overflow undefined.
wrap_add, wrap_sub, wrap_mul = map(_make_integer, (ir.IRBuilder.add, ir.IRBuilder.sub, ir.IRBuilder.mul))

# `shr` fills with zeros; its count must be in [0, 63]. `mulhi` is the upper half of the unsigned 128-bit product.
shr, mulhi = _make_integer(ir.IRBuilder.lshr), _make_integer(_mulhi)


@intrinsic
def ult(typingctx: Any, a: Any, b: Any) -> Any:
    """a < b, as unsigned."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.icmp_unsigned("<", *args)

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def likely(typingctx: Any, condition: Any) -> Any:
    """The condition itself; tells the compiler that it is nearly always true."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bit = ir.IntType(1)
        expect = builder.module.globals.get("llvm.expect.i1")
        expect = expect or ir.Function(builder.module, ir.FunctionType(bit, [bit, bit]), "llvm.expect.i1")
        return builder.call(expect, [args[0], bit(1)])

    return types.boolean(types.boolean), codegen


@intrinsic
def i64_f32(typingctx: Any, value: Any) -> Any:
    """The binary32 nearest to an int64, ties to even."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.sitofp(args[0], ir.FloatType())

    return types.float32(types.int64), codegen
