"""Games about a real program, in front of the referee and of the contract: same moves, same refusals, same verdicts."""

from typing import Any

import pytest
from dispute_bench import NONCES, Bench, K, chain_bench, referee_bench
from dispute_tiny import CLOCK, TILES, WINDOW, tiny_trace

from opml.dispute.game import ClaimStatus, GameView, Role, Stage
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.player import collectable, player
from opml.errors import RevertError

TRACE, ONE_PHASE = tiny_trace(), tiny_trace(one_phase=True)
SPOTS = [Spot(0, 0), Spot(4, 20), Spot(TILES - 1, 28)]


def judge(bench: Bench, name: str, lying: Role, spot: Spot, one_phase: bool = False) -> tuple[list[Move], list[str]]:
    """A game that the honest side must win, with all money drawn. Returns the moves and the refusals."""
    truth, liar = ONE_PHASE if one_phase else TRACE, LIARS[name]
    claimed = liar.trace(truth, spot) if lying is Role.PROVER else truth
    before = bench.burnt()
    claim_id = bench.claim(claimed.output_root, one_phase)
    game_id = bench.challenge(claim_id)
    honest = lying.other
    players = {lying: liar.player(truth, lying, spot), honest: player(truth, honest)}
    view, moves, refused = bench.play_out(game_id, players)
    assert view.winner is honest
    court, (bond, stake) = bench.court, bench.bonds
    account, kept = bench.accounts[honest], bench.balance()
    won = collectable(court.claim_view(claim_id), [court.game_view(game_id)], account.address)
    assert won == [game_id]
    if honest is Role.CHALLENGER:
        court.withdraw(account.address, [], won, account)
        assert court.claim_view(claim_id).status is ClaimStatus.REJECTED
        assert bench.burnt() - before == bond - bond // 2
        assert kept - bench.balance() == stake + bond // 2
    else:
        bench.advance(max(court.claim_view(claim_id).deadline - court.now(), 0) + 1)
        court.finalise(claim_id, bench.accounts[Role.CHALLENGER])
        assert court.credit(account.address) == bond
        court.withdraw(account.address, [claim_id], won, account)
        assert bench.burnt() == before
        assert kept - bench.balance() == stake + bond
    assert court.game_view(game_id).collected
    # The contract names the broken part of a witness, the referee does not.
    refused = ["MalformedWitness" if reason == "MalformedPath" else reason for reason in refused]
    return moves, refused


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("name", LIARS)
def test_every_liar_loses_in_front_of_the_referee(name: str, lying: Role) -> None:
    for spot in SPOTS:
        bench = referee_bench()
        judge(bench, name, lying, spot)
        bench.check_books()


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_every_liar_loses_on_chain_and_contract_and_referee_agree_on_every_move(chain: Any, half: int) -> None:
    """Each liar in one of the roles; the other half has them in the other."""
    benches = referee_bench(), chain_bench(chain)
    for i, name in enumerate(LIARS):
        lying = list(Role)[(i + half) % 2]
        outcomes = [judge(bench, name, lying, SPOTS[i % len(SPOTS)]) for bench in benches]
        assert outcomes[0] == outcomes[1], (name, lying)
    for bench in benches:
        bench.check_books()


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("name", ["memory", "few-steps", "many-steps", "silent-1"])
def test_one_phase(bench: Bench, name: str, lying: Role) -> None:
    for step in (0, 77, 240):
        judge(bench, name, lying, Spot(0, step), one_phase=True)


@pytest.mark.parametrize("lying", Role)
def test_every_instruction_of_every_tile_can_be_the_disputed_one(lying: Role) -> None:
    for tile in range(TILES):
        for step in range(TRACE.machine(tile).steps):
            moves, _ = judge(referee_bench(), "memory", lying, Spot(tile, step))
            assert isinstance(moves[-1], Step)
            assert moves[-1].witness == TRACE.machine(tile).witness(step)


