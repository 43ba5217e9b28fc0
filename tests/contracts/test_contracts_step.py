"""The step verifier against its definition, vm/step.py (I5): every instruction and every reserved word."""

import random
from itertools import pairwise, product

import pytest
from contracts_driver import Run
from contracts_machine import CORNERS, DATA, PC, example, machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vm import alu
from vm.constants import HALTED, MEMORY_BYTES, REG_A7, RUNNING, SCRATCH_BASE, STATE_BYTES, SYSCALL_EXIT, TRAPPED
from vm.isa import ACCESS_BYTES, TABLE, decode, encode
from vm.state import State
from vm.step import DirectAccess, prove_step, replay, step


@pytest.fixture
def check(evm, verifier):
    """Verifier, replay of the witness, and the definition on the state itself: three times the same."""

    def check(state: State) -> State:
        witness = prove_step(state)
        before = state.hash()
        after = state.fork()
        step(DirectAccess(after))
        assert evm.call(verifier, "step", witness) == replay(witness) == (before, after.hash())
        return after

    return check


@pytest.mark.parametrize("name", [line.name for line in TABLE])
def test_every_instruction(check, name):
    after = check(example(name))
    assert after.status == (HALTED if name == "ecall" else RUNNING)


@pytest.mark.parametrize("name", [line.name for line in TABLE if line.format.name in ("R", "I", "LOAD", "U", "J")])
def test_x0_is_never_written(check, name):
    word = example(name).memory.load(PC, 4) & ~(31 << 7)
    after = check(machine(word, registers={6: DATA, 7: 3}))
    assert after.registers[0] == 0


@pytest.mark.parametrize("name", ["add", "sub", "jalr", "ld", "addi", "mulhsu", "sraiw"])
def test_destination_may_be_a_source(check, name):
    word = example(name).memory.load(PC, 4) & ~(31 << 7) | 6 << 7
    check(machine(word, registers={6: DATA, 7: 3}))


def test_arithmetic_on_all_corner_pairs(evm, deploy):
    harness = deploy("StepHarness")
    for x, y in product(CORNERS, CORNERS):
        expected = [operation(x, y) for operation in alu.OPERATIONS.values()]
        assert list(evm.call(harness, "alu", x, y)) == expected, (x, y)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=st.integers(0, alu.MASK64), y=st.integers(0, alu.MASK64))
def test_arithmetic_on_any_pair(evm, deploy, x, y):
    harness = deploy("StepHarness")
    assert list(evm.call(harness, "alu", x, y)) == [operation(x, y) for operation in alu.OPERATIONS.values()]


@pytest.mark.parametrize("name", ["addi", "slti", "sltiu", "xori", "ori", "andi", "addiw"])
@pytest.mark.parametrize("imm", [-2048, -1, 2047])
def test_immediates_are_sign_extended(check, name, imm):
    check(machine(encode(name, rd=5, rs1=6, imm=imm), registers={6: 0x80000000FFFFFFFF}))


@pytest.mark.parametrize("name", ["slli", "srli", "srai", "slliw", "srliw", "sraiw"])
@pytest.mark.parametrize("imm", [0, 31, 63])
def test_shift_amounts(check, name, imm):
    if name.endswith("w") and imm > 31:
        imm = 1
    check(machine(encode(name, rd=5, rs1=6, imm=imm), registers={6: 0x80000000FFFFFFFF}))


@pytest.mark.parametrize(("name", "imm"), [("lui", -(1 << 31)), ("lui", 0x7FFFF000), ("auipc", -(1 << 31))])
def test_upper_immediates(check, name, imm):
    check(machine(encode(name, rd=5, imm=imm)))


@pytest.mark.parametrize("name", ["beq", "bne", "blt", "bge", "bltu", "bgeu"])
@pytest.mark.parametrize(("x", "y"), [(1, 1), (alu.MASK64, 0), (0, alu.MASK64), (1 << 63, (1 << 63) - 1)])
def test_branches(check, name, x, y):
    for imm in (-4096, 4092):
        check(machine(encode(name, rs1=6, rs2=7, imm=imm), registers={6: x, 7: y}))


