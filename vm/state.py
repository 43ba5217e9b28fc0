"""The machine's state and its encoding (vm/SPEC.md, "State")."""

from dataclasses import dataclass, field

from vm.constants import (
    REG_A0,
    REG_A1,
    REGISTER_BYTES,
    REGISTERS,
    ROOT_BYTES,
    RUNNING,
    STATE_BYTES,
    TRAPPED,
)
from vm.errors import VmError, WitnessLengthError, WitnessStatusError
from vm.keccak import keccak256
from vm.memory import Memory


@dataclass(slots=True)
class StateHeader:
    """A state with its memory's root in place of the memory. Registers and pc are unsigned 64-bit; x0 is 0."""

    root: bytes
    registers: list[int]
    pc: int
    status: int

    def encode(self) -> bytes:
        """The STATE_BYTES of vm/SPEC.md: root, x1..x31, pc, status."""
        words = [*self.registers[1:], self.pc]
        packed = b"".join(word.to_bytes(REGISTER_BYTES, "big") for word in words)
        return self.root + packed + self.status.to_bytes(1, "big")

    def hash(self) -> bytes:
        """The state hash: keccak256 of the encoding."""
        return keccak256(self.encode())


@dataclass(slots=True)
class State:
    """A machine: registers and pc are unsigned 64-bit numbers, `registers` has 32 of them and x0 is 0."""

    memory: Memory
    pc: int = 0
    registers: list[int] = field(default_factory=lambda: [0] * REGISTERS)
    status: int = RUNNING

    def header(self) -> StateHeader:
        """This state without its memory's content."""
        return StateHeader(self.memory.root(), list(self.registers), self.pc, self.status)

    def encode(self) -> bytes:
        """The STATE_BYTES bytes that are hashed."""
        return self.header().encode()

    def hash(self) -> bytes:
        """The state hash: keccak256 of the encoding."""
        return keccak256(self.encode())

    def fork(self) -> "State":
        """An independent copy; cheap, the memory is copied on write."""
        return State(self.memory.fork(), self.pc, list(self.registers), self.status)


def decode_state(data: bytes) -> StateHeader:
    """Reads an encoded state. Every encoding but those with an unknown status is one state, and of one state only.

    Raises WitnessLengthError if `data` is not STATE_BYTES long, WitnessStatusError on an unknown status.
    """
    if len(data) != STATE_BYTES:
        raise WitnessLengthError(f"a state has {STATE_BYTES} bytes, not {len(data)}")
    status = data[-1]
    if status > TRAPPED:
        raise WitnessStatusError(f"there is no status {status}")
    words = [
        int.from_bytes(data[i : i + REGISTER_BYTES], "big") for i in range(ROOT_BYTES, STATE_BYTES - 1, REGISTER_BYTES)
    ]
    return StateHeader(data[:ROOT_BYTES], [0, *words[:-1]], words[-1], status)


def entry_state(memory: Memory, pc: int, a0: int, a1: int) -> State:
    """The state in which a guest is entered: all registers zero but the two arguments.

    Raises VmError if a number does not fit 64 bits. A pc outside memory is a state too: its first step traps.
    """
    if not all(0 <= number < 1 << 64 for number in (pc, a0, a1)):
        raise VmError(f"pc {pc}, a0 {a0} and a1 {a1} must be unsigned 64-bit numbers")
    state = State(memory, pc)
    state.registers[REG_A0], state.registers[REG_A1] = a0, a1
    return state
