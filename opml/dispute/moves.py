"""The moves of a game: one frozen dataclass per contract method, fields in the order of the method's arguments.

`method` is the name of the method. Its first argument is always the game's key, the second, for some, the claim that
the game is about; the rest is the move. A move that answers a range names it, lest it has changed.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from opml.dispute.game import Claim, GameKey, Range


@dataclass(frozen=True)
class _Move:
    method: ClassVar[str]
    about_claim: ClassVar[bool] = False

    def args(self, key: GameKey, claim: Claim) -> tuple[Any, ...]:
        """All arguments of the method."""
        return (key, *((claim,) if self.about_claim else ()), *(getattr(self, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Open(_Move):
    """The path from the input region to the model root, the prover's root after the last tile, the path of the claimed
    output in that, and the first post."""

    method: ClassVar[str] = "open"
    about_claim: ClassVar[bool] = True
    input_path: bytes
    final_root: bytes
    output_path: bytes
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Post(_Move):
    """The prover's states at the inner boundaries of the disputed range."""

    method: ClassVar[str] = "post"
    range: Range
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Choose(_Move):
    """The first segment of the range that the challenger disputes, and the proof of the posted states at its ends."""

    method: ClassVar[str] = "choose"
    range: Range
    segment: int
    opening: tuple[bytes, ...]


@dataclass(frozen=True)
class Enter(_Move):
    """The prover's step count and halted end state (289 bytes) of the disputed tile, and the first post in it."""

    method: ClassVar[str] = "enter"
    about_claim: ClassVar[bool] = True
    range: Range
    steps: int
    end_state: bytes
    scratch_root: bytes
    states: tuple[bytes, ...]


@dataclass(frozen=True)
class Step(_Move):
    """The state after the disputed instruction, as the prover has it, and the witness of the instruction."""

    method: ClassVar[str] = "step"
    hi: bytes
    witness: bytes


@dataclass(frozen=True)
class Timeout(_Move):
    """The side on turn has used up its clock."""

    method: ClassVar[str] = "timeout"


Move = Open | Post | Choose | Enter | Step | Timeout
