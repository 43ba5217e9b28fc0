"""The code of the fast loop: one small function per operation, each of which jumps to the next one's.

Every function takes the decoded word and what all of them need, does its instruction, reads the next word and calls
that one's function as its last act, which LLVM makes a jump (`musttail`): so the machine's state stays in the host's
registers, and the host predicts the next jump from the operation it is in. Pairs of operations that often follow one
another have functions of their own, which jump half as often. All of it is generated from the tables below.

Steps are counted without counting: `end` is where the next-word pointer `ip` would be after the last step if no jump
were taken, and every jump moves both. The functions come in two sets. The quick ones look at `end` only when they
jump: they are for budgets longer than any straight line of code. The exact ones look before every word, and know no
pairs; they are for what is left.
Source of the technique: "The Structure and Performance of Efficient Interpreters" (Ertl, Gregg 2003), threaded code.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from llvmlite import ir
from numba import types

from vm import predecode as p
from vm.constants import PAGE_BYTES, PAGE_LOG2
from vm.isa import ACCESS_BYTES, TABLE
from vm.jit import intrinsic

# TLB entry: page address for reads, page address for writes (or NO_PAGE), host minus guest address.
TLB_LOG2: Final = 9
ENTRY_LOG2: Final = 5
ENTRY_BYTES: Final = 1 << ENTRY_LOG2

# The context that the loop and its driver share, in int64 words: x0..x31, where writes to x0 go, then these.
(CTX_PC, CTX_LEFT, CTX_ADDRESS, CTX_SIZE, CTX_WRITE, CTX_CODE, CTX_BASE, CTX_IP, CTX_END) = range(
    p.DISCARD + 1, p.DISCARD + 10
)
CTX_WORDS: Final = p.DISCARD + 10

# Why a function returned: the budget calls for the other set or is used up, or the word at CTX_IP had no effect.
BUDGET, FAULT = 0, 1
# A budget of this many steps outlasts any straight line: a window, and one pair at its end.
QUICK_STEPS: Final = p.WINDOW_WORDS + 2

_WORD: Final = ir.IntType(64)
_HALF: Final = ir.IntType(32)
_WIDE: Final = ir.IntType(128)
_POINTER: Final = ir.PointerType()
_HANDLER: Final = ir.FunctionType(_WORD, [_WORD] * 5)
_FUNCTION: Final = _HANDLER.as_pointer()

Builder: TypeAlias = ir.IRBuilder
Value: TypeAlias = ir.Value
Operation: TypeAlias = Callable[[Builder, Value, Value], Value]


def _sext32(b: Builder, value: Value) -> Value:
    return b.sext(b.trunc(value, _HALF), _WORD)


def _zext32(b: Builder, value: Value) -> Value:
    return b.zext(b.trunc(value, _HALF), _WORD)


def _shift(name: str) -> Operation:
    return lambda b, x, y: getattr(b, name)(x, b.and_(y, _WORD(63)))


def _shift32(name: str, widen: Operation) -> Operation:
    return lambda b, x, y: _sext32(b, getattr(b, name)(widen(b, x, y), b.and_(y, _WORD(31))))


def _less(name: str) -> Operation:
    return lambda b, x, y: b.zext(getattr(b, name)("<", x, y), _WORD)


def _high(first: str, second: str) -> Operation:
    def emit(b: Builder, x: Value, y: Value) -> Value:
        product = b.mul(getattr(b, first)(x, _WIDE), getattr(b, second)(y, _WIDE))
        return b.trunc(b.lshr(product, _WIDE(64)), _WORD)

    return emit


def _divide(name: str, by_zero: Operation, by_minus_one: Operation | None = None) -> Operation:
    """Division with the results that the host's would not give; those never reach it."""

    def emit(b: Builder, x: Value, y: Value) -> Value:
        zero = b.icmp_unsigned("==", y, _WORD(0))
        minus = b.icmp_unsigned("==", y, _WORD(-1)) if by_minus_one else ir.IntType(1)(0)
        result = getattr(b, name)(x, b.select(b.or_(zero, minus), _WORD(1), y))
        if by_minus_one:
            result = b.select(minus, by_minus_one(b, x, y), result)
        return b.select(zero, by_zero(b, x, y), result)

    return emit


def _narrow(wide: Operation, extend: Callable[[Builder, Value], Value]) -> Operation:
    return lambda b, x, y: _sext32(b, wide(b, extend(b, x), extend(b, y)))


_DIV: Final = _divide("sdiv", lambda b, x, y: _WORD(-1), lambda b, x, y: b.neg(x))
_DIVU: Final = _divide("udiv", lambda b, x, y: _WORD(-1))
_REM: Final = _divide("srem", lambda b, x, y: x, lambda b, x, y: _WORD(0))
_REMU: Final = _divide("urem", lambda b, x, y: x)

