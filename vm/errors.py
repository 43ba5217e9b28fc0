"""The errors of the machine. `code` is stable and may be matched by programs."""

from typing import ClassVar


class VmError(Exception):
    """The machine was used wrongly: an address, a size, a level or a register value out of range.

    A guest program can never cause one: whatever it does is a state transition (vm/SPEC.md, "Traps").
    """

    code: ClassVar[str] = "vm"


class WitnessError(VmError):
    """A proof or a step witness is malformed or does not belong to its root.

    `code` names the first thing found wrong, in the order in which the verifier looks:
    `witness-length` (truncated, or bytes left over), `witness-status` (a status that does not exist),
    `witness-mask` (a bit at or above the path's height), `witness-proof` (leaves and proof do not give the root).
    """

    code = "witness"


class WitnessLengthError(WitnessError):
    """A witness is shorter or longer than what its content calls for."""

    code = "witness-length"


class WitnessStatusError(WitnessError):
    """The status byte is none of running, halted, trapped."""

    code = "witness-status"


class WitnessMaskError(WitnessError):
    """A path's mask has a bit at or above the path's height."""

    code = "witness-mask"


class WitnessProofError(WitnessError):
    """The leaves with their proof do not give the state's memory root."""

    code = "witness-proof"


class ElfError(VmError):
    """A file is no program that the machine can run. `code` says why."""

    code = "elf"


class ElfFormatError(ElfError):
    """Not an ELF executable: magic, version, type or the size of its headers."""

    code = "elf-format"


class ElfMachineError(ElfError):
    """A program for another machine: 32-bit, big-endian, not RISC-V, or with floats in float registers."""

    code = "elf-machine"


class ElfCompressedError(ElfError):
    """The program has compressed (16-bit) instructions."""

    code = "elf-compressed"


class ElfDynamicError(ElfError):
    """The program needs a dynamic linker, or relocation."""

    code = "elf-dynamic"


class ElfTruncatedError(ElfError):
    """A header or a segment lies beyond the end of the file."""

    code = "elf-truncated"


class ElfSizeError(ElfError):
    """Too many program headers, too many bytes to load, or a segment larger in the file than in memory."""

    code = "elf-size"


class ElfRangeError(ElfError):
    """A segment does not lie in memory."""

    code = "elf-range"


class ElfOverlapError(ElfError):
    """Two segments overlap."""

    code = "elf-overlap"


class ElfOrderError(ElfError):
    """The segments are not in the order of their addresses."""

    code = "elf-order"


class ElfEntryError(ElfError):
    """The entry is misaligned, or not in an executable segment."""

    code = "elf-entry"
