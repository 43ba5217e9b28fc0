"""Windows and clocks, to the second: every stage, either side silent (I2, I4, I14)."""

import pytest
from contracts_driver import CHALLENGER_BOND, Player, World, play
from contracts_runs import Lie, Run

from opml.dispute.game import Phase, Stage
from vm.step import prove_step

RUN = Run(13)
LIE = Lie(13, wrong=7, at=9)
CLOCK, WINDOW = 100, 1000
STAGES = [
    (Stage.OPEN, Phase.TILE),
    (Stage.CHOOSE, Phase.TILE),
    (Stage.POST, Phase.TILE),
    (Stage.ENTER, Phase.TILE),
    (Stage.CHOOSE, Phase.INSTRUCTION),
    (Stage.POST, Phase.INSTRUCTION),
    (Stage.STEP, Phase.INSTRUCTION),
]


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


def reach(world: World, stage: Stage, phase: Phase) -> tuple[bytes, bytes, str, tuple]:
    """A game of a liar at this point: claim, game, and the next move with its arguments."""
    claim_id, game_id = world.game_against(LIE)
    play(world, LIE, RUN, game_id, until=lambda g: (g["stage"], g["phase"]) == (stage, phase))
    player = Player(world, LIE, game_id)
    if phase == Phase.INSTRUCTION:
        player.machine = LIE.machine(7)
    return claim_id, game_id, *(world.choose(game_id, 0) if stage == Stage.CHOOSE else player.answer())


@pytest.mark.parametrize(("stage", "phase"), STAGES, ids=str)
def test_i14_the_last_second_is_in_time_and_the_next_is_not(world, stage, phase):
    _, game_id, name, args = reach(world, stage, phase)
    sender = world.challenger if stage == Stage.CHOOSE else world.prover
    start = world.game(game_id)["lastMove"]

    world.evm.now = start + CLOCK
    world.refuses("ClockRunning", world.other, "timeout", world.key(game_id))
    with world.undone():
        world.send(sender, name, *args)
        assert world.stage(game_id) != stage

    world.evm.now = start + CLOCK + 1
    world.refuses("ClockExpired", sender, name, *args)
    events = dict(world.timeout(game_id).events)
    assert events["TimedOut"] == {"gameId": game_id}
    assert events["GameEnded"]["proverWon"] is (stage == Stage.CHOOSE)
    assert world.stage(game_id) == (Stage.PROVER_WON if stage == Stage.CHOOSE else Stage.CHALLENGER_WON)
    assert world.game(game_id)["range"] == bytes(32)


def test_each_side_uses_up_its_own_clock(world):
    """Time runs for the side on turn only; what is used is gone."""
    _, game_id = world.game_against(LIE)
    prover, challenger = Player(world, LIE, game_id), Player(world, RUN, game_id)
    left = {"proverClock": CLOCK, "challengerClock": CLOCK}
    for seconds in (10, 0, 7, 30, 1, 20, 3, 9):
        game = world.game(game_id)
        world.evm.now += seconds
        if game["stage"] == Stage.CHOOSE:
            side, (name, args) = "challengerClock", challenger.choice(prover.tile)
            world.send(world.challenger, name, *args)
        else:
            side = "proverClock"
            prover.send_answer(world.prover)
        left[side] -= seconds
        after = world.game(game_id)
        assert {key: after[key] for key in left} == left
        assert after["lastMove"] == world.evm.now
    assert min(left.values()) < CLOCK // 2


def test_a_used_up_clock_leaves_moves_in_the_same_second(world):
    _, game_id = world.game_against(RUN)
    prover = Player(world, RUN, game_id)
    world.evm.now += CLOCK
    prover.send_answer(world.prover)
    name, args = world.choose(game_id, 0)
    world.send(world.challenger, name, *args)
    assert world.game(game_id)["proverClock"] == 0
    name, args = prover.answer()
    with world.undone():
        world.send(world.prover, name, *args)
    world.evm.now += 1
    world.refuses("ClockExpired", world.prover, name, *args)
    world.timeout(game_id, world.challenger)
    assert world.stage(game_id) == Stage.CHALLENGER_WON


def test_both_clocks_may_lapse_but_one_side_is_on_turn(world):
    """Each uses its last second; then the first whose turn is not answered has lost, however long nobody looks."""
    _, game_id = world.game_against(RUN)
    prover = Player(world, RUN, game_id)
    world.evm.now += CLOCK
    prover.send_answer(world.prover)
    world.evm.now += CLOCK
    name, args = world.choose(game_id, 1)
    world.send(world.challenger, name, *args)
    game = world.game(game_id)
    assert (game["proverClock"], game["challengerClock"]) == (0, 0)
    with world.undone():
        prover.send_answer(world.prover)
        world.evm.now += 10 * CLOCK
        world.timeout(game_id)
        assert world.stage(game_id) == Stage.PROVER_WON
    world.evm.now += 10 * CLOCK
    world.timeout(game_id)
    assert world.stage(game_id) == Stage.CHALLENGER_WON


