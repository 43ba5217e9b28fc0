"""Bonds: whatever happens, the contract holds what it owes and has burnt, and nothing is paid twice (I7 to I11).

`World.send` compares the contract's balance with its books after every transaction.
"""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, Player, World, play
from contracts_evm import ETHER, address_of, artifact
from contracts_runs import Lie, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def players(world: World, count: int) -> list[bytes]:
    addresses = [address_of(f"player {i}") for i in range(count)]
    world.evm.fund(*addresses)
    world.accounts |= set(addresses)
    return addresses


def lapse(world: World, *games: bytes) -> None:
    """Whoever is on turn in these is silent."""
    world.evm.now += CLOCK + 1
    for game_id in games:
        world.timeout(game_id)


def let_challenger_lose(world: World, run: Run, game_id: bytes) -> None:
    """The prover opens, the challenger is silent."""
    Player(world, run, game_id).send_answer(world.prover)
    lapse(world, game_id)
    assert world.stage(game_id) == Stage.PROVER_WON


def test_an_unchallenged_claim_gives_its_bond_back_once(world):
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.now += WINDOW + 1
    world.cannot_collect("NothingToWithdraw", world.prover)
    with world.undone():  # all at once ...
        before = world.evm.balance(world.prover)
        events = world.send(world.prover, "withdraw", world.prover, [claim_id], []).events
        assert events == [
            ("ClaimFinalised", {"claimId": claim_id}),
            ("Withdrawn", {"account": "0x" + world.prover.hex(), "amount": PROVER_BOND}),
        ]
        assert world.evm.balance(world.prover) == before + PROVER_BOND
        assert world.view("credit", world.prover) == 0
        world.cannot_collect("NothingToWithdraw", world.prover, [claim_id])
        world.refuses("WrongStage", world.other, "finalise", claim_id)
    # ... or made final by somebody else, and then withdrawn, with the claim in the list or without
    assert world.send(world.other, "finalise", claim_id).events == [("ClaimFinalised", {"claimId": claim_id})]
    assert world.view("credit", world.prover) == PROVER_BOND
    world.refuses("WrongStage", world.prover, "finalise", claim_id)
    world.cannot_collect("NothingToWithdraw", world.other)
    for claims in ([], [claim_id], [claim_id, claim_id]):
        with world.undone():
            assert world.collect(world.prover, claims) == PROVER_BOND
            world.cannot_collect("NothingToWithdraw", world.prover, claims)


def test_a_list_may_name_a_claim_twice_but_pays_it_once(world):
    model_id = world.register(RUN)
    one, other = world.claim(RUN, model_id), world.claim(RUN, model_id, nonce=1)
    world.evm.now += WINDOW + 1
    assert world.collect(world.prover, [one, other, one]) == 2 * PROVER_BOND


def test_only_the_claims_own_prover_is_paid_for_it(world):
    model_id = world.register(RUN)
    mine, theirs = world.claim(RUN, model_id), world.claim(RUN, model_id, sender=world.other)
    world.evm.now += WINDOW + 1
    world.cannot_collect("NotAllowed", world.prover, [theirs])
    world.cannot_collect("NotAllowed", world.prover, [mine, theirs])
    world.send(world.challenger, "finalise", theirs)
    world.cannot_collect("NotAllowed", world.prover, [mine, theirs])
    assert world.collect(world.prover, [mine]) == PROVER_BOND
    assert world.collect(world.other, [theirs]) == PROVER_BOND


@pytest.mark.parametrize("winners", [1, 2, 3, 7])
def test_i10_the_lost_bond_is_half_burnt_half_shared(world, winners):
    claim_id = world.claim(LIE, world.register(LIE))
    accounts = players(world, winners)
    games = [world.challenge(claim_id, sender=account) for account in accounts]
    world.evm.now += CLOCK + 1
    for i, game_id in enumerate(games):
        events = dict(world.timeout(game_id).events)
        assert ("ClaimRejected" in events) == (i == 0)
        assert ("ClaimSettled" in events) == (i == winners - 1)
    share = HALF // winners
    burn = PROVER_BOND - winners * share
    assert events["ClaimSettled"] == {"claimId": claim_id, "games": winners, "share": share, "burnt": burn}
    assert world.burnt == burn >= PROVER_BOND - HALF
    for account, game_id in zip(accounts, games, strict=True):
        assert world.collect(account, games=[game_id]) == CHALLENGER_BOND + share
        (event,) = world.logged("Collected", gameId=game_id)
        assert event["winner"] == "0x" + account.hex()
        assert event["amount"] == CHALLENGER_BOND + share
    assert world.evm.balance(world.opml) == burn


