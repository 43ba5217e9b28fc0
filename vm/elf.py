"""Static ELF programs: which ones the machine can run, and the state in which it starts them (vm/SPEC.md, "Programs").

A file is refused unless it says exactly what memory looks like at the start. Nothing that a loader of an operating
system would repair is repaired: segments in order, apart from one another and inside memory, code without compressed
or floating-point instructions, no interpreter, nothing to relocate.
Source: System V Application Binary Interface, chapters 4 and 5; RISC-V ELF psABI 1.0, "File header".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vm.constants import MEMORY_BYTES
from vm.errors import (
    ElfCompressedError,
    ElfDynamicError,
    ElfEntryError,
    ElfFormatError,
    ElfMachineError,
    ElfOrderError,
    ElfOverlapError,
    ElfRangeError,
    ElfSizeError,
    ElfTruncatedError,
)
from vm.isa import WORD_BYTES
from vm.memory import Memory
from vm.state import State

STACK_TOP: Final = MEMORY_BYTES - 64
"""The first stack pointer. The zeros above it read as: no arguments, no environment, no auxiliary vector."""
MAX_PROGRAM_HEADERS: Final = 128
MAX_FILE_BYTES: Final = 1 << 30
"""Bytes of all segments together that come from the file."""

_REG_SP: Final = 2
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_MAGIC: Final = b"\x7fELF"
_CLASS_64, _LITTLE_ENDIAN, _VERSION = 2, 1, 1
_ET_EXEC, _ET_DYN = 2, 3
_EM_RISCV: Final = 243
_EF_RVC, _EF_FLOAT_ABI, _EF_RVE, _EF_TSO = 0x01, 0x06, 0x08, 0x10
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_PF_X, _PF_RWX = 1, 7


@dataclass(frozen=True)
class Segment:
    """`data` at `address`, then zeros up to `size` bytes in all. `executable` says where the entry may be."""

    address: int
    data: bytes
    size: int
    executable: bool = True

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.size


@dataclass(frozen=True)
class Program:
    """What a file asks for: segments with rising addresses, and where to start."""

    entry: int
    segments: tuple[Segment, ...]

    def start(self) -> State:
        """The machine before its first step: the segments in an otherwise zero memory, sp = STACK_TOP."""
        memory = Memory()
        for segment in self.segments:
            memory.write(segment.address, segment.data)
        state = State(memory, self.entry)
        state.registers[_REG_SP] = STACK_TOP
        return state


def read_elf(data: bytes) -> Program:
    """The program in an ELF file. Raises ElfError, of the kind that says what is wrong, for one that cannot be run."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise ElfFormatError("not an ELF file")
    if len(data) < _HEADER.size:
        raise ElfTruncatedError(f"the file header is cut off: {len(data)} of {_HEADER.size} bytes")
    identity, kind, machine, version, entry, table, _, flags, size, entry_size, count, *_ = _HEADER.unpack_from(data)
    _check_identity(identity, machine, version)
    if kind == _ET_DYN:
        raise ElfDynamicError("a shared object or position-independent executable; link it with -static -no-pie")
    if kind != _ET_EXEC:
        raise ElfFormatError(f"not an executable (type {kind})")
    _check_flags(flags)
    if size != _HEADER.size or entry_size != _PROGRAM_HEADER.size:
        raise ElfFormatError(f"headers of {size} and {entry_size} bytes")
    if not 0 < count <= MAX_PROGRAM_HEADERS:
        raise ElfSizeError(f"{count} program headers; there may be 1 to {MAX_PROGRAM_HEADERS}")
    end = table + count * _PROGRAM_HEADER.size
    if end > len(data):
        raise ElfTruncatedError(f"the program headers end at byte {end} of {len(data)}")
    segments = _segments(data, table, count)
    _check_entry(entry, segments)
    return Program(entry, segments)


