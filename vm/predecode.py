"""Decoding for the fast loop: a word of code becomes one int64 that says what to do without further looking.

Code is decoded a page at a time into a window, WINDOW_BYTES of guest memory, so that branches and jumps within it are
additions. Those that leave it, and words that trap or halt, are left to the definition.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vm.constants import PAGE_BYTES
from vm.guest.intrinsics import load_u8, load_u32, store_i8, store_i64
from vm.isa import FORMATS, LOAD, NUMBER, SHIFT32, SHIFT64, TABLE, B, I, J, S, U
from vm.jit import jit

# Where writes to x0 go: a register that nobody reads.
DISCARD: Final = 32

# Operation numbers: 0 is a word that has not been decoded, then the table's instructions, then "see vm.step".
UNDECODED: Final = 0
# fmt: off
(
    LUI, AUIPC, JAL, JALR, BEQ, BNE, BLT, BGE, BLTU, BGEU,
    LB, LH, LW, LD, LBU, LHU, LWU, SB, SH, SW, SD,
    ADDI, SLTI, SLTIU, XORI, ORI, ANDI, SLLI, SRLI, SRAI, ADDIW, SLLIW, SRLIW, SRAIW,
    ADD, SUB, SLL, SLT, SLTU, XOR, SRL, SRA, OR, AND, ADDW, SUBW, SLLW, SRLW, SRAW,
    MUL, MULH, MULHSU, MULHU, DIV, DIVU, REM, REMU, MULW, DIVW, DIVUW, REMW, REMUW, FENCE, ECALL,
) = range(1, len(TABLE) + 1)
# fmt: on
DEFINITION: Final = len(TABLE) + 1

# Pairs of instructions that the fast loop does in one go: the most frequent in our guest's code (softfloat inlined in
# contractions), and a few more that integer loops have. Their numbers follow. The first never jumps.
_FREQUENT: Final = """
    add+add add+addi add+beq add+jal add+ld add+sd add+srli add+sub addi+addi addi+and addi+beq addi+bge addi+bgeu
    addi+blt addi+bltu addi+bne addi+jal addi+ld addi+mul addi+or addi+slli addi+srli addi+xor addiw+slli addw+addi
    and+bltu auipc+jalr ld+add ld+addi ld+ld ld+mul lui+slli lw+addi lw+addiw lw+lw lw+slli mul+add mul+addw mul+ld
    mulhu+srl or+addi or+mulhu or+or sd+addi sd+sd slli+add slli+addi slli+addiw slli+blt slli+or slli+slli slli+srli
    srl+slli srli+add srli+addi srli+beq srli+slli srli+srli srli+xor sub+add sub+addi sub+jal xor+addi xor+srli
    xori+bltu
"""
PAIRS: Final = tuple((first, second) for first, _, second in (pair.partition("+") for pair in _FREQUENT.split()))
FIRST_PAIR: Final = DEFINITION + 1

# A window of decoded code: this much guest memory, and one more word, never decoded, where it ends.
WINDOW_LOG2: Final = 20
WINDOW_BYTES: Final = 1 << WINDOW_LOG2
WINDOW_WORDS: Final = WINDOW_BYTES // 4 + 1


def _by_opcode() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The table as rows (mask, match, format, operation) sorted by opcode, and where each opcode's rows start."""
    numbers = sorted(range(len(TABLE)), key=lambda number: TABLE[number].match & 0x7F)
    rows = [
        (TABLE[n].mask, TABLE[n].match, FORMATS.index(TABLE[n].format), n + 1 if n + 1 != ECALL else DEFINITION)
        for n in numbers
    ]
    starts = [sum(row[1] & 0x7F < opcode for row in rows) for opcode in range(129)]
    return np.array(rows, np.int64), np.array(starts, np.int64)


def operations(number: int) -> tuple[str, ...]:
    """The names of the instructions that an operation number stands for; `none` where the loop has to be left."""
    if number >= FIRST_PAIR:
        return PAIRS[number - FIRST_PAIR] if number - FIRST_PAIR < len(PAIRS) else ("none",)
    return (TABLE[number - 1].name,) if UNDECODED < number < DEFINITION else ("none",)


def plain(number: int) -> int:
    """The operation number of an operation, or of the first of a pair."""
    pair = number - FIRST_PAIR
    return number if pair < 0 else NUMBER[PAIRS[pair][0]] + 1 if pair < len(PAIRS) else UNDECODED


def _pair_numbers() -> NDArray[np.int64]:
    """The operation number of the pair (first, second); that of the first alone where there is none."""
    numbers = np.repeat(np.arange(FIRST_PAIR), FIRST_PAIR).reshape(FIRST_PAIR, FIRST_PAIR)
    for i, (first, second) in enumerate(PAIRS):
        numbers[NUMBER[first] + 1, NUMBER[second] + 1] = FIRST_PAIR + i
    return numbers


_PAIRS = _pair_numbers()
_ROWS, _STARTS = _by_opcode()
_I, _LOAD, _SHIFT64, _SHIFT32, _S, _B, _U, _J = (FORMATS.index(f) for f in (I, LOAD, SHIFT64, SHIFT32, S, B, U, J))


@jit
def _immediate(word: int, form: int) -> int:
    """As `isa.immediate`."""
    signed = word - ((word >> 31) << 32)
    if form in (_I, _LOAD):
        return signed >> 20
    if form == _SHIFT64:
        return (word >> 20) & 0x3F
    if form == _SHIFT32:
        return (word >> 20) & 0x1F
    if form == _S:
        return (signed >> 25 << 5) | ((word >> 7) & 0x1F)
    if form == _B:
        return (signed >> 31 << 12) | ((word >> 7 & 1) << 11) | ((word >> 25 & 0x3F) << 5) | ((word >> 8 & 0xF) << 1)
    if form == _U:
        return signed >> 12 << 12
    if form == _J:
        return (signed >> 31 << 20) | (word & 0xFF000) | ((word >> 20 & 1) << 11) | ((word >> 21 & 0x3FF) << 1)
    return 0


@jit
def _decode_word(word: int, position: int) -> int:
    """The packed form of a word at byte `position` of its window.

    Operation, rd, rs1, rs2 in a byte each, from the lowest, then the imm. That of a branch or jump is what must be
    added to `ip`, which is by then at the next word.
    """
    opcode = word & 0x7F
    for row in range(_STARTS[opcode], _STARTS[opcode + 1]):
        if word & _ROWS[row, 0] == _ROWS[row, 1]:
            form, operation = _ROWS[row, 2], _ROWS[row, 3]
            imm = _immediate(word, form)
            if form in (_B, _J):
                if imm & 3 or not 0 <= position + imm < WINDOW_BYTES:
                    return DEFINITION
                imm = imm * 2 - 8
            rd = (word >> 7) & 31
            if rd == 0:
                rd = DISCARD
            packed: int = operation | (rd << 8) | ((word >> 15 & 31) << 16) | ((word >> 20 & 31) << 24) | (imm << 32)
            return packed
    return DEFINITION


@jit
def decode_page(source: int, code: int, position: int) -> None:
    """Decodes the PAGE_BYTES of code at host address `source` into the window at `code`, from byte `position` on."""
    for at in range(position, position + PAGE_BYTES, 4):
        store_i64(code + at * 2, _decode_word(load_u32(source + at - position), at))
    # A pair lies within its page, so that it is forgotten with it.
    for word in range(code + position * 2, code + (position + PAGE_BYTES) * 2 - 8, 8):
        store_i8(word, _PAIRS[load_u8(word), load_u8(word + 8)])
