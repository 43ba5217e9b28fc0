"""The instruction table, its decoders, and the reserved encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm import isa, predecode
from vm.alu import BRANCHES, IMMEDIATE_OPERATIONS, OPERATIONS
from vm.constants import RUNNING
from vm.errors import VmError
from vm.isa import ACCESS_BYTES, FORMATS, TABLE, decode, disassemble, encode
from vm.memory import Memory
from vm.run import run
from vm.state import State
from vm.step import DirectAccess, step

words = st.integers(0, (1 << 32) - 1)
REST = ["lui", "auipc", "jal", "jalr", "fence", "ecall"]


def legal(opcode: int, funct3: int, funct7: int) -> bool:
    """Which opcode, funct3, funct7 are RV64IM, from the manual's chapters; other fields as in `all_triples`."""
    match opcode:
        case 0x37 | 0x17 | 0x6F:
            return True
        case 0x67 | 0x0F:
            return funct3 == 0
        case 0x63:
            return funct3 not in (2, 3)
        case 0x03:
            return funct3 != 7
        case 0x23:
            return funct3 <= 3
        case 0x13:
            shifts = {1: {0, 1}, 5: {0, 1, 0x20, 0x21}}  # bit 25 is the shift's sixth bit
            return funct7 in shifts.get(funct3, range(128))
        case 0x1B:
            return funct3 == 0 or funct7 in {1: {0}, 5: {0, 0x20}}.get(funct3, ())
        case 0x33:
            return funct7 in ({0, 1, 0x20} if funct3 in (0, 5) else {0, 1})
        case 0x3B:
            return funct7 in {0: {0, 1, 0x20}, 1: {0}, 5: {0, 1, 0x20}, 4: {1}, 6: {1}, 7: {1}}.get(funct3, ())
    return False


def all_triples() -> np.ndarray:
    """All 32-bit opcodes with all funct3, funct7, and rd = x8, rs1 = x6, rs2 = x8: 2**15 words.

    So offsets are multiples of 8, and with an aligned x6 nothing but the word itself can trap.
    """
    opcode, funct3, funct7 = np.meshgrid(np.arange(3, 128, 4), np.arange(8), np.arange(128), indexing="ij")
    return (opcode | 8 << 7 | funct3 << 12 | 6 << 15 | 8 << 20 | funct7 << 25).ravel()


def test_no_two_instructions_share_a_word():
    assert isa.overlaps() == []


def test_the_overlap_test_sees_overlaps(monkeypatch):
    loose = isa.Instruction("loose", 0x13, isa.Format("loose", 0x7F, ""))
    monkeypatch.setattr(isa, "TABLE", (*TABLE, loose))
    assert ("loose", "addi") in isa.overlaps()


def test_each_instruction_has_one_meaning():
    kinds = [set(OPERATIONS), set(IMMEDIATE_OPERATIONS), set(ACCESS_BYTES), set(BRANCHES), set(REST)]
    assert sum(map(len, kinds)) == len(TABLE) == 64
    assert set().union(*kinds) == {line.name for line in TABLE}


def test_the_fast_loop_numbers_instructions_as_the_table():
    assert [getattr(predecode, line.name.upper()) for line in TABLE] == list(range(1, len(TABLE) + 1))
    assert predecode.UNDECODED == 0
    assert len(TABLE) + 1 == predecode.DEFINITION


def test_pitfall_1_all_triples_are_legal_or_trap():
    triples = all_triples()
    assert len(set(triples.tolist())) == 1 << 15
    for word in triples.tolist():
        assert (decode(word) is not None) == legal(word & 127, word >> 12 & 7, word >> 25), hex(word)


def test_pitfall_1_all_triples_definition_and_fast_loop():
    base, registers = 0x1000, [0] + [(0x9E3779B97F4A7C15 * i) & (1 << 64) - 1 for i in range(1, 32)]
    registers[6] = 0x2000
    memory = Memory()
    memory.write(0x1800, bytes(range(256)) * 8)
    memory.node(7, 1)
    for word in all_triples().tolist():
        first = State(memory.fork(), base, list(registers))
        first.memory.store(base, 4, word)
        second = first.fork()
        step(DirectAccess(first))
        assert run(second, 1) == 1
        assert (first.pc, first.status, first.registers) == (second.pc, second.status, second.registers), hex(word)
        assert (first.status == RUNNING) == legal(word & 127, word >> 12 & 7, word >> 25), hex(word)
        if (word & 127) == 0x23:
            assert first.memory.read(0x1800, 0x1000) == second.memory.read(0x1800, 0x1000), hex(word)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (0x00000000, "all zeros"),
        (0xFFFFFFFF, "all ones"),
        (0xF001C0DE, "no opcode"),
        (encode("xor", 5, 6, 7) | 0x7F << 25, "xor with funct7 0x7f"),
        (encode("sllw", 5, 6, 7) | 0x7F << 25, "sllw with funct7 0x7f"),
        (encode("jalr", 5, 6) | 5 << 12, "jalr with funct3 5"),
        (encode("slli", 5, 6) | 0x3F << 26, "slli with imm[11:6] 0x3f"),
        (encode("ecall") | 1 << 20, "ebreak"),
        (encode("ecall") | 1 << 7, "ecall with rd"),
        (encode("ecall") | 1 << 15, "ecall with rs1"),
        (0x0000100F, "fence.i"),
        (0xC0002573, "rdcycle"),
        (0x30200073, "mret"),
        (0x10500073, "wfi"),
        (0x0000006B, "custom"),
        (0x1000202F, "lr.w"),
        (0x00002007, "flw"),
        (0x00000001, "c.nop"),
    ],
)
def test_pitfall_1_words_that_are_no_instruction(word, why):
    assert decode(word) is None, why
    assert disassemble(word) == f".word {word:#010x}"


