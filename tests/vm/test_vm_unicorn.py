"""The machine against unicorn (QEMU's RISC-V), an implementation by other people."""

import random

import pytest
from unicorn import UC_ARCH_RISCV, UC_MODE_RISCV64, Uc
from unicorn.riscv_const import UC_RISCV_REG_PC, UC_RISCV_REG_X0
from vm_programs import DATA, DATA_REGISTER, value

from vm.isa import ACCESS_BYTES, TABLE, encode
from vm.memory import Memory
from vm.run import run
from vm.state import State
from vm.step import DirectAccess, step

CODE, CODE_BYTES, DATA_BYTES, LENGTH = 0x10000, 0x4000, 0x1000, 400


def straight_line(rng: random.Random) -> list[int]:
    """Instructions that neither trap nor jump backwards: every value is a result of the ones before."""
    words = []
    for position in range(LENGTH):
        line = rng.choice([line for line in TABLE if line.name not in ("ecall", "jalr", "fence")])
        name, form = line.name, line.format.name
        rd, rs1, rs2 = rng.randrange(30), rng.randrange(32), rng.randrange(32)
        if name in ACCESS_BYTES:
            imm = rng.randrange(0, 128, ACCESS_BYTES[name])
            field = {"rs2": rs2} if form == "S" else {"rd": rd}
            words.append(encode(name, rs1=DATA_REGISTER, imm=imm, **field))
        elif form == "R":
            words.append(encode(name, rd, rs1, rs2))
        elif form in ("B", "J"):
            field = {"rs1": rs1, "rs2": rs2} if form == "B" else {"rd": rd}
            words.append(encode(name, imm=4 * min(rng.randrange(1, 4), LENGTH - position), **field))
        elif form == "U":
            words.append(encode(name, rd, imm=(rng.getrandbits(20) - (1 << 19)) << 12))
        else:
            bits = {"SHIFT64": 6, "SHIFT32": 5}.get(form)
            imm = rng.getrandbits(bits) if bits else rng.randrange(-2048, 2048)
            words.append(encode(name, rd, rs1, imm=imm))
    return words


def unicorn_run(state: State, until: int) -> tuple[list[int], int, bytes]:
    """Registers, pc and data after unicorn has run from the state's pc to `until`."""
    machine = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
    machine.mem_map(CODE, CODE_BYTES)
    machine.mem_map(DATA, DATA_BYTES)
    machine.mem_write(CODE, state.memory.read(CODE, CODE_BYTES))
    machine.mem_write(DATA, state.memory.read(DATA, DATA_BYTES))
    for i in range(1, 32):
        machine.reg_write(UC_RISCV_REG_X0 + i, state.registers[i])
    machine.emu_start(state.pc, until)
    registers = [machine.reg_read(UC_RISCV_REG_X0 + i) for i in range(32)]
    return registers, machine.reg_read(UC_RISCV_REG_PC), bytes(machine.mem_read(DATA, DATA_BYTES))


@pytest.mark.parametrize("seed", range(60))
def test_programs_end_alike(seed):
    ends_alike(seed)


@pytest.mark.slow
def test_a_million_instructions_end_alike(capsys):
    steps = seed = 0
    while steps < 1_000_000:
        steps += ends_alike(1000 + seed)
        seed += 1
    with capsys.disabled():
        print(f"\n{steps:,} random instructions in {seed:,} programs: 0 differences to unicorn")


def ends_alike(seed: int) -> int:
    """Runs a random program in both; returns how many instructions it executed."""
    rng = random.Random(seed)
    words = straight_line(rng)
    memory = Memory()
    memory.write(CODE, b"".join(word.to_bytes(4, "little") for word in words))
    memory.write(DATA, b"".join(value(rng).to_bytes(8, "little") for _ in range(DATA_BYTES // 8)))
    state = State(memory, CODE, [0] + [value(rng) for _ in range(31)])
    state.registers[DATA_REGISTER] = DATA
    until = CODE + 4 * LENGTH
    expected = unicorn_run(state, until)
    definition, taken = state.fork(), 0
    while definition.pc < until:
        step(DirectAccess(definition))
        taken += 1
    assert taken > LENGTH // 4
    long = state.fork()
    assert run(state, taken) == taken
    # Behind the program are zeros, which trap: so it may be run with more steps than it has.
    assert run(long, 1 << 20) == taken + 1
    for ours in (definition, state, long):
        assert ours.pc == expected[1]
        assert ours.registers == expected[0]
        assert ours.memory.read(DATA, DATA_BYTES) == expected[2]
    return taken


@pytest.mark.parametrize("line", [line for line in TABLE if line.format.name == "R"], ids=lambda line: line.name)
def test_register_instructions_on_edge_values(line):
    rng = random.Random(line.name)
    words = [encode(line.name, 1 + i % 12, 13 + rng.randrange(17), 13 + rng.randrange(17)) for i in range(12)]
    memory = Memory()
    memory.write(CODE, b"".join(word.to_bytes(4, "little") for word in words))
    for _ in range(8):
        state = State(memory.fork(), CODE, [0] + [value(rng) for _ in range(31)])
        registers, pc, _ = unicorn_run(state, CODE + 4 * len(words))
        assert run(state, len(words)) == len(words)
        assert (state.registers, state.pc) == (registers, pc)
