"""Bonds: whatever happens, the contract holds what it owes and has burnt, and nothing is paid twice.

`World.send` compares the contract's balance with its books after every transaction.
"""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, Lie, Player, Run, World, play
from contracts_evm import ETHER, address_of, artifact
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opml.dispute.game import Stage

RUN = Run(5)
LIE = Lie(5, wrong=2, at=9)
CLOCK, WINDOW = 100, 1000
HALF = PROVER_BOND // 2
ACCEPT, REFUSE, REENTER, BURN_GAS = range(4)


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


def players(world: World, count: int) -> list[bytes]:
    addresses = [address_of(f"player {i}") for i in range(count)]
    world.evm.fund(*addresses)
    return addresses


def let_challenger_lose(world: World, run: Run, game_id: bytes) -> None:
    """The prover opens, the challenger is silent."""
    Player(world, run, game_id).send_answer(world.prover)
    world.evm.now += CLOCK + 1
    world.send(world.other, "timeout", game_id)
    assert world.stage(game_id) == Stage.PROVER_WON


def test_an_unchallenged_claim_gives_its_bond_back_once(world):
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.now += WINDOW + 1
    before = world.evm.balance(world.prover)
    world.refuses("NothingToWithdraw", world.prover, "withdraw", [])
    world.send(world.other, "finalise", claim_id)
    assert world.view("credit", world.prover) == PROVER_BOND
    world.refuses("WrongStage", world.prover, "finalise", claim_id)
    world.refuses("NothingToWithdraw", world.other, "withdraw", [])
    events = world.send(world.prover, "withdraw", []).events
    assert events == [("Withdrawn", {"account": "0x" + world.prover.hex(), "amount": PROVER_BOND})]
    assert world.evm.balance(world.prover) == before + PROVER_BOND
    world.refuses("NothingToWithdraw", world.prover, "withdraw", [])


@pytest.mark.parametrize("winners", [1, 2, 3, 7])
def test_the_lost_bond_is_half_burnt_half_shared(world, winners):
    claim_id = world.claim(LIE, world.register(LIE))
    accounts = players(world, winners)
    games = [world.challenge(claim_id, sender=account) for account in accounts]
    world.evm.now += CLOCK + 1
    for i, game_id in enumerate(games):
        events = dict(world.send(world.other, "timeout", game_id).events)
        assert ("ClaimRejected" in events) == (i == 0)
        assert ("ClaimSettled" in events) == (i == winners - 1)
    share = HALF // winners
    burn = PROVER_BOND - winners * share
    assert events["ClaimSettled"] == {"claimId": claim_id, "games": winners, "share": share, "burnt": burn}
    assert world.view("burnt") == burn >= PROVER_BOND - HALF
    for account, game_id in zip(accounts, games, strict=True):
        before = world.evm.balance(account)
        world.send(account, "withdraw", [game_id])
        assert world.evm.balance(account) - before == CHALLENGER_BOND + share
    assert world.evm.balance(world.opml) == burn


