"""What only native kernels do: vectors, room on the stack, memory from the C library."""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types

from vm.jit import intrinsic

LANES: Final = 16
I64, I32, FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)


def declare(builder: ir.IRBuilder, name: str, kind: ir.FunctionType) -> ir.Function:
    """A function of LLVM's or the C library's."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def vector_pointer(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """An address as a pointer to 16 floats, which need no alignment but a float's."""
    return builder.inttoptr(address, VECTOR.as_pointer())


def load_vector(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 neighbouring floats."""
    value = builder.load(vector_pointer(builder, address))
    value.align = 4
    return value


def splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """A vector of 16 times the same."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def load_splat(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 times the float at an address."""
    return splat(builder, builder.load(builder.inttoptr(address, FLOAT.as_pointer())))


@intrinsic
def lane_sums(typingctx: Any, x: Any, chunks: Any, tail: Any) -> Any:
    """The sum of 16 * chunks neighbouring floats and of 16 more at `tail`, in the order of `rows.sum_rows`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        x, chunks, tail = args
        entry = builder.block
        loop, body, done = (builder.append_basic_block(f"lanes.{name}") for name in ("loop", "body", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        at, sums = builder.phi(I64), builder.phi(VECTOR)
        at.add_incoming(x, entry)
        sums.add_incoming(ZERO, entry)
        end = builder.add(x, builder.mul(chunks, I64(4 * LANES)))
        builder.cbranch(builder.icmp_unsigned("<", at, end), body, done)

        def plus(total: ir.Value, address: ir.Value) -> ir.Value:
            return builder.fadd(total, load_vector(builder, address))

        builder.position_at_end(body)
        at.add_incoming(builder.add(at, I64(4 * LANES)), body)
        sums.add_incoming(plus(sums, at), body)
        builder.branch(loop)

        builder.position_at_end(done)
        folded = plus(sums, tail)
        half = LANES
        while half > 1:
            half //= 2
            index = ir.VectorType(I32, half)
            low, high = (ir.Constant(index, list(range(start, start + half))) for start in (0, half))
            folded = builder.fadd(*(builder.shuffle_vector(folded, folded, mask) for mask in (low, high)))
        return builder.extract_element(folded, I32(0))

    return types.float32(types.int64, types.int64, types.int64), codegen


def make_stack(size: int) -> Callable[..., Any]:
    """An intrinsic `()`: the address of `size` bytes on the stack of the function that calls it, aligned to 64."""

    @intrinsic
    def stack(typingctx: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            with builder.goto_entry_block():  # not cgutils.alloca_once, which would clear it byte by byte
                room = builder.alloca(ir.ArrayType(ir.IntType(8), size))
                room.align = 64
            return builder.ptrtoint(room, I64)

        return types.int64(), codegen

    return stack


_BYTES = ir.IntType(8).as_pointer()


@intrinsic
def allocate(typingctx: Any, size: Any) -> Any:
    """The address of `size` bytes of memory, to be given back with `release`; 0 where there is no more."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.ptrtoint(builder.call(declare(builder, "malloc", ir.FunctionType(_BYTES, [I64])), args), I64)

    return types.int64(types.int64), codegen


@intrinsic
def release(typingctx: Any, address: Any) -> Any:
    """Gives back what `allocate` returned."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        free = declare(builder, "free", ir.FunctionType(ir.VoidType(), [_BYTES]))
        builder.call(free, [builder.inttoptr(args[0], _BYTES)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
