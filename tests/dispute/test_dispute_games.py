"""Whole games on toy traces: honest against lying, for every liar, every leaf and many shapes. The honest side wins."""

from dataclasses import replace

import pytest
from dispute_referee import Referee
from dispute_toy import CHALLENGER, PROVER, WINDOW, ToyTrace, claim_toy, play_out, toy_court

from opml.dispute.game import ClaimStatus, Role, Stage
from opml.dispute.liars import LIARS, Liar, Spot
from opml.dispute.moves import Choose, Enter, Open, Post, Step, Timeout
from opml.dispute.player import collectable, player, should_challenge, should_finalise
from opml.dispute.trace import Trace
from opml.errors import RevertError

START = 10_000
SHAPES = [(k, tiles, steps) for k in (2, 3, 4, 16, 32) for tiles, steps in ((1, 1), (1, 5), (5, 1), (7, 6), (33, 35))]


def judge(court: Referee, model_id: bytes, truth: ToyTrace, liar: Liar, lying: Role, spot: Spot) -> bytes:
    """One game between a liar and an honest player, to the last coin. Returns the game's id."""
    for address in (PROVER.address, CHALLENGER.address):
        court.ledger.balances[address] = START
    claimed: Trace = liar.trace(truth, spot) if lying is Role.PROVER else truth
    claim_id = claim_toy(court, model_id, truth, claimed.output_root)
    assert should_challenge(court.claim_view(claim_id), truth, court.now()) is (lying is Role.PROVER)
    game_id, _ = court.challenge(claim_id, 0, CHALLENGER)
    honest = lying.other
    view = play_out(court, game_id, {lying: liar.player(truth, lying, spot), honest: player(truth, honest)})
    assert view.winner is honest
    assert court.ledger.balance == court.liabilities()
    settle(court, claim_id, honest)
    return game_id


