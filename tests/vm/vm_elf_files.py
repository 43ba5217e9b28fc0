"""Small ELF files for tests, assembled here: no cross compiler is needed."""

from vm_asm import Line, assemble

from vm.elf import Program, Segment, write_elf

BASE = 0x10000


def elf(*lines: Line, bss: int = 0) -> bytes:
    """A program of the assembled lines at BASE; with `bss`, that many zero bytes at 2 * BASE besides."""
    code = assemble(*lines, base=BASE)
    segments = [Segment(BASE, code, len(code))]
    if bss:
        segments.append(Segment(2 * BASE, b"", bss, False))
    return write_elf(Program(BASE, tuple(segments)))
