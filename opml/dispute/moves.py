"""The moves of a game: one frozen dataclass per contract method, fields in the order of the method's arguments.

`method` is the name of the method; its first argument is always the game's id, the rest is `args()`.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class _Move:
    method: ClassVar[str]

    def args(self) -> tuple[Any, ...]:
        """The arguments after the game's id."""
        return tuple(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True)
class Open(_Move):
    """The prover's root after the last tile, the path of the claimed output in it, and the first post."""

    method: ClassVar[str] = "open"
    final_root: bytes
    output_path: bytes
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Post(_Move):
    """The prover's states at the inner boundaries of the disputed range, which is named lest it has changed."""

    method: ClassVar[str] = "post"
    position: int
    length: int
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Choose(_Move):
    """The first segment of the range that the challenger disputes, and the posted states at its ends with paths."""

    method: ClassVar[str] = "choose"
    position: int
    length: int
    segment: int
    opening: tuple[bytes, ...]


@dataclass(frozen=True)
class Enter(_Move):
    """The prover's step count and halted end state (289 bytes) of the disputed tile, and the first post in it."""

    method: ClassVar[str] = "enter"
    position: int
    steps: int
    end_state: bytes
    scratch_root: bytes
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Step(_Move):
    """The witness of the disputed instruction."""

    method: ClassVar[str] = "step"
    witness: bytes


@dataclass(frozen=True)
class Timeout(_Move):
    """The side on turn has used up its clock."""

    method: ClassVar[str] = "timeout"


Move = Open | Post | Choose | Enter | Step | Timeout
