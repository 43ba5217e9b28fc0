"""The players' loop: two sides that know only the chain, killed and restarted, late, and racing each other."""

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from dispute_bench import Bench, referee_bench
from dispute_referee import Account, Referee
from dispute_tiny import CLOCK, WINDOW, tiny_trace
from dispute_toy import CHALLENGER, PROVER, STRANGER, ToyTrace, claim_toy, toy_court

from opml.dispute.driver import PATIENCE, challenge, defend, play, settle, turn, withdraw
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Choose, Move, Step, Timeout
from opml.dispute.player import Player, player
from opml.dispute.trace import Trace
from opml.errors import ChainError, DisputeError, RevertError

TRACE = tiny_trace()
SPOT = Spot(4, 9)


class Killed(Exception):
    pass


def false_trace() -> Trace:
    return LIARS["register"].trace(TRACE, SPOT)


def test_two_loops_play_a_game_to_its_end(bench: Bench) -> None:
    """Each side's loop runs inside the other's waiting."""
    court, accounts = bench.court, bench.accounts
    claim_id = bench.claim(false_trace().output_root)
    game_id = challenge(court, accounts[Role.CHALLENGER], claim_id, TRACE)
    assert game_id is not None
    liar, honest = player(false_trace(), Role.PROVER), player(TRACE, Role.CHALLENGER)
    seen: list[str] = []

    def liar_moves(seconds: float) -> None:
        assert seconds == 0.5
        turn(court, accounts[Role.PROVER], game_id, liar)

    winner = play(
        court,
        accounts[Role.CHALLENGER],
        game_id,
        honest,
        progress=lambda view, move: seen.append(move.method),
        sleep=liar_moves,
        poll=0.5,
    )
    assert winner is Role.CHALLENGER
    assert set(seen) == {"choose", "step"}
    assert settle(court, accounts[Role.CHALLENGER], claim_id) is ClaimStatus.REJECTED
    assert court.credit(accounts[Role.CHALLENGER].address) == 0


class Fragile:
    """A court whose user dies at every new move: before it was sent, or after it was mined."""

    def __init__(self, court: Referee, before: bool) -> None:
        self._court, self._before = court, before
        self.deaths = 0
        self._seen: set[GameView] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._court, name)

    def move(self, game_id: bytes, move: Move, account: Account) -> None:
        view = self._court.game_view(game_id)
        dies = view not in self._seen
        self._seen.add(view)
        self.deaths += dies
        if dies and self._before:
            raise Killed
        self._court.move(game_id, move, account)
        if dies:
            raise Killed


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("lying", Role)
def test_a_player_killed_at_every_move_goes_on_from_nothing(lying: Role, before: bool) -> None:
    bench, honest = referee_bench(), lying.other
    game_id = bench.challenge(bench.claim((false_trace() if lying is Role.PROVER else TRACE).output_root))
    opponent = LIARS["register"].player(TRACE, lying, SPOT)
    court = Fragile(bench.court, before)

    def opponent_moves(_: float) -> None:
        turn(bench.court, bench.accounts[lying], game_id, opponent)

    winner = None
    while winner is None:
        with suppress(Killed):
            fresh = player(tiny_trace(), honest)
            winner = play(court, bench.accounts[honest], game_id, fresh, sleep=opponent_moves)  # type: ignore[arg-type]
    assert winner is honest
    assert court.deaths >= 4
    bench.check_books()


def test_a_prover_defends_several_games_at_once_and_takes_their_bonds(bench: Bench) -> None:
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    claim_id = bench.claim(TRACE.output_root)
    liars: dict[bytes, Player] = {}
    for salt, name in enumerate(["register", "other-tile", "silent-2"]):
        game_id, _ = court.challenge(claim_id, salt, challenger)
        liars[bytes(game_id)] = LIARS[name].player(TRACE, Role.CHALLENGER, Spot(salt, 4))

    def others(_: float) -> None:
        before = [court.game_view(game) for game in liars]
        after = [turn(court, challenger, game, liar) for game, liar in liars.items()]
        if before == after:
            bench.advance(CLOCK + 1 if any(view.turn for view in after) else WINDOW)

    assert defend(court, prover, claim_id, player(TRACE, Role.PROVER), sleep=others) is ClaimStatus.FINAL
    assert {court.game_view(game).winner for game in liars} == {Role.PROVER}
    assert court.credit(prover.address) == 0
    assert bench.balance() == bench.burnt()


