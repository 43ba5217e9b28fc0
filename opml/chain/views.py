"""Claims and games as the contract's storage has them, with what only events carry, checked against its hashes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opml.chain.abi import Event
from opml.dispute.game import PLAYING, Claim, ClaimStatus, ClaimView, GameKey, GameView, Phase, Stage
from opml.dispute.rules import RuleError, commit, range_hash
from opml.errors import ChainError

NO_WORD: Final = bytes(32)
NOBODY: Final = "0x" + 40 * "0"
NO_CLAIM: Final = Claim(NO_WORD, NO_WORD, NO_WORD, NOBODY, 0, True)
_NO_GAME: Final[Mapping[str, Any]] = {"claimId": NO_WORD, "challenger": NOBODY, "salt": 0, "prover": NOBODY}
_HINT: Final = "the node may have dropped old events: ask another one"


class BehindError(ChainError):
    """The node's events and its state are not of the same moment, or one of them is wrong."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the node's events do not fit its state: {what}", "try again, or ask another node")


def claim_terms(event: Mapping[str, Any]) -> Claim:
    """What a claim says, from its event `Claimed`."""
    roots = (event["modelId"], event["inputRoot"], event["outputRoot"])
    return Claim(*roots, event["prover"], event["nonce"], event["inputPosted"])


def game_key(event: Mapping[str, Any]) -> GameKey:
    """What a game is called, from its event `Challenged`."""
    return GameKey(event["claimId"], event["challenger"], event["salt"])


def claim_view(
    claim_id: bytes, claim: Claim, state: Mapping[str, Any], input: bytes = b"", input_uri: str = ""
) -> ClaimView:
    """A claim: `state` is the contract's."""
    counts = (state["openGames"], state["lostGames"])
    return ClaimView(claim_id, *claim, state["deadline"], ClaimStatus(state["status"]), *counts, input, input_uri)


def game_view(game_id: bytes, k: int, state: Mapping[str, Any], events: Sequence[Event]) -> GameView:
    """A game: `state` is the contract's, `events` are all of the game's.

    Raises ChainError where events are missing, BehindError where they do not fit the state.
    """
    stage, phase = Stage(state["stage"]), Phase(state["phase"])
    newest = {event.name: event.args for event in events}
    begun = present(newest, "Challenged") if stage is not Stage.NONE else _NO_GAME
    key = game_key(begun)
    if stage is not Stage.NONE and key.id != game_id:
        raise BehindError("the game's key is not that of its id")
    ends = next((event.args for event in reversed(events) if "lo" in event.args), {"lo": NO_WORD, "hi": NO_WORD})
    lo, hi = ends["lo"], ends["hi"]
    states: tuple[bytes, ...] = present(newest, "Posted")["states"] if stage is Stage.CHOOSE else ()
    if state["range"] != _kept(stage, lo, hi, states, state["length"], k):
        raise BehindError("the states at the ends of the disputed range are others")
    tile = present(newest, "Entered")["tile"] if phase is Phase.INSTRUCTION else state["position"]
    return GameView(
        game_id=game_id,
        claim_id=key.claim_id,
        challenger=key.challenger,
        salt=key.salt,
        prover=begun["prover"],
        k=k,
        stage=stage,
        phase=phase,
        lo=lo,
        hi=hi,
        position=state["position"],
        length=state["length"],
        tile=tile,
        states=states,
        prover_clock=state["proverClock"],
        challenger_clock=state["challengerClock"],
        last_move=state["lastMove"],
        collected=state["collected"],
    )


def _kept(stage: Stage, lo: bytes, hi: bytes, states: Sequence[bytes], length: int, k: int) -> bytes:
    """What the contract keeps of a range."""
    if stage not in PLAYING or stage is Stage.OPEN:
        return NO_WORD
    try:
        return range_hash(lo, hi, commit(states, length, k) if stage is Stage.CHOOSE else b"")
    except RuleError:
        return NO_WORD  # a post for another range


def present(events: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """An event that there has to be. Raises ChainError if the node does not have it."""
    if name not in events:
        raise ChainError(f"the node does not have the event {name}, which there has to be", _HINT)
    return events[name]
