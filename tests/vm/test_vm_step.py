"""What single instructions do, in the definition and in the fast loop at once."""

import pytest
from vm_asm import EXIT, assemble, program

from vm.alu import IMMEDIATE_OPERATIONS
from vm.constants import HALTED, MEMORY_BYTES, RUNNING, TRAPPED
from vm.isa import TABLE, encode
from vm.memory import Memory
from vm.run import run
from vm.state import State
from vm.step import DirectAccess, prove_step, replay, step

M64 = (1 << 64) - 1
MIN64, MIN32 = 1 << 63, 1 << 31
NEG = M64  # -1
DIRTY = 0xDEADBEEF << 32


def both(state: State, steps: int = 1) -> State:
    """The state after `steps` steps, found the same by definition, by fast loop and by replayed witness."""
    fast = state.fork()
    done = run(fast, steps)
    for i in range(steps):
        proven = replay(prove_step(state))
        before = state.hash()
        running = state.status == RUNNING
        step(DirectAccess(state))
        assert proven == (before, state.hash())
        assert running == (i < done)
    assert fast.hash() == state.hash()
    return state


def alu(name: str, x: int, y: int) -> int:
    """The result of a register-register instruction, or of one with an immediate `y`."""
    line = (name, "a0", "a1", y) if name in IMMEDIATE_OPERATIONS else (name, "a0", "a1", "a2")
    state = program(line)
    state.registers[11], state.registers[12] = x, y & M64
    both(state)
    assert state.status == RUNNING
    assert state.pc == 4
    return state.registers[10]


def trapped(state: State) -> bool:
    """Whether one step traps, and changes nothing but the status."""
    expected = state.fork()
    expected.status = TRAPPED
    return both(state).hash() == expected.hash()


@pytest.mark.parametrize(
    ("name", "x", "y", "result"),
    [
        ("addw", DIRTY | 1, DIRTY | 2, 3),
        ("addw", MIN32 - 1, 1, M64 ^ (MIN32 - 1)),
        ("subw", DIRTY, DIRTY | 1, NEG),
        ("sllw", DIRTY | 1, 31, M64 ^ (MIN32 - 1)),
        ("srlw", DIRTY | MIN32, 0, M64 ^ (MIN32 - 1)),
        ("srlw", DIRTY | MIN32, 31, 1),
        ("sraw", DIRTY | MIN32, 31, NEG),
        ("sraw", DIRTY | 1, 0, 1),
        ("addiw", DIRTY | 0x7FFFFFFF, 1, M64 ^ (MIN32 - 1)),
        ("addiw", DIRTY | 5, 0, 5),
        ("slliw", DIRTY | 1, 31, M64 ^ (MIN32 - 1)),
        ("srliw", DIRTY | MIN32, 0, M64 ^ (MIN32 - 1)),
        ("sraiw", DIRTY | MIN32, 4, M64 ^ (MIN32 - 1) >> 4),
        ("mulw", DIRTY | 3, DIRTY | MIN32, M64 ^ (MIN32 - 1)),
        ("divw", DIRTY | 7, DIRTY | 2, 3),
        ("divuw", DIRTY | MIN32, DIRTY | 1, M64 ^ (MIN32 - 1)),
        ("remw", DIRTY | 7, DIRTY | 4, 3),
        ("remuw", DIRTY | 0xFFFFFFFF, DIRTY | MIN32, MIN32 - 1),
    ],
)
def test_pitfall_3_word_operations_ignore_dirty_upper_halves(name, x, y, result):
    assert alu(name, x, y) == result


@pytest.mark.parametrize(
    ("name", "x", "y", "result"),
    [
        ("sll", 1, 64, 1),
        ("sll", 1, 65, 2),
        ("sll", 3, 63, MIN64),
        ("srl", MIN64, 127, 1),
        ("srl", NEG, 64, NEG),
        ("sra", MIN64, 63, NEG),
        ("sra", MIN64, M64 ^ 63, MIN64),
        ("sllw", 1, 32, 1),
        ("srlw", 2, 33, 1),
        ("sraw", MIN32, 63, NEG),
    ],
)
def test_pitfall_4_register_shifts_mask_their_amount(name, x, y, result):
    assert alu(name, x, y) == result


