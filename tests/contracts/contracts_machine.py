"""Machines in one interesting position each, for the tests of the step verifier."""

from vm import alu
from vm.constants import MEMORY_BYTES, REG_A7, SYSCALL_EXIT
from vm.isa import TABLE, encode
from vm.memory import Memory
from vm.state import State

CORNERS = (
    *(0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0x100000000),
    *((1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 2, (1 << 64) - 1, 0xFFFFFFFF80000000, 0xDEADBEEF00000005),
)
PC = 0x1000
DATA = 1 << 25


def machine(word: int, pc: int = PC, registers: dict[int, int] | None = None) -> State:
    """A running machine with `word` at its pc, some memory around, and registers that are all different."""
    memory = Memory()
    memory.write(0, bytes(range(256)))
    memory.write(DATA - 64, bytes((7 * i + 128) & 255 for i in range(128)))
    memory.write(MEMORY_BYTES - 32, b"\xfe" * 32)
    if pc % 4 == 0 and pc <= MEMORY_BYTES - 4:
        memory.write(pc, word.to_bytes(4, "little"))
    state = State(memory, pc)
    for i in range(1, 32):
        state.registers[i] = (0x9E3779B97F4A7C15 * i) & alu.MASK64
    for i, value in (registers or {}).items():
        state.registers[i] = value
    return state


def example(name: str) -> State:
    """The instruction with ordinary operands: no traps, jumps taken."""
    fields = {"rd": 5, "rs1": 6, "rs2": 7, "imm": 16}
    form = next(line.format.name for line in TABLE if line.name == name)
    if name == "ecall":
        return machine(encode(name), registers={REG_A7: SYSCALL_EXIT})
    if form == "FENCE":
        return machine(encode(name))
    used = {"R": ("rd", "rs1", "rs2"), "S": ("rs1", "rs2", "imm"), "B": ("rs1", "rs2", "imm")}
    used |= {"U": ("rd", "imm"), "J": ("rd", "imm")}
    kept = {key: fields[key] for key in used.get(form, ("rd", "rs1", "imm"))}
    if form == "U":
        kept["imm"] = -(1 << 12)
    equal = name in ("beq", "bge", "bgeu")
    return machine(encode(name, **kept), registers={6: DATA, 7: DATA if equal else 1 << 63 | 5})
