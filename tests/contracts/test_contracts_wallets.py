"""Players that are contracts, and contracts that behave badly when they are paid (I11)."""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, World, play
from contracts_runs import Lie, Run

from opml.dispute.game import Stage

RUN = Run(5)
LIE = Lie(5, wrong=2, at=9)
CLOCK, WINDOW = 100, 1000
HALF = PROVER_BOND // 2
ACCEPT, REFUSE, REENTER, SNEAK, BURN_GAS = range(5)


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


@pytest.fixture
def wallet(world, harness):
    """Makes contracts that can play."""
    built = harness("Recipient")
    world.evm.learn(built)

    def wallet() -> bytes:
        address = world.evm.deploy(world.other, built)
        world.evm.fund(address)
        world.accounts.add(address)
        world.wallets.add(address)
        return address

    yield wallet
    world.accounts -= world.wallets
    world.wallets.clear()


@pytest.fixture
def winner(world, wallet):
    """A contract that has won a game by the prover's silence, and the game."""
    address = wallet()
    claim_id = world.claim(LIE, world.register(LIE))
    game_id = world.challenge(claim_id, sender=address)
    world.evm.now += CLOCK + 1
    world.timeout(game_id)
    return address, game_id


def collect(world: World, wallet: bytes, mood: int, games: list[bytes]) -> int:
    """The wallet withdraws in this mood; what it got."""
    world.evm.transact(world.other, wallet, world.evm.abi.encode("setMood", [mood]))
    before = world.evm.balance(wallet)
    data = world.evm.abi.encode("collect", [world.opml, [], [world.key(game) for game in games]])
    world.events += world.evm.transact(world.other, wallet, data, gas=800_000).events
    world.check_books()
    return world.evm.balance(wallet) - before


@pytest.mark.parametrize(("honest", "stage"), [(True, Stage.PROVER_WON), (False, Stage.CHALLENGER_WON)])
def test_contracts_can_play_a_whole_game_and_be_paid(world, wallet, honest, stage):
    """Both sides are contracts, from the claim to the money."""
    prover, challenger = wallet(), wallet()
    mine, theirs = (RUN, LIE) if honest else (LIE, RUN)
    claim_id = world.claim(mine, world.register(mine), sender=prover)
    game_id = world.challenge(claim_id, sender=challenger)
    assert play(world, mine, theirs, game_id) == stage
    if honest:
        world.evm.now += WINDOW + 1
        assert world.collect(prover, [claim_id], [game_id]) == PROVER_BOND + CHALLENGER_BOND
    else:
        assert world.collect(challenger, games=[game_id]) == HALF + CHALLENGER_BOND


def test_who_calls_for_a_contract_is_not_the_contract(world, winner):
    address, game_id = winner
    world.refuses("NotAllowed", world.other, "withdraw", address, [], [world.key(game_id)])
    world.cannot_collect("NotCollectable", world.other, games=[game_id])


@pytest.mark.parametrize("mood", [REFUSE, REENTER, BURN_GAS])
def test_i11_a_bad_recipient_harms_itself_only(world, winner, mood):
    """It is paid nothing, keeps its claim to the money, and nobody else notices."""
    address, game_id = winner
    with pytest.raises(Exception, match="PaymentFailed"):
        collect(world, address, mood, [game_id])
    world.check_books()
    assert not world.game(game_id)["collected"]
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.now += WINDOW + 1
    assert world.collect(world.prover, [claim_id]) == PROVER_BOND
    assert collect(world, address, ACCEPT, [game_id]) == CHALLENGER_BOND + HALF
    with pytest.raises(Exception, match="NotCollectable"):
        collect(world, address, ACCEPT, [game_id])


def test_i7_who_re_enters_quietly_is_paid_once(world, winner):
    address, game_id = winner
    other = world.claim(RUN, world.register(RUN))
    assert collect(world, address, SNEAK, [game_id]) == CHALLENGER_BOND + HALF
    assert world.evm.balance(world.opml) == world.burnt + PROVER_BOND
    assert world.view("claims", other)["status"] == 1


def test_i11_a_bad_provers_claim_is_made_final_all_the_same(world, wallet):
    """By anyone: its bond is credit, which waits until the prover takes it."""
    prover = wallet()
    claim_id = world.claim(RUN, world.register(RUN), sender=prover)
    world.evm.transact(world.other, prover, world.evm.abi.encode("setMood", [REFUSE]))
    world.evm.now += WINDOW + 1
    world.cannot_collect("PaymentFailed", prover, [claim_id])
    world.send(world.challenger, "finalise", claim_id)
    assert world.view("claims", claim_id)["status"] == 2
    assert world.view("credit", prover) == PROVER_BOND
    world.cannot_collect("PaymentFailed", prover)
    world.evm.transact(world.other, prover, world.evm.abi.encode("setMood", [ACCEPT]))
    assert world.collect(prover) == PROVER_BOND