@pytest.mark.parametrize(
    ("name", "x", "y", "result"),
    [
        ("div", 7, 0, NEG),
        ("div", MIN64, 0, NEG),
        ("div", MIN64, NEG, MIN64),
        ("div", M64 - 6, 2, M64 - 2),
        ("div", 7, M64 - 1, M64 - 2),
        ("div", M64 - 6, M64 - 1, 3),
        ("divu", 7, 0, NEG),
        ("divu", MIN64, NEG, 0),
        ("rem", 7, 0, 7),
        ("rem", MIN64, 0, MIN64),
        ("rem", MIN64, NEG, 0),
        ("rem", M64 - 6, 2, NEG),
        ("rem", 7, M64 - 1, 1),
        ("remu", NEG, 0, NEG),
        ("remu", MIN64, NEG, MIN64),
        ("divw", 7, 0, NEG),
        ("divw", 7, DIRTY, NEG),
        ("divw", MIN32, 0xFFFFFFFF, M64 ^ (MIN32 - 1)),
        ("divuw", 7, DIRTY, NEG),
        ("remw", MIN32, DIRTY, M64 ^ (MIN32 - 1)),
        ("remw", MIN32, 0xFFFFFFFF, 0),
        ("remuw", DIRTY | MIN32, DIRTY, M64 ^ (MIN32 - 1)),
        ("mulh", NEG, NEG, 0),
        ("mulh", MIN64, MIN64, 1 << 62),
        ("mulh", MIN64, 1, NEG),
        ("mulhu", NEG, NEG, M64 - 1),
        ("mulhsu", NEG, NEG, NEG),
        ("mulhsu", NEG, 2, NEG),
        ("mulhsu", 2, NEG, 1),
        ("mulhsu", MIN64, MIN64, 3 << 62),
    ],
)
def test_pitfall_5_division_by_zero_overflow_and_high_products(name, x, y, result):
    assert alu(name, x, y) == result


@pytest.mark.parametrize(
    ("name", "x", "y", "result"),
    [
        ("slt", MIN64, 0, 1),
        ("sltu", MIN64, 0, 0),
        ("slti", 0, -1, 0),
        ("sltiu", 0, -1, 1),
        ("sltiu", 5, 5, 0),
        ("xori", 0xF0, -1, M64 ^ 0xF0),
        ("ori", 0, -2048, M64 - 2047),
        ("andi", NEG, -2048, M64 - 2047),
        ("addi", M64, 1, 0),
        ("slli", NEG, 63, MIN64),
        ("srli", MIN64, 63, 1),
        ("srai", MIN64, 32, M64 ^ (MIN32 - 1)),
    ],
)
def test_immediates_are_sign_extended(name, x, y, result):
    assert alu(name, x, y) == result


@pytest.mark.parametrize("line", [line for line in TABLE if line.format.name not in ("S", "B", "FENCE", "SYSTEM")])
def test_pitfall_6_writes_to_x0_are_dropped(line):
    state = program(encode(line.name, rd=0, rs1=0 if line.format.name == "U" else 11 * (line.format.name != "J")))
    state.registers[11] = 0x100
    state.memory.store(0x100, 8, NEG)
    state.memory.store(4, 4, encode("add", 10, 0, 0))
    if line.name == "jalr":
        state.memory.store(0x100, 4, encode("add", 10, 0, 0))
    state.registers[10] = 77
    both(state, 2 if line.name != "jal" else 1)
    assert state.status == RUNNING
    assert state.registers[0] == 0
    assert line.name == "jal" or state.registers[10] == 0


def test_pitfall_6_a_load_into_x0_still_traps():
    assert trapped(program(("ld", "zero", 4, "zero")))
    assert trapped(program(("lb", "zero", -1, "zero")))


def test_pitfall_7_jalr_clears_bit_0_and_reads_before_it_writes():
    state = both(program(("addi", "ra", "zero", 0x101), ("jalr", "ra", 0, "ra")), 2)
    assert (state.pc, state.registers[1]) == (0x100, 8)


@pytest.mark.parametrize("offset", [2, 3, 6, 7, -2, 2046])
def test_pitfall_7_misaligned_jalr_traps(offset):
    state = program(("jalr", "ra", offset, "a0"))
    state.registers[10] = 0x1000
    assert trapped(state)


