"""The guest image from the kernels: one LLVM module for RV64IM, made into a flat image by `vm.guest.link`.

Float operations become calls of our softfloat, in the same module: under the names that LLVM's code generator uses
for targets without a float unit, and for fma, the heart of every contraction, inlined in its common case.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite import ir

from vm.guest import main, softfloat
from vm.guest.errors import GuestError
from vm.guest.frontend import Compiled, Source, compile_functions
from vm.guest.link import link

TRIPLE: Final = "riscv64-unknown-none-elf"
CPU: Final = "generic-rv64"
FEATURES: Final = "+m"
ENTRY: Final = "guest.main"

_FMA = "softfloat.fma"
_FMA_ANY = "softfloat.fma_any"
_SOFTFLOAT = "_ZN2vm5guest9softfloat"  # how numba's mangling begins for that module
_RAISED = "an exception that a kernel may raise"

_WORD, _INT, _BIT, _FLOAT = (*map(ir.IntType, (64, 32, 1)), ir.FloatType())
_POINTER = ir.PointerType()

# name: (function, result, arguments); f a binary32, d an int64, w and u a signed and an unsigned 32-bit integer.
LIBRARY: Final[dict[str, tuple[Any, str, str]]] = {
    "__addsf3": (softfloat.add, "f", "ff"),
    "__subsf3": (softfloat.sub, "f", "ff"),
    "__mulsf3": (softfloat.mul, "f", "ff"),
    "__divsf3": (softfloat.div, "f", "ff"),
    "sqrtf": (softfloat.sqrt, "f", "f"),
    "__unordsf2": (softfloat.unordered, "w", "ff"),
    "__eqsf2": (softfloat.order, "w", "ff"),
    "__nesf2": (softfloat.order, "w", "ff"),
    "__ltsf2": (softfloat.order, "w", "ff"),
    "__lesf2": (softfloat.order, "w", "ff"),
    "__gtsf2": (softfloat.order_reversed, "w", "ff"),
    "__gesf2": (softfloat.order_reversed, "w", "ff"),
    "__floatsisf": (softfloat.from_i64, "f", "w"),
    "__floatunsisf": (softfloat.from_i64, "f", "u"),
    "__floatdisf": (softfloat.from_i64, "f", "d"),
    "__floatundisf": (softfloat.from_u64, "f", "d"),
}
_TYPES: Final = {"f": _FLOAT, "d": _WORD, "w": _INT, "u": _INT}

# Nothing may be assumed that is not written: no library functions, no undefined behaviour at address 0.
_ATTRIBUTES: Final = 'nounwind null_pointer_is_valid "no-builtins" "no-jump-tables"="true"'


def build(kernels: Mapping[int, Any]) -> bytes:
    """The image of a guest whose operators are `kernels`: code number -> jitted `tile(record: int64, tile: int64)`.

    Kernels must be importable by name. The same kernels give the same bytes on any computer, with the same versions
    of Python (whose byte code numba reads), numba and llvmlite. Raises GuestError, naming the function or symbol, for
    what the machine does not have: double arithmetic, exceptions, memory allocation, unknown relocations.
    """
    if not kernels:
        raise GuestError("a guest needs at least one kernel")
    functions = [main.main, softfloat.fma_near, softfloat.fma_any, *(function for function, _, _ in LIBRARY.values())]
    functions += [kernels[code] for code in sorted(kernels)]
    unique = list({id(function): function for function in functions}.values())
    compiled = compile_functions([Source.of(function) for function in unique])
    glue = _Glue(dict(zip(map(id, unique), compiled, strict=True)))
    glue.main()
    glue.library()
    glue.kernels(kernels)
    return link(_emit([str(glue.module), *(item.ir for item in compiled)]), ENTRY)


class _Glue:
    """Functions with LLVM's own calling convention around those with numba's."""

    def __init__(self, compiled: Mapping[int, Compiled]) -> None:
        self.compiled = compiled  # by the id of the dispatcher
        self.module = ir.Module()

    def _call(self, builder: ir.IRBuilder, dispatcher: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        """Calls a numba function; returns its 64-bit result (of a void function: nothing that has a meaning)."""
        entry = self.compiled[id(dispatcher)].entry
        kind = ir.FunctionType(_INT, [_POINTER, _POINTER] + [_WORD] * len(arguments))
        result = builder.alloca(_WORD)
        status = builder.call(self._declare(entry, kind), [result, builder.alloca(_POINTER), *arguments])
        with builder.if_then(builder.icmp_signed("!=", status, _INT(0))):
            # The optimiser removes this where it sees that nothing is raised; elsewhere the linker misses the symbol.
            builder.call(self._declare(_RAISED, ir.FunctionType(ir.VoidType(), [])), [])
        return builder.load(result, typ=_WORD)

    def _declare(self, name: str, kind: ir.FunctionType) -> ir.Function:
        return self.module.globals.get(name) or ir.Function(self.module, kind, name)

    def _define(self, name: str, result: ir.Type, arguments: list[ir.Type], *attributes: str) -> ir.IRBuilder:
        function = self._declare(name, ir.FunctionType(result, arguments))
        for attribute in attributes:
            function.attributes.add(attribute)
        return ir.IRBuilder(function.append_basic_block())

    def main(self) -> None:
        """`guest.main(first, count)`, which the start-up words call."""
        builder = self._define(ENTRY, _WORD, [_WORD, _WORD])
        builder.ret(self._call(builder, main.main, builder.function.args))

    def library(self) -> None:
        """The softfloat functions."""
        for name, (function, result, arguments) in LIBRARY.items():
            builder = self._define(name, _TYPES[result], [_TYPES[kind] for kind in arguments])
            words = [_widen(builder, *pair) for pair in zip(builder.function.args, arguments, strict=True)]
            if result == "w":
                builder.function.return_value.add_attribute("signext")
            builder.ret(_narrow(builder, self._call(builder, function, words), result))

        builder = self._define(_FMA_ANY, _WORD, [_WORD] * 3, "noinline")
        fma_any = builder.function
        builder.ret(self._call(builder, softfloat.fma_any, fma_any.args))

        builder = self._define(_FMA, _FLOAT, [_FLOAT] * 3, "alwaysinline")
        words = [_widen(builder, argument, "f") for argument in builder.function.args]
        near = self._call(builder, softfloat.fma_near, words)
        with builder.if_then(builder.icmp_signed("==", near, _WORD(softfloat.UNDECIDED)), likely=False):
            builder.ret(_narrow(builder, builder.call(fma_any, words), "f"))
        builder.ret(_narrow(builder, near, "f"))

    def kernels(self, kernels: Mapping[int, Any]) -> None:
        """A function per kernel, and the dispatch over their codes."""
        builder = self._define(main.DISPATCH, _WORD, [_WORD] * 3)
        operator, record, tile = builder.function.args
        unknown = builder.append_basic_block()
        switch = builder.switch(operator, unknown)
        functions: dict[int, ir.Function] = {}
        for code, kernel in sorted(kernels.items()):
            if id(kernel) not in functions:
                name = f"{kernel.py_func.__qualname__} (operator {code})"
                body = self._define(name, ir.VoidType(), [_WORD, _WORD], "noinline")
                self._call(body, kernel, body.function.args)
                body.ret_void()
                functions[id(kernel)] = body.function
            builder.position_at_end(builder.append_basic_block())
            switch.add_case(_WORD(code), builder.block)
            builder.call(functions[id(kernel)], [record, tile])
            builder.ret(_WORD(main.OK))
        builder.position_at_end(unknown)
        builder.ret(_WORD(main.BAD_OPERATOR))


def _widen(builder: ir.IRBuilder, value: ir.Value, kind: str) -> ir.Value:
    if kind == "f":
        value = builder.bitcast(value, _INT)
    return value if kind == "d" else builder.zext(value, _WORD) if kind == "u" else builder.sext(value, _WORD)


def _narrow(builder: ir.IRBuilder, value: ir.Value, kind: str) -> ir.Value:
    if kind == "d":
        return value
    value = builder.trunc(value, _INT)
    return builder.bitcast(value, _FLOAT) if kind == "f" else value


def _emit(modules: list[str]) -> bytes:
    """An ELF object for the machine from the modules of all functions."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(CPU, FEATURES, 3, "static", "small")
    whole = llvm.parse_assembly(f'target triple = "{TRIPLE}"\ntarget datalayout = "{machine.target_data}"')
    for text in modules:
        module = llvm.parse_assembly(text.replace("@llvm.fma.f32", f"@{_FMA}"))
        module.triple, module.data_layout = whole.triple, whole.data_layout
        whole.link_in(module)
    whole = llvm.parse_assembly(_define_all(str(whole)))
    for value in [*whole.functions, *whole.global_variables]:
        if not value.is_declaration and value.name not in (ENTRY, *LIBRARY):
            value.linkage = "internal"

        # A library function has no other use for its parts; and so nothing is returned through memory.
        if value.is_function and _SOFTFLOAT in value.name:
            value.add_function_attribute("alwaysinline")

    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(whole, passes)
    for function in whole.functions:
        if not function.is_declaration and re.search(r"\bdouble\b", str(function)):
            raise GuestError(f"double arithmetic in {function.name}")
    return bytes(machine.emit_object(llvm.parse_assembly(_in_sections(str(whole)))))


def _define_all(text: str) -> str:
    """Takes undefined behaviour out of a module: arithmetic wraps, address 0 is an address, no name is special."""
    text = re.sub(r"\b(add|sub|mul|shl)(?: nuw| nsw)+ ", r"\1 ", text)
    return re.sub(r"^(define .*)\{$", rf"\1{_ATTRIBUTES} {{", text, flags=re.MULTILINE)


def _in_sections(text: str) -> str:
    """Gives each function a section of its own, so that the linker can leave out what nobody calls."""

    def section(match: re.Match[str]) -> str:
        return f'{match[1]}section ".text.{match[2].strip(chr(34))}" {{'

    return re.sub(r'^(define .*@("[^"]*"|[\w.$-]+)\(.*)\{$', section, text, flags=re.MULTILINE)