def _check_identity(identity: bytes, machine: int, version: int) -> None:
    if identity[4] != _CLASS_64:
        raise ElfMachineError("not a 64-bit file; build for rv64im")
    if identity[5] != _LITTLE_ENDIAN:
        raise ElfMachineError("not little-endian")
    if identity[6] != _VERSION or version != _VERSION:
        raise ElfFormatError(f"ELF version {identity[6]}, {version}")
    if machine != _EM_RISCV:
        raise ElfMachineError(f"machine {machine}, not RISC-V ({_EM_RISCV})")


def _check_flags(flags: int) -> None:
    if flags & _EF_RVC:
        raise ElfCompressedError("compressed instructions; build with -march=rv64im")
    if flags & _EF_FLOAT_ABI:
        raise ElfMachineError("floats in float registers; build with -march=rv64im -mabi=lp64")
    if flags & ~(_EF_RVE | _EF_TSO):
        raise ElfMachineError(f"unknown flags {flags:#x}")


def _segments(data: bytes, table: int, count: int) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    total = 0
    for number in range(count):
        kind, flags, offset, address, _, file_size, size, _ = _PROGRAM_HEADER.unpack_from(
            data, table + number * _PROGRAM_HEADER.size
        )
        if kind in (_PT_INTERP, _PT_DYNAMIC):
            raise ElfDynamicError("linked dynamically; link it with -static -no-pie")
        if kind != _PT_LOAD:
            continue
        if file_size > size:
            raise ElfSizeError(f"segment {number}: {file_size} bytes of file for {size} of memory")
        if offset + file_size > len(data):
            raise ElfTruncatedError(f"segment {number} ends at byte {offset + file_size} of {len(data)}")
        if address + size > MEMORY_BYTES:
            raise ElfRangeError(f"segment {number}: {size} bytes at {address:#x} do not lie in memory")
        total += file_size
        if total > MAX_FILE_BYTES:
            raise ElfSizeError(f"more than {MAX_FILE_BYTES} bytes to load")
        if size:
            segment = Segment(address, data[offset : offset + file_size], size, bool(flags & _PF_X))
            _check_order(segments, segment, number)
            segments.append(segment)
    return tuple(segments)


def _check_order(before: list[Segment], segment: Segment, number: int) -> None:
    if any(segment.address < other.end and other.address < segment.end for other in before):
        raise ElfOverlapError(f"segment {number}, {segment.size} bytes at {segment.address:#x}, overlaps another")
    if before and segment.address < before[-1].address:
        raise ElfOrderError(f"segment {number} at {segment.address:#x} comes after one at {before[-1].address:#x}")


def _check_entry(entry: int, segments: Sequence[Segment]) -> None:
    if entry % WORD_BYTES:
        raise ElfEntryError(f"the entry {entry:#x} is not a multiple of {WORD_BYTES}")
    if not any(s.executable and s.address <= entry and entry + WORD_BYTES <= s.end for s in segments):
        raise ElfEntryError(f"the entry {entry:#x} is in no executable segment")


def write_elf(program: Program) -> bytes:
    """A file that holds `program` and nothing else: `read_elf` gives it back, and Linux runs it on RISC-V.

    Each segment's offset equals its address modulo a page, as Linux wants it.
    """
    page, count = 4096, len(program.segments)
    offset = _HEADER.size + count * _PROGRAM_HEADER.size
    headers, body = [], bytearray()
    for segment in program.segments:
        start = offset + len(body)
        start += (segment.address - start) % page
        body += bytes(start - offset - len(body)) + segment.data
        headers.append(
            _PROGRAM_HEADER.pack(
                _PT_LOAD,
                _PF_RWX if segment.executable else _PF_RWX & ~_PF_X,
                start,
                segment.address,
                segment.address,
                len(segment.data),
                segment.size,
                page,
            )
        )
    identity = (_MAGIC + bytes([_CLASS_64, _LITTLE_ENDIAN, _VERSION])).ljust(16, b"\0")
    header = _HEADER.pack(
        identity, _ET_EXEC, _EM_RISCV, _VERSION, program.entry, _HEADER.size, 0, 0, _HEADER.size,
        _PROGRAM_HEADER.size, count, 0, 0, 0,
    )  # fmt: skip
    return header + b"".join(headers) + bytes(body)
