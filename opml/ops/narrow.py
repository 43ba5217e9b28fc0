"""Vectors of bytes made floats and back, 16 at a time: the inner loops of quantisation. Native only."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from opml.numerics import ROUNDER
from opml.ops.native import I32, I64, LANES, VECTOR, ZERO, load_vector, splat, vector_pointer
from vm.jit import intrinsic

WORDS = ir.VectorType(I32, LANES)
BYTES = ir.VectorType(ir.IntType(8), LANES)


def _each(builder: ir.IRBuilder, chunks: ir.Value, body: Callable[[ir.Value], None]) -> None:
    """Calls `body` with i = 0, 16, 32, ... for each of the chunks."""
    entry = builder.block
    head, inside, done = (builder.append_basic_block(f"chunks.{part}") for part in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(I64(0), entry)
    builder.cbranch(builder.icmp_signed("<", i, builder.mul(chunks, I64(LANES))), inside, done)
    builder.position_at_end(inside)
    body(i)
    i.add_incoming(builder.add(i, I64(LANES)), builder.block)
    builder.branch(head)
    builder.position_at_end(done)


def _bytes_at(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, BYTES.as_pointer())


def make_widen(signed: bool) -> Callable[..., Any]:
    """An intrinsic `(source, target, chunks, scale, zero)`: 16 * chunks floats (byte - zero) * scale, NaN canonical."""

    @intrinsic
    def widen(typingctx: Any, source: Any, target: Any, chunks: Any, scale: Any, zero: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            source, target, chunks, scale, zero = args
            scales, zeros = splat(builder, scale), splat(builder, builder.trunc(zero, I32))
            nan = ir.Constant(VECTOR, [float("nan")] * LANES)

            def body(i: ir.Value) -> None:
                loaded = builder.load(_bytes_at(builder, builder.add(source, i)))
                loaded.align = 1
                wide = builder.sext(loaded, WORDS) if signed else builder.zext(loaded, WORDS)
                value = builder.fmul(builder.sitofp(builder.sub(wide, zeros), VECTOR), scales)
                value = builder.select(builder.fcmp_unordered("uno", value, value), nan, value)
                at = builder.add(target, builder.mul(i, I64(4)))
                builder.store(value, vector_pointer(builder, at)).align = 4

            _each(builder, chunks, body)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3, types.float32, types.int64), codegen

    return widen


def make_narrow(integers: bool, multiply: bool) -> Callable[..., Any]:
    """An intrinsic `(source, target, chunks, scale, low, high, zero)`: 16 * chunks bytes from floats, or from int32.

    Each is x / scale, or x * scale, with NaN as 0, between low and high, to the nearest integer, plus zero.
    """

    @intrinsic
    def narrow(
        typingctx: Any, source: Any, target: Any, chunks: Any, scale: Any, low: Any, high: Any, zero: Any
    ) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            source, target, chunks = args[:3]
            scales, lows, highs = (splat(builder, value) for value in args[3:6])
            zeros = splat(builder, builder.trunc(args[6], ir.IntType(8)))
            rounder = ir.Constant(VECTOR, [float(ROUNDER)] * LANES)

            def body(i: ir.Value) -> None:
                value = load_vector(builder, builder.add(source, builder.mul(i, I64(4))))
                if integers:
                    value = builder.sitofp(builder.bitcast(value, WORDS), VECTOR)
                value = builder.fmul(value, scales) if multiply else builder.fdiv(value, scales)
                value = builder.select(builder.fcmp_ordered("ord", value, value), value, ZERO)
                value = builder.select(builder.fcmp_ordered(">", value, lows), value, lows)
                value = builder.select(builder.fcmp_ordered("<", value, highs), value, highs)
                bits = builder.bitcast(builder.fadd(value, rounder), WORDS)
                result = builder.add(builder.trunc(bits, BYTES), zeros)
                builder.store(result, _bytes_at(builder, builder.add(target, i))).align = 1

            _each(builder, chunks, body)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3, *[types.float32] * 3, types.int64), codegen

    return narrow


def make_rows(signed: bool) -> Callable[..., Any]:
    """An intrinsic `(source, row, n, zeros, target, pitch)`: n rows of 16 bytes as floats, less 16 zeros."""

    @intrinsic
    def rows(typingctx: Any, source: Any, row: Any, n: Any, zeros: Any, target: Any, pitch: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            source, row, n, zeros, target, pitch = args
            zero = load_vector(builder, zeros)

            def body(i: ir.Value) -> None:
                k = builder.lshr(i, I64(4))
                loaded = builder.load(_bytes_at(builder, builder.add(source, builder.mul(k, row))))
                loaded.align = 1
                wide = builder.sext(loaded, WORDS) if signed else builder.zext(loaded, WORDS)
                value = builder.fsub(builder.sitofp(wide, VECTOR), zero)
                at = builder.add(target, builder.mul(k, pitch))
                builder.store(value, vector_pointer(builder, at)).align = 4

            _each(builder, n, body)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return rows


@intrinsic
def add_integers(typingctx: Any, sums: Any, totals: Any, chunks: Any) -> Any:
    """Adds 16 * chunks floats that are integers below 2^31 to as many int32, modulo 2^32."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        sums, totals, chunks = args

        def body(i: ir.Value) -> None:
            offset = builder.mul(i, I64(4))
            value = builder.fptosi(load_vector(builder, builder.add(sums, offset)), WORDS)
            pointer = vector_pointer(builder, builder.add(totals, offset))
            before = builder.load(pointer)
            before.align = 4
            total = builder.add(builder.bitcast(before, WORDS), value)
            builder.store(builder.bitcast(total, VECTOR), pointer).align = 4

        _each(builder, chunks, body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen
