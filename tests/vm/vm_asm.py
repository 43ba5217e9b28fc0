"""A two-pass assembler for test programs: tuples for instructions, strings for labels."""

from vm.isa import LOAD, NUMBER, REGISTER_NAMES, TABLE, B, J, S, U, encode
from vm.memory import Memory
from vm.state import State

Line = str | int | tuple


def _register(name: str | int) -> int:
    return name if isinstance(name, int) else REGISTER_NAMES.index(name)


def assemble(*lines: Line, base: int = 0) -> bytes:
    """Machine code: `"label"`, a raw word, `("add", rd, rs1, rs2)`, `("ld", rd, offset, rs1)`,
    `("sd", rs2, offset, rs1)`, `("beq", rs1, rs2, label or offset)`, `("jal", rd, label or offset)`."""
    labels, address = {}, base
    for line in lines:
        if isinstance(line, str):
            labels[line] = address
        else:
            address += 4
    words, address = [], base
    for line in lines:
        if isinstance(line, str):
            continue
        words.append(line if isinstance(line, int) else _word(line, labels, address))
        address += 4
    return b"".join(word.to_bytes(4, "little") for word in words)


def _word(line: tuple, labels: dict[str, int], address: int) -> int:
    name, *operands = line
    form = TABLE[NUMBER[name]].format
    target = operands[-1] if operands else 0
    offset = labels[target] - address if isinstance(target, str) and target in labels else target
    if form == LOAD:
        return encode(name, rd=_register(operands[0]), imm=operands[1], rs1=_register(operands[2]))
    if form == S:
        return encode(name, rs2=_register(operands[0]), imm=operands[1], rs1=_register(operands[2]))
    if form == B:
        return encode(name, rs1=_register(operands[0]), rs2=_register(operands[1]), imm=offset)
    if form in (U, J):
        return encode(name, rd=_register(operands[0]), imm=offset)
    if form.name == "R":
        return encode(name, *map(_register, operands))
    if not operands:
        return encode(name)
    return encode(name, rd=_register(operands[0]), rs1=_register(operands[1]), imm=operands[2])


EXIT = (("addi", "a7", "zero", 93), ("ecall",))


def program(*lines: Line, base: int = 0) -> State:
    """A running state at the start of the assembled lines."""
    memory = Memory()
    memory.write(base, assemble(*lines, base=base))
    return State(memory, base)
