"""Several parties on one contract, in the worst orders: who gets what, to the wei, and when (docs/protocol.md)."""

from itertools import permutations

import pytest
from contracts_evm import TX_GAS
from dispute_referee import Account
from dispute_toy import CLOCK, INPUT, WINDOW, ToyTrace
from game_catalogue import CATALOGUE
from game_money import GAS_PRICE, gas_of
from game_twin import Twin, account, raw

from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_PROVER_BOND
from opml.dispute.game import ClaimStatus, GameKey, Role, Stage
from opml.dispute.liars import FalseTrace, Spot
from opml.dispute.moves import Post, Timeout
from opml.dispute.player import Player, player

BOND, STAKE = DEFAULT_PROVER_BOND, DEFAULT_CHALLENGER_BOND
LIAR, HONEST, OTHER = account("liar"), account("honest"), account("other")
SYBILS = [account(f"sybil {i}") for i in range(3)]
PEOPLE = [LIAR, HONEST, OTHER, *SYBILS]
TRUTH, SPOT = ToyTrace(4, 4), Spot(2, 2)
FALSE = FalseTrace(TRUTH, SPOT)


@pytest.fixture
def twin() -> Twin:
    return Twin(TRUTH, 3, (BOND, STAKE), PEOPLE)


def claim(twin: Twin, who: Account, false: bool, nonce: int = 0) -> bytes:
    root = (FALSE if false else TRUTH).output_root
    assert not twin.send(who, "claim", twin.model_id, INPUT, root, nonce)
    *_, claim_id = twin.referee.ledger.claims
    return claim_id


def challenge(twin: Twin, who: Account, claim_id: bytes, salt: int = 0) -> bytes:
    assert not twin.send(who, "challenge", twin.referee.claim_view(claim_id).claim, salt)
    return GameKey(claim_id, who.address, salt).id


def turn(twin: Twin, game_id: bytes, prover: Player | None, challenger: Player | None) -> bool:
    """One move of whoever has one."""
    view = twin.game_view(game_id)
    for role, who in ((Role.PROVER, prover), (Role.CHALLENGER, challenger)):
        move = who(view, twin.referee.now()) if who else None
        if move and not twin.move(game_id, move, Account(view.party(role))):
            return True
    return False


