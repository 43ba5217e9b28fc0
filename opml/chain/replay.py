"""Claims and games, event by event: what each event makes of what was there before it, or that it cannot have been."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from opml.dispute.game import PLAYING, Claim, ClaimStatus, ClaimView, GameKey, GameView, Phase, Range, Role, Stage
from opml.dispute.rules import boundary, parts
from opml.errors import ChainError

# The events that `after` knows.
GAME_EVENTS: Final = ("Opened", "Posted", "Chosen", "Entered", "Stepped", "TimedOut", "GameEnded", "Collected")


@dataclass(frozen=True)
class Entry:
    """One event of the contract, decoded, with its place in the chain and the time of its block."""

    name: str
    args: Mapping[str, Any]
    block: int
    block_hash: bytes
    timestamp: int
    index: int
    tx_hash: bytes


def new_claim(args: Mapping[str, Any]) -> ClaimView:
    """A claim that has just been made, from its event."""
    claim = Claim(*(args[n] for n in ("modelId", "inputRoot", "outputRoot", "prover", "nonce", "inputPosted")))
    return ClaimView(args["claimId"], *claim, args["deadline"], ClaimStatus.PENDING, 0, 0)


def new_game(game_id: bytes, key: GameKey, prover: str, k: int, clock: int, now: int) -> GameView:
    """A game that has just been begun."""
    return GameView(
        game_id=game_id,
        claim_id=key.claim_id,
        challenger=key.challenger,
        salt=key.salt,
        prover=prover,
        k=k,
        stage=Stage.OPEN,
        phase=Phase.TILE,
        lo=bytes(32),
        hi=bytes(32),
        position=0,
        length=0,
        tile=0,
        states=(),
        prover_clock=clock,
        challenger_clock=clock,
        last_move=now,
    )


def after(game: GameView, entry: Entry, tiles: int = 0) -> GameView:
    """The game after an event of it; `tiles` is the model's, for `Opened`. Raises ChainError if it cannot be."""
    args = entry.args
    match entry.name, game.stage:
        case "Opened", Stage.OPEN:
            return _narrowed(_moved(game, entry), Range(0, tiles, args["lo"], args["hi"]))
        case "Posted", Stage.POST if (args["position"], args["length"]) == (game.position, game.length):
            return replace(_moved(game, entry), stage=Stage.CHOOSE, states=args["states"])
        case "Chosen", Stage.CHOOSE if _segment(game, args["segment"]) == _range(args):
            return _narrowed(_moved(game, entry), _range(args))
        case "Entered", Stage.ENTER if args["tile"] == game.position:
            entered = replace(_moved(game, entry), phase=Phase.INSTRUCTION)
            return _narrowed(entered, Range(0, args["steps"], args["lo"], args["hi"]))
        case "Stepped", Stage.STEP:
            return _moved(game, entry)
        case "TimedOut", stage if stage in PLAYING:
            return game
        case "GameEnded", stage if stage in PLAYING:
            return replace(game, stage=Stage.PROVER_WON if args["proverWon"] else Stage.CHALLENGER_WON, states=())
        case "Collected", Stage.PROVER_WON | Stage.CHALLENGER_WON:
            return replace(game, collected=True)
    raise contradiction("a game", game.game_id)


def _range(args: Mapping[str, Any]) -> Range:
    return Range(args["position"], args["length"], args["lo"], args["hi"])


def _moved(game: GameView, entry: Entry) -> GameView:
    """The clock of the side on turn, used up; a second event of one move finds nothing more to use up."""
    field = "challenger_clock" if game.turn is Role.CHALLENGER else "prover_clock"
    left = game.time_left(entry.timestamp)
    if left < 0 or entry.timestamp < game.last_move:
        raise contradiction("a game", game.game_id)
    return replace(game, **{field: left, "last_move": entry.timestamp})  # type: ignore[arg-type]


def _segment(game: GameView, segment: int) -> Range | None:
    """A segment of a game's range, between the posted states at its ends; None if there is no such."""
    p = parts(game.length, game.k)
    if not segment < p == len(game.states) + 1:
        return None
    start, end = boundary(game.length, p, segment), boundary(game.length, p, segment + 1)
    states = (game.lo, *game.states, game.hi)
    return Range(game.position + start, end - start, states[segment], states[segment + 1])


def _narrowed(game: GameView, range: Range) -> GameView:
    tiles = game.phase is Phase.TILE
    stage = Stage.POST if range.length > 1 else Stage.ENTER if tiles else Stage.STEP
    tile = range.position if tiles else game.tile
    return replace(game, **range._asdict(), stage=stage, tile=tile, states=())


def contradiction(what: str, item: bytes) -> ChainError:
    """What there is to say about events that cannot have been."""
    return ChainError(
        f"the node's events about {what} 0x{item.hex()} contradict each other, or the first are missing",
        "the contract's first block may be a lower one (ADDRESS@BLOCK); else ask another node",
    )
