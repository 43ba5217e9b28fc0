"""Vectors of small unsigned codes made floats: what the fast kernels of quantised constants share. Native only.

A panel holds 16 columns. A 32-bit word holds 32/bits neighbouring codes of one column, the first one in its lowest
bits, and 16 words of neighbouring columns lie together: one vector.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from llvmlite import ir
from numba import types

from opml.ops.native import I32, I64, LANES, VECTOR, declare, load_splat, load_vector, splat, vector_pointer
from vm.guest.fma import emit_fma
from vm.jit import intrinsic

WORDS = ir.VectorType(I32, LANES)
BITS = (2, 4, 8)
SIGNIFICAND = 23  # bits of a float's that are stored

Weights = list[ir.Value]


class Zeros(Enum):
    """What zeros may be: any floats, integers below 256 in size, or one such integer for all columns."""

    FLOATS = "floats"
    INTEGERS = "integers"
    ONE = "one"


class _Panels:
    """The scales, zeros and words of a few panels, while a function is being built."""

    def __init__(self, builder: ir.IRBuilder, bits: int, count: int, zeros: Zeros, args: list[ir.Value]) -> None:
        q, self.q_panel, s, s_panel, z, z_panel = args
        self.builder, self.bits, self.count, self.kind = builder, bits, count, zeros

        def vectors(base: ir.Value, distance: ir.Value) -> list[ir.Value]:
            for v in range(count):
                self.prefetch(self.at(base, distance, v + count))
            return [load_vector(builder, self.at(base, distance, v)) for v in range(count)]

        self.q, self.scales = q, vectors(s, s_panel)
        self.zeros = [load_vector(builder, z)] * count if zeros is Zeros.ONE else vectors(z, z_panel)
        self.span = SIGNIFICAND // bits
        self.lifted = [self.lift(bits * j) for j in range(min(self.span, 32 // bits))]

    def lift(self, offset: int) -> list[ir.Value]:
        """2^(23 - offset) plus, where that is exact, the zeros."""
        power = ir.Constant(VECTOR, [2.0 ** (SIGNIFICAND - offset)] * LANES)
        if self.kind is Zeros.FLOATS:
            return [power] * self.count
        sums = [self.builder.fadd(zero, power) for zero in self.zeros[: 1 if self.kind is Zeros.ONE else self.count]]
        return sums * (self.count // len(sums))

    def unpacked(self, words: list[ir.Value]) -> Iterator[Weights]:
        """The weights of each code of the words, in order.

        With the exponent of 2^(23 - offset) over it, a code that lies `offset` bits up is a float as it is, that power
        too large. A code less an integer zero is exact however it is computed, so the power and zero go at once.
        """
        builder = self.builder
        for j in range(32 // self.bits):
            part, at = divmod(j, self.span)
            if at == 0:
                shift = ir.Constant(WORDS, [part * self.span * self.bits] * LANES)
                shifted = [builder.lshr(word, shift) for word in words] if part else words
            offset = self.bits * at
            mask = ir.Constant(WORDS, [((1 << self.bits) - 1) << offset] * LANES)
            exponent = ir.Constant(WORDS, [(127 + SIGNIFICAND - offset) << SIGNIFICAND] * LANES)
            floats = [builder.bitcast(builder.or_(builder.and_(word, mask), exponent), VECTOR) for word in shifted]
            differences = [builder.fsub(*pair) for pair in zip(floats, self.lifted[at], strict=True)]
            if self.kind is Zeros.FLOATS:
                differences = [builder.fsub(*pair) for pair in zip(differences, self.zeros, strict=True)]
            yield [builder.fmul(*pair) for pair in zip(differences, self.scales, strict=True)]

    def at(self, base: ir.Value, distance: ir.Value, v: int) -> ir.Value:
        return self.builder.add(base, self.builder.mul(distance, I64(v))) if v else base

    def prefetch(self, address: ir.Value) -> None:
        """Asks for a cache line of the panels after these ones: each is too short for the CPU to foresee the next."""
        builder, kind = self.builder, ir.IntType(8).as_pointer()
        function = declare(builder, "llvm.prefetch.p0", ir.FunctionType(ir.VoidType(), [kind, I32, I32, I32]))
        builder.call(function, [builder.inttoptr(address, kind), I32(0), I32(3), I32(1)])

    def words(self, offset: ir.Value) -> list[ir.Value]:
        """The vector of words of each panel, `offset` bytes into it."""
        pointers = [self.at(self.builder.add(self.q, offset), self.q_panel, v) for v in range(self.count)]
        for pointer in pointers:
            self.prefetch(self.at(pointer, self.q_panel, self.count))
        return [self.builder.bitcast(load_vector(self.builder, pointer), WORDS) for pointer in pointers]

    def weights(self, words: list[ir.Value], shift: ir.Value | int) -> Weights:
        """(code - zero) * scale of the codes that lie `shift` bits up in the words."""
        builder, result = self.builder, []
        mask = ir.Constant(WORDS, [(1 << self.bits) - 1] * LANES)
        for word, scale, zero in zip(words, self.scales, self.zeros, strict=True):
            if isinstance(shift, int):
                code = builder.lshr(word, ir.Constant(WORDS, [shift] * LANES)) if shift else word
            else:
                code = builder.lshr(word, splat(builder, shift))
            if shift != 32 - self.bits:
                code = builder.and_(code, mask)
            result.append(builder.fmul(builder.fsub(builder.sitofp(code, VECTOR), zero), scale))
        return result


def _make(
    name: str, bits: int, panels: int, zeros: Zeros, state: int, arguments: int, use: Callable[..., list[ir.Value]]
) -> Any:
    """A function over n codes: whole words unrolled, then the codes of the last word one by one.

    `use(builder, args, k, weights, values)` takes the weights of code k and gives the next of `state` running values,
    which start from and end in the dense vectors at the last argument.
    """
    per = 32 // bits

    def define(function: ir.Function) -> None:
        builder = ir.IRBuilder(function.append_basic_block())
        args = list(function.args)
        n, own = args[6], args[7:]
        source = _Panels(builder, bits, panels, zeros, args[:6])
        sums = [load_vector(builder, builder.add(own[-1], I64(4 * LANES * v))) for v in range(state)]
        entry = builder.block
        whole = builder.and_(n, I64(-per))
        blocks = [builder.append_basic_block(part) for part in ("words", "word", "tail", "code", "done")]
        words_loop, word, tail, code, done = blocks
        builder.branch(words_loop)

        def loop(
            head: ir.Block, body: ir.Block, after: ir.Block, before: ir.Block, start: ir.Value, end: ir.Value,
            running: list[ir.Value],
        ) -> tuple[ir.Value, list[ir.Value]]:  # fmt: skip
            builder.position_at_end(head)
            k, values = builder.phi(I64), [builder.phi(VECTOR) for _ in running]
            k.add_incoming(start, before)
            for phi, value in zip(values, running, strict=True):
                phi.add_incoming(value, before)
            builder.cbranch(builder.icmp_signed("<", k, end), body, after)
            builder.position_at_end(body)
            return k, values

        def close(head: ir.Block, k: ir.Value, step: int, values: list[ir.Value], following: list[ir.Value]) -> None:
            k.add_incoming(builder.add(k, I64(step)), builder.block)
            for phi, value in zip(values, following, strict=True):
                phi.add_incoming(value, builder.block)
            builder.branch(head)

        k, values = loop(words_loop, word, tail, entry, I64(0), whole, sums)
        loaded = source.words(builder.mul(k, I64(4 * LANES // per)))
        following = values
        for j, weights in enumerate(source.unpacked(loaded)):
            following = use(builder, own, builder.add(k, I64(j)), weights, following)
        close(words_loop, k, per, values, following)

        k, values = loop(tail, code, done, words_loop, whole, n, values)
        loaded = source.words(builder.mul(whole, I64(4 * LANES // per)))
        shift = builder.trunc(builder.mul(builder.and_(k, I64(per - 1)), I64(bits)), I32)
        close(tail, k, 1, values, use(builder, own, k, source.weights(loaded, shift), values))

        builder.position_at_end(done)
        for v, value in enumerate(values):
            builder.store(value, vector_pointer(builder, builder.add(own[-1], I64(4 * LANES * v)))).align = 4
        builder.ret_void()

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        label = f"opml.codes.{name}.{bits}.{panels}.{zeros.value}"
        function = builder.module.globals.get(label)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [I64] * len(args)), label)
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            define(function)
        builder.call(function, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * arguments), codegen


def make_row_kernel(bits: int, panels: int, zeros: Zeros = Zeros.FLOATS) -> Callable[..., Any]:
    """An intrinsic `(q, q_panel, s, s_panel, z, z_panel, n, a, sums)`: one row by `panels` panels; distances in bytes.

    For k < n, sums[v] = fma(a[k], (code[v][k] - z[v]) * s[v], sums[v]), each sums[v] 16 floats.
    """

    def use(
        builder: ir.IRBuilder, own: list[ir.Value], k: ir.Value, weights: Weights, sums: list[ir.Value]
    ) -> list[ir.Value]:
        left = load_splat(builder, builder.add(own[0], builder.mul(k, I64(4))))
        return [emit_fma(builder, left, weight, total) for weight, total in zip(weights, sums, strict=True)]

    @intrinsic
    def row_kernel(
        typingctx: Any, q: Any, q_panel: Any, s: Any, s_panel: Any, z: Any, z_panel: Any, n: Any, a: Any, sums: Any
    ) -> Any:
        return _make("row", bits, panels, zeros, panels, 9, use)

    return row_kernel


def make_unpack(bits: int, panels: int) -> Callable[..., Any]:
    """An intrinsic `(q, q_panel, s, s_panel, z, z_panel, n, target)`: target[k] = (code[k] - z) * s of all panels."""

    def use(
        builder: ir.IRBuilder, own: list[ir.Value], k: ir.Value, weights: Weights, sums: list[ir.Value]
    ) -> list[ir.Value]:
        line = builder.add(own[0], builder.mul(k, I64(4 * LANES * panels)))
        for v, weight in enumerate(weights):
            builder.store(weight, vector_pointer(builder, builder.add(line, I64(4 * LANES * v)))).align = 4
        return []

    @intrinsic
    def unpack(typingctx: Any, q: Any, q_panel: Any, s: Any, s_panel: Any, z: Any, z_panel: Any, n: Any, y: Any) -> Any:
        return _make("unpack", bits, panels, Zeros.FLOATS, 0, 8, use)

    return unpack
