"""A flat image from an ELF object: the smallest linker that does it, and the same bytes every time.

The image starts at GUEST_BASE with the start-up words, then come the code and the constants that the entry reaches,
in the order in which they are reached. There is no writable data: what a tile leaves behind is its leaf of output.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from vm.constants import REG_A7, SCRATCH_BASE, SYSCALL_EXIT
from vm.guest.errors import GuestError
from vm.guest.record import GUEST_BASE, GUEST_LOG2

STACK_LOG2: Final = 16
STACK_TOP: Final = SCRATCH_BASE + (1 << STACK_LOG2)

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA = 1, 2, 4
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00

_R_64, _R_BRANCH, _R_JAL, _R_CALL, _R_CALL_PLT = 2, 16, 17, 18, 19
_R_PCREL_HI20, _R_PCREL_LO12_I, _R_PCREL_LO12_S = 23, 24, 25
_R_HI20, _R_LO12_I, _R_LO12_S = 26, 27, 28
_KNOWN: Final = {2, 16, 17, 18, 19, 23, 24, 25, 26, 27, 28}


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int


@dataclass(frozen=True)
class _Relocation:
    offset: int
    kind: int
    symbol: _Symbol
    addend: int


@dataclass
class _Section:
    name: str
    kind: int
    flags: int
    alignment: int
    data: bytes
    relocations: list[_Relocation] = field(default_factory=list)


def link(elf: bytes, entry: str) -> bytes:
    """Links a relocatable RV64 object; `entry` is called with the arguments that the machine starts with.

    Raises GuestError for an undefined symbol, a relocation, a section or an amount of stack that a guest cannot have.
    """
    sections, symbols = _parse(elf)
    start = next((s for s in symbols if s.name == entry and s.section != _SHN_UNDEF), None)
    if start is None:
        raise GuestError(f"no function {entry}")
    words = 7
    reached = list(_reach(sections, start.section))
    reached.sort(key=lambda index: not sections[index].flags & _SHF_EXECINSTR)  # stable: code, then constants
    _check_stack(sections, start.section)

    address, bases = GUEST_BASE + 4 * words, {}
    for index in reached:
        alignment = max(4, sections[index].alignment)
        address = -(-address // alignment) * alignment
        bases[index] = address
        address += len(sections[index].data)
    if address > GUEST_BASE + (1 << GUEST_LOG2):
        raise GuestError(f"the image has {address - GUEST_BASE} bytes; there is room for {1 << GUEST_LOG2}")

    image = bytearray(address - GUEST_BASE)
    image[: 4 * words] = _start(bases[start.section] + start.value)
    for index in reached:
        offset = bases[index] - GUEST_BASE
        data = _relocate(sections[index], bases[index], bases)
        image[offset : offset + len(data)] = data
    return bytes(image)


def _start(entry: int) -> bytes:
    """Sets the stack, calls the entry, and halts with what it returned."""
    sp, t0, ra = 2, 5, 1
    assert STACK_TOP == (1 << 39) + (1 << 16)
    words = [
        _addi(sp, 0, 1),
        39 << 20 | sp << 15 | 1 << 12 | sp << 7 | 0x13,  # slli sp, sp, 39
        (STACK_TOP - SCRATCH_BASE) | t0 << 7 | 0x37,  # lui t0
        t0 << 20 | sp << 15 | sp << 7 | 0x33,  # add sp, sp, t0
        _jal(ra, entry - (GUEST_BASE + 16)),
        _addi(REG_A7, 0, SYSCALL_EXIT),
        0x73,  # ecall
    ]
    return struct.pack(f"<{len(words)}I", *words)


def _addi(rd: int, rs: int, immediate: int) -> int:
    return (immediate & 0xFFF) << 20 | rs << 15 | rd << 7 | 0x13


def _jal(rd: int, offset: int) -> int:
    return _jal_bits(offset) | rd << 7 | 0x6F


def _jal_bits(offset: int) -> int:
    if offset % 2 or not -(1 << 20) <= offset < 1 << 20:
        raise GuestError(f"a jump by {offset} does not fit")
    low, high = offset >> 1 & 0x3FF, offset >> 12 & 0xFF
    return (offset >> 20 & 1) << 31 | low << 21 | (offset >> 11 & 1) << 20 | high << 12


def _branch_bits(offset: int) -> int:
    if offset % 2 or not -(1 << 12) <= offset < 1 << 12:
        raise GuestError(f"a branch by {offset} does not fit")
    return (offset >> 12 & 1) << 31 | (offset >> 5 & 0x3F) << 25 | (offset >> 1 & 0xF) << 8 | (offset >> 11 & 1) << 7


def _high(value: int) -> int:
    """The upper 20 bits for lui and auipc, such that adding the sign-extended lower 12 gives `value`."""
    if not -(1 << 31) <= value < (1 << 31) - (1 << 11):
        raise GuestError(f"the distance {value} does not fit")
    return (value + 0x800) & 0xFFFFF000


def _load_bits(value: int) -> int:
    return (value & 0xFFF) << 20


def _store_bits(value: int) -> int:
    return (value >> 5 & 0x7F) << 25 | (value & 0x1F) << 7


def _parse(elf: bytes) -> tuple[list[_Section], list[_Symbol]]:
    if elf[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", elf, 16) != (1, 243):
        raise GuestError("not a relocatable RISC-V object of 64 bits")
    table, size, count, names_at = struct.unpack_from("<40xQ10xHHH", elf)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * size) for i in range(count)]
    contents = [b"" if h[1] == 8 else elf[h[4] : h[4] + h[5]] for h in headers]
    sections = [
        _Section(_string(contents[names_at], h[0]), h[1], h[2], h[8], data)
        for h, data in zip(headers, contents, strict=True)
    ]
    symbols: list[_Symbol] = []
    for header, data in zip(headers, contents, strict=True):
        if header[1] == _SHT_SYMTAB:
            for name, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", data):
                symbols.append(_Symbol(_string(contents[header[6]], name), section, value))
    for header, data in zip(headers, contents, strict=True):
        if header[1] == _SHT_RELA:
            for offset, info, addend in struct.iter_unpack("<QQq", data):
                relocation = _Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32], addend)
                sections[header[7]].relocations.append(relocation)
    return sections, symbols


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _reach(sections: list[_Section], start: int) -> Iterator[int]:
    """Sections in the order in which they are reached from `start`, depth first."""
    seen, stack = set(), [start]
    while stack:
        index = stack.pop()
        if index in seen:
            continue
        seen.add(index)
        section = sections[index]
        if section.kind != _SHT_PROGBITS or not section.flags & _SHF_ALLOC or section.flags & _SHF_WRITE:
            raise GuestError(f"section {section.name}: a guest has only code and constants")
        yield index
        for relocation in section.relocations:
            if relocation.kind not in _KNOWN:
                raise GuestError(f"{section.name}: relocation type {relocation.kind} is not known")
            symbol = relocation.symbol
            if symbol.section == _SHN_UNDEF or symbol.section >= _SHN_LORESERVE:
                raise GuestError(f"{section.name}: undefined symbol {symbol.name}")
        stack.extend(relocation.symbol.section for relocation in reversed(section.relocations))


def _check_stack(sections: list[_Section], start: int) -> None:
    """Bounds the stack: no recursion, and the deepest chain of calls fits."""
    depth: dict[int, int] = {}
    active: set[int] = set()

    def visit(index: int) -> int:
        if index in active:
            raise GuestError(f"{sections[index].name}: recursion")
        if index not in depth:
            active.add(index)
            callees = {r.symbol.section for r in sections[index].relocations} - {index}
            callees = {i for i in callees if sections[i].flags & _SHF_EXECINSTR}
            own = _frame(sections[index])
            depth[index] = own + max((visit(callee) for callee in sorted(callees)), default=0)
            active.remove(index)
        return depth[index]

    if visit(start) > 1 << STACK_LOG2:
        raise GuestError(f"the guest may need {depth[start]} bytes of stack; there are {1 << STACK_LOG2}")


def _frame(section: _Section) -> int:
    """Bytes that a function takes from the stack: all that its `addi sp, sp, -n` take."""
    total = 0
    for (word,) in struct.iter_unpack("<I", section.data):
        if word & 0xFFFFF == 2 << 15 | 2 << 7 | 0x13:
            total += max(0, -((word ^ 0x80000000) - 0x80000000 >> 20))
        elif word & 0xF80 == 2 << 7 and word & 0x7F in (0x33, 0x37, 0x17):
            raise GuestError(f"{section.name}: a stack frame of more than 2048 bytes")
    return total


def _relocate(section: _Section, base: int, bases: dict[int, int]) -> bytes:
    data = bytearray(section.data)
    target = {r.offset: bases[r.symbol.section] + r.symbol.value + r.addend for r in section.relocations}

    def patch(offset: int, bits: int) -> None:
        (word,) = struct.unpack_from("<I", data, offset)
        struct.pack_into("<I", data, offset, word | bits)

    for r in section.relocations:
        value, pc = target[r.offset], base + r.offset
        if r.kind == _R_64:
            struct.pack_into("<Q", data, r.offset, value)
        elif r.kind == _R_BRANCH:
            patch(r.offset, _branch_bits(value - pc))
        elif r.kind == _R_JAL:
            patch(r.offset, _jal_bits(value - pc))
        elif r.kind in (_R_CALL, _R_CALL_PLT):
            patch(r.offset, _high(value - pc))
            patch(r.offset + 4, _load_bits(value - pc))
        elif r.kind == _R_HI20:
            patch(r.offset, _high(value))
        elif r.kind == _R_LO12_I:
            patch(r.offset, _load_bits(value))
        elif r.kind == _R_LO12_S:
            patch(r.offset, _store_bits(value))
        elif r.kind == _R_PCREL_HI20:
            patch(r.offset, _high(value - pc))
        else:  # the lower half of a distance: the symbol is the place of its upper half
            if r.symbol.section not in bases or bases[r.symbol.section] != base:
                raise GuestError(f"{section.name}: a lower half without its upper half")
            distance = target[r.symbol.value] - (base + r.symbol.value)
            patch(r.offset, _load_bits(distance) if r.kind == _R_PCREL_LO12_I else _store_bits(distance))
    return bytes(data)
