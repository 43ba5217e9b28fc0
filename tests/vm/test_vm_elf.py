"""Programs from ELF files: what is accepted, and every way in which a file can be refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vm_asm import EXIT, assemble

from vm import errors
from vm.constants import HALTED, MEMORY_BYTES, TRAPPED
from vm.elf import MAX_PROGRAM_HEADERS, STACK_TOP, Program, Segment, read_elf, write_elf
from vm.errors import ElfError
from vm.run import run

BASE = 0x10000
CODE = assemble(("addi", "a0", "zero", 7), *EXIT, base=BASE)
# Where the fields are that the tests change, with their format: file header, then of a program header.
FILE = {
    "magic": (0, "B"), "class": (4, "B"), "data": (5, "B"), "ident version": (6, "B"), "type": (16, "H"),
    "machine": (18, "H"), "version": (20, "I"), "entry": (24, "Q"), "table": (32, "Q"), "flags": (48, "I"),
    "header size": (52, "H"), "entry size": (54, "H"), "count": (56, "H"),
}  # fmt: skip
SEGMENT = {
    "kind": (0, "I"), "flags": (4, "I"), "offset": (8, "Q"), "address": (16, "Q"),
    "file": (32, "Q"), "memory": (40, "Q"),
}  # fmt: skip


def segments(*changes: tuple[int, int, int]) -> bytes:
    """A good file of code at BASE and data behind it, but for (address, bytes, size) of more segments."""
    more = [Segment(address, b"\xaa" * count, size, False) for address, count, size in changes]
    return write_elf(Program(BASE, (Segment(BASE, CODE, len(CODE)), *more)))


GOOD = segments((0x20000, 100, 5000), (0x30000, 0, 64))


def changed(field: str, value: int, segment: int | None = None) -> bytes:
    offset, form = FILE[field] if segment is None else SEGMENT[field]
    data = bytearray(GOOD)
    struct.pack_into("<" + form, data, offset if segment is None else 64 + 56 * segment + offset, value)
    return bytes(data)


def code_of(data: bytes) -> str:
    with pytest.raises(ElfError) as caught:
        read_elf(data)
    assert str(caught.value)
    return caught.value.code


def test_a_program_runs_to_its_exit():
    state = read_elf(GOOD).start()
    assert (state.pc, state.registers[2], sum(state.registers)) == (BASE, STACK_TOP, STACK_TOP)
    assert run(state, 100) == 3
    assert (state.status, state.registers[10]) == (HALTED, 7)


def test_pitfall_20_bss_padding_and_gaps_are_zero():
    memory = read_elf(GOOD).start().memory
    assert memory.read(0x20000, 5000) == b"\xaa" * 100 + bytes(4900)
    assert memory.read(BASE - 64, 64) == bytes(64)
    assert memory.read(BASE + len(CODE), 4096) == bytes(4096)
    assert memory.read(STACK_TOP, 64) == bytes(64)


def test_a_file_is_read_back_as_it_was_written():
    program = read_elf(GOOD)
    assert [(s.address, len(s.data), s.size, s.executable) for s in program.segments] == [
        (BASE, len(CODE), len(CODE), True), (0x20000, 100, 5000, False), (0x30000, 0, 64, False),
    ]  # fmt: skip
    assert read_elf(write_elf(program)) == program


def test_segments_may_touch_and_share_a_page_and_be_anywhere():
    read_elf(segments((BASE + len(CODE), 4, 4), (BASE + len(CODE) + 4, 4, 4)))
    state = read_elf(segments((MEMORY_BYTES - 4096, 8, 4096))).start()
    assert state.memory.read(MEMORY_BYTES - 4096, 9) == b"\xaa" * 8 + b"\0"
    top = MEMORY_BYTES - len(CODE)
    assert run(read_elf(write_elf(Program(top, (Segment(top, CODE, len(CODE)),)))).start(), 10) == 3


def test_bss_takes_no_room():
    assert read_elf(segments((0x20000, 1, 1 << 39))).start().memory.load(0x20000, 8) == 0xAA


def test_other_headers_and_empty_segments_are_passed_over():
    note = changed("kind", 4, 1)  # PT_NOTE
    assert [s.address for s in read_elf(note).segments] == [BASE, 0x30000]
    assert len(read_elf(changed("memory", 0, 2)).segments) == 2


@pytest.mark.parametrize("flags", [0, 0x08, 0x10, 0x18])
def test_flags_that_change_nothing(flags):
    read_elf(changed("flags", flags))


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *(("magic", 0, "elf-format"), ("ident version", 0, "elf-format"), ("version", 2, "elf-format")),
        *(("class", 1, "elf-machine"), ("class", 0, "elf-machine"), ("data", 2, "elf-machine")),
        *(("machine", 62, "elf-machine"), ("machine", 0, "elf-machine")),
        *(("type", 1, "elf-format"), ("type", 4, "elf-format"), ("type", 0, "elf-format"), ("type", 3, "elf-dynamic")),
        *(("flags", 1, "elf-compressed"), ("flags", 5, "elf-compressed")),
        *(("flags", 2, "elf-machine"), ("flags", 4, "elf-machine"), ("flags", 0x20, "elf-machine")),
        *(("header size", 63, "elf-format"), ("entry size", 32, "elf-format"), ("entry size", 0, "elf-format")),
        *(("count", 0, "elf-size"), ("count", MAX_PROGRAM_HEADERS + 1, "elf-size"), ("count", 0xFFFF, "elf-size")),
        *(("table", len(GOOD) - 167, "elf-truncated"), ("table", (1 << 64) - 1, "elf-truncated")),
        *(("entry", BASE + 2, "elf-entry"), ("entry", BASE + 1, "elf-entry"), ("entry", BASE - 4, "elf-entry")),
        *(("entry", BASE + len(CODE), "elf-entry"), ("entry", 0x20000, "elf-entry"), ("entry", 0, "elf-entry")),
        *(("entry", MEMORY_BYTES, "elf-entry"), ("entry", (1 << 64) - 4, "elf-entry")),
    ],
)
def test_bad_file_headers(field, value, code):
    assert code_of(changed(field, value)) == code


@pytest.mark.parametrize(
    ("segment", "field", "value", "code"),
    [
        *((1, "kind", 2, "elf-dynamic"), (1, "kind", 3, "elf-dynamic")),
        *((1, "offset", len(GOOD) - 99, "elf-truncated"), (1, "offset", (1 << 64) - 50, "elf-truncated")),
        *((1, "file", len(GOOD), "elf-size"), (1, "memory", 99, "elf-size"), (0, "file", 1 << 63, "elf-size")),
        *((2, "memory", MEMORY_BYTES - 0x30000 + 1, "elf-range"), (2, "memory", (1 << 64) - 1, "elf-range")),
        *((2, "address", MEMORY_BYTES - 63, "elf-range"), (2, "address", (1 << 64) - 64, "elf-range")),
        *((1, "address", 0x30000, "elf-overlap"), (1, "address", BASE, "elf-overlap")),
        *((2, "address", 0x20000 + 4999, "elf-overlap"), (1, "address", BASE + len(CODE) - 1, "elf-overlap")),
        *((1, "memory", 0x10001, "elf-overlap"), (2, "address", 0, "elf-order"), (2, "address", 0x1F000, "elf-order")),
        *((0, "flags", 6, "elf-entry"), (0, "kind", 4, "elf-entry")),
    ],
)
def test_bad_segments(segment, field, value, code):
    assert code_of(changed(field, value, segment)) == code


def test_a_segment_that_encloses_another_overlaps_it():
    assert code_of(segments((0x20000, 0, 0x1000), (0x20010, 0, 16))) == "elf-overlap"
    assert code_of(segments((0x20010, 0, 16), (0x20000, 0, 0x1000))) == "elf-overlap"


def test_more_bytes_than_may_be_loaded(monkeypatch):
    monkeypatch.setattr("vm.elf.MAX_FILE_BYTES", len(CODE) + 99)
    assert code_of(GOOD) == "elf-size"
    monkeypatch.setattr("vm.elf.MAX_FILE_BYTES", len(CODE) + 100)
    read_elf(GOOD)


@pytest.mark.parametrize("size", [0, 3, 4, 15, 16, 63, 64, 119, 64 + 3 * 56 - 1])
def test_a_file_cut_short(size):
    assert code_of(GOOD[:size]) == ("elf-format" if size < 4 else "elf-truncated")


def test_every_cut_of_the_contents_is_noticed():
    for size in range(len(GOOD) - 100, len(GOOD)):
        assert code_of(GOOD[:size]) == "elf-truncated"


@given(st.data())
def test_a_damaged_file_is_a_program_or_an_elf_error(data):
    forged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        forged[data.draw(st.integers(0, 64 + 3 * 56 - 1))] = data.draw(st.integers(0, 255))
    try:
        program = read_elf(bytes(forged))
    except ElfError:
        return
    addresses = [address for segment in program.segments for address in (segment.address, segment.end)]
    assert addresses == sorted(addresses)
    assert addresses[-1] <= MEMORY_BYTES


def test_every_kind_of_error_has_a_code_of_its_own():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VmError)]
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("number", [64, 0, 94])
def test_pitfall_18_programs_have_no_calls_but_exit(number):
    code = assemble(("addi", "a7", "zero", number), ("ecall",), base=BASE)
    state = read_elf(write_elf(Program(BASE, (Segment(BASE, code, len(code)),)))).start()
    run(state, 10)
    assert (state.status, state.pc) == (TRAPPED, BASE + 4)