def play(twin: Twin, game_id: bytes, prover: Player | None, challenger: Player | None) -> Role:
    while twin.game_view(game_id).turn:
        if not turn(twin, game_id, prover, challenger):
            twin.advance(max(twin.game_view(game_id).time_left(twin.referee.now()) // 2, 1))
    winner = twin.game_view(game_id).winner
    assert winner is not None
    return winner


def gain(twin: Twin, who: Account) -> int:
    """What somebody has won or lost, without gas."""
    return twin.referee.ledger.balances[who.address]


def withdraw(twin: Twin, who: Account, *games: bytes, claims: tuple[bytes, ...] = ()) -> str:
    return twin.send(who, "withdraw", who.address, list(claims), [twin.game_view(game).key for game in games])


def liar() -> Player:
    return CATALOGUE["wrong-from"].player(TRUTH, Role.PROVER, SPOT)


def truth(role: Role) -> Player:
    return player(TRUTH, role)


def time_out(twin: Twin, *games: bytes) -> None:
    for game_id in games:
        assert not twin.move(game_id, Timeout(), OTHER)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_liar_who_challenges_himself_gains_nothing_in_whatever_order_the_games_end(
    twin: Twin, order: tuple[int, ...]
) -> None:
    """Two sybils and an honest challenger, three shares of half the bond; the other half is burnt."""
    claim_id = claim(twin, LIAR, false=True)
    challengers = [HONEST, *SYBILS[:2]]
    games = [challenge(twin, who, claim_id) for who in challengers]
    rejected = False
    for i in order:
        assert twin.referee.claim_view(claim_id).status is (ClaimStatus.REJECTED if rejected else ClaimStatus.PENDING)
        assert play(twin, games[i], liar(), truth(Role.CHALLENGER)) is Role.CHALLENGER
        rejected = True
        others = [g for g in games if twin.game_view(g).turn]
        assert withdraw(twin, HONEST, games[0]) == ("NotCollectable" if others else "")
    share = BOND // 2 // 3
    for who, game_id in zip(SYBILS, games[1:], strict=False):
        assert not withdraw(twin, who, game_id)
    assert gain(twin, HONEST) == share
    assert gain(twin, LIAR) + sum(gain(twin, who) for who in SYBILS) == -BOND + 2 * share
    assert -BOND + 2 * share <= -BOND // 2


@pytest.mark.parametrize("late", [0, 1])
def test_a_self_challenge_that_wins_the_race_shuts_the_honest_challenger_out_and_rejects_the_claim(
    twin: Twin, late: int
) -> None:
    """He comes too late to lose anything; the liar has burnt half of his bond."""
    claim_id = claim(twin, LIAR, false=True)
    own = challenge(twin, SYBILS[0], claim_id)
    while twin.game_view(own).stage is not Stage.STEP:
        assert turn(twin, own, liar(), truth(Role.CHALLENGER))
    if not late:
        game_id = challenge(twin, HONEST, claim_id)
    assert turn(twin, own, liar(), truth(Role.CHALLENGER))
    assert twin.referee.claim_view(claim_id).status is ClaimStatus.REJECTED
    if late:
        terms = twin.referee.claim_view(claim_id).claim
        assert twin.send(HONEST, "challenge", terms, 0) == "WrongStage"
        assert gain(twin, HONEST) == 0
    else:
        assert play(twin, game_id, liar(), truth(Role.CHALLENGER)) is Role.CHALLENGER
        assert not withdraw(twin, HONEST, game_id)
        assert gain(twin, HONEST) == BOND // 4
    assert not withdraw(twin, SYBILS[0], own)
    assert gain(twin, LIAR) + gain(twin, SYBILS[0]) <= -BOND // 2


def test_a_liar_cannot_hold_an_honest_challengers_money_by_leaving_his_own_games_open(twin: Twin) -> None:
    """Anybody ends them when their clocks have run out; until then nothing of the bond moves."""
    claim_id = claim(twin, LIAR, false=True)
    left = [challenge(twin, who, claim_id) for who in SYBILS]
    assert turn(twin, left[0], liar(), None)  # here the clock of the other side runs
    game_id = challenge(twin, HONEST, claim_id)
    assert play(twin, game_id, liar(), truth(Role.CHALLENGER)) is Role.CHALLENGER
    twin.advance(CLOCK)
    assert twin.move(left[0], Timeout(), HONEST) == twin.move(left[1], Timeout(), HONEST) == "ClockRunning"
    assert withdraw(twin, HONEST, game_id) == "NotCollectable"
    twin.advance(1)
    time_out(twin, *left)
    assert [twin.game_view(game).winner for game in left] == [Role.PROVER, Role.CHALLENGER, Role.CHALLENGER]
    assert not withdraw(twin, HONEST, game_id)
    assert gain(twin, HONEST) == BOND // 2 // 3


def test_in_the_last_second_of_the_window_a_game_begins_and_lasts_two_clocks_at_most(twin: Twin) -> None:
    claim_id = claim(twin, LIAR, false=False)
    made = twin.referee.now()
    terms = twin.referee.claim_view(claim_id).claim
    twin.advance(WINDOW)
    game_id = challenge(twin, OTHER, claim_id)
    twin.advance(CLOCK)  # the prover's last second: both sides stall as long as they can
    assert turn(twin, game_id, truth(Role.PROVER), None)
    twin.advance(CLOCK)
    assert twin.move(game_id, Timeout(), HONEST) == "ClockRunning"
    assert turn(twin, game_id, None, truth(Role.CHALLENGER))
    assert twin.send(LIAR, "finalise", claim_id) == "GamesOpen"
    assert twin.send(OTHER, "challenge", terms, 1) == "WindowClosed"
    while turn(twin, game_id, truth(Role.PROVER), truth(Role.CHALLENGER)):
        pass
    assert twin.game_view(game_id).winner is Role.PROVER
    assert twin.referee.now() - made == WINDOW + 2 * CLOCK
    assert not withdraw(twin, LIAR, game_id, claims=(claim_id,))
    assert gain(twin, LIAR) == STAKE


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.CHOOSE, Stage.POST, Stage.ENTER, Stage.STEP])
def test_when_both_fall_silent_the_side_on_turn_loses_whenever_somebody_looks(twin: Twin, stage: Stage) -> None:
    """The other clock stands still, however long nobody calls the timeout."""
    claim_id = claim(twin, LIAR, false=False)
    game_id = challenge(twin, OTHER, claim_id)
    while twin.game_view(game_id).stage is not stage:
        assert turn(twin, game_id, truth(Role.PROVER), truth(Role.CHALLENGER))
    view = twin.game_view(game_id)
    twin.advance(100 * (WINDOW + CLOCK))
    assert twin.send(HONEST, "finalise", claim_id) == "GamesOpen"
    time_out(twin, game_id)
    after = twin.game_view(game_id)
    assert after.winner is view.turn.other if view.turn else None
    assert (after.prover_clock, after.challenger_clock) == (view.prover_clock, view.challenger_clock)


def test_a_flood_of_games_pays_for_its_own_defence(twin: Twin) -> None:
    """Sixteen games in one second, all played by one honest prover, half of them abandoned in the middle."""
    claim_id = claim(twin, LIAR, false=False)
    prover, games = truth(Role.PROVER), [challenge(twin, OTHER, claim_id, salt) for salt in range(16)]
    for i, game_id in enumerate(games):
        other = CATALOGUE["silent-1" if i % 2 else "choose-first"].player(TRUTH, Role.CHALLENGER, SPOT)
        while turn(twin, game_id, prover, other):
            pass
    twin.advance(WINDOW + CLOCK + 1)
    time_out(twin, *(game_id for game_id in games if twin.game_view(game_id).turn))
    assert not withdraw(twin, LIAR, *games, claims=(claim_id,))
    assert gain(twin, LIAR) == 16 * STAKE
    assert gain(twin, OTHER) == -16 * STAKE


