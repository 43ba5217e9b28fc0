"""A flat image from an ELF object: the smallest linker that does it, and the same bytes every time.

The image starts at GUEST_BASE with the start-up words, then come the code and the constants that the entry reaches,
in the order in which they are reached. There is no writable data: what a tile leaves behind is its leaf of output.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from vm.constants import MEMORY_LOG2, REG_A7, SYSCALL_EXIT
from vm.guest.errors import GuestError
from vm.guest.record import GUEST_BASE, GUEST_LOG2

STACK_LOG2: Final = 16
"""The stack is the first 2**STACK_LOG2 bytes of scratch."""

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA = 1, 2, 4
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00

# By number, as the RISC-V ELF specification names them (with R_RISCV_ before it).
_RELOCATION_NAMES: Final = (
    "NONE 32 64 RELATIVE COPY JUMP_SLOT TLS_DTPMOD32 TLS_DTPMOD64 TLS_DTPREL32 TLS_DTPREL64 TLS_TPREL32 TLS_TPREL64 "
    "TLSDESC 13 14 15 BRANCH JAL CALL CALL_PLT GOT_HI20 TLS_GOT_HI20 TLS_GD_HI20 PCREL_HI20 PCREL_LO12_I PCREL_LO12_S "
    "HI20 LO12_I LO12_S TPREL_HI20 TPREL_LO12_I TPREL_LO12_S TPREL_ADD ADD8 ADD16 ADD32 ADD64 SUB8 SUB16 SUB32 SUB64 "
    "GOT32_PCREL 42 ALIGN RVC_BRANCH RVC_JUMP 46 47 48 49 50 RELAX SUB6 SET6 SET8 SET16 SET32 32_PCREL IRELATIVE PLT32"
)
_RELOCATIONS: Final = tuple(_RELOCATION_NAMES.split())
_DIRECT: Final = {"32", "64", "BRANCH", "JAL", "CALL", "CALL_PLT", "HI20", "LO12_I", "LO12_S"}
_KNOWN: Final = _DIRECT | {"PCREL_HI20", "PCREL_LO12_I", "PCREL_LO12_S"}
_CALLS: Final = {"CALL", "CALL_PLT", "JAL"}
_START_WORDS: Final = 7

_SP: Final = 2
_JAL_RA, _JALR_RA = 1 << 7 | 0x6F, 1 << 7 | 0x67
# Operations whose bits 7 to 11 name the register that is written.
_WRITES_RD: Final = {0x03, 0x13, 0x17, 0x1B, 0x33, 0x37, 0x3B, 0x67, 0x6F}


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int


@dataclass(frozen=True)
class _Relocation:
    offset: int
    kind: str
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
    reached = list(_reach(sections, start.section))
    reached.sort(key=lambda index: not sections[index].flags & _SHF_EXECINSTR)  # stable: code, then constants
    _check_stack(sections, start.section)

    address, bases = GUEST_BASE + 4 * _START_WORDS, {}
    for index in reached:
        alignment = max(4, sections[index].alignment)
        address = -(-address // alignment) * alignment
        bases[index] = address
        address += len(sections[index].data)
    if address > GUEST_BASE + (1 << GUEST_LOG2):
        raise GuestError(f"the image has {address - GUEST_BASE} bytes; there is room for {1 << GUEST_LOG2}")

    image = bytearray(address - GUEST_BASE)
    image[: 4 * _START_WORDS] = _start(bases[start.section] + start.value)
    for index in reached:
        offset = bases[index] - GUEST_BASE
        data = _relocate(sections[index], bases[index], bases)
        image[offset : offset + len(data)] = data
    return bytes(image)


def _start(entry: int) -> bytes:
    """Sets the stack, calls the entry, and halts with what it returned."""
    t0, ra = 5, 1
    words = [
        _addi(_SP, 0, 1),
        (MEMORY_LOG2 - 1) << 20 | _SP << 15 | 1 << 12 | _SP << 7 | 0x13,  # slli sp, sp, 39: SCRATCH_BASE
        1 << STACK_LOG2 | t0 << 7 | 0x37,  # lui t0, 16: the size of the stack
        t0 << 20 | _SP << 15 | _SP << 7 | 0x33,  # add sp, sp, t0
        _jal_bits(entry - (GUEST_BASE + 16)) | ra << 7 | 0x6F,  # jal ra, entry
        _addi(REG_A7, 0, SYSCALL_EXIT),
        0x73,  # ecall
    ]
    return struct.pack(f"<{_START_WORDS}I", *words)


def _addi(rd: int, rs: int, immediate: int) -> int:
    return (immediate & 0xFFF) << 20 | rs << 15 | rd << 7 | 0x13


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
                number = info & 0xFFFFFFFF
                kind = _RELOCATIONS[number] if number < len(_RELOCATIONS) else str(number)
                sections[header[7]].relocations.append(_Relocation(offset, kind, symbols[info >> 32], addend))
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
                raise GuestError(f"{section.name}: no relocation R_RISCV_{relocation.kind} in a guest")
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
            callees = {i for i in _callees(sections[index]) if sections[i].flags & _SHF_EXECINSTR}
            own = _frame(sections[index])
            depth[index] = own + max((visit(callee) for callee in sorted(callees)), default=0)
            active.remove(index)
        return depth[index]

    if visit(start) > 1 << STACK_LOG2:
        raise GuestError(f"the guest may need {depth[start]} bytes of stack; there are {1 << STACK_LOG2}")


def _callees(section: _Section) -> set[int]:
    """The sections that a function calls, or jumps to for good."""
    named = {relocation.offset for relocation in section.relocations}
    for index, (word,) in enumerate(struct.iter_unpack("<I", section.data)):
        # A jump that leaves its return address must have a relocation: jal its own, jalr that of the auipc before it.
        operation = word & 0xFFF
        if (operation == _JAL_RA and 4 * index not in named) or (operation == _JALR_RA and 4 * index - 4 not in named):
            raise GuestError(f"{section.name}: recursion, or a call through a pointer")
    return {relocation.symbol.section for relocation in section.relocations if relocation.kind in _CALLS}


def _frame(section: _Section) -> int:
    """Bytes that a function takes from the stack: all that its `addi sp, sp, -n` take."""
    total = 0
    for (word,) in struct.iter_unpack("<I", section.data):
        immediate = ((word ^ 0x80000000) - 0x80000000) >> 20
        if word == _addi(_SP, _SP, immediate):
            total += max(0, -immediate)
        elif word >> 7 & 0x1F == _SP and word & 0x7F in _WRITES_RD:
            raise GuestError(f"{section.name}: a stack frame of more than 2048 bytes, or of a size that varies")
    return total


def _relocate(section: _Section, base: int, bases: dict[int, int]) -> bytes:
    data = bytearray(section.data)
    target = {r.offset: bases[r.symbol.section] + r.symbol.value + r.addend for r in section.relocations}

    def patch(offset: int, bits: int) -> None:
        (word,) = struct.unpack_from("<I", data, offset)
        struct.pack_into("<I", data, offset, word | bits)

    for r in section.relocations:
        value, pc = target[r.offset], base + r.offset
        if r.kind == "32":
            struct.pack_into("<I", data, r.offset, value)
        elif r.kind == "64":
            struct.pack_into("<Q", data, r.offset, value)
        elif r.kind == "BRANCH":
            patch(r.offset, _branch_bits(value - pc))
        elif r.kind == "JAL":
            patch(r.offset, _jal_bits(value - pc))
        elif r.kind in ("CALL", "CALL_PLT"):
            patch(r.offset, _high(value - pc))
            patch(r.offset + 4, _load_bits(value - pc))
        elif r.kind == "HI20":
            patch(r.offset, _high(value))
        elif r.kind == "LO12_I":
            patch(r.offset, _load_bits(value))
        elif r.kind == "LO12_S":
            patch(r.offset, _store_bits(value))
        elif r.kind == "PCREL_HI20":
            patch(r.offset, _high(value - pc))
        else:  # the lower half of a distance: the symbol is the place of its upper half
            if r.symbol.section not in bases or bases[r.symbol.section] != base:
                raise GuestError(f"{section.name}: a lower half without its upper half")
            distance = target[r.symbol.value] - (base + r.symbol.value)
            patch(r.offset, _load_bits(distance) if r.kind == "PCREL_LO12_I" else _store_bits(distance))
    return bytes(data)
