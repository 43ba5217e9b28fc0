"""What a player sees of the contract: claims and games as plain data, with the contract's numbers.

The chain client and the referee of the tests both produce these views; the players read nothing else.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


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


@dataclass(frozen=True)
class ClaimView:
    """A claim as the contract has it. Times are chain seconds; addresses are checksummed hexadecimal.

    `deadline` is the last second at which the claim may be challenged. `input` is the posted input, from the event.
    """

    claim_id: bytes
    model_id: bytes
    prover: str
    input_root: bytes
    output_root: bytes
    s0: bytes
    deadline: int
    status: ClaimStatus
    open_games: int
    lost_games: int
    input: bytes = b""


@dataclass(frozen=True)
class GameView:
    """A game as the contract has it, with the last posted states, which only the events carry.

    The disputed range is `[position, position + length)`: both sides agree on `lo`, the state before it, and not on
    `hi`, the state after it. In the tile phase the states are roots of the model half and `tile` equals `position`; in
    the instruction phase they are machine states of tile `tile`. `states` is the post the challenger has to choose
    from, in order of its boundaries; empty unless the stage is CHOOSE. A clock holds the seconds its side had left
    when the last move was made, at `last_move`. `collected`: the challenger has been credited its share of the bond.
    """

    game_id: bytes
    claim_id: bytes
    challenger: str
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
    def turn(self) -> Role | None:
        """Whose clock runs; None when the game is over or unknown."""
        if self.stage not in PLAYING:
            return None
        return Role.CHALLENGER if self.stage is Stage.CHOOSE else Role.PROVER

    @property
    def winner(self) -> Role | None:
        """The side that won; None while the game is played."""
        return {Stage.PROVER_WON: Role.PROVER, Stage.CHALLENGER_WON: Role.CHALLENGER}.get(self.stage)

    def time_left(self, now: int) -> int:
        """Seconds left to the side on turn at `now`: a move is legal unless this is negative, a timeout if it is."""
        clock = self.challenger_clock if self.turn is Role.CHALLENGER else self.prover_clock
        return clock - (now - self.last_move)