def test_the_disputed_instruction_is_the_one_at_which_the_lie_begins(bench: Bench) -> None:
    spot = Spot(3, 17)
    moves, refused = judge(bench, "register", Role.PROVER, spot)
    assert isinstance(moves[-1], Step)
    assert moves[-1].witness == TRACE.machine(3).witness(17)
    assert [(move.range.position, move.steps) for move in moves if isinstance(move, Enter)] == [
        (3, TRACE.machine(3).steps)
    ]
    assert refused == []


def test_moves_out_of_turn_time_or_stage_are_refused(bench: Bench) -> None:
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    claim_id = bench.claim(TRACE.output_root)
    game_id = bench.challenge(claim_id)
    with pytest.raises(RevertError, match="GameExists"):
        bench.challenge(claim_id)
    opening = player(TRACE, Role.PROVER)(court.game_view(game_id), court.now())
    assert opening is not None
    with pytest.raises(RevertError, match="NotYourTurn"):
        court.move(game_id, opening, challenger)
    with pytest.raises(RevertError, match="UnknownGame"):
        court.move(bytes(32), opening, prover)
    court.move(game_id, opening, prover)
    with pytest.raises(RevertError, match="WrongStage"):
        court.move(game_id, opening, prover)
    with pytest.raises(RevertError, match="WrongStage"):
        court.move(game_id, Step(bytes(32), TRACE.machine(0).witness(0)), prover)
    choice = LIARS["wrong-from"].player(TRACE, Role.CHALLENGER, Spot(2))(court.game_view(game_id), court.now())
    assert choice is not None
    with pytest.raises(RevertError, match="NotYourTurn"):
        court.move(game_id, choice, prover)
    view = court.game_view(game_id)
    assert view.stage is Stage.CHOOSE
    assert view.turn is Role.CHALLENGER
    bench.advance(CLOCK + 100)
    with pytest.raises(RevertError, match="ClockExpired"):
        court.move(game_id, choice, challenger)
    with pytest.raises(RevertError, match="WindowOpen"):
        court.finalise(claim_id, prover)
    late = player(TRACE, Role.PROVER)(view, court.now())
    assert late is not None
    court.move(game_id, late, prover)
    assert court.game_view(game_id).winner is Role.PROVER
    with pytest.raises(RevertError, match="WrongStage"):
        court.move(game_id, late, prover)
    bench.advance(WINDOW)
    with pytest.raises(RevertError, match="WindowClosed"):
        court.challenge(claim_id, 1, challenger)
    court.finalise(claim_id, prover)
    with pytest.raises(RevertError, match="WrongStage"):
        court.finalise(claim_id, prover)


def wrong_moves(view: GameView) -> list[Move]:
    """Moves that no court accepts in any stage, each wrong in another way, often in more than one."""
    whole, run, word = view.range, TRACE.machine(4), bytes(32)
    end, witness = run.encode(run.steps), run.witness(0)
    path, true_path, out = bytes(5), TRACE.input_path(), TRACE.output_path()
    p = min(view.length, K)
    found: list[Move] = [
        Open(inputs, word, outputs, ()) for inputs in (path, b"", true_path) for outputs in (path, out)
    ]
    found += [Open(true_path, TRACE.tile_root(TILES), out, (word,) * count) for count in (0, K - 2, K)]
    for other in (
        whole._replace(position=view.position + 1),
        whole._replace(length=view.length + 1),
        whole._replace(lo=word[1:] + b"1"),
        whole._replace(hi=word[1:] + b"1"),
    ):
        found += [Post(other, (word,) * max(p - 1, 0)), Choose(other, 0, (word,)), Enter(other, 1, end, word, ())]
    found += [Post(whole, (word,) * count) for count in (K + 1, 2 * K)]
    found += [Choose(whole, segment, (word,) * count) for segment in (0, 1, K, 2**255) for count in (0, 1, 2, 9)]
    found += [Enter(whole, steps, bad, word, ()) for steps in (0, 1, 2**63) for bad in (b"", end, end[:-1] + b"\2")]
    found += [Step(hi, bad) for hi in (word, view.hi) for bad in (b"", witness[:-1], TRACE.machine(0).witness(9))]
    return [*found, Timeout()]


