"""The catalogue's games on the real contract: after every transaction it is where the referee is, refusals included."""

from collections import Counter

import pytest
from dispute_toy import INPUT, WINDOW, ToyTrace
from game_catalogue import CATALOGUE
from game_twin import Twin, account

from opml.dispute.game import Role
from opml.dispute.liars import FalseTrace, Spot
from opml.dispute.moves import Timeout
from opml.dispute.player import player

PROVER, CHALLENGER = account("prover"), account("challenger")
ACCOUNTS = {Role.PROVER: PROVER, Role.CHALLENGER: CHALLENGER}
BONDS = (10**18 + 7, 10**17 + 3)
MANY_TURNS = 300
# (tiles, instructions, k, fault): together every kind of stage after stage, and segments that do not divide evenly.
SHAPES = [(5, 7, 3, Spot(2, 4))]
MORE_SHAPES = [
    (1, 1, 2, Spot(0, 0)),
    (1, 9, 4, Spot(0, 8)),
    (9, 1, 2, Spot(8, 0)),
    (2, 3, 2, Spot(1, 0)),
    (7, 5, 2, Spot(6, 4)),
    (8, 9, 8, Spot(3, 5)),
    (9, 9, 64, Spot(0, 8)),
]


def play_on_both(name: str, liar: Role, shape: tuple[int, int, int, Spot]) -> Twin:
    """A game of the catalogue on a contract and a referee."""
    tiles, steps, k, spot = shape
    truth = ToyTrace(tiles, steps)
    twin = Twin(truth, k, BONDS, [PROVER, CHALLENGER])
    claimed = FalseTrace(truth, spot) if liar is Role.PROVER else truth
    assert not twin.send(PROVER, "claim", twin.model_id, INPUT, claimed.output_root, 0)
    (claim_id,) = twin.referee.ledger.claims
    assert not twin.send(CHALLENGER, "challenge", twin.referee.claim_view(claim_id).claim, 0)
    (game_id,) = twin.referee.ledger.games
    players = {liar: CATALOGUE[name].player(truth, liar, spot), liar.other: player(truth, liar.other)}
    for _ in range(MANY_TURNS):
        view = twin.game_view(game_id)
        if view.winner:
            break
        for role, who in players.items():
            move = who(view, twin.referee.now())
            if move and not twin.move(game_id, move, ACCOUNTS[role]):
                break
        else:
            twin.advance(max(view.time_left(twin.referee.now()) // 3, 1))
    assert view.winner is liar.other
    winner, claims = ACCOUNTS[liar.other], [claim_id] if liar is Role.CHALLENGER else []
    if claims:
        assert twin.send(winner, "withdraw", winner.address, claims, [view.key]) == "WindowOpen"
        twin.advance(WINDOW + 1)
    assert not twin.send(winner, "withdraw", winner.address, claims, [view.key])
    assert twin.send(winner, "withdraw", winner.address, claims, [view.key]) == "NotCollectable"
    assert twin.send(ACCOUNTS[liar], "withdraw", ACCOUNTS[liar].address, [], []) == "NothingToWithdraw"
    return twin


@pytest.mark.parametrize("liar", Role)
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_contract_is_where_the_referee_is_after_every_transaction(name: str, liar: Role) -> None:
    for shape in SHAPES:
        play_on_both(name, liar, shape)


@pytest.mark.slow
@pytest.mark.parametrize("liar", Role)
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_contract_is_where_the_referee_is_in_games_of_all_shapes(name: str, liar: Role) -> None:
    for shape in MORE_SHAPES:
        play_on_both(name, liar, shape)


@pytest.mark.parametrize("shape", MORE_SHAPES)
def test_extreme_shapes_on_the_contract(shape: tuple[int, int, int, Spot]) -> None:
    """One instruction, one tile, k above both, k at its largest: won by a step, by each side."""
    for liar in Role:
        twin = play_on_both("register", liar, shape)
        events = Counter(name for name, _ in twin.referee.events)
        assert events["Stepped"] == 1
        assert not events["TimedOut"]


def test_the_twins_notice_a_difference() -> None:
    """A referee with another rule is caught at the first transaction where it shows."""
    truth = ToyTrace(3, 3)
    twin = Twin(truth, 2, BONDS, [PROVER, CHALLENGER])
    assert not twin.send(PROVER, "claim", twin.model_id, INPUT, truth.output_root, 0)
    (claim_id,) = twin.referee.ledger.claims
    assert not twin.send(CHALLENGER, "challenge", twin.referee.claim_view(claim_id).claim, 0)
    (game_id,) = twin.referee.ledger.games
    twin.referee.ledger.games[game_id].prover_clock -= 1
    twin.advance(100)
    with pytest.raises(AssertionError, match="the contract says ClockRunning, the referee yes"):
        twin.move(game_id, Timeout(), CHALLENGER)
    twin.referee.ledger.balance += 1
    with pytest.raises(AssertionError):
        twin.check_money()
