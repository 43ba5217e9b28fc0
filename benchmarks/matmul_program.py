"""An integer matrix product as a static ELF, for any machine that runs RV64IM Linux programs.

Compiled by LLVM from textbook loops (fill, multiply, hash), so that no loop is shaped for one interpreter or another.
It exits with the upper 7 bits of a hash of the product.
"""

from contextlib import contextmanager
from typing import Any, Final, cast

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils as untyped_cgutils

from vm.elf import Program, Segment, write_elf
from vm.guest.build import CPU, FEATURES, TRIPLE
from vm.isa import encode

cgutils = cast(Any, untyped_cgutils)

BASE: Final = 0x10000
MATRICES: Final = 0x1000000
_WORD, _INT = ir.IntType(64), ir.IntType(32)
_A7, _RA = 17, 1


def matmul_elf(n: int) -> bytes:
    """c = a b for n x n matrices of int32."""
    code = _start() + _text(_loops(n))
    return write_elf(Program(BASE, (Segment(BASE, code, len(code)), Segment(MATRICES, b"", 12 * n * n, False))))


def _start() -> bytes:
    words = [
        encode("jal", rd=_RA, imm=12),
        encode("addi", rd=_A7, imm=93),
        encode("ecall"),
    ]
    return b"".join(word.to_bytes(4, "little") for word in words)


def _loops(n: int) -> ir.Module:
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(_WORD, []), "main")
    builder = ir.IRBuilder(function.append_basic_block())
    a, b, c = (
        builder.inttoptr(_WORD(MATRICES + 4 * n * n * i), ir.PointerType(_INT), name=name)
        for i, name in enumerate("abc")
    )

    @contextmanager
    def loop(count: int) -> Any:
        with cgutils.for_range(builder, _WORD(count)) as each:
            yield each.index

    def at(matrix: ir.Value, row: ir.Value, column: ir.Value) -> ir.Value:
        return builder.gep(matrix, [builder.add(builder.mul(row, _WORD(n)), column)], source_etype=_INT)

    with loop(n) as i, loop(n) as j:
        cell = builder.trunc(builder.add(builder.mul(i, _WORD(n)), j), _INT)
        mixed = builder.xor(builder.mul(cell, cell), builder.lshr(cell, _INT(3)))
        builder.store(mixed, at(a, i, j))
        builder.store(builder.ashr(mixed, _INT(7)), at(b, i, j))
    total = cgutils.alloca_once_value(builder, _INT(0))
    with loop(n) as i, loop(n) as j:
        accumulator = cgutils.alloca_once(builder, _INT)
        builder.store(_INT(0), accumulator)
        with loop(n) as k:
            product = builder.mul(builder.load(at(a, i, k), typ=_INT), builder.load(at(b, k, j), typ=_INT))
            builder.store(builder.add(builder.load(accumulator), product), accumulator)
        builder.store(builder.load(accumulator), at(c, i, j))
        builder.store(builder.xor(builder.mul(builder.load(total), _INT(33)), builder.load(accumulator)), total)
    builder.ret(builder.zext(builder.lshr(builder.load(total), _INT(25)), _WORD))
    return module


def _text(module: ir.Module) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(CPU, FEATURES, 2, "static", "small")
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    compiled = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(compiled, passes)
    sections = {
        s.name() or b"": s.data() for s in llvm.ObjectFileRef.from_data(machine.emit_object(compiled)).sections()
    }
    linked = [name for name in sections if name.startswith((b".rela.text", b".rodata", b".sdata", b".srodata"))]
    if linked:
        raise AssertionError(f"the program has {linked}, which would have to be linked")
    return bytes(sections[b".text"])