def all_refusals(bench: Bench) -> list[tuple[str, str, str]]:
    """Every wrong move of both sides at every turn of a game down to an instruction: stage, method and reason."""
    court, spot = bench.court, Spot(4, 9)
    false = LIARS["register"].trace(TRACE, spot)
    game_id = bench.challenge(bench.claim(false.output_root))
    sides = {Role.PROVER: player(false, Role.PROVER), Role.CHALLENGER: player(TRACE, Role.CHALLENGER)}
    refused = []
    while True:
        view = court.game_view(game_id)
        for role in Role:
            for move in wrong_moves(view):
                with pytest.raises(RevertError) as caught:
                    court.move(game_id, move, bench.accounts[role])
                refused.append((view.stage.name, move.method, caught.value.reason))
        assert court.game_view(game_id) == view
        if view.turn is None:
            return refused
        move = next(m for m in (side(view, court.now()) for side in sides.values()) if m)
        court.move(game_id, move, bench.accounts[Role.CHALLENGER if isinstance(move, Choose | Step) else Role.PROVER])


def test_contract_and_referee_refuse_alike(chain: Any) -> None:
    ours, theirs = all_refusals(referee_bench()), all_refusals(chain_bench(chain))
    # The contract names the broken part of a witness.
    named = {("step", "MalformedPath"): "MalformedWitness"}
    plain = [(stage, method, named.get((method, reason), reason)) for stage, method, reason in theirs]
    assert [pair for pair in zip(ours, plain, strict=True) if pair[0] != pair[1]] == []
    assert {reason for _, _, reason in ours} >= {
        *(
            "WrongStage",
            "NotYourTurn",
            "StaleMove",
            "WrongLength",
            "BadOpening",
            "BadSegment",
            "BadSteps",
            "BadEndState",
        ),
        *("BadInputPath", "BadOutputPath", "MalformedPath", "MalformedWitness", "WrongState", "ClockRunning"),
    }


def test_a_delegate_plays_a_game_and_an_input_off_chain_changes_nothing_in_it(bench: Bench) -> None:
    court, prover, challenger = bench.court, bench.accounts[Role.PROVER], bench.accounts[Role.CHALLENGER]
    false = LIARS["register"].trace(TRACE, Spot(4, 9))
    args = (TRACE.header.model_id, TRACE.memory.input_root, false.output_root, next(NONCES), "elsewhere")
    claim_id, _ = court.claim_by_root(*args, prover)
    with pytest.raises(RevertError, match="ClaimExists"):
        court.claim_by_root(*args, prover)
    view = court.claim_view(claim_id)
    assert (view.input, view.input_uri, view.input_posted) == (b"", "elsewhere", False)
    game_id = bench.challenge(claim_id)
    # Each plays for the other.
    court.set_delegate(challenger.address, True, prover)
    court.set_delegate(prover.address, True, challenger)
    sides = {Role.PROVER: player(false, Role.PROVER), Role.CHALLENGER: player(TRACE, Role.CHALLENGER)}
    while court.game_view(game_id).turn:
        for role, side in sides.items():
            move = side(court.game_view(game_id), court.now())
            if move:
                court.move(game_id, move, bench.accounts[role.other])
    assert court.game_view(game_id).winner is Role.CHALLENGER
    before = bench.balance()
    with pytest.raises(RevertError, match="NotCollectable"):
        court.withdraw(prover.address, [], [game_id], challenger)
    court.withdraw(challenger.address, [], [game_id], prover)
    assert before - bench.balance() == bench.bonds[1] + bench.bonds[0] // 2
    court.set_delegate(prover.address, False, challenger)
    with pytest.raises(RevertError, match="NotAllowed"):
        court.withdraw(challenger.address, [], [game_id], prover)
