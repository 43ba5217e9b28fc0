"""The players' loop: observe the chain, decide, act. It knows nothing else, so it may be stopped at any moment.

For the same reason a chain that does not answer is asked again: whether a transaction whose receipt was lost has been
mined shows in the state that the next look finds. So is one that refuses: nodes try a transaction on the latest block,
whose time and state may be older than what they have just shown us.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from opml.dispute.court import Court
from opml.dispute.game import ClaimStatus, ClaimView, GameView, Role, Stage
from opml.dispute.moves import Move, Timeout
from opml.dispute.player import Player, collectable, should_challenge, should_finalise
from opml.dispute.trace import Trace
from opml.errors import ChainError, DisputeError, RevertError

Progress = Callable[[GameView, Move], None]
Sleep = Callable[[float], None]
T = TypeVar("T")
POLL_SECONDS = 1.0
# How often in a row the chain may fail to answer, or refuse; the waits grow to a minute, so that is about 25 minutes.
PATIENCE = 30
LONGEST_WAIT = 60.0


class Refused(DisputeError):
    """The contract refuses our move although the game has not changed: we are wrong, or the node is behind."""


def _ignore(view: GameView, move: Move) -> None:
    pass


def _patiently(action: Callable[[], T], sleep: Sleep, poll: float) -> T:
    """The action's result; it is repeated while the chain fails or refuses."""
    for attempt in range(PATIENCE):
        try:
            return action()
        except (ChainError, Refused):
            sleep(min(poll * 2**attempt, max(poll, LONGEST_WAIT)))
    return action()


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


def play(
    court: Court,
    account: Any,
    game_id: bytes,
    who: Player,
    *,
    progress: Progress = _ignore,
    sleep: Sleep = time.sleep,
    poll: float = POLL_SECONDS,
) -> Role:
    """Play a game to its end; returns the winner. `sleep(poll)` is called while the other side thinks."""
    view = None
    while True:
        before, view = view, _patiently(lambda: turn(court, account, game_id, who, progress), sleep, poll)
        if view.winner:
            return view.winner
        if view == before:
            sleep(poll)


def defend(
    court: Court,
    account: Any,
    claim_id: bytes,
    who: Player,
    *,
    progress: Progress = _ignore,
    party: str | None = None,
    sleep: Sleep = time.sleep,
    poll: float = POLL_SECONDS,
) -> ClaimStatus:
    """Answer every challenge of our claim until it is final, or rejected and settled; then withdraw what is ours.

    `party` is whose claim it is, if not the account's own: the account is then a delegate of it. Likewise below.
    """

    def look() -> tuple[list[GameView], ClaimView]:
        games, failures = [], []
        for game_id in court.claim_games(claim_id):
            try:
                games.append(turn(court, account, game_id, who, progress))
            except (ChainError, Refused) as error:
                failures.append(error)  # the other games must not wait for this one
        if failures and not any(game.turn for game in games):
            raise failures[0]
        claim = existing_claim(court, claim_id)
        if not claim.open_games and (claim.status is not ClaimStatus.PENDING or should_finalise(claim, court.now())):
            withdraw(court, account, claim_id, party)
            claim = existing_claim(court, claim_id)
        return games, claim

    games: list[GameView] = []
    while True:
        before, (games, claim) = games, _patiently(look, sleep, poll)
        if claim.status is not ClaimStatus.PENDING and not claim.open_games:
            return claim.status
        if games == before:
            sleep(poll)


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


def settle(
    court: Court,
    account: Any,
    claim_id: bytes,
    *,
    party: str | None = None,
    sleep: Sleep = time.sleep,
    poll: float = POLL_SECONDS,
) -> ClaimStatus:
    """After our game: wait until no other game of the claim is open, ending those that are out of time; withdraw."""

    def look() -> tuple[ClaimView, bool]:
        claim = existing_claim(court, claim_id)
        late = [game for game in _games(court, claim_id) if game.turn and game.time_left(court.now()) < 0]
        for game in late:
            try:
                court.move(game.game_id, Timeout(), account)
            except RevertError:
                if court.game_view(game.game_id) == game:
                    raise
        if not claim.open_games:
            withdraw(court, account, claim_id, party)
        return claim, bool(late)

    while True:
        claim, acted = _patiently(look, sleep, poll)
        if not claim.open_games:
            return claim.status
        if not acted:
            sleep(poll)


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
