"""Delegates: a key that is at hand moves for a party that is not, and can take nothing (I15)."""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, PROVER_TURNS, Player, World
from contracts_evm import address_of
from contracts_runs import Lie, Run

from opml.dispute.game import Stage

RUN = Run(5)
LIE = Lie(5, wrong=2, at=9)
CLOCK, WINDOW = 100, 1000
HALF = PROVER_BOND // 2


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


@pytest.fixture(scope="module")
def hands(world):
    """A delegate for each side."""
    hands = address_of("prover's hand"), address_of("challenger's hand")
    world.evm.fund(*hands)
    world.accounts |= set(hands)
    return hands


def test_who_is_a_delegate_is_the_partys_word(world, hands):
    hand, other = hands
    assert not world.view("isDelegate", world.prover, hand)
    for allowed in (True, True, False, False, True):
        ((name, event),) = world.send(world.prover, "setDelegate", hand, allowed).events
        assert name == "DelegateSet"
        assert event == {"party": "0x" + world.prover.hex(), "delegate": "0x" + hand.hex(), "allowed": allowed}
        assert world.view("isDelegate", world.prover, hand) is allowed
    for party, delegate in ((world.prover, other), (world.challenger, hand), (hand, world.prover), (hand, hand)):
        assert not world.view("isDelegate", party, delegate)


@pytest.mark.parametrize("honest", [True, False])
def test_delegates_play_a_whole_game(world, hands, honest):
    """Every move by the side's own delegate; the other side's is refused at each turn, and after each dismissal."""
    mine, theirs = (RUN, LIE) if honest else (LIE, RUN)
    claim_id, game_id = world.game_against(mine)
    world.send(world.prover, "setDelegate", hands[0], True)
    world.send(world.challenger, "setDelegate", hands[1], True)
    prover, challenger = Player(world, mine, game_id), Player(world, theirs, game_id)
    while (stage := world.stage(game_id)) < Stage.PROVER_WON:
        ours = stage in PROVER_TURNS
        name, args = prover.answer() if ours else challenger.choice(prover.tile)
        party, hand, wrong = (
            (world.prover, hands[0], (hands[1], world.challenger, world.other))
            if ours
            else (world.challenger, hands[1], (hands[0], world.prover, world.other))
        )
        if stage != Stage.STEP:
            for sender in wrong:
                world.refuses("NotYourTurn", sender, name, *args)
            with world.undone():
                world.send(party, "setDelegate", hand, False)
                world.refuses("NotYourTurn", hand, name, *args)
                world.send(party, name, *args)
        world.send(hand, name, *args)
    assert stage == (Stage.PROVER_WON if honest else Stage.CHALLENGER_WON)

    party, hand = (world.prover, hands[0]) if honest else (world.challenger, hands[1])
    world.evm.now += WINDOW + 1
    claims = [claim_id] if honest else []
    expected = PROVER_BOND + CHALLENGER_BOND if honest else HALF + CHALLENGER_BOND
    list_ = (party, claims, [world.key(game_id)])
    for sender in (*(set(hands) - {hand}), world.other):
        world.refuses("NotAllowed", sender, "withdraw", *list_)
    before, of_hand = world.evm.balance(party), world.evm.balance(hand)
    world.send(hand, "withdraw", *list_)
    assert world.evm.balance(party) == before + expected
    assert world.evm.balance(hand) == of_hand


def test_a_dismissed_delegate_does_nothing(world, hands):
    hand, _ = hands
    _, game_id = world.game_against(RUN)
    name, args = Player(world, RUN, game_id).answer()
    world.send(world.prover, "setDelegate", hand, True)
    world.send(world.prover, "setDelegate", hand, False)
    world.refuses("NotYourTurn", hand, name, *args)
    world.refuses("NotAllowed", hand, "withdraw", world.prover, [], [world.key(game_id)])


def test_a_delegate_is_not_the_party(world, hands):
    """It cannot claim, challenge, appoint or be paid as the party: what it does in its own name is its own."""
    hand, _ = hands
    world.send(world.prover, "setDelegate", hand, True)
    model_id = world.register(RUN)
    claim_id = world.claim(RUN, model_id, sender=hand)
    assert world.view("claims", claim_id)["prover"] == "0x" + hand.hex()
    game_id = world.challenge(claim_id, sender=hand)
    assert world.key(game_id)[1] == "0x" + hand.hex()
    world.send(hand, "setDelegate", world.other, True)
    assert not world.view("isDelegate", world.prover, world.other)
    world.evm.now += CLOCK + 1
    world.timeout(game_id)
    key = world.key(game_id)
    world.refuses("NotCollectable", hand, "withdraw", world.prover, [], [key])
    world.refuses("NotAllowed", world.prover, "withdraw", hand, [], [key])
    assert world.collect(hand, games=[game_id]) == CHALLENGER_BOND + HALF


def test_delegation_is_not_passed_on(world, hands):
    hand, second = hands
    world.send(world.prover, "setDelegate", hand, True)
    world.send(hand, "setDelegate", second, True)
    _, game_id = world.game_against(RUN)
    name, args = Player(world, RUN, game_id).answer()
    world.refuses("NotYourTurn", second, name, *args)


def test_one_delegate_of_both_sides(world, hands):
    """Each party answers for whom it appoints."""
    hand, _ = hands
    _, game_id = world.game_against(RUN)
    for party in (world.prover, world.challenger):
        world.send(party, "setDelegate", hand, True)
    prover = Player(world, RUN, game_id)
    prover.send_answer(hand)
    name, args = world.choose(game_id, 0)
    world.send(hand, name, *args)
    prover.send_answer(hand)