@pytest.mark.parametrize("offset", [0, 1, 4, 5, -4, -3])
def test_pitfall_7_aligned_jalr_does_not(offset):
    state = program(("jalr", "ra", offset, "a0"))
    state.registers[10] = 0x1000
    assert both(state).pc == (0x1000 + offset) & ~1
    assert state.status == RUNNING


@pytest.mark.parametrize(("name", "taken"), [("beq", (1, 1)), ("bne", (1, 2)), ("blt", (NEG, 0)), ("bgeu", (NEG, 0))])
def test_pitfall_7_branch_alignment_counts_only_when_taken(name, taken):
    other = {"beq": (1, 2), "bne": (1, 1), "blt": (0, NEG), "bgeu": (0, NEG)}[name]
    for offset in (2, -2, 1022, 4094):
        state = program((name, "a0", "a1", offset))
        state.registers[10:12] = taken
        assert trapped(state.fork())
        state.registers[10:12] = other
        assert both(state).pc == 4
    assert trapped(program(("jal", "ra", 6)))


@pytest.mark.parametrize(
    ("name", "x", "y", "taken"),
    [
        *(("beq", 5, 5, True), ("beq", 5, MIN64 | 5, False), ("bne", 5, MIN64 | 5, True), ("bne", 0, 0, False)),
        *(("blt", MIN64, 0, True), ("blt", 0, MIN64, False), ("blt", 3, 3, False)),
        *(("bge", MIN64, 0, False), ("bge", 0, MIN64, True), ("bge", 3, 3, True)),
        *(("bltu", MIN64, 0, False), ("bltu", 0, MIN64, True), ("bltu", 3, 3, False)),
        *(("bgeu", MIN64, 0, True), ("bgeu", 0, MIN64, False), ("bgeu", 3, 3, True)),
    ],
)
def test_branches(name, x, y, taken):
    state = program((name, "a0", "a1", 64))
    state.registers[10:12] = [x, y]
    assert both(state).pc == (64 if taken else 4)


LOADS = [("lb", 1), ("lbu", 1), ("lh", 2), ("lhu", 2), ("lw", 4), ("lwu", 4), ("ld", 8)]
STORES = [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8)]


@pytest.mark.parametrize(("name", "size"), LOADS)
def test_loads_extend(name, size):
    for byte in (0x7F, 0x80):
        state = program((name, "a0", -8, "a1"))
        state.registers[11] = 0x1008
        state.memory.write(0x1000, bytes([1] * (size - 1) + [byte] + [0xEE] * 8))
        signed = not name.endswith("u")
        value = int.from_bytes(bytes([1] * (size - 1) + [byte]), "little", signed=signed)
        assert both(state).registers[10] == value & M64


@pytest.mark.parametrize(("name", "size"), STORES)
def test_stores_touch_their_bytes_only(name, size):
    state = program((name, "a0", 8, "a1"))
    state.registers[10:12] = [0x1122334455667788, 0x1000]
    state.memory.write(0x1000, b"\xaa" * 32)
    both(state)
    assert state.memory.read(0x1000, 32) == b"\xaa" * 8 + bytes.fromhex("8877665544332211")[:size] + b"\xaa" * (
        24 - size
    )


@pytest.mark.parametrize(("name", "size"), LOADS + STORES)
def test_pitfalls_8_and_10_misaligned_accesses_trap_and_are_never_aligned(name, size):
    for address in (0x1001, 0x1002, 0x1004, 0x101E, 0x101F, 0x1FFF, MEMORY_BYTES - 1, MEMORY_BYTES - 4):
        state = program((name, "a0", 0, "a1"))
        state.registers[11] = address
        state.memory.write(0x1000, bytes(range(64)))
        assert trapped(state.fork()) == (address % size != 0)


@pytest.mark.parametrize(("name", "size"), LOADS + STORES)
def test_pitfall_8_accesses_beyond_memory_trap(name, size):
    inside = MEMORY_BYTES - size
    for address in (inside, MEMORY_BYTES, MEMORY_BYTES + 4096, 1 << 63, (1 << 64) - 8, (1 << 64) - size):
        state = program((name, "a0", 0, "a1"))
        state.registers[11] = address
        assert trapped(state) == (address != inside)


