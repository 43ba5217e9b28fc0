"""Random programs that mostly keep running: values with edge cases, data and code nearby, jumps to labels."""

import random

from vm.isa import ACCESS_BYTES, TABLE, encode
from vm.memory import Memory
from vm.state import State

EDGES = (0, 1, 2, 3, 4, 7, 8, 31, 32, 63, 64, 255, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, 1 << 63)
EDGES += tuple((1 << 64) - x for x in (1, 2, 4, 1 << 31, (1 << 31) + 1, (1 << 63) - 1))
DATA = 0x2000
# Registers that programs leave alone: they point at data and at code.
DATA_REGISTER, CODE_REGISTER = 30, 31


def value(rng: random.Random) -> int:
    """A 64-bit number, often one at which something changes."""
    return rng.choice(EDGES) if rng.random() < 0.5 else rng.getrandbits(64) >> rng.choice((0, 0, 32, 48, 60))


def word(rng: random.Random, position: int, length: int) -> int:
    """A random instruction for word `position` of a program of `length` words at CODE_REGISTER."""
    line = rng.choice(TABLE[:-1])
    name, form = line.name, line.format.name
    rd, rs1, rs2 = rng.randrange(30), rng.randrange(32), rng.randrange(32)
    imm = rng.choice((0, 1, -1, 2047, -2048, rng.randrange(-2048, 2048)))
    jump = 4 * (rng.randrange(length) - position)
    if name in ACCESS_BYTES:
        size = ACCESS_BYTES[name]
        aligned = rng.randrange(0, 64, size) if rng.random() < 0.99 else rng.randrange(64)
        if name.startswith("s"):
            if rng.random() < 0.1:
                return encode(name, rs1=CODE_REGISTER, rs2=rs2, imm=rng.randrange(0, min(4 * length, 2047), size))
            return encode(name, rs1=DATA_REGISTER, rs2=rs2, imm=aligned)
        return encode(name, rd=rd, rs1=rng.choice((DATA_REGISTER, CODE_REGISTER)), imm=aligned)
    if name == "jalr":
        return encode(
            name, rd=rd, rs1=CODE_REGISTER, imm=max(-2048, min(2047, 4 * rng.randrange(length) + rng.randrange(2)))
        )
    if form == "R":
        return encode(name, rd=rd, rs1=rs1, rs2=rs2)
    if form in ("I", "LOAD"):
        return encode(name, rd=rd, rs1=rs1, imm=imm)
    if form in ("SHIFT64", "SHIFT32"):
        return encode(name, rd=rd, rs1=rs1, imm=imm & (63 if form == "SHIFT64" else 31))
    if form == "B":
        return encode(name, rs1=rs1, rs2=rs2, imm=max(-4096, min(4092, jump)))
    if form == "U":
        return encode(name, rd=rd, imm=(rng.getrandbits(20) - (1 << 19)) << 12)
    if form == "J":
        return encode(name, rd=rd, imm=jump)
    return encode(name)


def random_state(rng: random.Random, length: int = 64, base: int = 0x1000) -> State:
    """A running machine before a random program of `length` words at `base`, with data near DATA."""
    memory = Memory()
    code = [word(rng, i, length) if rng.random() < 0.995 else rng.getrandbits(32) for i in range(length)]
    memory.write(base, b"".join(w.to_bytes(4, "little") for w in code))
    memory.write(DATA, b"".join(value(rng).to_bytes(8, "little") for _ in range(16)))
    registers = [0] + [value(rng) for _ in range(31)]
    registers[DATA_REGISTER], registers[CODE_REGISTER] = DATA, base
    return State(memory, base, registers)
