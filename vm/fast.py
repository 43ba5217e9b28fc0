"""The fast loop: pre-decoded instructions over host memory. It does what is common and leaves the rest to `vm.step`.

Loads and stores find the host address of a guest page in a small direct-mapped buffer (TLB), refilled from a hash
table that holds every page the run has touched. Whatever is not a plain instruction on known pages (faults, traps,
halting) leaves the loop before it has had any effect.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from vm import predecode as p
from vm.constants import PAGE_BYTES, PAGE_LOG2
from vm.guest.intrinsics import (
    load_i8,
    load_i16,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    store_i8,
    store_i16,
    store_i32,
    store_i64,
    udiv,
    urem,
)
from vm.isa import ACCESS_BYTES, TABLE
from vm.jit import intrinsic, jit

# TLB entry: page address for reads, page address for writes (or NO_PAGE), host minus guest address.
TLB_LOG2: Final = 9
ENTRY_LOG2: Final = 5
ENTRY_BYTES: Final = 1 << ENTRY_LOG2
NO_PAGE: Final = -1
# Page table entry: page address (or NO_PAGE), whether it may be written, host minus guest address.
ENTRY_WORDS: Final = ENTRY_BYTES // 8

# The context that the loop and its driver share, in int64 words: x0..x31, where writes to x0 go, then these.
(CTX_PC, CTX_LEFT, CTX_ADDRESS, CTX_SIZE, CTX_WRITE) = range(p.DISCARD + 1, p.DISCARD + 6)
CTX_WORDS: Final = p.DISCARD + 6

# Why the loop was left.
(EXIT_BUDGET, EXIT_FETCH, EXIT_PAGE, EXIT_DEFINITION) = range(4)

_SIGN: Final = -(1 << 63)
_SIZES: Final = np.array([0, *(ACCESS_BYTES.get(line.name, 0) for line in TABLE)], np.int64)
_HASH_FACTOR: Final = -7046029254386353131  # 2**64 / golden ratio, as int64


def _binary(emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Callable[[int, int], int]:
    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            return emit(builder, *args)

        return types.int64(types.int64, types.int64), codegen

    return operation


def _high(first: str, second: str) -> Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]:
    wide, word = ir.IntType(128), ir.IntType(64)

    def emit(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        product = builder.mul(getattr(builder, first)(a, wide), getattr(builder, second)(b, wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)

    return emit


_lshr = _binary(lambda builder, a, b: builder.lshr(a, b))
_sdiv = _binary(lambda builder, a, b: builder.sdiv(a, b))
_srem = _binary(lambda builder, a, b: builder.srem(a, b))
_mulh, _mulhsu, _mulhu = _binary(_high("sext", "sext")), _binary(_high("sext", "zext")), _binary(_high("zext", "zext"))


@jit
def _slot(address: int) -> int:
    """Offset of the TLB entry of a guest address. Tensors are aligned to high powers of two, so higher bits join in."""
    low, high = address >> (PAGE_LOG2 - ENTRY_LOG2), address >> (PAGE_LOG2 - ENTRY_LOG2 + TLB_LOG2)
    return (low ^ high) & (((1 << TLB_LOG2) - 1) << ENTRY_LOG2)


@jit
def _find(table: int, entries: int, page: int) -> int:
    """The address of a page's entry in the page table, or of the free entry where it belongs."""
    number = _lshr(page * _HASH_FACTOR, 32)
    while True:
        entry: int = table + (number & (entries - 1)) * ENTRY_BYTES
        if load_i64(entry) == page or load_i64(entry) == NO_PAGE:
            return entry
        number += 1


@jit
def map_page(table: int, entries: int, page: int, writable: int, host: int) -> None:
    """Enters a page of guest address `page` into the page table, or changes its entry. There must be a free one."""
    entry = _find(table, entries, page)
    store_i64(entry, page)
    store_i64(entry + 8, writable)
    store_i64(entry + 16, host - page)


@jit
def _refill(tlb: int, table: int, entries: int, address: int, size: int, write: int) -> bool:
    """Puts the page of a guest address into the TLB; False if the access is not one to a page that may be used so."""
    entry = _find(table, entries, address & -PAGE_BYTES)
    writable = load_i64(entry + 8)
    if address & (size - 1) or load_i64(entry) == NO_PAGE or (write and not writable):
        return False
    slot = tlb + _slot(address)
    store_i64(slot, load_i64(entry))
    store_i64(slot + 8, load_i64(entry) if writable else NO_PAGE)
    store_i64(slot + 16, load_i64(entry + 16))
    return True


@jit
def _rd(x: int, w: int, value: int) -> None:
    store_i64(x + ((w >> 8) & 255) * 8, value)


@jit
def _rs1(x: int, w: int) -> int:
    value: int = load_i64(x + ((w >> 16) & 255) * 8)
    return value


@jit
def _rs2(x: int, w: int) -> int:
    value: int = load_i64(x + ((w >> 24) & 255) * 8)
    return value


@jit
def _sext32(value: int) -> int:
    return value << 32 >> 32