def test_i2_a_true_step_that_comes_too_late_decides_nothing(world):
    _, game_id = world.game_against(RUN)
    play(world, RUN, LIE, game_id, until=lambda g: g["stage"] == Stage.STEP)
    game = world.game(game_id)
    witness = prove_step(RUN.machine(7)[game["position"]])
    world.evm.now += CLOCK + 1
    for sender in (world.prover, world.challenger):
        world.refuses("ClockExpired", sender, "step", world.key(game_id), game["hi"], witness)


def test_timeout_ends_a_game_once(world):
    _, game_id = world.game_against(RUN)
    world.evm.now += CLOCK + 1
    world.timeout(game_id, world.challenger)
    for sender in (world.prover, world.challenger, world.other):
        world.refuses("WrongStage", sender, "timeout", world.key(game_id))


def test_the_window_includes_its_last_second(world):
    claim_id = world.claim(RUN, world.register(RUN))
    claim = world.claim_of(claim_id)
    deadline = world.view("claims", claim_id)["deadline"]
    assert deadline == world.evm.now + WINDOW
    world.refuses("WindowOpen", world.prover, "finalise", claim_id)
    world.evm.now = deadline
    world.refuses("WindowOpen", world.prover, "finalise", claim_id)
    world.cannot_collect("WindowOpen", world.prover, [claim_id])
    with world.undone():
        world.challenge(claim_id)
        world.evm.now = deadline + 1
        world.refuses("GamesOpen", world.prover, "finalise", claim_id)
        world.cannot_collect("GamesOpen", world.prover, [claim_id])
    world.evm.now = deadline + 1
    world.refuses("WindowClosed", world.challenger, "challenge", claim, 0, value=CHALLENGER_BOND)
    with world.undone():
        assert world.collect(world.prover, [claim_id])
        world.refuses("WrongStage", world.challenger, "challenge", claim, 0, value=CHALLENGER_BOND)
    world.send(world.other, "finalise", claim_id)
    world.refuses("WrongStage", world.other, "finalise", claim_id)
    world.refuses("WrongStage", world.challenger, "challenge", claim, 0, value=CHALLENGER_BOND)


def test_a_game_of_the_windows_last_second_is_played_out(world):
    claim_id = world.claim(LIE, world.register(LIE))
    world.evm.now = world.view("claims", claim_id)["deadline"]
    game_id = world.challenge(claim_id)
    world.evm.now += 50
    assert play(world, LIE, RUN, game_id) == Stage.CHALLENGER_WON
    world.refuses("WrongStage", world.prover, "finalise", claim_id)


def test_a_rejected_claim_takes_no_more_challenges(world):
    claim_id, game_id = world.game_against(LIE)
    world.evm.now += CLOCK + 1
    world.timeout(game_id)
    claim = world.claim_of(claim_id)
    world.refuses("WrongStage", world.challenger, "challenge", claim, 1, value=CHALLENGER_BOND)
    world.refuses("WrongStage", world.prover, "finalise", claim_id)
    world.evm.now += WINDOW
    world.refuses("WrongStage", world.prover, "finalise", claim_id)
    world.cannot_collect("WrongStage", world.prover, [claim_id])


def test_silence_on_both_sides_ends_within_two_clocks(world):
    """Whoever is silent loses; a game cannot last longer than the clocks of both."""
    _, game_id = world.game_against(RUN)
    start = world.evm.now
    world.evm.now = start + CLOCK
    Player(world, RUN, game_id).send_answer(world.prover)
    world.evm.now = start + 2 * CLOCK
    name, args = world.choose(game_id, 1)
    world.send(world.challenger, name, *args)
    world.evm.now = start + 2 * CLOCK + 1
    world.timeout(game_id)
    assert world.stage(game_id) == Stage.CHALLENGER_WON


def test_i4_clocks_come_from_the_model(world):
    other = World(4)
    claim_id, game_id = other.game_against(RUN, window=7, clock=3)
    game = other.game(game_id)
    assert (game["proverClock"], game["challengerClock"]) == (3, 3)
    assert other.view("claims", claim_id)["deadline"] == other.evm.now + 7


def test_the_longest_clocks_are_kept_whole(world):
    """Packed beside the others, none runs into the next."""
    longest = (1 << 32) - 1
    claim_id, game_id = world.game_against(RUN, window=longest, clock=longest)
    assert world.view("claims", claim_id)["deadline"] == world.evm.now + longest
    world.evm.now += longest
    Player(world, RUN, game_id).send_answer(world.prover)
    game = world.game(game_id)
    assert (game["proverClock"], game["challengerClock"], game["lastMove"]) == (0, longest, world.evm.now)
    world.evm.now += longest
    name, args = world.choose(game_id, 0)
    with world.undone():
        world.send(world.challenger, name, *args)
        assert world.game(game_id)["challengerClock"] == 0
    world.evm.now += 1
    world.refuses("ClockExpired", world.challenger, name, *args)
