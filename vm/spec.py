"""Writes the generated tables of vm/SPEC.md, between its markers: `python -m vm.spec [--check]`.

With `--check` nothing is written; the exit status is 1 if the file is not up to date.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vm import constants
from vm.isa import ACCESS_BYTES, FORMATS, TABLE, disassemble, encode
from vm.memory import Memory
from vm.merkle import MASK_BYTES, ZERO
from vm.state import State
from vm.step import prove_step, replay

FILE: Final = Path(__file__).with_name("SPEC.md")

# What each instruction does. u(), s(): as unsigned, signed number; sx(): sign-extended to 64 bits; w: low 32 bits.
MEANING: Final = {
    "lui": "rd = imm",
    "auipc": "rd = pc + imm",
    "jal": "rd = pc + 4; jump to pc + imm",
    "jalr": "t = (x + imm) with bit 0 cleared; rd = pc + 4; jump to t",
    "beq": "if x = y, jump to pc + imm",
    "bne": "if x ≠ y, jump to pc + imm",
    "blt": "if s(x) < s(y), jump to pc + imm",
    "bge": "if s(x) ≥ s(y), jump to pc + imm",
    "bltu": "if u(x) < u(y), jump to pc + imm",
    "bgeu": "if u(x) ≥ u(y), jump to pc + imm",
    **{
        name: f"rd = sx(M{8 * size}[x + imm])"
        for name, size in ACCESS_BYTES.items()
        if name in ("lb", "lh", "lw", "ld")
    },
    **{name: f"rd = M{8 * ACCESS_BYTES[name]}[x + imm]" for name in ("lbu", "lhu", "lwu")},
    **{name: f"M{8 * ACCESS_BYTES[name]}[x + imm] = y" for name in ("sb", "sh", "sw", "sd")},
    "addi": "rd = x + imm",
    "slti": "rd = 1 if s(x) < s(imm), else 0",
    "sltiu": "rd = 1 if u(x) < u(imm), else 0",
    "xori": "rd = x xor imm",
    "ori": "rd = x or imm",
    "andi": "rd = x and imm",
    "slli": "rd = x << imm",
    "srli": "rd = u(x) >> imm",
    "srai": "rd = s(x) >> imm",
    "addiw": "rd = sx(w(x + imm))",
    "slliw": "rd = sx(w(x << imm))",
    "srliw": "rd = sx(u(w(x)) >> imm)",
    "sraiw": "rd = sx(s(w(x)) >> imm)",
    "add": "rd = x + y",
    "sub": "rd = x - y",
    "sll": "rd = x << (y mod 64)",
    "slt": "rd = 1 if s(x) < s(y), else 0",
    "sltu": "rd = 1 if u(x) < u(y), else 0",
    "xor": "rd = x xor y",
    "srl": "rd = u(x) >> (y mod 64)",
    "sra": "rd = s(x) >> (y mod 64)",
    "or": "rd = x or y",
    "and": "rd = x and y",
    "addw": "rd = sx(w(x + y))",
    "subw": "rd = sx(w(x - y))",
    "sllw": "rd = sx(w(x << (y mod 32)))",
    "srlw": "rd = sx(u(w(x)) >> (y mod 32))",
    "sraw": "rd = sx(s(w(x)) >> (y mod 32))",
    "mul": "rd = low 64 bits of x · y",
    "mulh": "rd = high 64 bits of s(x) · s(y)",
    "mulhsu": "rd = high 64 bits of s(x) · u(y)",
    "mulhu": "rd = high 64 bits of u(x) · u(y)",
    "div": "rd = s(x) / s(y) towards zero; y = 0: -1; -2⁶³ / -1: -2⁶³",
    "divu": "rd = u(x) / u(y); y = 0: 2⁶⁴-1",
    "rem": "rd = s(x) - s(y) · div(x, y), sign of x; y = 0: x; -2⁶³ rem -1: 0",
    "remu": "rd = u(x) mod u(y); y = 0: x",
    "mulw": "rd = sx(w(x · y))",
    "divw": "rd = sx(div of s(w(x)), s(w(y))); w(y) = 0: -1; -2³¹ / -1: -2³¹",
    "divuw": "rd = sx(divu of u(w(x)), u(w(y))); w(y) = 0: 2⁶⁴-1",
    "remw": "rd = sx(rem of s(w(x)), s(w(y))); w(y) = 0: sx(w(x)); -2³¹ rem -1: 0",
    "remuw": "rd = sx(remu of u(w(x)), u(w(y))); w(y) = 0: sx(w(x))",
    "fence": "nothing",
    "ecall": "if x17 = 93, status = 1 (halted), pc stays; else trap",
}

# Where the bits of a format's immediate come from, most significant first; the top one is the sign unless it says so.
IMMEDIATES: Final = {
    "R": "none",
    "I": "word[31:20]",
    "LOAD": "word[31:20]",
    "SHIFT64": "word[25:20], unsigned",
    "SHIFT32": "word[24:20], unsigned",
    "S": "word[31:25] word[11:7]",
    "B": "word[31] word[7] word[30:25] word[11:8] 0",
    "U": "word[31:12], then 12 zeros",
    "J": "word[31] word[19:12] word[20] word[30:21] 0",
    "FENCE": "none",
    "SYSTEM": "none",
}


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [tuple(head), *(tuple(str(cell) for cell in row) for row in rows)]
    lines.insert(1, tuple("---" for _ in lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _constants() -> str:
    names = [name for name in vars(constants) if name.isupper()]
    rows = [(f"`{name}`", f"{getattr(constants, name):,}".replace(",", " ")) for name in names]
    return _table(("name", "value"), [*rows, ("`MASK_BYTES`", MASK_BYTES)])


def _formats() -> str:
    return _table(("format", "mask", "immediate"), ((f.name, f"`{f.mask:#010x}`", IMMEDIATES[f.name]) for f in FORMATS))


def _instructions() -> str:
    rows = ((f"`{i.name}`", i.format.name, f"`{i.match:#010x}`", MEANING[i.name]) for i in TABLE)
    return _table(("instruction", "format", "match", "what it does"), rows)


def _zeros() -> str:
    return _table(("level", "zero subtree"), ((level, f"`{node.hex()}`") for level, node in enumerate(ZERO)))


def example_states() -> list[tuple[str, State]]:
    """The states of SPEC.md's test vectors, with what they show."""
    states = [("nothing but zeros: the word 0 is no instruction", State(Memory()))]
    lines = {
        "a register instruction": encode("addi", rd=10, rs1=10, imm=-1),
        "a load": encode("lw", rd=12, rs1=11, imm=4),
        "a store": encode("sd", rs1=11, rs2=10, imm=8),
        "a misaligned store": encode("sd", rs1=11, rs2=10, imm=4),
        "the halting call": encode("ecall"),
    }
    for comment, word in lines.items():
        memory = Memory()
        memory.store(0x1000, 4, word)
        memory.write(constants.SCRATCH_BASE, bytes(range(32)))
        state = State(memory, 0x1000)
        state.registers[10:12] = [0x8877665544332211, constants.SCRATCH_BASE]
        state.registers[17] = constants.SYSCALL_EXIT
        states.append((comment, state))
    return states


def _vectors() -> str:
    parts = []
    for comment, state in example_states():
        witness = prove_step(state)
        before, after = replay(witness)
        word = state.memory.load(state.pc, 4)
        parts.append(
            f"- {comment}, `{disassemble(word)}`\n"
            f"  - witness ({len(witness)} bytes): `{witness.hex()}`\n"
            f"  - before: `{before.hex()}`\n"
            f"  - after: `{after.hex()}`"
        )
    return "\n".join(parts)


SECTIONS: Final = {
    "constants": _constants,
    "formats": _formats,
    "instructions": _instructions,
    "zeros": _zeros,
    "vectors": _vectors,
}


def regenerate(text: str) -> str:
    """The text of SPEC.md with every generated section as it should be."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- generated: {name} -->\n", "\n<!-- end -->"
        head, rest = text.split(begin)
        text = head + begin + make() + rest[rest.index(end) :]
    return text


def main(arguments: list[str]) -> int:
    """Writes SPEC.md, or with `--check` compares it; 1 if that fails."""
    text = FILE.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        return int(regenerate(text) != text)
    FILE.write_text(regenerate(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
