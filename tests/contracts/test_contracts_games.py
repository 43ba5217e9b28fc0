"""Whole games on a real toy model (I1): the honest side wins, whatever the other does and wherever the fault is."""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, World, play
from contracts_runs import Lie, Run

from opml.dispute.game import Stage


def outcome(world: World, claimed: Run, challenger: Run, segments: list[int] | None = None, **changes) -> Stage:
    """Plays one game; its loser's money goes where it should, and nothing is left to take."""
    claim_id, game_id = world.game_against(claimed, **changes)
    stage = play(world, claimed, challenger, game_id, segments)
    c = world.view("claims", claim_id)
    if stage == Stage.PROVER_WON:
        with world.undone():
            assert world.collect(world.prover, games=[game_id]) == CHALLENGER_BOND
        world.evm.now = c["deadline"] + 1
        assert world.collect(world.prover, [claim_id], [game_id]) == PROVER_BOND + CHALLENGER_BOND
        assert world.view("claims", claim_id)["status"] == 2
        world.cannot_collect("NotCollectable", world.challenger, games=[game_id])
        world.cannot_collect("NothingToWithdraw", world.challenger)
    else:
        assert c["status"] == 3
        assert world.collect(world.challenger, games=[game_id]) == CHALLENGER_BOND + PROVER_BOND // 2
        assert world.burnt >= PROVER_BOND - PROVER_BOND // 2
        world.cannot_collect("NotCollectable", world.prover, games=[game_id])
        world.cannot_collect("NotCollectable", world.challenger, games=[game_id])
    assert world.view("games", game_id)["collected"]
    return stage


@pytest.mark.parametrize("k", [2, 3, 4, 16, 64])
def test_a_liar_is_caught(k):
    world = World(k)
    assert outcome(world, Lie(13, wrong=7), Run(13)) == Stage.CHALLENGER_WON
    assert world.evm.balance(world.opml) == world.burnt


@pytest.mark.parametrize("k", [2, 3, 4, 16, 64])
def test_an_honest_prover_beats_a_lying_challenger(k):
    world = World(k)
    assert outcome(world, Run(13), Lie(13, wrong=7)) == Stage.PROVER_WON
    assert world.evm.balance(world.opml) == 0


@pytest.mark.parametrize("wrong", range(9))
def test_a_fault_in_any_tile_is_found(wrong):
    assert outcome(World(3), Lie(9, wrong=wrong), Run(9)) == Stage.CHALLENGER_WON


@pytest.mark.parametrize("at", range(Run(1).machine(0).__len__() - 1))
def test_a_fault_in_any_instruction_is_found(at):
    assert outcome(World(4), Lie(2, wrong=1, at=at), Run(2)) == Stage.CHALLENGER_WON


@pytest.mark.parametrize("segments", [[0] * 20, [9] * 20, [1] * 20, [0, 2, 1, 0, 2, 3, 1, 1], [2, 0, 0, 3, 0, 2, 3, 1]])
def test_no_choice_beats_an_honest_prover(segments):
    assert outcome(World(4), Run(11), Run(11), segments) == Stage.PROVER_WON


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 5])
def test_few_tiles(tiles):
    assert outcome(World(4), Lie(tiles, wrong=tiles - 1), Run(tiles)) == Stage.CHALLENGER_WON
    assert outcome(World(4), Run(tiles), Run(tiles), [5] * 9) == Stage.PROVER_WON


def test_one_phase():
    """The same contract, one unit that is the whole inference."""
    assert outcome(World(4), Lie(1, 6, wrong=3, at=40), Run(1, 6)) == Stage.CHALLENGER_WON
    assert outcome(World(4), Run(1, 6), Run(1, 6), [1] * 9) == Stage.PROVER_WON


def test_units_of_several_tiles():
    assert outcome(World(4), Lie(4, 3, wrong=7, at=15), Run(4, 3)) == Stage.CHALLENGER_WON
    assert outcome(World(4), Run(4, 3), Run(4, 3), [2] * 9) == Stage.PROVER_WON