def settle(court: Referee, claim_id: bytes, honest: Role) -> None:
    """Everybody takes what is his; the contract keeps what is burnt and nothing else."""
    bond, stake, burnt = court.prover_bond, court.challenger_bond, court.ledger.burnt
    claim = court.claim_view(claim_id)
    games = [court.game_view(g) for g in court.claim_games(claim_id)]
    won = collectable(claim, games, CHALLENGER.address)
    if honest is Role.PROVER:
        assert claim.status is ClaimStatus.PENDING
        assert won == []
        court.advance(max(claim.deadline - court.now(), 0) + 1)
        assert should_finalise(court.claim_view(claim_id), court.now())
        assert won == []
        won = collectable(claim, games, PROVER.address)
        court.finalise(claim_id, CHALLENGER)
        court.withdraw(PROVER.address, [], won, PROVER)
        assert court.claim_view(claim_id).status is ClaimStatus.FINAL
        assert court.ledger.balances == {PROVER.address: START + stake, CHALLENGER.address: START - stake}
        assert court.ledger.balance == court.ledger.burnt == burnt
    else:
        assert claim.status is ClaimStatus.REJECTED
        assert not should_finalise(claim, claim.deadline + 1)
        court.withdraw(CHALLENGER.address, [], won, CHALLENGER)
        assert collectable(court.claim_view(claim_id), [court.game_view(g) for g in won], CHALLENGER.address) == []
        share = bond // 2
        assert court.ledger.balances == {PROVER.address: START - bond, CHALLENGER.address: START + share}
        assert court.ledger.balance == court.ledger.burnt == bond - share
    with pytest.raises(RevertError, match="NothingToWithdraw"):
        court.withdraw(PROVER.address, [], [], PROVER)


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("name", LIARS)
@pytest.mark.parametrize("k", [2, 5, 16])
def test_every_liar_loses_his_bond_to_the_honest_side(name: str, lying: Role, k: int) -> None:
    truth = ToyTrace(tiles=9, steps=11, vary=3)
    for spot in (Spot(0, 0), Spot(4, 5), Spot(8, 12)):
        court, model_id = toy_court(truth, k)
        judge(court, model_id, truth, LIARS[name], lying, spot)


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize(("k", "tiles", "steps"), SHAPES)
def test_the_game_ends_at_the_very_instruction_at_which_the_lie_begins(
    k: int, tiles: int, steps: int, lying: Role
) -> None:
    truth = ToyTrace(tiles, steps)
    spots = [Spot(m, t) for m in range(tiles) for t in range(steps)]
    for spot in spots if len(spots) < 50 else spots[:: len(spots) // 40]:
        court, model_id = toy_court(truth, k)
        game_id = judge(court, model_id, truth, LIARS["register"], lying, spot)
        game = court.game_view(game_id)
        assert (game.tile, game.position, game.length) == (spot.tile, spot.step, 1)
        stepped = [args for name, args in court.events if name == "Stepped"]
        assert [args["pre"] for args in stepped] == [truth.machine(spot.tile).hash(spot.step)]
        assert [args["post"] for args in stepped] == [truth.machine(spot.tile).hash(spot.step + 1)]


@pytest.mark.parametrize("k", [2, 3, 4, 16, 32])
def test_a_game_takes_no_more_moves_than_the_ranges_have_levels(k: int) -> None:
    truth = ToyTrace(tiles=100, steps=1000)
    court, model_id = toy_court(truth, k)
    judge(court, model_id, truth, LIARS["register"], Role.PROVER, Spot(77, 777))

    def levels(length: int) -> int:
        return 0 if length <= 1 else 1 + levels(-(-length // k))

    assert len([1 for name, _ in court.events if name == "Chosen"]) <= levels(100) + levels(1000)


@pytest.mark.parametrize("name", ["wrong-from", "few-steps", "many-steps", "other-tile", "silent-3"])
@pytest.mark.parametrize("lying", Role)
def test_one_phase_is_decided_by_instructions_alone(name: str, lying: Role) -> None:
    truth = ToyTrace(tiles=1, steps=40, stride=17)
    court, model_id = toy_court(truth, 4)
    judge(court, model_id, truth, LIARS[name], lying, Spot(0, 23))
    assert {args["phase"] for event, args in court.events if event == "Posted"} <= {1}


def test_a_true_claim_with_nobody_against_it_becomes_final() -> None:
    truth = ToyTrace(3, 3)
    court, model_id = toy_court(truth, 2)
    claim_id = claim_toy(court, model_id, truth, truth.output_root)
    assert not should_challenge(court.claim_view(claim_id), truth, court.now())
    court.advance(WINDOW)
    assert not should_finalise(court.claim_view(claim_id), court.now())
    with pytest.raises(RevertError, match="WindowOpen"):
        court.finalise(claim_id, PROVER)
    court.advance(1)
    assert should_finalise(court.claim_view(claim_id), court.now())
    court.finalise(claim_id, PROVER)
    with pytest.raises(RevertError, match="WrongStage"):
        court.challenge(claim_id, 0, CHALLENGER)


def test_a_false_claim_out_of_its_window_is_not_worth_a_bond() -> None:
    truth = ToyTrace(3, 3)
    court, model_id = toy_court(truth, 2)
    claim_id = claim_toy(court, model_id, truth, bytes(32))
    deadline = court.claim_view(claim_id).deadline
    assert should_challenge(court.claim_view(claim_id), truth, deadline)
    assert not should_challenge(court.claim_view(claim_id), truth, deadline + 1)


@pytest.mark.parametrize("sybil", [True, False])
def test_several_games_share_half_of_the_bond_and_the_last_one_settles(sybil: bool) -> None:
    truth = ToyTrace(4, 4)
    court, model_id = toy_court(truth, 3)
    liar = LIARS["wrong-from"]
    claim_id = claim_toy(court, model_id, truth, liar.trace(truth, Spot(2)).output_root)
    mine, _ = court.challenge(claim_id, 0, CHALLENGER)
    other, _ = court.challenge(claim_id, 1, PROVER if sybil else CHALLENGER)
    honest = player(truth, Role.CHALLENGER)
    players = {Role.PROVER: liar.player(truth, Role.PROVER, Spot(2)), Role.CHALLENGER: honest}
    play_out(court, mine, players)
    assert court.claim_view(claim_id).status is ClaimStatus.REJECTED
    with pytest.raises(RevertError, match="NotCollectable"):
        court.withdraw(CHALLENGER.address, [], [mine], CHALLENGER)
    court.advance(1000)
    court.move(other, Timeout(), CHALLENGER)
    share = court.prover_bond // 2 // 2
    court.withdraw(CHALLENGER.address, [], [mine] if sybil else [mine, other], CHALLENGER)
    with pytest.raises(RevertError, match="NotCollectable"):
        court.withdraw(CHALLENGER.address, [], [mine], CHALLENGER)
    if sybil:
        court.withdraw(PROVER.address, [], [other], PROVER)
        lost = -court.ledger.balances[PROVER.address]
        assert lost >= court.prover_bond // 2
    assert court.ledger.balance == court.ledger.burnt == court.prover_bond - 2 * share


def test_each_move_can_be_decided_by_a_player_that_was_just_started() -> None:
    """Every decision is made twice, by players who share nothing but the chain: the moves are equal."""
    truth = ToyTrace(6, 7)
    court, model_id = toy_court(truth, 3)
    liar = LIARS["register"]
    claim_id = claim_toy(court, model_id, truth, liar.trace(truth, Spot(3, 4)).output_root)
    game_id, _ = court.challenge(claim_id, 0, CHALLENGER)
    kinds = []
    while (view := court.game_view(game_id)).winner is None:
        lie = LIARS["register"].player(ToyTrace(6, 7), Role.PROVER, Spot(3, 4))
        fresh = player(ToyTrace(6, 7), Role.CHALLENGER)
        move = lie(view, court.now()) or fresh(view, court.now())
        assert move is not None
        assert move == (liar.player(truth, Role.PROVER, Spot(3, 4))(view, court.now()) or fresh(view, court.now()))
        kinds.append(type(move))
        court.move(game_id, move, CHALLENGER if isinstance(move, Choose) else PROVER)
    assert set(kinds) == {Open, Choose, Post, Enter, Step}
    assert view.stage is Stage.CHALLENGER_WON


def test_a_player_on_the_other_sides_turn_waits_and_after_the_end_does_nothing() -> None:
    truth = ToyTrace(6, 7)
    court, model_id = toy_court(truth, 3)
    claim_id = claim_toy(court, model_id, truth, truth.output_root)
    game_id, _ = court.challenge(claim_id, 0, CHALLENGER)
    challenger = player(truth, Role.CHALLENGER)
    assert challenger(court.game_view(game_id), court.now()) is None
    court.advance(101)
    court.move(game_id, Timeout(), CHALLENGER)
    assert challenger(court.game_view(game_id), court.now()) is None
    assert player(truth, Role.PROVER)(court.game_view(game_id), court.now()) is None


@pytest.mark.parametrize("lying", Role)
def test_nobody_executes_a_step_that_decides_against_him_or_begins_elsewhere(lying: Role) -> None:
    truth = ToyTrace(6, 7)
    court, model_id = toy_court(truth, 3)
    false = LIARS["register"].trace(truth, Spot(3, 4))
    traces = {lying: false, lying.other: truth}
    claim_id = claim_toy(court, model_id, truth, traces[Role.PROVER].output_root)
    game_id, _ = court.challenge(claim_id, 0, CHALLENGER)
    accounts = {Role.PROVER: PROVER, Role.CHALLENGER: CHALLENGER}
    while (view := court.game_view(game_id)).stage is not Stage.STEP:
        role = view.turn
        assert role is not None
        move = player(traces[role], role)(view, court.now())
        assert move is not None
        court.move(game_id, move, accounts[role])
    for role in Role:
        move = player(truth, role)(view, court.now())
        assert (move == Step(view.hi, truth.machine(3).witness(4))) is (role is lying.other)
        assert (move is None) is (role is lying)
        assert player(ToyTrace(6, 8), role)(replace(view, lo=bytes(32)), court.now()) is None
