"""Every liar of the catalogue in every small game: all sizes, all faults, both roles, several k."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dispute_referee import Account, Referee
from dispute_toy import CHALLENGER, PROVER, WINDOW, ToyTrace, claim_toy, toy_court
from game_money import Purses, money_court

from opml.dispute.game import GameView, Role
from opml.dispute.liars import LIARS, FalseTrace, Liar, Spot
from opml.dispute.moves import Move, Timeout
from opml.dispute.player import player
from opml.dispute.schemers import SCHEMERS, Schemer
from opml.errors import RevertError

CATALOGUE: dict[str, Liar | Schemer] = {**LIARS, **SCHEMERS}
ACCOUNTS = {Role.PROVER: PROVER, Role.CHALLENGER: CHALLENGER}
# No game of these sizes has more turns; a move that the court refuses counts as one.
MANY_TURNS = 300


@dataclass(frozen=True)
class Case:
    """A liar in a role, with a fault at a spot of a computation, against the honest player."""

    name: str
    liar: Role
    tiles: int
    steps: int
    k: int
    spot: Spot

    @property
    def truth(self) -> ToyTrace:
        return _truth(self.tiles, self.steps)


@lru_cache(maxsize=16)
def _truth(tiles: int, steps: int) -> ToyTrace:
    """Made once for all games of a size: it keeps its hashes."""
    return ToyTrace(tiles, steps)


def cases(names: list[str], tiles: int, steps: int, k: int) -> Iterator[Case]:
    """All faults in a computation of this size, both roles."""
    for name in names:
        for liar in Role:
            for tile in range(tiles):
                for step in range(steps):
                    yield Case(name, liar, tiles, steps, k, Spot(tile, step))


def sizes(tiles: int, steps: int) -> list[tuple[int, int]]:
    """All sizes up to this one."""
    return [(m, n) for m in range(1, tiles + 1) for n in range(1, steps + 1)]


def play_case(case: Case) -> Counter[str]:
    """Plays it; fails unless the honest side wins, with a profit. Counts moves made and refused, and how it ended."""
    truth, honest = case.truth, case.liar.other
    court, model_id = toy_court(truth, case.k)
    money_court(court)
    purses, tally = Purses(court), Counter[str]()
    claimed = FalseTrace(truth, case.spot) if case.liar is Role.PROVER else truth
    claim_id = claim_toy(court, model_id, truth, claimed.output_root)
    game_id, _ = court.challenge(claim_id, 0, CHALLENGER)
    for account, method in ((PROVER, "claim"), (CHALLENGER, "challenge")):
        purses.spend(account, method)
    players = {case.liar: CATALOGUE[case.name].player(truth, case.liar, case.spot), honest: player(truth, honest)}
    for _ in range(MANY_TURNS):
        view = court.game_view(game_id)
        if view.winner:
            break
        for role, who in players.items():
            move = who(view, court.now())
            if move is None:
                continue
            reason = refusal(court, game_id, move, ACCOUNTS[role])
            if reason:
                assert role is case.liar, f"{case}: {reason} to the honest side"
                tally[reason] += 1
                continue
            purses.spend(ACCOUNTS[role], move.method)
            tally[f"{role.value} moves"] += 1
            tally["timeouts"] += isinstance(move, Timeout)
            break
        else:
            pass_time(court, view)
    assert view.winner is honest, f"{case}: {view}"
    settle(court, purses, claim_id, game_id, honest)
    assert purses.profit(ACCOUNTS[honest]) > 0, case
    assert purses.profit(ACCOUNTS[case.liar]) < 0, case
    return tally


def refusal(court: Referee, game_id: bytes, move: Move, who: Account) -> str:
    """Makes the move: "" or why it is refused."""
    try:
        court.move(game_id, move, who)
    except RevertError as error:
        return error.reason
    return ""


def pass_time(court: Referee, view: GameView) -> None:
    """Nobody moves: the time goes on, in shorter and shorter steps to the last second, and then beyond it."""
    left = view.time_left(court.now())
    court.advance(max(left // 3, 1))


def settle(court: Referee, purses: Purses, claim_id: bytes, game_id: bytes, winner: Role) -> None:
    """The winner collects; a claim that stands becomes final."""
    account, claims = ACCOUNTS[winner], []
    if winner is Role.PROVER:
        court.advance(WINDOW + 1)
        claims = [claim_id]
    court.withdraw(account.address, claims, [game_id], account)
    purses.spend(account, "withdraw")
    assert court.ledger.balance == court.liabilities()