def test_a_prover_who_loses_one_game_plays_the_others_and_still_stops() -> None:
    bench = referee_bench()
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    claim_id = bench.claim(false_trace().output_root)
    honest, other = [court.challenge(claim_id, salt, challenger)[0] for salt in (0, 1)]
    sides = {
        honest: player(TRACE, Role.CHALLENGER),
        other: LIARS["wrong-from"].player(TRACE, Role.CHALLENGER, Spot(1, 1)),
    }

    def others(_: float) -> None:
        for game, side in sides.items():
            turn(court, challenger, game, side)

    liar = player(false_trace(), Role.PROVER)
    assert defend(court, prover, claim_id, liar, sleep=others) is ClaimStatus.REJECTED
    assert court.game_view(honest).winner is Role.CHALLENGER
    assert court.game_view(other).winner is Role.PROVER
    assert settle(court, challenger, claim_id) is ClaimStatus.REJECTED
    assert court.ledger.balances["prover"] == -court.prover_bond + court.challenger_bond
    assert court.ledger.balances["challenger"] == court.prover_bond // 2 - court.challenger_bond


def test_a_challenge_is_begun_once_and_only_against_a_false_claim(bench: Bench) -> None:
    court, challenger = bench.court, bench.accounts[Role.CHALLENGER]
    assert challenge(court, challenger, bench.claim(TRACE.output_root), TRACE) is None
    claim_id = bench.claim(false_trace().output_root)
    game_id = challenge(court, challenger, claim_id, TRACE)
    assert game_id is not None
    assert challenge(court, challenger, claim_id, TRACE) == game_id
    assert court.claim_games(claim_id) == [game_id]
    late = bench.claim(false_trace().output_root)
    bench.advance(WINDOW + 1)
    assert challenge(court, challenger, late, TRACE) is None