@jit
def _div(a: int, b: int) -> int:
    if b == 0:
        return -1
    return -a if b == -1 else _sdiv(a, b)


@jit
def _rem(a: int, b: int) -> int:
    if b == 0:
        return a
    return 0 if b == -1 else _srem(a, b)


@jit
def _divu(a: int, b: int) -> int:
    return -1 if b == 0 else udiv(a, b)


@jit
def _remu(a: int, b: int) -> int:
    return a if b == 0 else urem(a, b)


@jit
def execute(ctx: int, code: int, base: int, tlb: int, table: int, entries: int) -> int:
    """Runs from the context's pc, inside the window `code` of guest address `base`, for at most CTX_LEFT steps.

    All arguments but `base` and `entries` are host addresses. Returns the EXIT reason; the context then says where
    the machine stands, how many steps are left, and for EXIT_PAGE which access found no page.
    """
    x = ctx
    left = load_i64(ctx + CTX_LEFT * 8)
    ip = code + (load_i64(ctx + CTX_PC * 8) - base) * 2
    while True:
        w = 0
        while True:
            left -= 1
            if left < 0:
                break
            w = load_i64(ip)
            ip += 8
            op = w & 255
            if op == p.LUI:
                _rd(x, w, w >> 32)
            elif op == p.AUIPC:
                _rd(x, w, base + ((ip - 8 - code) >> 1) + (w >> 32))
            elif op == p.JAL:
                _rd(x, w, base + ((ip - code) >> 1))
                ip += w >> 32
            elif op == p.JALR:
                target = (_rs1(x, w) + (w >> 32)) & -2
                if (target - base) & ~(p.WINDOW_BYTES - 4):
                    break
                _rd(x, w, base + ((ip - code) >> 1))
                ip = code + (target - base) * 2
            elif op == p.BEQ:
                if _rs1(x, w) == _rs2(x, w):
                    ip += w >> 32
            elif op == p.BNE:
                if _rs1(x, w) != _rs2(x, w):
                    ip += w >> 32
            elif op == p.BLT:
                if _rs1(x, w) < _rs2(x, w):
                    ip += w >> 32
            elif op == p.BGE:
                if _rs1(x, w) >= _rs2(x, w):
                    ip += w >> 32
            elif op == p.BLTU:
                if (_rs1(x, w) ^ _SIGN) < (_rs2(x, w) ^ _SIGN):
                    ip += w >> 32
            elif op == p.BGEU:
                if (_rs1(x, w) ^ _SIGN) >= (_rs2(x, w) ^ _SIGN):
                    ip += w >> 32
            elif op == p.LB:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4096:
                    break
                _rd(x, w, load_i8(a + load_i64(e + 16)))
            elif op == p.LBU:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4096:
                    break
                _rd(x, w, load_u8(a + load_i64(e + 16)))
            elif op == p.LH:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4095:
                    break
                _rd(x, w, load_i16(a + load_i64(e + 16)))
            elif op == p.LHU:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4095:
                    break
                _rd(x, w, load_u16(a + load_i64(e + 16)))
            elif op == p.LW:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4093:
                    break
                _rd(x, w, load_i32(a + load_i64(e + 16)))
            elif op == p.LWU:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4093:
                    break
                _rd(x, w, load_u32(a + load_i64(e + 16)))
            elif op == p.LD:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e) != a & -4089:
                    break
                _rd(x, w, load_i64(a + load_i64(e + 16)))
            elif op == p.SB:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e + 8) != a & -4096:
                    break
                store_i8(a + load_i64(e + 16), _rs2(x, w))
            elif op == p.SH:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e + 8) != a & -4095:
                    break
                store_i16(a + load_i64(e + 16), _rs2(x, w))
            elif op == p.SW:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e + 8) != a & -4093:
                    break
                store_i32(a + load_i64(e + 16), _rs2(x, w))
            elif op == p.SD:
                a = _rs1(x, w) + (w >> 32)
                e = tlb + _slot(a)
                if load_i64(e + 8) != a & -4089:
                    break
                store_i64(a + load_i64(e + 16), _rs2(x, w))
            elif op == p.ADDI:
                _rd(x, w, _rs1(x, w) + (w >> 32))
            elif op == p.SLTI:
                _rd(x, w, 1 if _rs1(x, w) < (w >> 32) else 0)
            elif op == p.SLTIU:
                _rd(x, w, 1 if (_rs1(x, w) ^ _SIGN) < ((w >> 32) ^ _SIGN) else 0)
            elif op == p.XORI:
                _rd(x, w, _rs1(x, w) ^ (w >> 32))
            elif op == p.ORI:
                _rd(x, w, _rs1(x, w) | (w >> 32))
            elif op == p.ANDI:
                _rd(x, w, _rs1(x, w) & (w >> 32))
            elif op == p.SLLI:
                _rd(x, w, _rs1(x, w) << ((w >> 32) & 63))
            elif op == p.SRLI:
                _rd(x, w, _lshr(_rs1(x, w), (w >> 32) & 63))
            elif op == p.SRAI:
                _rd(x, w, _rs1(x, w) >> ((w >> 32) & 63))
            elif op == p.ADDIW:
                _rd(x, w, _sext32(_rs1(x, w) + (w >> 32)))
            elif op == p.SLLIW:
                _rd(x, w, _sext32(_rs1(x, w) << ((w >> 32) & 31)))
            elif op == p.SRLIW:
                _rd(x, w, _sext32((_rs1(x, w) & 0xFFFFFFFF) >> ((w >> 32) & 31)))
            elif op == p.SRAIW:
                _rd(x, w, _sext32(_rs1(x, w)) >> ((w >> 32) & 31))
            elif op == p.ADD:
                _rd(x, w, _rs1(x, w) + _rs2(x, w))
            elif op == p.SUB:
                _rd(x, w, _rs1(x, w) - _rs2(x, w))
            elif op == p.SLL:
                _rd(x, w, _rs1(x, w) << (_rs2(x, w) & 63))
            elif op == p.SLT:
                _rd(x, w, 1 if _rs1(x, w) < _rs2(x, w) else 0)
            elif op == p.SLTU:
                _rd(x, w, 1 if (_rs1(x, w) ^ _SIGN) < (_rs2(x, w) ^ _SIGN) else 0)
            elif op == p.XOR:
                _rd(x, w, _rs1(x, w) ^ _rs2(x, w))
            elif op == p.SRL:
                _rd(x, w, _lshr(_rs1(x, w), _rs2(x, w) & 63))
            elif op == p.SRA:
                _rd(x, w, _rs1(x, w) >> (_rs2(x, w) & 63))
            elif op == p.OR:
                _rd(x, w, _rs1(x, w) | _rs2(x, w))
            elif op == p.AND:
                _rd(x, w, _rs1(x, w) & _rs2(x, w))
            elif op == p.ADDW:
                _rd(x, w, _sext32(_rs1(x, w) + _rs2(x, w)))
            elif op == p.SUBW:
                _rd(x, w, _sext32(_rs1(x, w) - _rs2(x, w)))
            elif op == p.SLLW:
                _rd(x, w, _sext32(_rs1(x, w) << (_rs2(x, w) & 31)))
            elif op == p.SRLW:
                _rd(x, w, _sext32((_rs1(x, w) & 0xFFFFFFFF) >> (_rs2(x, w) & 31)))
            elif op == p.SRAW:
                _rd(x, w, _sext32(_rs1(x, w)) >> (_rs2(x, w) & 31))
            elif op == p.MUL:
                _rd(x, w, _rs1(x, w) * _rs2(x, w))
            elif op == p.MULH:
                _rd(x, w, _mulh(_rs1(x, w), _rs2(x, w)))
            elif op == p.MULHSU:
                _rd(x, w, _mulhsu(_rs1(x, w), _rs2(x, w)))
            elif op == p.MULHU:
                _rd(x, w, _mulhu(_rs1(x, w), _rs2(x, w)))
            elif op == p.DIV:
                _rd(x, w, _div(_rs1(x, w), _rs2(x, w)))
            elif op == p.DIVU:
                _rd(x, w, _divu(_rs1(x, w), _rs2(x, w)))
            elif op == p.REM:
                _rd(x, w, _rem(_rs1(x, w), _rs2(x, w)))
            elif op == p.REMU:
                _rd(x, w, _remu(_rs1(x, w), _rs2(x, w)))
            elif op == p.MULW:
                _rd(x, w, _sext32(_rs1(x, w) * _rs2(x, w)))
            elif op == p.DIVW:
                _rd(x, w, _sext32(_div(_sext32(_rs1(x, w)), _sext32(_rs2(x, w)))))
            elif op == p.DIVUW:
                _rd(x, w, _sext32(_divu(_rs1(x, w) & 0xFFFFFFFF, _rs2(x, w) & 0xFFFFFFFF)))
            elif op == p.REMW:
                _rd(x, w, _sext32(_rem(_sext32(_rs1(x, w)), _sext32(_rs2(x, w)))))
            elif op == p.REMUW:
                _rd(x, w, _sext32(_remu(_rs1(x, w) & 0xFFFFFFFF, _rs2(x, w) & 0xFFFFFFFF)))
            elif op != p.FENCE:
                break
        if left < 0:
            reason = EXIT_BUDGET
            left = 0
        else:
            # The instruction has had no effect.
            ip -= 8
            left += 1
            op = w & 255
            if op == p.UNDECODED:
                reason = EXIT_FETCH
            elif p.LB <= op <= p.SD:
                address, size, write = _rs1(x, w) + (w >> 32), _SIZES[op], 1 if op >= p.SB else 0
                if _refill(tlb, table, entries, address, size, write):
                    continue
                reason = EXIT_PAGE
                store_i64(ctx + CTX_ADDRESS * 8, address)
                store_i64(ctx + CTX_SIZE * 8, size)
                store_i64(ctx + CTX_WRITE * 8, write)
            else:
                reason = EXIT_DEFINITION
        store_i64(ctx + CTX_PC * 8, base + ((ip - code) >> 1))
        store_i64(ctx + CTX_LEFT * 8, left)
        return reason