@pytest.mark.parametrize("imm", [-(1 << 20), (1 << 20) - 4, -PC - 4])
def test_jumps_wrap_and_may_leave_memory(check, imm):
    check(machine(encode("jal", rd=1, imm=imm)))


@pytest.mark.parametrize(("base", "imm"), [(1, -4), (alu.MASK64, 1), (DATA + 1, 0), (DATA, -2048), (0, -1)])
def test_jalr_clears_the_lowest_bit(check, base, imm):
    check(machine(encode("jalr", rd=1, rs1=6, imm=imm), registers={6: base}))


@pytest.mark.parametrize("name", list(ACCESS_BYTES))
def test_loads_and_stores_at_every_place_of_a_leaf(check, name):
    size = ACCESS_BYTES[name]
    word = encode(name, rs1=6, rs2=7) if name.startswith("s") else encode(name, rd=5, rs1=6)
    for offset in range(0, 32, max(size, 4)):
        assert check(machine(word, registers={6: DATA + offset, 7: 0xF1E2D3C4B5A69788})).status == RUNNING
    top = machine(word, registers={6: MEMORY_BYTES - size})
    assert check(top).status == RUNNING


@pytest.mark.parametrize("name", list(ACCESS_BYTES))
def test_bad_addresses_trap(check, name):
    size = ACCESS_BYTES[name]
    word = encode(name, rs1=6, rs2=7) if name.startswith("s") else encode(name, rd=5, rs1=6)
    misaligned = [DATA + 1, DATA + size - 1] if size > 1 else []
    for address in (*misaligned, MEMORY_BYTES, MEMORY_BYTES + DATA, alu.MASK64 + 1 - size):
        assert check(machine(word, registers={6: address})).status == TRAPPED


def test_a_store_may_change_its_own_instruction_or_the_scratch_half(check):
    check(machine(encode("sd", rs1=6, rs2=7), registers={6: PC}))
    check(machine(encode("sd", rs1=6, rs2=7), registers={6: SCRATCH_BASE}))


def test_writing_zeros_back_gives_the_old_root(check):
    state = machine(encode("sd", rs1=6, rs2=7, imm=8), registers={6: 1 << 30, 7: 5})
    root = state.memory.root()
    after = check(state)
    assert after.memory.root() != root
    after.pc, after.registers[7] = PC, 0
    assert check(after).memory.root() == root


TRAPS = {
    "zero word": 0x00000000,
    "ones": 0xFFFFFFFF,
    "ebreak": 0x00100073,
    "mret": 0x30200073,
    "csrrw": 0x30001073,
    "ecall with rd": 0x000000F3,
    "fence.i": 0x0000100F,
    "slli imm[11:6]": 0x04001013,
    "srai imm[11:6]": 0x44005013,
    "slliw shamt 32": 0x0200101B,
    "jalr funct3": 0x00005067,
    "ld funct3 7": 0x00007003,
    "sd funct3 4": 0x00004023,
    "branch funct3 2": 0x00002063,
    "xor funct7": 0xFE004033,
    "amo": 0x0000202F,
    "compressed": 0x00000001,
}


@pytest.mark.parametrize("word", TRAPS.values(), ids=TRAPS.keys())
def test_reserved_words_trap(check, word):
    assert check(machine(word, registers={REG_A7: SYSCALL_EXIT})).status == TRAPPED


@pytest.mark.parametrize("number", [0, 92, 94, SYSCALL_EXIT + (1 << 32), SYSCALL_EXIT + (1 << 63)])
def test_unknown_calls_trap(check, number):
    assert check(machine(encode("ecall"), registers={REG_A7: number})).status == TRAPPED


@pytest.mark.parametrize("pc", [1, 2, PC + 2, MEMORY_BYTES - 2, MEMORY_BYTES, alu.MASK64 - 3, alu.MASK64])
def test_a_bad_pc_traps(check, pc):
    assert check(machine(0, pc=pc)).status == TRAPPED