def test_a_withdrawal_of_very_many_games_fits_a_transaction_and_can_be_split(twin: Twin) -> None:
    claim_id = claim(twin, LIAR, false=False)
    games = [challenge(twin, OTHER, claim_id, salt) for salt in range(24)]
    for game_id in games:
        assert turn(twin, game_id, truth(Role.PROVER), None)
    twin.advance(CLOCK + 1)
    time_out(twin, *games)
    keys = [twin.game_view(game_id).key for game_id in games]
    with twin.evm.rollback():
        data = [twin.evm.abi.encode("withdraw", (LIAR.address, [], keys[:n])) for n in (12, 24)]
        used = []
        for call in data:
            with twin.evm.rollback():
                used.append(twin.evm.transact(raw(LIAR), twin.contract, call).gas)
    each = (used[1] - used[0]) / 12
    assert (TX_GAS - used[0]) / each > 500
    assert not withdraw(twin, LIAR, *games[:7])
    assert withdraw(twin, LIAR, *games[6:]) == "NotCollectable"
    assert not withdraw(twin, LIAR, *games[7:])
    assert gain(twin, LIAR) == 24 * STAKE - BOND


def test_somebodys_words_said_first_by_another_are_another_claim(twin: Twin) -> None:
    """A liar who sees an honest claim under way claims the same, and loses it to himself: the honest one stands."""
    copied = claim(twin, LIAR, false=False)
    lost = challenge(twin, SYBILS[0], copied)
    own = claim(twin, HONEST, false=False)
    assert own != copied
    twin.advance(CLOCK + 1)
    time_out(twin, lost)
    assert twin.referee.claim_view(copied).status is ClaimStatus.REJECTED
    twin.advance(WINDOW)
    assert not twin.send(HONEST, "withdraw", HONEST.address, [own], [])
    assert twin.referee.claim_view(own).status is ClaimStatus.FINAL
    assert gain(twin, HONEST) == 0


def test_of_conflicting_claims_the_false_one_falls_and_the_true_one_stands(twin: Twin) -> None:
    false, true = claim(twin, LIAR, false=True), claim(twin, HONEST, false=False)
    mine, theirs = challenge(twin, HONEST, false), challenge(twin, LIAR, true)
    winners = [
        play(twin, mine, liar(), truth(Role.CHALLENGER)),
        play(twin, theirs, truth(Role.PROVER), CATALOGUE["wrong-from"].player(TRUTH, Role.CHALLENGER, SPOT)),
    ]
    assert winners == [Role.CHALLENGER, Role.PROVER]
    twin.advance(WINDOW + 1)
    assert not withdraw(twin, HONEST, mine, theirs, claims=(true,))
    assert gain(twin, HONEST) == BOND // 2 + STAKE
    assert gain(twin, LIAR) == -BOND - STAKE


def test_who_plays_both_sides_of_a_claim_cannot_win_money(twin: Twin) -> None:
    """Whatever he lets win: of his own claim and his own challenge nothing comes back but what he put in, or less."""
    for winner in Role:
        before = gain(twin, LIAR)
        claim_id = claim(twin, LIAR, false=False, nonce=len(twin.referee.ledger.claims))
        game_id = challenge(twin, LIAR, claim_id)
        if winner is Role.PROVER:
            assert turn(twin, game_id, truth(Role.PROVER), None)
        twin.advance(CLOCK + 1)
        time_out(twin, game_id)
        twin.advance(WINDOW)
        assert not withdraw(twin, LIAR, game_id, claims=(claim_id,) if winner is Role.PROVER else ())
        assert gain(twin, LIAR) - before == (0 if winner is Role.PROVER else -BOND + BOND // 2)


def test_a_reorganised_choice_makes_a_post_stale_and_not_false() -> None:
    """A choice, the honest post that answers it, then a chain on which the choice was another."""
    wide = ToyTrace(9, 9)
    twin = Twin(wide, 3, (BOND, STAKE), PEOPLE)
    assert not twin.send(LIAR, "claim", twin.model_id, INPUT, wide.output_root, 0)
    (claim_id,) = twin.referee.ledger.claims
    game_id = challenge(twin, OTHER, claim_id)
    prover = player(wide, Role.PROVER)
    assert turn(twin, game_id, prover, None)
    first, last = (CATALOGUE[name].player(wide, Role.CHALLENGER, SPOT) for name in ("choose-first", "choose-last"))
    with twin.abandoned():
        assert turn(twin, game_id, None, last)
        answer = prover(twin.game_view(game_id), twin.referee.now())
    assert isinstance(answer, Post)
    assert turn(twin, game_id, None, first)
    assert twin.game_view(game_id).stage is Stage.POST
    assert twin.move(game_id, answer, LIAR) == "StaleMove"
    assert play(twin, game_id, prover, first) is Role.PROVER


def test_gas_of_a_defence_is_less_than_the_bond_that_it_wins() -> None:
    """At the stated price, with every call as dear as it has ever been; docs/protocol.md has the table."""
    sent = {"open": 1, "post": 6, "enter": 1, "step": 1, "withdraw": 1}
    assert sum(gas_of(method) * number for method, number in sent.items()) * GAS_PRICE < STAKE
