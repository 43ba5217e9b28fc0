"""What a player sees of the contract: claims and games as plain data, with the contract's numbers.

The chain client, the ledger of events and the referee of the tests all produce these views; the players read nothing
else. What the contract keeps only as a hash (`Claim`, `GameKey`, `Range`) has the contract's fields in its order.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from vm.keccak import keccak256

WORD = 32


class Stage(IntEnum):
    """Where a game stands; the values are the contract's."""

    NONE = 0
    OPEN = 1
    CHOOSE = 2
    POST = 3
    ENTER = 4
    STEP = 5
    PROVER_WON = 6
    CHALLENGER_WON = 7


class Phase(IntEnum):
    """What a position counts; the values are the contract's."""

    TILE = 0
    INSTRUCTION = 1


class ClaimStatus(IntEnum):
    """Where a claim stands; the values are the contract's."""

    NONE = 0
    PENDING = 1
    FINAL = 2
    REJECTED = 3


class Role(Enum):
    """The two sides of a game."""

    PROVER = "prover"
    CHALLENGER = "challenger"

    @property
    def other(self) -> "Role":
        return Role.CHALLENGER if self is Role.PROVER else Role.PROVER


PLAYING = frozenset({Stage.OPEN, Stage.CHOOSE, Stage.POST, Stage.ENTER, Stage.STEP})


class Claim(NamedTuple):
    """What a claim says. Addresses are checksummed hexadecimal, here and below."""

    model_id: bytes
    input_root: bytes
    output_root: bytes
    prover: str
    nonce: int
    input_posted: bool

    def id_at(self, chain_id: int, contract: str) -> bytes:
        """The id that the claim has at a contract."""
        head = _word(chain_id) + _word(contract)
        roots = self.model_id + self.input_root + self.output_root
        return keccak256(head + roots + _word(self.prover) + _word(self.nonce) + _word(self.input_posted))


class GameKey(NamedTuple):
    """What a game is called."""

    claim_id: bytes
    challenger: str
    salt: int

    @property
    def id(self) -> bytes:
        """The game's id."""
        return keccak256(self.claim_id + _word(self.challenger) + _word(self.salt))


class Range(NamedTuple):
    """A disputed range, `[position, position + length)`, with the states before and after it."""

    position: int
    length: int
    lo: bytes
    hi: bytes


def _word(value: int | str) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(WORD, "big")


@dataclass(frozen=True)
class ClaimView:
    """A claim as the contract has it. Times are chain seconds.

    `deadline` is the last second at which the claim may be challenged. `input` is the posted input, from the event;
    empty where `input_posted` is false: then `input_uri` says where the bytes can be had.
    """

    claim_id: bytes
    model_id: bytes
    input_root: bytes
    output_root: bytes
    prover: str
    nonce: int
    input_posted: bool
    deadline: int
    status: ClaimStatus
    open_games: int
    lost_games: int
    input: bytes = b""
    input_uri: str = ""

    @property
    def claim(self) -> Claim:
        """What the claim says, as the moves bring it."""
        roots = (self.model_id, self.input_root, self.output_root)
        return Claim(*roots, self.prover, self.nonce, self.input_posted)


@dataclass(frozen=True)
class GameView:
    """A game as the contract has it, with what only the events carry: `lo`, `hi` and the last posted states.

    The disputed range is `[position, position + length)`: both sides agree on `lo`, the state before it, and not on
    `hi`, the state after it; all of it is empty before the game is opened. In the tile phase the states are roots of
    the model half and `tile` equals `position`; in the instruction phase they are machine states of tile `tile`.
    `states` is the post the challenger has to choose from, in order of its boundaries; empty unless the stage is
    CHOOSE. A clock holds the seconds its side had left when the last move was made, at `last_move`. `collected`: the
    winner has been paid what he won in this game.
    """

    game_id: bytes
    claim_id: bytes
    challenger: str
    salt: int
    prover: str
    k: int
    stage: Stage
    phase: Phase
    lo: bytes
    hi: bytes
    position: int
    length: int
    tile: int
    states: tuple[bytes, ...]
    prover_clock: int
    challenger_clock: int
    last_move: int
    collected: bool = False

    @property
    def key(self) -> GameKey:
        """What the game is called, as the moves bring it."""
        return GameKey(self.claim_id, self.challenger, self.salt)

    @property
    def range(self) -> Range:
        """The disputed range, as the moves bring it."""
        return Range(self.position, self.length, self.lo, self.hi)

    @property
    def turn(self) -> Role | None:
        """Whose clock runs; None when the game is over or unknown."""
        if self.stage not in PLAYING:
            return None
        return Role.CHALLENGER if self.stage is Stage.CHOOSE else Role.PROVER

    @property
    def winner(self) -> Role | None:
        """The side that won; None while the game is played."""
        return {Stage.PROVER_WON: Role.PROVER, Stage.CHALLENGER_WON: Role.CHALLENGER}.get(self.stage)

    def party(self, role: Role) -> str:
        """The address of a side."""
        return self.prover if role is Role.PROVER else self.challenger

    def time_left(self, now: int) -> int:
        """Seconds left to the side on turn at `now`: a move is legal unless this is negative, a timeout if it is."""
        clock = self.challenger_clock if self.turn is Role.CHALLENGER else self.prover_clock
        return clock - (now - self.last_move)