def test_the_bond_waits_for_the_last_game(world):
    claim_id = world.claim(LIE, world.register(LIE))
    first, second = (world.challenge(claim_id, salt) for salt in range(2))
    assert play(world, LIE, RUN, first) == Stage.CHALLENGER_WON
    assert world.view("credit", world.challenger) == CHALLENGER_BOND
    world.refuses("NotCollectable", world.challenger, "withdraw", [first])
    world.send(world.challenger, "withdraw", [])
    assert world.view("burnt") == 0
    assert play(world, LIE, RUN, second) == Stage.CHALLENGER_WON
    before = world.evm.balance(world.challenger)
    world.send(world.challenger, "withdraw", [first, second])
    assert world.evm.balance(world.challenger) - before == CHALLENGER_BOND + 2 * (HALF // 2)


def test_a_game_won_after_the_rejection_pays_its_prover_but_not_his_bond(world):
    claim_id = world.claim(LIE, world.register(LIE))
    honest, silent = world.challenge(claim_id), world.challenge(claim_id, sender=world.other)
    assert play(world, LIE, RUN, honest) == Stage.CHALLENGER_WON
    let_challenger_lose(world, LIE, silent)
    assert world.view("credit", world.prover) == CHALLENGER_BOND
    world.refuses("WrongStage", world.other, "withdraw", [silent])
    before = world.evm.balance(world.challenger)
    world.send(world.challenger, "withdraw", [honest])
    assert world.evm.balance(world.challenger) - before == CHALLENGER_BOND + HALF


def test_lost_challenges_leave_a_claim_standing(world):
    claim_id = world.claim(RUN, world.register(RUN))
    games = [world.challenge(claim_id, salt) for salt in range(3)]
    let_challenger_lose(world, RUN, games[0])
    world.evm.now = world.view("claims", claim_id)["deadline"] + 1
    world.refuses("GamesOpen", world.prover, "finalise", claim_id)


def test_catching_oneself_costs_half(world):
    """A liar who is his own only challenger loses what is burnt."""
    claim_id = world.claim(LIE, world.register(LIE))
    before = world.evm.balance(world.prover)
    game_id = world.challenge(claim_id, sender=world.prover)
    world.evm.now += CLOCK + 1
    world.send(world.prover, "timeout", game_id)
    world.send(world.prover, "withdraw", [game_id])
    assert world.evm.balance(world.prover) == before + HALF


def test_shares_are_the_winners_own_and_collected_once(world):
    claim_id = world.claim(LIE, world.register(LIE))
    mine, theirs = world.challenge(claim_id), world.challenge(claim_id, sender=world.other)
    world.evm.now += CLOCK + 1
    for game_id in (mine, theirs):
        world.send(world.prover, "timeout", game_id)
    world.refuses("NotCollectable", world.challenger, "withdraw", [theirs])
    world.refuses("NotCollectable", world.prover, "withdraw", [mine])
    world.refuses("NotCollectable", world.challenger, "withdraw", [mine, mine])
    world.refuses("NotCollectable", world.challenger, "withdraw", [mine, theirs])
    world.send(world.challenger, "withdraw", [mine])
    world.refuses("NotCollectable", world.challenger, "withdraw", [mine])
    world.send(world.other, "withdraw", [theirs])
    assert world.evm.balance(world.opml) == world.view("burnt")


def test_claims_of_one_prover_do_not_mix(world):
    model_id = world.register(LIE)
    lost, kept = world.claim(LIE, model_id), world.claim(LIE, model_id, nonce=1)
    game_id = world.challenge(lost)
    world.evm.now += CLOCK + 1
    world.send(world.other, "timeout", game_id)
    world.evm.now += WINDOW
    world.send(world.other, "finalise", kept)
    assert world.view("credit", world.prover) == PROVER_BOND
    world.send(world.challenger, "withdraw", [game_id])
    world.send(world.prover, "withdraw", [])
    assert world.evm.balance(world.opml) == world.view("burnt")


def test_forced_ether_changes_nothing(world):
    """Whoever sends ether past the calls loses it; no rule reads the contract's balance."""
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.state.delta_balance(world.opml, 12_345)
    world.evm.now += WINDOW + 1
    with pytest.raises(AssertionError):
        world.send(world.other, "finalise", claim_id)  # our books notice; the contract does not mind
    world.evm.transact(world.prover, world.opml, world.evm.abi.encode("withdraw", [[]]))
    assert world.evm.balance(world.opml) == 12_345


# ------------------------------------------------------------------------------------------- bad recipients


@pytest.fixture
def wallet(world, harness):
    """A contract that challenges and wins by the prover's silence; with the game's id."""
    built = harness("Recipient")
    world.evm.learn(built)
    address = world.evm.deploy(world.other, built)
    world.evm.fund(address)
    claim_id = world.claim(LIE, world.register(LIE))
    data = world.evm.abi.encode("challenge", [claim_id, 0])
    forward = world.evm.abi.encode("forward", [world.opml, data])
    world.accounts.add(address)
    (event,) = world.evm.transact(world.other, address, forward, CHALLENGER_BOND).events
    world.games.add(event[1]["gameId"])
    world.evm.now += CLOCK + 1
    world.send(world.other, "timeout", event[1]["gameId"])
    return address, event[1]["gameId"]


def collect(world: World, wallet: bytes, mood: int, games: list[bytes]) -> int:
    """The wallet withdraws in this mood; what it got."""
    world.evm.transact(world.other, wallet, world.evm.abi.encode("setMood", [mood]))
    before = world.evm.balance(wallet)
    world.evm.transact(world.other, wallet, world.evm.abi.encode("collect", [world.opml, games]), gas=500_000)
    world.check_books()
    return world.evm.balance(wallet) - before


def test_a_contract_can_play_and_be_paid(world, wallet):
    address, game_id = wallet
    assert collect(world, address, ACCEPT, [game_id]) == CHALLENGER_BOND + HALF


@pytest.mark.parametrize("mood", [REFUSE, REENTER, BURN_GAS])
def test_a_bad_recipient_harms_itself_only(world, wallet, mood):
    """It is paid nothing, keeps its claim to the money, and nobody else notices."""
    address, game_id = wallet
    with pytest.raises(Exception, match="PaymentFailed"):
        collect(world, address, mood, [game_id])
    world.check_books()
    assert world.view("credit", address) == CHALLENGER_BOND
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.now += WINDOW + 1
    world.send(world.other, "finalise", claim_id)
    world.send(world.prover, "withdraw", [])
    assert collect(world, address, ACCEPT, [game_id]) == CHALLENGER_BOND + HALF
    with pytest.raises(Exception, match="NotCollectable"):
        collect(world, address, ACCEPT, [game_id])


def test_constructor_limits(world):
    for args in (
        *((world.verifier, 0, 1, 4), (world.verifier, 1, 0, 4), (world.verifier, 1, 1, 1), (world.verifier, 1, 1, 65)),
        *((bytes(20), 1, 1, 4), (world.prover, 1, 1, 4), (world.verifier, 1, 1, 0)),
    ):
        with world.evm.rollback(), pytest.raises(Exception, match="BadParameters"):
            world.evm.deploy(world.other, artifact("Opml"), *args)
    for k in (2, 64):
        assert world.evm.call(world.evm.deploy(world.other, artifact("Opml"), world.verifier, 1, 1, k), "k") == k
    assert world.view("verifier") == "0x" + world.verifier.hex()
    assert (world.view("proverBond"), world.view("challengerBond")) == (PROVER_BOND, CHALLENGER_BOND)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lies=st.booleans(),
    games=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_what_goes_in_comes_out_or_is_burnt(world, lies, games, order):
    """Any number of games, ended in any order by either side's silence; then everybody withdraws all."""
    with world.undone():
        accounts = [world.prover, world.other, *players(world, 2)]
        total = sum(world.evm.balance(account) for account in accounts)
        run = LIE if lies else RUN
        claim_id = world.claim(run, world.register(run))
        open_games = [(world.challenge(claim_id, i, accounts[who]), who, lost) for i, (who, lost) in enumerate(games)]
        order.shuffle(open_games)
        for game_id, _, prover_is_silent in open_games:
            if not prover_is_silent:
                Player(world, run, game_id).send_answer(world.prover)
        world.evm.now += CLOCK + 1
        for game_id, _, _ in open_games:
            world.send(world.other, "timeout", game_id)
        lost = [(game_id, who) for game_id, who, prover_is_silent in open_games if prover_is_silent]
        if not lost:
            world.evm.now += WINDOW
            world.send(world.other, "finalise", claim_id)
        for who, account in enumerate(accounts):
            mine = [game_id for game_id, winner in lost if winner == who]
            if mine or world.view("credit", account):
                world.send(account, "withdraw", mine)
        burnt = world.view("burnt")
        assert world.evm.balance(world.opml) == burnt
        assert sum(world.evm.balance(account) for account in accounts) == total - burnt
        assert burnt == (PROVER_BOND - HALF // len(lost) * len(lost) if lost else 0)
        assert world.evm.balance(world.prover) <= 1000 * ETHER + CHALLENGER_BOND * len(games)
