"""The fast loop: pre-decoded instructions over host memory. It does what is common and leaves the rest to `vm.step`.

Loads and stores find the host address of a guest page in a small direct-mapped buffer (TLB), refilled from a hash
table that holds every page the run has touched. Whatever is not a plain instruction on known pages (faults, traps,
halting) leaves the loop before it has had any effect. What the instructions do is in `vm.handlers`.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from vm import predecode as p
from vm.constants import PAGE_BYTES
from vm.guest.intrinsics import load_i64, store_i64
from vm.handlers import (
    BUDGET,
    CTX_ADDRESS,
    CTX_BASE,
    CTX_CODE,
    CTX_END,
    CTX_IP,
    CTX_LEFT,
    CTX_PC,
    CTX_SIZE,
    CTX_WRITE,
    ENTRY_BYTES,
    QUICK_STEPS,
    enter_exact,
    enter_quick,
    slot,
)
from vm.isa import ACCESS_BYTES, TABLE
from vm.jit import intrinsic, jit

NO_PAGE: Final = -1
# Page table entry: page address (or NO_PAGE), whether it may be written, host minus guest address.
ENTRY_WORDS: Final = ENTRY_BYTES // 8

# Why the loop was left.
(EXIT_BUDGET, EXIT_FETCH, EXIT_PAGE, EXIT_DEFINITION) = range(4)

# By operation number: what it is alone or at the head of a pair, and how many bytes it loads or stores.
_PLAIN: Final = np.array([p.plain(number) for number in range(256)], np.int64)
_SIZES: Final = np.array([0, *(ACCESS_BYTES.get(line.name, 0) for line in TABLE), 0], np.int64)
_HASH_FACTOR: Final = -7046029254386353131  # 2**64 / golden ratio, as int64


@intrinsic
def _lshr(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.lshr(*args)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _slot_offset(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return slot(builder, *args)

    return types.int64(types.int64), codegen


@jit
def _slot(address: int) -> int:
    """Offset of the TLB entry of a guest address."""
    offset: int = _slot_offset(address)
    return offset


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
def execute(ctx: int, code: int, base: int, tlb: int, table: int, entries: int) -> int:
    """Runs from the context's pc, inside the window `code` of guest address `base`, for at most CTX_LEFT steps.

    All arguments but `base` and `entries` are host addresses. Returns the EXIT reason; the context then says where
    the machine stands, how many steps are left, and for EXIT_PAGE which access found no page.
    """
    store_i64(ctx + CTX_CODE * 8, code)
    store_i64(ctx + CTX_BASE * 8, base)
    left = load_i64(ctx + CTX_LEFT * 8)
    ip = code + (load_i64(ctx + CTX_PC * 8) - base) * 2
    reason = EXIT_BUDGET
    while left > 0:
        quick = left >= QUICK_STEPS
        end = ip + left * 8
        outcome = enter_quick(ctx, ip, end, tlb) if quick else enter_exact(ctx, ip, end, tlb)
        ip = load_i64(ctx + CTX_IP * 8)
        left = (load_i64(ctx + CTX_END * 8) - ip) >> 3
        if outcome == BUDGET:
            continue
        w = load_i64(ip)
        op = _PLAIN[w & 255]
        if op == p.UNDECODED:
            reason = EXIT_FETCH
            break
        if not p.LB <= op <= p.SD:
            reason = EXIT_DEFINITION
            break
        address = load_i64(ctx + ((w >> 16) & 255) * 8) + (w >> 32)
        size, write = _SIZES[op], 1 if op >= p.SB else 0
        if not _refill(tlb, table, entries, address, size, write):
            reason = EXIT_PAGE
            store_i64(ctx + CTX_ADDRESS * 8, address)
            store_i64(ctx + CTX_SIZE * 8, size)
            store_i64(ctx + CTX_WRITE * 8, write)
            break
    store_i64(ctx + CTX_PC * 8, base + ((ip - code) >> 1))
    store_i64(ctx + CTX_LEFT * 8, left)
    return reason