def test_the_last_word_of_memory_is_fetched_and_pc_leaves_memory(check):
    after = check(machine(encode("addi", rd=1), pc=MEMORY_BYTES - 4))
    assert (after.status, after.pc) == (RUNNING, MEMORY_BYTES)
    assert check(after).status == TRAPPED


def test_fence_with_any_other_bits_does_nothing_but_go_on(check):
    assert check(machine(0xFFFF8F8F)).pc == PC + 4


@pytest.mark.parametrize("imm", [2, -2, 1026])
def test_a_misaligned_target_traps_only_if_taken(check, imm):
    assert check(machine(encode("beq", imm=imm))).status == TRAPPED
    assert check(machine(encode("bne", imm=imm))).status == RUNNING
    assert check(machine(encode("jal", rd=1, imm=imm))).status == TRAPPED
    assert check(machine(encode("jalr", rd=1, imm=imm))).status == TRAPPED


@pytest.mark.parametrize("status", [HALTED, TRAPPED])
def test_a_stopped_machine_stays_as_it_is(check, status):
    state = machine(encode("addi", rd=1, imm=1))
    state.status = status
    assert len(prove_step(state)) == STATE_BYTES
    assert check(state).hash() == state.hash()


def test_a_whole_run_in_lockstep(check):
    states = Run(3).machine(2)
    for before, after in pairwise(states):
        assert check(before).hash() == after.hash()
    assert check(states[-1]).hash() == states[-1].hash()


def agree_on_words(evm, harness, words: list[int]) -> None:
    """The same state after each word, from registers with which every load and store would be out of memory."""
    state = machine(0, registers={i: 2 * MEMORY_BYTES + 8 * i for i in range(1, 32)} | {REG_A7: SYSCALL_EXIT})
    state.registers[31] = alu.MASK64 // 3
    encoded = state.encode()
    for start in range(0, len(words), 512):
        batch = words[start : start + 512]
        posts = evm.call(harness, "execute", encoded, PC, batch)
        for word, post in zip(batch, posts, strict=True):
            after = State(state.memory, PC, list(state.registers))
            if decode(word) is None:
                after.status = TRAPPED
            else:
                access = DirectAccess(after)
                access.fetch = lambda address, word=word: word  # type: ignore[method-assign]
                step(access)
            assert post == after.hash(), f"{word:#010x}"


def triple(opcode: int, funct3: int, funct7: int, rng: random.Random) -> int:
    """A word with the given fields and random registers; none whose value is a small number as first operand."""
    rd, rs1, rs2 = rng.randrange(32), rng.choice([i for i in range(1, 32) if i != REG_A7]), rng.randrange(32)
    return opcode | rd << 7 | funct3 << 12 | rs1 << 15 | rs2 << 20 | funct7 << 25


def test_words_of_all_opcodes(evm, deploy):
    rng = random.Random(1)
    sevens = (0x00, 0x01, 0x20, 0x7F)
    words = [triple(op, f3, f7, rng) for op in range(128) for f3 in range(8) for f7 in sevens]
    agree_on_words(evm, deploy("StepHarness"), words)


@pytest.mark.slow
def test_words_of_all_triples(evm, deploy):
    rng = random.Random(2)
    words = [triple(op, f3, f7, rng) for op in range(128) for f3 in range(8) for f7 in range(128)]
    agree_on_words(evm, deploy("StepHarness"), words)


def test_words_of_the_opcodes_that_have_a_funct7(evm, deploy):
    rng = random.Random(3)
    words = [triple(op, f3, f7, rng) for op in (0x13, 0x1B, 0x33, 0x3B) for f3 in (0, 1, 5) for f7 in range(128)]
    agree_on_words(evm, deploy("StepHarness"), words)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=st.integers(0, (1 << 32) - 1),
    opcode=st.sampled_from(sorted({line.match & 0x7F for line in TABLE})),
    values=st.lists(st.sampled_from([*CORNERS, DATA, DATA + 16, MEMORY_BYTES - 8]), min_size=31, max_size=31),
)
def test_any_word_on_any_registers(check, word, opcode, values):
    check(machine(word & ~0x7F | opcode, registers=dict(enumerate(values, 1))))
