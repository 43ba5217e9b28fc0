"""A small real model in the machine: the honest run of it, and lies about it.

The guest writes one leaf per tile from the input and the tile's number, touches its scratch, and exits. A `Run` is the
honest computation; a `Lie` differs from it from one tile, and within that tile from one instruction on.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vm.constants import MODEL_LEVEL
from vm.isa import encode
from vm.memory import Memory
from vm.merkle import encode_path, subtree_root
from vm.state import State, entry_state
from vm.step import DirectAccess, step

INPUT, OUTPUT = 1 << 21, 1 << 22
INPUT_BYTES, INPUT_LEVEL = 40, 1

CODE = [
    encode("beq", rs1=11, imm=4 * 12),  # loop: until the count is 0
    encode("slli", rd=5, rs1=10, imm=5),
    encode("lui", rd=6, imm=OUTPUT),
    encode("add", rd=5, rs1=5, rs2=6),
    encode("lui", rd=7, imm=INPUT),
    encode("ld", rd=28, rs1=7, imm=8),
    encode("mul", rd=28, rs1=28, rs2=10),
    encode("addi", rd=28, rs1=28, imm=1),
    encode("sd", rs1=5, rs2=28),
    encode("addi", rd=10, rs1=10, imm=1),
    encode("addi", rd=11, rs1=11, imm=-1),
    encode("jal", imm=-4 * 11),
    encode("addi", rd=5, imm=1),  # done: a word to the scratch, exit(0)
    encode("slli", rd=5, rs1=5, imm=39),
    encode("sd", rs1=5, rs2=28, imm=64),
    encode("addi", rd=10),
    encode("addi", rd=17, imm=93),
    encode("ecall"),
]
LOOP_STEPS, FIXED_STEPS = 12, 7


def output_level(tiles: int) -> int:
    return (tiles - 1).bit_length()


@dataclass(frozen=True)
class Run:
    """The honest computation of `units` of `stride` tiles each."""

    units: int
    stride: int = 1
    data: bytes = bytes(range(40))

    @property
    def tiles(self) -> int:
        return self.units * self.stride

    @cached_property
    def blank(self) -> Memory:
        memory = Memory()
        memory.write(0, b"".join(word.to_bytes(4, "little") for word in CODE))
        memory.write(1 << 25, b"weights" * 9)
        return memory

    @cached_property
    def memories(self) -> list[Memory]:
        """Before each unit, and after the last."""
        memory = self.blank.fork()
        memory.write(INPUT, self.data)
        memories = [memory.fork()]
        factor = int.from_bytes(self.data[8:16], "little")
        for tile in range(self.tiles):
            memory.store(OUTPUT + 32 * tile, 8, self.leaf(tile, (factor * tile + 1) % (1 << 64)))
            if (tile + 1) % self.stride == 0:
                memories.append(memory.fork())
        return memories

    def leaf(self, tile: int, value: int) -> int:
        return value

    def model(self, **changes: Any) -> dict[str, Any]:
        level = output_level(self.tiles)
        return {
            "modelRoot": self.blank.node(MODEL_LEVEL, 0),
            "guestRoot": self.blank.node(15, 0),
            "entry": 0,
            "tiles": self.units,
            "stride": self.stride,
            "maxSteps": LOOP_STEPS * self.stride + FIXED_STEPS,
            "inputAddress": INPUT,
            "inputBytes": INPUT_BYTES,
            "outputAddress": OUTPUT,
            "outputBytes": 32 * self.tiles,
            "window": 1000,
            "clock": 100,
            "inputLevel": INPUT_LEVEL,
            "outputLevel": level,
        } | changes

    def input_path(self) -> bytes:
        index = INPUT >> (5 + INPUT_LEVEL)
        return encode_path(self.blank.siblings(INPUT_LEVEL, index, MODEL_LEVEL), INPUT_LEVEL)

    @property
    def input_root(self) -> bytes:
        return subtree_root(self.data, INPUT_LEVEL)

    @property
    def output_root(self) -> bytes:
        level = output_level(self.tiles)
        return self.memories[-1].node(level, OUTPUT >> (5 + level))

    def output_path(self) -> bytes:
        level = output_level(self.tiles)
        return encode_path(self.memories[-1].siblings(level, OUTPUT >> (5 + level), MODEL_LEVEL), level)

    def unit(self, m: int) -> bytes:
        """S_m."""
        return self.memories[m].node(MODEL_LEVEL, 0)

    def machine(self, m: int) -> list[State]:
        """The machine's states within unit `m`, from its start until it has halted."""
        memory = Memory()
        source = self.memories[m]
        for page in {0, INPUT >> 12, *((OUTPUT + 32 * t) >> 12 for t in range(self.tiles))}:
            memory.write(page << 12, source.read(page << 12, 4096))
        memory.write(1 << 25, source.read(1 << 25, 4096))
        state = entry_state(memory, 0, m * self.stride, self.stride)
        states = [state.fork()]
        while state.status == 0:
            step(DirectAccess(state))
            states.append(state.fork())
        return states


@dataclass(frozen=True)
class Lie(Run):
    """As the honest run, but the leaf of tile `wrong` holds another value, written by instruction `at` of its unit."""

    wrong: int = 0
    at: int = 9

    def leaf(self, tile: int, value: int) -> int:
        return value ^ 0x100 if tile == self.wrong else value

    def machine(self, m: int) -> list[State]:
        states = super().machine(m)
        if m == self.wrong // self.stride:
            for state in states[self.at + 1 :]:
                address = OUTPUT + 32 * self.wrong
                state.memory.write(address, self.memories[m + 1].read(address, 32))
        return states