def test_settling_ends_the_games_that_others_left_lying() -> None:
    bench = referee_bench()
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    claim_id = bench.claim(false_trace().output_root)
    mine, lazy = bench.challenge(claim_id), court.challenge(claim_id, 9, STRANGER)[0]
    turn(court, prover, lazy, player(false_trace(), Role.PROVER))
    bench.play_out(
        mine, {Role.PROVER: player(false_trace(), Role.PROVER), Role.CHALLENGER: player(TRACE, Role.CHALLENGER)}
    )
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        bench.advance(CLOCK // 4)

    assert settle(court, challenger, claim_id, sleep=wait) is ClaimStatus.REJECTED
    assert 4 <= len(waited) <= 5
    assert court.game_view(lazy).winner is Role.PROVER
    assert court.ledger.balances["challenger"] == court.prover_bond // 2


class Racing:
    """A court in which somebody else makes the same kind of move just before ours arrives."""

    def __init__(self, court: object, before: Callable[[], None]) -> None:
        self._court, self._before = court, before

    def __getattr__(self, name: str) -> object:
        return getattr(self._court, name)

    def move(self, *args: object) -> None:
        self._before()
        self._court.move(*args)  # type: ignore[attr-defined]


def test_to_be_beaten_to_a_move_is_no_error() -> None:
    truth = ToyTrace(3, 3)
    court, model_id = toy_court(truth, 2)
    game_id, _ = court.challenge(claim_toy(court, model_id, truth, truth.output_root), 0, CHALLENGER)
    court.advance(101)
    racing = Racing(court, lambda: court.move(game_id, Timeout(), STRANGER))
    view = turn(racing, CHALLENGER, game_id, player(truth, Role.CHALLENGER))  # type: ignore[arg-type]
    assert view.winner is Role.CHALLENGER


class Flaky:
    """A court whose node often fails, before a transaction was sent or after it was mined."""

    def __init__(self, court: object, seed: int) -> None:
        self._court, self._random = court, Random(seed)

    def __getattr__(self, name: str) -> object:
        def call(*args: object) -> object:
            if self._random.random() < 0.2:
                raise ChainError("the node does not answer")
            result = getattr(self._court, name)(*args)
            if self._random.random() < 0.5 and name in ("move", "finalise", "withdraw"):
                raise ChainError("the receipt was lost")
            return result

        return call


@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_fails_now_and_then_costs_no_game(seed: int) -> None:
    bench = referee_bench()
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    true, false = bench.claim(TRACE.output_root), bench.claim(false_trace().output_root)
    liar = LIARS["register"].player(TRACE, Role.CHALLENGER, SPOT)
    flaky, wrong, mine = Flaky(court, seed), bench.challenge(true), bench.challenge(false)

    def others(_: float) -> None:
        for game, account, side in ((wrong, challenger, liar), (mine, prover, player(false_trace(), Role.PROVER))):
            turn(court, account, game, side)
        if court.game_view(wrong).winner and court.game_view(mine).winner:
            bench.advance(WINDOW // 10)

    honest = player(TRACE, Role.CHALLENGER)
    assert play(flaky, challenger, mine, honest, sleep=others) is Role.CHALLENGER  # type: ignore[arg-type]
    assert settle(flaky, challenger, false, sleep=others) is ClaimStatus.REJECTED  # type: ignore[arg-type]
    honest = player(TRACE, Role.PROVER)
    assert defend(flaky, prover, true, honest, sleep=others) is ClaimStatus.FINAL  # type: ignore[arg-type]
    assert bench.balance() == bench.burnt()


class Behind:
    """A court whose node tries a transaction at the time of its latest block, and tells the time of the next."""

    SLOT = 12

    def __init__(self, court: Referee) -> None:
        self._court = court

    def __getattr__(self, name: str) -> object:
        return getattr(self._court, name)

    def now(self) -> int:
        return self._court.now() + self.SLOT


def test_a_node_whose_blocks_are_older_than_its_time_costs_no_game() -> None:
    """The other side is silent: timeouts, and making the claim final, are refused at first."""
    bench = referee_bench()
    prover, challenger = bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    true, false = bench.claim(TRACE.output_root), bench.claim(false_trace().output_root)
    mine, court = bench.challenge(false), Behind(bench.court)

    def others(seconds: float) -> None:
        bench.advance(max(int(seconds), 1))

    honest = player(TRACE, Role.CHALLENGER)
    assert play(court, challenger, mine, honest, sleep=others) is Role.CHALLENGER  # type: ignore[arg-type]
    assert settle(court, challenger, false, sleep=others) is ClaimStatus.REJECTED  # type: ignore[arg-type]
    bench.challenge(true)
    honest = player(TRACE, Role.PROVER)
    assert defend(court, prover, true, honest, sleep=others) is ClaimStatus.FINAL  # type: ignore[arg-type]
    bench.check_books()


def test_a_game_in_which_we_are_refused_does_not_hold_up_the_others() -> None:
    bench = referee_bench()
    prover, challenger = bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    claim_id = bench.claim(TRACE.output_root)
    first, second = (bench.court.challenge(claim_id, salt, challenger)[0] for salt in (0, 1))
    honest, stubborn = player(TRACE, Role.PROVER), LIARS["post-long"].player(TRACE, Role.PROVER, SPOT)
    liar = LIARS["register"].player(TRACE, Role.CHALLENGER, SPOT)

    def others(_: float) -> None:
        bench.advance(CLOCK // 20)
        for game in (first, second):
            turn(bench.court, challenger, game, liar)

    def who(view: GameView, now: int) -> Move | None:
        return (stubborn if view.game_id == first else honest)(view, now)

    assert defend(bench.court, prover, claim_id, who, sleep=others) is ClaimStatus.REJECTED
    assert bench.court.game_view(second).winner is Role.PROVER


def test_a_node_that_never_answers_is_an_error_in_the_end() -> None:
    class Dead:
        def __getattr__(self, name: str) -> object:
            raise ChainError("the node does not answer")

    waits: list[float] = []
    with pytest.raises(ChainError, match="does not answer"):
        play(Dead(), PROVER, bytes(32), player(TRACE, Role.PROVER), sleep=waits.append)  # type: ignore[arg-type]
    assert len(waits) == PATIENCE


def test_a_move_that_the_contract_refuses_is_an_error_that_says_so() -> None:
    truth = ToyTrace(3, 3)
    court, model_id = toy_court(truth, 2)
    game_id, _ = court.challenge(claim_toy(court, model_id, truth, truth.output_root), 0, CHALLENGER)
    liar = LIARS["post-long"].player(truth, Role.PROVER, Spot(1))
    with pytest.raises(DisputeError, match=r"refuses our move `open`: BadOutputPath"):
        turn(court, PROVER, game_id, liar)
    with pytest.raises(DisputeError, match=r"refuses our move `open`: NotYourTurn"):
        turn(court, STRANGER, game_id, player(truth, Role.PROVER))


def test_unknown_games_and_claims_are_named() -> None:
    court, _ = toy_court(ToyTrace(3, 3), 2)
    with pytest.raises(DisputeError, match="there is no game 0x0000"):
        turn(court, PROVER, bytes(32), player(TRACE, Role.PROVER))
    for call in (
        lambda: defend(court, PROVER, bytes(32), player(TRACE, Role.PROVER)),
        lambda: challenge(court, PROVER, bytes(32), TRACE),
        lambda: settle(court, PROVER, bytes(32)),
        lambda: withdraw(court, PROVER, bytes(32)),
    ):
        with pytest.raises(DisputeError, match="there is no claim 0x0000"):
            call()


def test_a_player_out_of_time_makes_no_move_and_the_other_ends_it() -> None:
    truth = ToyTrace(9, 3)
    court, model_id = toy_court(truth, 2)
    game_id, _ = court.challenge(claim_toy(court, model_id, truth, truth.output_root), 0, CHALLENGER)
    prover, challenger = player(truth, Role.PROVER), player(truth, Role.CHALLENGER)
    court.advance(100)
    assert challenger(court.game_view(game_id), court.now()) is None
    assert prover(court.game_view(game_id), court.now()) is not None
    with pytest.raises(RevertError, match="ClockRunning"):
        court.move(game_id, Timeout(), CHALLENGER)
    court.advance(1)
    assert prover(court.game_view(game_id), court.now()) is None
    assert challenger(court.game_view(game_id), court.now()) == Timeout()


def test_a_clock_is_used_up_move_by_move() -> None:
    truth = ToyTrace(64, 3)
    court, model_id = toy_court(truth, 2)
    liar = player(LIARS["wrong-from"].trace(truth, Spot(40)), Role.CHALLENGER)
    game_id, _ = court.challenge(claim_toy(court, model_id, truth, truth.output_root), 0, CHALLENGER)
    left = {Role.PROVER: 100, Role.CHALLENGER: 100}
    for seconds in (10, 20, 30, 30, 60, 50):
        view = court.game_view(game_id)
        role = view.turn
        assert role is not None
        court.advance(seconds)
        side = player(truth, Role.PROVER) if role is Role.PROVER else liar
        move = side(view, court.now())
        assert move is not None
        assert isinstance(move, Choose) is (role is Role.CHALLENGER)
        if left[role] < seconds:
            break
        court.move(game_id, move, PROVER if role is Role.PROVER else CHALLENGER)
        left[role] -= seconds
        view = court.game_view(game_id)
        assert (view.prover_clock, view.challenger_clock) == (left[Role.PROVER], left[Role.CHALLENGER])
    assert left == {Role.PROVER: 0, Role.CHALLENGER: 0}


def test_the_challenger_executes_the_last_step_itself() -> None:
    bench = referee_bench()
    game_id = bench.challenge(bench.claim(false_trace().output_root))
    players = {Role.CHALLENGER: player(TRACE, Role.CHALLENGER), Role.PROVER: player(false_trace(), Role.PROVER)}
    _, moves, _ = bench.play_out(game_id, players)
    assert isinstance(moves[-1], Step)
    assert bench.court.events[-1][0] in ("ClaimSettled",)
    assert next(args["caller"] for name, args in bench.court.events if name == "Stepped") == "challenger"
