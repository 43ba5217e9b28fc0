"""Single steps of a dispute before any court, each of which waits for its transaction: for demonstrations and tests.

The players' loop, which waits for nothing and plays any number of games, is `opml.dispute.keeper`.
"""

from collections.abc import Callable
from typing import Any

from opml.dispute.court import Court
from opml.dispute.game import ClaimStatus, ClaimView, GameView, Stage
from opml.dispute.moves import Move
from opml.dispute.player import Player, collectable, should_challenge, should_finalise
from opml.dispute.trace import Trace
from opml.errors import DisputeError, RevertError

Progress = Callable[[GameView, Move], None]


class Refused(DisputeError):
    """The contract refuses our move although the game has not changed: we are wrong, or the node is behind."""


def _ignore(view: GameView, move: Move) -> None:
    pass


def turn(court: Court, account: Any, game_id: bytes, who: Player, progress: Progress = _ignore) -> GameView:
    """Observe a game once, and make the move that `who` decides on, if any. Returns the game as it is afterwards.

    Raises DisputeError if there is no such game, and Refused.
    """
    view = court.game_view(game_id)
    if view.stage is Stage.NONE:
        raise DisputeError(f"there is no game 0x{game_id.hex()}")
    move = who(view, court.now())
    if move is None:
        return view
    try:
        court.move(game_id, move, account)
    except RevertError as error:
        # Somebody else may have moved first: a step or a timeout is anyone's.
        after = court.game_view(game_id)
        if after == view:
            raise Refused(f"the contract refuses our move `{move.method}`: {error.reason}") from error
        return after
    progress(view, move)
    return court.game_view(game_id)


def challenge(
    court: Court, account: Any, claim_id: bytes, trace: Trace, salt: int = 0, party: str | None = None
) -> bytes | None:
    """Our game against a claim: the last one that we have begun, else a new one if the claim is false, else None.

    Raises DisputeError where a delegate would have to begin one: that only the party itself can.
    """
    claim = existing_claim(court, claim_id)
    challenger = party or account.address
    ours = [game.game_id for game in _games(court, claim_id) if game.challenger == challenger]
    if ours:
        return ours[-1]
    if not should_challenge(claim, trace, court.now()):
        return None
    if challenger != account.address:
        raise DisputeError(
            f"{challenger} has no game against the claim", "it has to begin one itself; a delegate goes on with it"
        )
    game_id, _ = court.challenge(claim_id, salt, account)
    return game_id


def withdraw(court: Court, account: Any, claim_id: bytes, party: str | None = None) -> None:
    """Make our claim final if it is time, collect our winnings of its games, and all our credit, if there is any."""
    party, claim = party or account.address, existing_claim(court, claim_id)
    games = collectable(claim, _games(court, claim_id), party)
    claims = [claim_id] if claim.prover == party and should_finalise(claim, court.now()) else []
    if claims or games or court.credit(party):
        court.withdraw(party, claims, games, account)


def existing_claim(court: Court, claim_id: bytes) -> ClaimView:
    """The claim of this id. Raises DisputeError where there is none."""
    claim = court.claim_view(claim_id)
    if claim.status is ClaimStatus.NONE:
        raise DisputeError(f"there is no claim 0x{claim_id.hex()}", "`opml claims` without an id lists them")
    return claim


def _games(court: Court, claim_id: bytes) -> list[GameView]:
    return [court.game_view(game_id) for game_id in court.claim_games(claim_id)]