# The register-register instructions, as in `vm.alu`; those with an immediate are the same on rs1 and the imm.
OPERATIONS: Final[dict[str, Operation]] = {
    "add": lambda b, x, y: b.add(x, y),
    "sub": lambda b, x, y: b.sub(x, y),
    "sll": _shift("shl"),
    "srl": _shift("lshr"),
    "sra": _shift("ashr"),
    "slt": _less("icmp_signed"),
    "sltu": _less("icmp_unsigned"),
    "xor": lambda b, x, y: b.xor(x, y),
    "or": lambda b, x, y: b.or_(x, y),
    "and": lambda b, x, y: b.and_(x, y),
    "addw": lambda b, x, y: _sext32(b, b.add(x, y)),
    "subw": lambda b, x, y: _sext32(b, b.sub(x, y)),
    "sllw": _shift32("shl", lambda b, x, y: x),
    "srlw": _shift32("lshr", lambda b, x, y: _zext32(b, x)),
    "sraw": _shift32("ashr", lambda b, x, y: _sext32(b, x)),
    "mul": lambda b, x, y: b.mul(x, y),
    "mulh": _high("sext", "sext"),
    "mulhsu": _high("sext", "zext"),
    "mulhu": _high("zext", "zext"),
    "div": _DIV,
    "divu": _DIVU,
    "rem": _REM,
    "remu": _REMU,
    "mulw": lambda b, x, y: _sext32(b, b.mul(x, y)),
    "divw": _narrow(_DIV, _sext32),
    "divuw": _narrow(_DIVU, _zext32),
    "remw": _narrow(_REM, _sext32),
    "remuw": _narrow(_REMU, _zext32),
}
IMMEDIATE: Final = {line.name: line.name.replace("i", "") for line in TABLE if line.name.replace("i", "") in OPERATIONS}

BRANCHES: Final = {
    "beq": ("icmp_unsigned", "=="),
    "bne": ("icmp_unsigned", "!="),
    "blt": ("icmp_signed", "<"),
    "bge": ("icmp_signed", ">="),
    "bltu": ("icmp_unsigned", "<"),
    "bgeu": ("icmp_unsigned", ">="),
}


class _Handler:
    """The function of one operation, or of several in a row. `w`, `x`, `ip`, `end` and `tlb` are its arguments."""

    def __init__(self, function: ir.Function, targets: ir.GlobalVariable, exact: bool) -> None:
        self.w, self.x, self.ip, self.end, self.tlb = function.args
        self.b = Builder(function.append_basic_block())
        self.targets, self.exact = targets, exact

    def at(self, address: Value, kind: ir.Type = _WORD, align: int = 8) -> Value:
        return self.b.load(self.b.inttoptr(address, _POINTER), typ=kind, align=align)

    def put(self, address: Value, value: Value, align: int = 8) -> None:
        self.b.store(value, self.b.inttoptr(address, _POINTER), align=align)

    def field(self, place: int) -> Value:
        """The address of the register that a byte of the word names."""
        number = self.b.and_(self.b.lshr(self.w, _WORD(place)), _WORD(255))
        return self.b.add(self.x, self.b.shl(number, _WORD(3)))

    def context(self, word: int) -> Value:
        return self.b.add(self.x, _WORD(8 * word))

    def rs1(self) -> Value:
        return self.at(self.field(16))

    def rs2(self) -> Value:
        return self.at(self.field(24))

    def imm(self) -> Value:
        return self.b.ashr(self.w, _WORD(32))

    def rd(self, value: Value) -> None:
        self.put(self.field(8), value)

    def pc(self) -> Value:
        """The guest address of the next word."""
        words = self.b.sub(self.ip, self.at(self.context(CTX_CODE)))
        return self.b.add(self.at(self.context(CTX_BASE)), self.b.ashr(words, _WORD(1)))

    def leave(self, ip: Value, reason: int) -> None:
        self.put(self.context(CTX_IP), ip)
        self.put(self.context(CTX_END), self.end)
        self.b.ret(_WORD(reason))

    def fault(self) -> None:
        """Leaves the word to the driver, before it has had any effect."""
        self.leave(self.b.sub(self.ip, _WORD(8)), FAULT)

    def jump(self, distance: Value) -> None:
        self.ip, self.end = self.b.add(self.ip, distance), self.b.add(self.end, distance)

    def following(self) -> None:
        """Takes the next word without a jump."""
        self.w = self.at(self.ip)
        self.ip = self.b.add(self.ip, _WORD(8))

    def dispatch(self, jumped: bool = False) -> None:
        b = self.b
        if self.exact or jumped:
            least = 8 if self.exact else 8 * QUICK_STEPS
            with b.if_then(b.icmp_signed("<", b.sub(self.end, self.ip), _WORD(least)), likely=False):
                self.leave(self.ip, BUDGET)
        self.following()
        number = b.and_(self.w, _WORD(255))
        target = b.load(b.gep(self.targets, [_WORD(0), number]), typ=_FUNCTION)
        arguments = [self.w, self.x, self.ip, self.end, self.tlb]
        b.ret(b.call(target, arguments, tail="musttail"))

    # What the operations do.

    def access(self, name: str) -> None:
        b, size = self.b, ACCESS_BYTES[name]
        kind = ir.IntType(8 * size)
        address = b.add(self.rs1(), self.imm())
        entry = b.add(self.tlb, slot(b, address))
        store = name.startswith("s")
        tag = self.at(b.add(entry, _WORD(8 * store)))
        with b.if_then(b.icmp_unsigned("!=", tag, b.and_(address, _WORD(size - 1 - PAGE_BYTES))), likely=False):
            self.fault()
        # A source may hand out pages from anywhere in a file, so the host's alignment is not known.
        host = b.add(address, self.at(b.add(entry, _WORD(16))))
        if store:
            value = self.rs2()
            self.put(host, value if size == 8 else b.trunc(value, kind), align=1)
        else:
            value = self.at(host, kind, align=1)
            self.rd(value if size == 8 else (b.zext if name.endswith("u") else b.sext)(value, _WORD))

    def branch(self, name: str) -> None:
        compare, relation = BRANCHES[name]
        taken = getattr(self.b, compare)(relation, self.rs1(), self.rs2())
        # A jump by zero where it is not taken would save the host's own branch, but that one is mostly predicted.
        with self.b.if_else(taken) as (then, otherwise):
            with then:
                ip, end = self.ip, self.end
                self.jump(self.imm())
                self.dispatch(jumped=True)
                self.ip, self.end = ip, end
            with otherwise:
                self.dispatch()
        self.b.unreachable()

    def jalr(self) -> None:
        b = self.b
        target = b.and_(b.add(self.rs1(), self.imm()), _WORD(-2))
        inside = b.sub(target, self.at(self.context(CTX_BASE)))
        with b.if_then(b.icmp_unsigned("!=", b.and_(inside, _WORD(~(p.WINDOW_BYTES - 4))), _WORD(0)), likely=False):
            self.fault()
        self.rd(self.pc())
        there = b.add(self.at(self.context(CTX_CODE)), b.shl(inside, _WORD(1)))
        self.jump(b.sub(there, self.ip))

    def emit(self, name: str) -> bool:
        """The operation; whether it ends the function."""
        if name in OPERATIONS:
            self.rd(OPERATIONS[name](self.b, self.rs1(), self.rs2()))
        elif name in IMMEDIATE:
            self.rd(OPERATIONS[IMMEDIATE[name]](self.b, self.rs1(), self.imm()))
        elif name in ACCESS_BYTES:
            self.access(name)
        elif name in BRANCHES:
            self.branch(name)
            return True
        elif name == "lui":
            self.rd(self.imm())
        elif name == "auipc":
            self.rd(self.b.add(self.b.sub(self.pc(), _WORD(4)), self.imm()))
        elif name in ("jal", "jalr"):
            if name == "jal":
                self.rd(self.pc())
                self.jump(self.imm())
            else:
                self.jalr()
            self.dispatch(jumped=True)
            return True
        elif name != "fence":
            self.fault()
            return True
        return False