def test_i9_the_bond_waits_for_the_last_game(world):
    """A winner is paid nothing, not even his own bond, before the claim's last game has closed."""
    claim_id = world.claim(LIE, world.register(LIE))
    first, second = (world.challenge(claim_id, salt) for salt in range(2))
    assert play(world, LIE, RUN, first) == Stage.CHALLENGER_WON
    world.cannot_collect("NotCollectable", world.challenger, games=[first])
    world.cannot_collect("NothingToWithdraw", world.challenger)
    assert play(world, LIE, RUN, second) == Stage.CHALLENGER_WON
    assert world.collect(world.challenger, games=[first, second]) == 2 * CHALLENGER_BOND + 2 * (HALF // 2)


def test_a_prover_is_paid_for_a_won_game_at_once(world):
    """While others are open; and what the claim's fate is does not matter."""
    claim_id = world.claim(LIE, world.register(LIE))
    lost, won, open_ = (world.challenge(claim_id, salt) for salt in range(3))
    Player(world, LIE, won).send_answer(world.prover)
    Player(world, LIE, open_).send_answer(world.prover)
    world.evm.now += CLOCK
    name, args = world.choose(open_, 0)
    world.send(world.challenger, name, *args)
    lapse(world, lost, won)
    assert world.view("claims", claim_id)["openGames"] == 1
    world.cannot_collect("NotCollectable", world.prover, games=[open_])
    assert world.collect(world.prover, games=[won]) == CHALLENGER_BOND
    world.cannot_collect("NotCollectable", world.prover, games=[won])
    world.cannot_collect("NotCollectable", world.challenger, games=[lost])
    lapse(world, open_)
    assert world.collect(world.challenger, games=[lost, open_]) == 2 * CHALLENGER_BOND + 2 * (HALF // 2)


def test_a_game_won_after_the_rejection_pays_its_prover_but_not_his_bond(world):
    claim_id = world.claim(LIE, world.register(LIE))
    honest, silent = world.challenge(claim_id), world.challenge(claim_id, sender=world.other)
    assert play(world, LIE, RUN, honest) == Stage.CHALLENGER_WON
    let_challenger_lose(world, LIE, silent)
    world.cannot_collect("NotCollectable", world.other, games=[silent])
    world.cannot_collect("WrongStage", world.prover, [claim_id], [silent])
    assert world.collect(world.challenger, games=[honest]) == CHALLENGER_BOND + HALF
    assert world.collect(world.prover, games=[silent]) == CHALLENGER_BOND


def test_lost_challenges_leave_a_claim_standing(world):
    claim_id = world.claim(RUN, world.register(RUN))
    games = [world.challenge(claim_id, salt) for salt in range(3)]
    for game_id in games:
        Player(world, RUN, game_id).send_answer(world.prover)
    lapse(world, games[0])
    world.evm.now = world.view("claims", claim_id)["deadline"] + 1
    world.refuses("GamesOpen", world.prover, "finalise", claim_id)
    world.cannot_collect("GamesOpen", world.prover, [claim_id], [games[0]])
    lapse(world, *games[1:])
    assert world.collect(world.prover, [claim_id], games) == PROVER_BOND + 3 * CHALLENGER_BOND
    assert world.evm.balance(world.opml) == 0


def test_i10_catching_oneself_costs_half(world):
    """A liar who is his own only challenger loses what is burnt: the same party on both sides."""
    claim_id = world.claim(LIE, world.register(LIE))
    before = world.evm.balance(world.prover)
    game_id = world.challenge(claim_id, sender=world.prover)
    lapse(world, game_id)
    assert world.collect(world.prover, games=[game_id]) == CHALLENGER_BOND + HALF
    world.cannot_collect("NotCollectable", world.prover, games=[game_id])
    assert world.evm.balance(world.prover) == before + HALF


def test_playing_oneself_wins_nothing(world):
    """Prover and challenger are one, and the prover wins: all comes back, once."""
    claim_id = world.claim(RUN, world.register(RUN))
    before = world.evm.balance(world.prover) + PROVER_BOND
    game_id = world.challenge(claim_id, sender=world.prover)
    assert play(world, RUN, LIE, game_id) == Stage.PROVER_WON
    assert world.collect(world.prover, games=[game_id]) == CHALLENGER_BOND
    world.cannot_collect("NotCollectable", world.prover, games=[game_id])
    world.evm.now += WINDOW + 1
    assert world.collect(world.prover, [claim_id]) == PROVER_BOND
    assert world.evm.balance(world.prover) == before


def test_i7_what_is_won_is_the_winners_own_and_collected_once(world):
    claim_id = world.claim(LIE, world.register(LIE))
    mine, theirs = world.challenge(claim_id), world.challenge(claim_id, sender=world.other)
    lapse(world, mine, theirs)
    for account, games in (
        *((world.challenger, [theirs]), (world.prover, [mine]), (world.other, [mine])),
        *((world.challenger, [mine, mine]), (world.challenger, [mine, theirs]), (world.challenger, [theirs, mine])),
    ):
        world.cannot_collect("NotCollectable", account, games=games)
    world.collect(world.challenger, games=[mine])
    world.cannot_collect("NotCollectable", world.challenger, games=[mine])
    world.collect(world.other, games=[theirs])
    assert world.evm.balance(world.opml) == world.burnt


def test_a_refused_item_takes_the_whole_list_with_it(world):
    """Nothing is paid and nothing is marked: the rest can be collected without it."""
    model_id = world.register(RUN)
    done, early = world.claim(RUN, model_id), world.claim(RUN, model_id, nonce=1)
    won, open_ = world.challenge(done), world.challenge(early)
    let_challenger_lose(world, RUN, won)
    world.evm.now += WINDOW + 1
    world.cannot_collect("GamesOpen", world.prover, [done, early], [won])
    world.cannot_collect("NotCollectable", world.prover, [done], [won, open_])
    world.cannot_collect("NotCollectable", world.prover, [done], [won, won])
    assert world.collect(world.prover, [done], [won]) == PROVER_BOND + CHALLENGER_BOND


def test_mixed_lists(world):
    """One account is a prover here and a challenger there, has credit, and takes all in one transaction."""
    me = world.prover
    right = world.claim(RUN, world.register(RUN))
    third = world.claim(RUN, world.register(RUN), nonce=1)
    wrong = world.claim(LIE, world.register(LIE), sender=world.other)
    defended, attacked = world.challenge(right), world.challenge(wrong, sender=me)
    Player(world, RUN, defended).send_answer(me)
    lapse(world, defended, attacked)
    world.evm.now += WINDOW + 1
    world.send(world.challenger, "finalise", third)
    expected = 2 * PROVER_BOND + 2 * CHALLENGER_BOND + HALF
    assert world.collect(me, [right, third], [attacked, defended]) == expected
    assert world.evm.balance(world.opml) == world.burnt


def test_claims_of_one_prover_do_not_mix(world):
    model_id = world.register(LIE)
    lost, kept = world.claim(LIE, model_id), world.claim(LIE, model_id, nonce=1)
    game_id = world.challenge(lost)
    lapse(world, game_id)
    world.evm.now += WINDOW
    world.cannot_collect("WrongStage", world.prover, [kept, lost])
    assert world.collect(world.prover, [kept]) == PROVER_BOND
    world.collect(world.challenger, games=[game_id])
    assert world.evm.balance(world.opml) == world.burnt


def test_i8_forced_ether_changes_nothing(world):
    """Whoever sends ether past the calls loses it; no rule reads the contract's balance."""
    claim_id = world.claim(RUN, world.register(RUN))
    world.evm.state.delta_balance(world.opml, 12_345)
    with pytest.raises(AssertionError):
        world.check_books()  # our books notice
    world.forced = 12_345
    world.evm.now += WINDOW + 1
    assert world.collect(world.prover, [claim_id]) == PROVER_BOND
    assert world.evm.balance(world.opml) == 12_345


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


def test_i10_a_bond_of_one_wei_is_burnt_whole():
    """Half of it, rounded down, is nothing: nobody wins by rounding."""
    world = World(4)
    args = (world.verifier, 1, 1, 4)
    world.opml = world.evm.deploy(world.other, artifact("Opml"), *args)
    model_id = world.evm.transact(
        world.other, world.opml, world.evm.abi.encode("registerModel", (tuple(LIE.model().values()), ""))
    ).output
    data = world.evm.abi.encode("claim", (model_id, LIE.data, LIE.output_root, 0))
    world.events += world.evm.transact(world.prover, world.opml, data, 1).events
    claim = world.claim_of(world.events[0][1]["claimId"])
    data = world.evm.abi.encode("challenge", (claim, 0))
    world.events += world.evm.transact(world.challenger, world.opml, data, 1).events
    key = world.key(world.logged("Challenged")[0]["gameId"])
    world.evm.now += CLOCK + 1
    events = dict(world.evm.transact(world.other, world.opml, world.evm.abi.encode("timeout", (key,))).events)
    assert (events["ClaimSettled"]["share"], events["ClaimSettled"]["burnt"]) == (0, 1)
    world.evm.transact(world.challenger, world.opml, world.evm.abi.encode("withdraw", (world.challenger, [], [key])))
    assert world.evm.balance(world.opml) == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lies=st.booleans(),
    games=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_i8_what_goes_in_comes_out_or_is_burnt(world, lies, games, order):
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
        lapse(world, *(game_id for game_id, _, _ in open_games))
        lost = [game_id for game_id, _, prover_is_silent in open_games if prover_is_silent]
        if not lost:
            world.evm.now += WINDOW
        for who, account in enumerate(accounts):
            mine = [game_id for game_id, player, prover_lost in open_games if prover_lost and player == who]
            claims = []
            if who == 0:
                mine += [game_id for game_id, _, prover_lost in open_games if not prover_lost]
                claims = [] if lost else [claim_id]
            order.shuffle(mine)
            if mine or claims:
                world.collect(account, claims, mine)
            assert world.view("credit", account) == 0
        burnt = world.burnt
        assert world.evm.balance(world.opml) == burnt
        assert sum(world.evm.balance(account) for account in accounts) == total - burnt
        assert burnt == (PROVER_BOND - HALF // len(lost) * len(lost) if lost else 0)
        assert world.evm.balance(world.prover) <= 1000 * ETHER + CHALLENGER_BOND * len(games)
