"""The inner loop of contractions as LLVM vectors: a few rows of A times a few vectors of 16 columns of B.

Native only. Each lane is one output and runs the very fma chain of its definition, so the bits are the same.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types

from vm.guest.fma import emit_fma, native_assembly
from vm.jit import intrinsic

LANES: Final = 16
_I64, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)

# 24 accumulators of 512 bits, or 12 of 256 bits in pairs: as many as the registers hold.
_WIDE: Final = "zmm" in native_assembly()
ROWS: Final = 12 if _WIDE else 6
VECTORS: Final = 2 if _WIDE else 1


def _vector_pointer(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, _VECTOR.as_pointer())


def _broadcast(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    scalar = builder.load(builder.inttoptr(address, _FLOAT.as_pointer()))
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def make_microkernel(rows: int, vectors: int) -> Callable[..., Any]:
    """An intrinsic `(a, a_row, a_step, b, b_vector, table, n, out, first)`, all int64; distances are in bytes.

    For k < n, acc[i][v] = fma(a[i][k], b[k][v], acc[i][v]) from +0, where a[i][k] lies at a + i * a_row + k * a_step
    and the 16 floats b[k][v] at b + v * b_vector + table[k]. Then out[i][v] = (+0 if first else out[i][v]) + acc[i][v];
    out is dense with rows of VECTORS or `vectors` vectors, whichever is more.
    """
    pitch = 4 * LANES * max(vectors, VECTORS)

    @intrinsic
    def microkernel(
        typingctx: Any, a: Any, a_row: Any, a_step: Any, b: Any, b_vector: Any, table: Any, n: Any, out: Any, first: Any
    ) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            a, a_row, a_step, b, b_vector, table, n, out, first = args
            entry = builder.block
            bases = [builder.add(a, builder.mul(a_row, _I64(3 * group))) for group in range(-(-rows // 3))]
            twice = builder.add(a_row, a_row)
            loop, done = builder.append_basic_block("k"), builder.append_basic_block("k.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            pointers = [builder.phi(_I64) for _ in bases]
            entries = builder.phi(_I64)
            sums = [[builder.phi(_VECTOR) for _ in range(vectors)] for _ in range(rows)]
            end = builder.add(table, builder.mul(n, _I64(8)))

            at = builder.add(b, builder.load(builder.inttoptr(entries, _I64.as_pointer())))
            columns = []
            for v in range(vectors):
                load = builder.load(
                    _vector_pointer(builder, at if v == 0 else builder.add(at, builder.mul(b_vector, _I64(v))))
                )
                load.align = 4
                columns.append(load)
            following = []
            for i in range(rows):
                offset = (_I64(0), a_row, twice)[i % 3]
                left = _broadcast(builder, builder.add(pointers[i // 3], offset))
                following.append([emit_fma(builder, left, columns[v], sums[i][v]) for v in range(vectors)])
            next_pointers = [builder.add(pointer, a_step) for pointer in pointers]
            next_entries = builder.add(entries, _I64(8))
            for phi, start, after in zip(pointers, bases, next_pointers, strict=True):
                phi.add_incoming(start, entry)
                phi.add_incoming(after, builder.block)
            entries.add_incoming(table, entry)
            entries.add_incoming(next_entries, builder.block)
            for i in range(rows):
                for v in range(vectors):
                    sums[i][v].add_incoming(_ZERO, entry)
                    sums[i][v].add_incoming(following[i][v], builder.block)
            builder.cbranch(builder.icmp_unsigned("<", next_entries, end), loop, done)

            builder.position_at_end(done)
            fresh = builder.icmp_signed("!=", first, _I64(0))
            for i in range(rows):
                for v in range(vectors):
                    pointer = _vector_pointer(builder, builder.add(out, _I64(i * pitch + v * 4 * LANES)))
                    before = builder.load(pointer)
                    before.align = 4
                    total = builder.fadd(builder.select(fresh, _ZERO, before), following[i][v])
                    builder.store(total, pointer).align = 4
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), codegen

    return microkernel


@intrinsic
def lane_sums(typingctx: Any, x: Any, chunks: Any, tail: Any) -> Any:
    """The sum of 16 * chunks neighbouring floats and of 16 more at `tail`, in the order of `rows.sum_rows`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        x, chunks, tail = args
        entry = builder.block
        loop, body, done = (builder.append_basic_block(f"lanes.{name}") for name in ("loop", "body", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        at, sums = builder.phi(_I64), builder.phi(_VECTOR)
        at.add_incoming(x, entry)
        sums.add_incoming(_ZERO, entry)
        end = builder.add(x, builder.mul(chunks, _I64(4 * LANES)))
        builder.cbranch(builder.icmp_unsigned("<", at, end), body, done)

        def plus(total: ir.Value, address: ir.Value) -> ir.Value:
            values = builder.load(_vector_pointer(builder, address))
            values.align = 4
            return builder.fadd(total, values)

        builder.position_at_end(body)
        at.add_incoming(builder.add(at, _I64(4 * LANES)), body)
        sums.add_incoming(plus(sums, at), body)
        builder.branch(loop)

        builder.position_at_end(done)
        folded = plus(sums, tail)
        half = LANES
        while half > 1:
            half //= 2
            index = ir.VectorType(ir.IntType(32), half)
            low, high = (ir.Constant(index, list(range(start, start + half))) for start in (0, half))
            folded = builder.fadd(*(builder.shuffle_vector(folded, folded, mask) for mask in (low, high)))
        return builder.extract_element(folded, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.int64, types.int64, types.int64), codegen


def make_stack(size: int) -> Callable[..., Any]:
    """An intrinsic `()`: the address of `size` bytes on the stack of the function that calls it, aligned to 64."""

    @intrinsic
    def stack(typingctx: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            with builder.goto_entry_block():  # not cgutils.alloca_once, which would clear it byte by byte
                room = builder.alloca(ir.ArrayType(ir.IntType(8), size))
                room.align = 64
            return builder.ptrtoint(room, _I64)

        return types.int64(), codegen

    return stack


def _library(builder: ir.IRBuilder, name: str, kind: ir.FunctionType) -> ir.Function:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


_BYTES = ir.IntType(8).as_pointer()


@intrinsic
def allocate(typingctx: Any, size: Any) -> Any:
    """The address of `size` bytes of memory, to be given back with `release`; 0 where there is no more."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.ptrtoint(builder.call(_library(builder, "malloc", ir.FunctionType(_BYTES, [_I64])), args), _I64)

    return types.int64(types.int64), codegen


@intrinsic
def release(typingctx: Any, address: Any) -> Any:
    """Gives back what `allocate` returned."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        free = _library(builder, "free", ir.FunctionType(ir.VoidType(), [_BYTES]))
        builder.call(free, [builder.inttoptr(args[0], _BYTES)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
