"""The inner loop of contractions as LLVM vectors: a few rows of A times a few vectors of 16 columns of B.

Native only. Each lane is one output and runs the very fma chain of its definition, so the bits are the same.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types

from opml.ops.native import I32, I64, LANES, VECTOR, ZERO, declare, load_splat, load_vector, splat, vector_pointer
from vm.guest.fma import emit_fma, native_assembly
from vm.jit import intrinsic

_WIDE: Final = "zmm" in native_assembly()
ROWS: Final = 12 if _WIDE else 6
VECTORS: Final = 2 if _WIDE else 1


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
        def define(function: ir.Function) -> None:
            builder = ir.IRBuilder(function.append_basic_block())
            a, a_row, a_step, b, b_vector, table, n, out, first = function.args
            entry = builder.block
            bases = [builder.add(a, builder.mul(a_row, I64(3 * group))) for group in range(-(-rows // 3))]
            twice = builder.add(a_row, a_row)
            loop, done = builder.append_basic_block("k"), builder.append_basic_block("k.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            pointers = [builder.phi(I64) for _ in bases]
            entries = builder.phi(I64)
            sums = [[builder.phi(VECTOR) for _ in range(vectors)] for _ in range(rows)]
            end = builder.add(table, builder.mul(n, I64(8)))

            at = builder.add(b, builder.load(builder.inttoptr(entries, I64.as_pointer())))
            columns = []
            for v in range(vectors):
                load = builder.load(
                    vector_pointer(builder, at if v == 0 else builder.add(at, builder.mul(b_vector, I64(v))))
                )
                load.align = 4
                columns.append(load)
            following = []
            for i in range(rows):
                offset = (I64(0), a_row, twice)[i % 3]
                left = load_splat(builder, builder.add(pointers[i // 3], offset))
                following.append([emit_fma(builder, left, columns[v], sums[i][v]) for v in range(vectors)])
            next_pointers = [builder.add(pointer, a_step) for pointer in pointers]
            next_entries = builder.add(entries, I64(8))
            for phi, start, after in zip(pointers, bases, next_pointers, strict=True):
                phi.add_incoming(start, entry)
                phi.add_incoming(after, builder.block)
            entries.add_incoming(table, entry)
            entries.add_incoming(next_entries, builder.block)
            for i in range(rows):
                for v in range(vectors):
                    sums[i][v].add_incoming(ZERO, entry)
                    sums[i][v].add_incoming(following[i][v], builder.block)
            builder.cbranch(builder.icmp_unsigned("<", next_entries, end), loop, done)

            builder.position_at_end(done)
            # All ones to keep what is there, zero to start from +0; without a branch for each vector.
            words = ir.VectorType(I32, LANES)
            keep = splat(builder, builder.sext(builder.icmp_signed("==", first, I64(0)), I32))
            for i in range(rows):
                for v in range(vectors):
                    address = builder.add(out, I64(i * pitch + v * 4 * LANES))
                    before = builder.bitcast(load_vector(builder, address), words)
                    before = builder.bitcast(builder.and_(before, keep), VECTOR)
                    total = builder.fadd(before, following[i][v])
                    builder.store(total, vector_pointer(builder, address)).align = 4
            builder.ret_void()

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            # A function of its own, which LLVM optimises once, and not at each place that it is called from.
            name = f"opml.microkernel.{rows}.{vectors}"
            function = builder.module.globals.get(name)
            if function is None:
                function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [I64] * len(args)), name)
                function.linkage = "linkonce_odr"
                function.attributes.add("noinline")
                define(function)
            builder.call(function, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), codegen

    return microkernel


def make_finish(kind: str) -> Callable[..., Any]:
    """An intrinsic `(y, sums, n, bias)`: stores n sums, at most VECTORS vectors, with a bias; NaN canonical.

    `kind` says what lies at `bias`: "none" nothing, "one" a float for all, "each" a float for each. Reads whole vectors
    of sums, but of `bias` and `y` touches only what is named.
    """

    @intrinsic
    def finish(typingctx: Any, y: Any, sums: Any, n: Any, bias: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            y, sums, n, bias = args
            mask_type = ir.VectorType(ir.IntType(1), LANES)
            pointer_type = VECTOR.as_pointer()
            load_type = ir.FunctionType(VECTOR, [pointer_type, mask_type, VECTOR])
            store_type = ir.FunctionType(ir.VoidType(), [VECTOR, pointer_type, mask_type])
            load = declare(builder, "llvm.masked.load.v16f32.p0", load_type)
            store = declare(builder, "llvm.masked.store.v16f32.p0", store_type)
            nan = ir.Constant(VECTOR, [float("nan")] * LANES)
            count = splat(builder, builder.trunc(n, I32))
            added = load_splat(builder, bias) if kind == "one" else None
            for v in range(VECTORS):
                lanes = ir.Constant(count.type, list(range(v * LANES, (v + 1) * LANES)))
                mask = builder.icmp_signed("<", lanes, count)
                at = I64(4 * LANES * v)
                total = load_vector(builder, builder.add(sums, at))
                if kind == "each":
                    added = builder.call(load, [vector_pointer(builder, builder.add(bias, at)), mask, ZERO])
                if added is not None:
                    total = builder.fadd(total, added)
                total = builder.select(builder.fcmp_unordered("uno", total, total), nan, total)
                builder.call(store, [total, vector_pointer(builder, builder.add(y, at)), mask])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), codegen

    return finish