def slot(b: Builder, address: Value) -> Value:
    """Offset of the TLB entry of a guest address. Tensors are aligned to high powers of two, so higher bits join in."""
    low = b.lshr(address, _WORD(PAGE_LOG2 - ENTRY_LOG2))
    high = b.lshr(address, _WORD(PAGE_LOG2 - ENTRY_LOG2 + TLB_LOG2))
    return b.and_(b.xor(low, high), _WORD(((1 << TLB_LOG2) - 1) << ENTRY_LOG2))


def _emit_set(module: ir.Module, exact: bool) -> ir.GlobalVariable:
    """All functions of one set; returns the table that `dispatch` reads."""
    prefix = "vm.exact" if exact else "vm.quick"
    targets = ir.GlobalVariable(module, ir.ArrayType(_POINTER, 256), f"{prefix}.targets")
    targets.linkage, targets.global_constant = "internal", True
    functions: dict[tuple[str, ...], ir.Function] = {}
    entries = []
    for number in range(256):
        names = p.operations(number)
        if exact:
            names = names[:1]
        if names not in functions:
            function = ir.Function(module, _HANDLER, f"{prefix}.{'.'.join(names)}")
            function.linkage = "internal"
            function.attributes.add("nounwind")
            functions[names] = function
            handler = _Handler(function, targets, exact)
            for place, name in enumerate(names):
                if place:
                    handler.following()
                if handler.emit(name):
                    break
            else:
                handler.dispatch()
        entries.append(functions[names])
    targets.initializer = ir.Constant(targets.value_type, entries)
    return targets


def _enter(exact: bool) -> Any:
    @intrinsic
    def enter(typingctx: Any, x: Any, ip: Any, end: Any, tlb: Any) -> Any:
        """Runs from the word at host address `ip` until BUDGET or FAULT; CTX_IP and CTX_END say where that was."""

        def codegen(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
            targets = _emit_set(builder.module, exact)
            x, ip, end, tlb = args
            w = builder.load(builder.inttoptr(ip, _POINTER), typ=_WORD)
            number = builder.and_(w, _WORD(255))
            target = builder.load(builder.gep(targets, [_WORD(0), number]), typ=_FUNCTION)
            return builder.call(target, [w, x, builder.add(ip, _WORD(8)), end, tlb])

        return types.int64(types.int64, types.int64, types.int64, types.int64), codegen

    return enter


enter_quick, enter_exact = _enter(False), _enter(True)