@pytest.mark.parametrize(
    ("name", "bits"),
    [("slli", 6), ("srli", 6), ("srai", 6), ("slliw", 5), ("srliw", 5), ("sraiw", 5)],
)
def test_pitfall_2_reserved_shift_amounts(name, bits):
    base = encode(name, 5, 6)
    fixed = base >> 20 >> bits << bits
    for imm in range(1 << 12):
        word = base & 0xFFFFF | imm << 20
        decoded = decode(word)
        good = imm >> bits << bits == fixed
        assert good == (decoded is not None and decoded.line.name == name and decoded.imm == imm - fixed)


@pytest.mark.parametrize("bits", [0, 0x0FF00000, 0xFFF00000, 0x00000F80, 0x000F8000, 0xFFFF8F80])
def test_fence_is_one_whatever_its_other_bits(bits):
    decoded = decode(0x0F | bits)
    assert decoded is not None
    assert decoded.line.name == "fence"


@given(words)
def test_encode_is_the_inverse_of_decode(word):
    decoded = decode(word)
    if decoded is None:
        return
    line, rd, rs1, rs2, imm = decoded
    again = encode(line.name, rd, rs1, rs2, imm)
    assert again == word or line.name == "fence"
    assert decode(again) == decoded


@given(words, st.integers(0, predecode.WINDOW_BYTES // 4 - 1))
def test_both_decoders_agree(word, position):
    packed, decoded = predecode._decode_word(word, 4 * position), decode(word)
    operation, rd, rs1, rs2, imm = packed & 255, packed >> 8 & 255, packed >> 16 & 255, packed >> 24 & 255, packed >> 32
    if decoded is None or decoded.line.name == "ecall":
        assert operation == predecode.DEFINITION
        return
    form = decoded.line.format
    if form in (isa.B, isa.J) and operation == predecode.DEFINITION:
        assert decoded.imm % 4 or not 0 <= 4 * position + decoded.imm < predecode.WINDOW_BYTES
        return
    assert TABLE[operation - 1] == decoded.line
    if form in (isa.B, isa.J):
        imm = (imm + 8) // 2
    assert imm == decoded.imm
    if form not in (isa.S, isa.B, isa.FENCE):
        assert rd == (decoded.rd or predecode.DISCARD)
    if form in (isa.R, isa.S, isa.B):
        assert (rs1, rs2) == (decoded.rs1, decoded.rs2)


@pytest.mark.parametrize("form", FORMATS)
def test_immediates_at_their_edges(form):
    edges = {
        isa.I: (-2048, -1, 0, 1, 2047),
        isa.LOAD: (-2048, 2047),
        isa.S: (-2048, -1, 31, 32, 2047),
        isa.B: (-4096, -2, 0, 2, 30, 32, 2046, 2048, 4094),
        isa.U: (-(1 << 31), -4096, 0, 4096, (1 << 31) - 4096),
        isa.J: (-(1 << 20), -2, 0, 2046, 2048, 4096, (1 << 20) - 2),
        isa.SHIFT64: (0, 31, 32, 63),
        isa.SHIFT32: (0, 31),
    }.get(form, (0,))
    name = next(line.name for line in TABLE if line.format == form)
    for imm in edges:
        decoded = decode(encode(name, imm=imm))
        assert decoded is not None
        assert decoded.imm == imm


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("addi", {"imm": 2048}),
        ("addi", {"imm": -2049}),
        ("addi", {"rd": 32}),
        ("addi", {"rs2": 1}),
        ("beq", {"imm": 1}),
        ("beq", {"imm": 4096}),
        ("jal", {"imm": 1 << 20}),
        ("lui", {"imm": 1}),
        ("slliw", {"imm": 32}),
        ("slli", {"imm": 64}),
        ("ecall", {"rd": 1}),
        ("nonsense", {}),
    ],
)
def test_encode_refuses_what_does_not_fit(name, fields):
    with pytest.raises(VmError):
        encode(name, **fields)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x00000013, "addi zero, zero, 0"),
        (0xFE010113, "addi sp, sp, -32"),
        (0x00C58533, "add a0, a1, a2"),
        (0x0005B503, "ld a0, 0(a1)"),
        (0xFEA43423, "sd a0, -24(s0)"),
        (0xFF5FF06F, "jal zero, -12"),
        (0xFFF00593, "addi a1, zero, -1"),
        (0x12345537, "lui a0, 0x12345"),
        (0x80000517, "auipc a0, 0x80000"),
        (0x00008067, "jalr zero, 0(ra)"),
        (0xFE0508E3, "beq a0, zero, -16"),
        (0x02A5D5BB, "divuw a1, a1, a0"),
        (0x43F5D593, "srai a1, a1, 63"),
        (0x0FF0000F, "fence"),
        (0x00000073, "ecall"),
    ],
)
def test_disassembly(word, text):
    assert disassemble(word) == text
