"""Whole trees of small games: whatever a liar does, the honest side wins, and is paid more than its gas."""

from collections import Counter

import pytest
from dispute_toy import ToyTrace
from game_catalogue import sizes
from game_tree import Tree, mixtures

from opml.dispute.game import Role
from opml.errors import RevertError


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("liar", Role)
def test_every_leaf_of_every_small_tree_is_won_by_the_honest_side_with_a_profit(liar: Role, k: int) -> None:
    leaves: Counter[str] = Counter()
    for tiles, steps in sizes(4, 4):
        leaves += Tree(ToyTrace(tiles, steps, vary=2), k, liar).play()
    assert set(leaves) == {"Stepped in INSTRUCTION", "TimedOut in INSTRUCTION", "TimedOut in TILE"}
    assert min(leaves.values()) > 10


@pytest.mark.parametrize("liar", Role)
def test_a_single_unit_of_many_tiles_has_no_tile_phase(liar: Role) -> None:
    leaves = Tree(ToyTrace(1, 9, stride=7), 3, liar).play()
    assert leaves["Stepped in INSTRUCTION"] >= 9
    assert leaves["TimedOut in TILE"] == (2 if liar is Role.PROVER else 0)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_largest_number_of_steps_is_allowed_and_more_is_not(steps: int) -> None:
    """A liar's step counts go beyond the true one; where that is the bound they are refused."""
    with pytest.raises(RevertError, match="BadSteps"):
        Tree(ToyTrace(3, steps, max_steps=steps), 2, Role.PROVER).play()
    assert Tree(ToyTrace(3, steps, max_steps=steps), 2, Role.CHALLENGER).play()


def test_a_challenger_reaches_every_instruction_of_every_tile() -> None:
    """Its choices are the tree: one leaf in a step for each of them."""
    for tiles, steps in sizes(6, 6):
        for k in (2, 3, 5, 8):
            assert Tree(ToyTrace(tiles, steps), k, Role.CHALLENGER).play()["Stepped in INSTRUCTION"] == tiles * steps


def test_mixtures_are_all_of_few_states_and_those_that_matter_of_many() -> None:
    assert len(set(mixtures(3))) == 8
    many = list(mixtures(6))
    assert len(many) == len(set(many)) == 12
    assert {mixture.index(True) for mixture in many if any(mixture)} == set(range(6))


def test_the_tree_notices_a_liar_who_wins() -> None:
    """An honest side that believes another computation than the court's step loses, and the test says so."""
    tree = Tree(ToyTrace(3, 3), 2, Role.PROVER)
    tree.court._verify = lambda witness: (ToyTrace(3, 3).verify(witness)[0], bytes(32))
    tree.truth = ToyTrace(3, 3)
    tree.false = tree.truth  # a prover whose lies are true
    with pytest.raises((AssertionError, RevertError)):
        tree.play()
