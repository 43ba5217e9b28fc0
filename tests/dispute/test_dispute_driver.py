"""Single steps of a dispute: begun once, refused, beaten to it, late."""

from collections.abc import Callable

import pytest
from dispute_bench import Bench, referee_bench
from dispute_tiny import WINDOW, tiny_trace
from dispute_toy import CHALLENGER, PROVER, STRANGER, ToyTrace, claim_toy, toy_court

from opml.dispute.driver import challenge, turn, withdraw
from opml.dispute.game import Role
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Choose, Step, Timeout
from opml.dispute.player import player
from opml.dispute.trace import Trace
from opml.errors import DisputeError, RevertError

TRACE = tiny_trace()
SPOT = Spot(4, 9)


def false_trace() -> Trace:
    return LIARS["register"].trace(TRACE, SPOT)


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
        lambda: challenge(court, PROVER, bytes(32), TRACE),
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
