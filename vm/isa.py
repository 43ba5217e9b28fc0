"""RV64IM as data: one line per instruction, from which decoders, disassembler and the fast loop's tables are made.

A word is the instruction whose `match` it equals under `mask`; a word that is none of them traps. There is no EBREAK,
no FENCE.I and no CSR instruction here, because all they do is trap.
Source: The RISC-V Instruction Set Manual, volume I, RV32I/RV64I 2.1 and M 2.0; riscv-opcodes for match and mask.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from vm.errors import VmError

WORD_BYTES: Final = 4


class Format(NamedTuple):
    """An instruction format: which fields a word has, and the fixed bits that tell its instructions apart."""

    name: str
    mask: int
    operands: str  # as the disassembler prints them


R = Format("R", 0xFE00707F, "{rd}, {rs1}, {rs2}")
I = Format("I", 0x0000707F, "{rd}, {rs1}, {imm}")  # noqa: E741
LOAD = Format("LOAD", 0x0000707F, "{rd}, {imm}({rs1})")
SHIFT64 = Format("SHIFT64", 0xFC00707F, "{rd}, {rs1}, {imm}")
SHIFT32 = Format("SHIFT32", 0xFE00707F, "{rd}, {rs1}, {imm}")
S = Format("S", 0x0000707F, "{rs2}, {imm}({rs1})")
B = Format("B", 0x0000707F, "{rs1}, {rs2}, {imm}")
U = Format("U", 0x0000007F, "{rd}, {upper:#x}")
J = Format("J", 0x0000007F, "{rd}, {imm}")
FENCE = Format("FENCE", 0x0000707F, "")
SYSTEM = Format("SYSTEM", 0xFFFFFFFF, "")
FORMATS: Final = (R, I, LOAD, SHIFT64, SHIFT32, S, B, U, J, FENCE, SYSTEM)


class Instruction(NamedTuple):
    """One line of the table."""

    name: str
    match: int
    format: Format

    @property
    def mask(self) -> int:
        """The bits of a word that `match` fixes."""
        return self.format.mask


def _line(name: str, form: Format, opcode: int, funct3: int = 0, funct7: int = 0) -> Instruction:
    return Instruction(name, opcode | funct3 << 12 | funct7 << 25, form)


# The number of an instruction is its place here.
TABLE: Final = (
    _line("lui", U, 0x37),
    _line("auipc", U, 0x17),
    _line("jal", J, 0x6F),
    _line("jalr", LOAD, 0x67, 0),
    _line("beq", B, 0x63, 0),
    _line("bne", B, 0x63, 1),
    _line("blt", B, 0x63, 4),
    _line("bge", B, 0x63, 5),
    _line("bltu", B, 0x63, 6),
    _line("bgeu", B, 0x63, 7),
    _line("lb", LOAD, 0x03, 0),
    _line("lh", LOAD, 0x03, 1),
    _line("lw", LOAD, 0x03, 2),
    _line("ld", LOAD, 0x03, 3),
    _line("lbu", LOAD, 0x03, 4),
    _line("lhu", LOAD, 0x03, 5),
    _line("lwu", LOAD, 0x03, 6),
    _line("sb", S, 0x23, 0),
    _line("sh", S, 0x23, 1),
    _line("sw", S, 0x23, 2),
    _line("sd", S, 0x23, 3),
    _line("addi", I, 0x13, 0),
    _line("slti", I, 0x13, 2),
    _line("sltiu", I, 0x13, 3),
    _line("xori", I, 0x13, 4),
    _line("ori", I, 0x13, 6),
    _line("andi", I, 0x13, 7),
    _line("slli", SHIFT64, 0x13, 1),
    _line("srli", SHIFT64, 0x13, 5),
    _line("srai", SHIFT64, 0x13, 5, 0x20),
    _line("addiw", I, 0x1B, 0),
    _line("slliw", SHIFT32, 0x1B, 1),
    _line("srliw", SHIFT32, 0x1B, 5),
    _line("sraiw", SHIFT32, 0x1B, 5, 0x20),
    _line("add", R, 0x33, 0),
    _line("sub", R, 0x33, 0, 0x20),
    _line("sll", R, 0x33, 1),
    _line("slt", R, 0x33, 2),
    _line("sltu", R, 0x33, 3),
    _line("xor", R, 0x33, 4),
    _line("srl", R, 0x33, 5),
    _line("sra", R, 0x33, 5, 0x20),
    _line("or", R, 0x33, 6),
    _line("and", R, 0x33, 7),
    _line("addw", R, 0x3B, 0),
    _line("subw", R, 0x3B, 0, 0x20),
    _line("sllw", R, 0x3B, 1),
    _line("srlw", R, 0x3B, 5),
    _line("sraw", R, 0x3B, 5, 0x20),
    _line("mul", R, 0x33, 0, 1),
    _line("mulh", R, 0x33, 1, 1),
    _line("mulhsu", R, 0x33, 2, 1),
    _line("mulhu", R, 0x33, 3, 1),
    _line("div", R, 0x33, 4, 1),
    _line("divu", R, 0x33, 5, 1),
    _line("rem", R, 0x33, 6, 1),
    _line("remu", R, 0x33, 7, 1),
    _line("mulw", R, 0x3B, 0, 1),
    _line("divw", R, 0x3B, 4, 1),
    _line("divuw", R, 0x3B, 5, 1),
    _line("remw", R, 0x3B, 6, 1),
    _line("remuw", R, 0x3B, 7, 1),
    _line("fence", FENCE, 0x0F, 0),
    _line("ecall", SYSTEM, 0x73),
)

NUMBER: Final = {line.name: number for number, line in enumerate(TABLE)}

# Bytes that a load or store touches, by instruction name.
ACCESS_BYTES: Final = {
    "lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8, "sb": 1, "sh": 2, "sw": 4, "sd": 8,
}  # fmt: skip

REGISTER_NAMES: Final = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{i}" for i in range(8)),
    *(f"s{i}" for i in range(2, 12)),
    *(f"t{i}" for i in range(3, 7)),
)


def overlaps() -> list[tuple[str, str]]:
    """Pairs of instructions that share a word; the table is sound if there are none."""
    return [
        (a.name, b.name)
        for i, a in enumerate(TABLE)
        for b in TABLE[:i]
        if (a.match ^ b.match) & a.mask & b.mask == 0
    ]  # fmt: skip


class Decoded(NamedTuple):
    """A word taken apart. Fields that the format has not are 0; `imm` is signed."""

    line: Instruction
    rd: int
    rs1: int
    rs2: int
    imm: int


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def immediate(word: int, form: Format) -> int:
    """The immediate of a word in the given format: signed, scaled to bytes; 0 where there is none."""
    if form in (I, LOAD):
        return _signed(word >> 20, 12)
    if form == SHIFT64:
        return word >> 20 & 0x3F
    if form == SHIFT32:
        return word >> 20 & 0x1F
    if form == S:
        return _signed(word >> 25 << 5 | word >> 7 & 0x1F, 12)
    if form == B:
        return _signed(
            (word >> 31) << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 0x3F) << 5 | (word >> 8 & 0xF) << 1, 13
        )
    if form == U:
        return _signed(word & 0xFFFFF000, 32)
    if form == J:
        return _signed(
            (word >> 31) << 20 | (word >> 12 & 0xFF) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 0x3FF) << 1, 21
        )
    return 0


@lru_cache(1 << 14)
def decode(word: int) -> Decoded | None:
    """The instruction that a 32-bit word is; None if it is none."""
    for line in TABLE:
        if word & line.mask == line.match:
            form = line.format
            rd = word >> 7 & 31 if form in (R, I, LOAD, SHIFT64, SHIFT32, U, J) else 0
            rs1 = word >> 15 & 31 if form in (R, I, LOAD, SHIFT64, SHIFT32, S, B) else 0
            rs2 = word >> 20 & 31 if form in (R, S, B) else 0
            return Decoded(line, rd, rs1, rs2, immediate(word, form))
    return None


def disassemble(word: int) -> str:
    """Assembly text of a word, offsets of jumps and branches relative to it; `.word 0x…` if it is no instruction."""
    decoded = decode(word)
    if decoded is None:
        return f".word {word:#010x}"
    line, rd, rs1, rs2, imm = decoded
    names = {"rd": REGISTER_NAMES[rd], "rs1": REGISTER_NAMES[rs1], "rs2": REGISTER_NAMES[rs2]}
    return f"{line.name} {line.format.operands.format(imm=imm, upper=imm >> 12 & 0xFFFFF, **names)}".rstrip()


def encode(name: str, rd: int = 0, rs1: int = 0, rs2: int = 0, imm: int = 0) -> int:
    """The word of an instruction; `imm` as `decode` gives it (the inverse of `decode`).

    Raises VmError if there is no such instruction, or the fields do not fit it.
    """
    if name not in NUMBER:
        raise VmError(f"there is no instruction {name}")
    line = TABLE[NUMBER[name]]
    form, word = line.format, line.match | rd << 7 | rs1 << 15
    if form == R:
        word |= rs2 << 20
    elif form in (I, LOAD, SHIFT64, SHIFT32):
        word |= (imm & 0xFFF) << 20
    elif form == S:
        word |= rs2 << 20 | (imm >> 5 & 0x7F) << 25 | (imm & 0x1F) << 7
    elif form == B:
        word |= rs2 << 20 | (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3F) << 25 | (imm >> 1 & 0xF) << 8
        word |= (imm >> 11 & 1) << 7
    elif form == U:
        word |= imm & 0xFFFFF000
    elif form == J:
        word |= (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3FF) << 21 | (imm >> 11 & 1) << 20 | (imm >> 12 & 0xFF) << 12
    if decode(word & 0xFFFFFFFF) != Decoded(line, rd, rs1, rs2, imm) or word >> 32:
        raise VmError(f"{name} cannot have rd={rd}, rs1={rs1}, rs2={rs2}, imm={imm}")
    return word