def test_addresses_wrap_modulo_2_64():
    state = program(("sd", "a0", 16, "a1"))
    state.registers[10:12] = [7, (1 << 64) - 16 + 0]
    state.memory.store(8, 8, 9)
    both(state)
    assert state.status == RUNNING
    assert state.memory.load(0, 8) == 7


@pytest.mark.parametrize("pc", [1, 2, 3, 0x1002, MEMORY_BYTES - 2, MEMORY_BYTES, 1 << 63, (1 << 64) - 4, M64])
def test_pitfalls_9_and_21_a_pc_that_is_odd_or_outside_traps(pc):
    state = State(Memory(), pc)
    state.memory.write(0, assemble(("addi", "a0", "a0", 1)) * 4)
    assert trapped(state)
    assert len(prove_step(State(Memory(), pc))) == 289


def test_the_last_word_of_memory_can_be_executed_and_run_out_of():
    state = program(("addi", "a0", "a0", 1), base=MEMORY_BYTES - 4)
    both(state)
    assert (state.pc, state.registers[10], state.status) == (MEMORY_BYTES, 1, RUNNING)
    assert trapped(state)


def test_jumps_beyond_memory_trap_only_when_fetched():
    state = program(("jalr", "ra", 0, "a0"))
    state.registers[10] = MEMORY_BYTES + 8
    both(state)
    assert (state.pc, state.status) == (MEMORY_BYTES + 8, RUNNING)
    assert trapped(state)


def test_pc_relative_results_wrap():
    state = program(("auipc", "a0", -(1 << 31)), ("jal", "ra", -8))
    both(state, 2)
    assert state.registers[10] == (1 << 64) - (1 << 31)
    assert state.pc == (1 << 64) - 4
    assert trapped(state)


def test_lui_and_auipc_sign_extend():
    state = program(("lui", "a0", -(1 << 31)), ("auipc", "a1", 0x7FFFF000))
    both(state, 2)
    assert state.registers[10:12] == [M64 ^ (MIN32 - 1), 4 + 0x7FFFF000]


def test_pitfall_9_an_instruction_may_store_over_itself_and_over_the_next():
    replacement = encode("addi", 10, 10, imm=100)
    state = program(("sw", "a1", 0, "zero"), ("sw", "a1", 8, "zero"), ("addi", "a0", "a0", 1), ("jal", "zero", -12))
    state.registers[11] = replacement
    both(state, 3)
    assert state.registers[10] == 100
    both(state, 2)
    assert state.registers[10] == 200


@pytest.mark.parametrize("number", [0, 1, 64, 92, 94, 93 | 1 << 32, 93 | 1 << 63, M64])
def test_pitfall_18_other_calls_trap(number):
    state = program(("ecall",))
    state.registers[17] = number
    assert trapped(state)


def test_exit_halts_and_changes_nothing_else():
    state = program(("ecall",))
    state.registers[17] = 93
    expected = state.fork()
    expected.status = HALTED
    assert both(state).hash() == expected.hash()


@pytest.mark.parametrize("status", [HALTED, TRAPPED])
def test_pitfall_16_stopped_machines_stay_as_they_are(status):
    state = program(("addi", "a0", "a0", 1))
    state.status = status
    before = state.hash()
    assert run(state, 1000) == 0
    step(DirectAccess(state))
    assert state.hash() == before
    assert replay(prove_step(state)) == (before, before)
    assert len(prove_step(state)) == 289


def test_pitfall_19_all_of_memory_is_there_from_the_start():
    for address in (0, 1 << 39, MEMORY_BYTES - 8, 0x123456789 & ~7):
        state = program(("sd", "a0", 0, "a1"), ("ld", "a2", 0, "a1"), base=0x4000)
        state.registers[10:12] = [0x55, address]
        assert both(state, 2).registers[12] == 0x55


def test_pitfall_20_registers_and_memory_start_as_zero():
    state = State(Memory())
    assert state.registers == [0] * 32
    assert state.memory.read(1 << 38, 16) == bytes(16)


def test_a_whole_program():
    state = program(
        ("addi", "a1", "zero", 10),
        "loop",
        ("add", "a0", "a0", "a1"),
        ("addi", "a1", "a1", -1),
        ("bne", "a1", "zero", "loop"),
        *EXIT,
    )
    assert run(state.fork(), 1000) == 33
    both(state, 40)
    assert (state.registers[10], state.status) == (55, HALTED)
