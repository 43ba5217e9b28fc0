"""What each move refuses: wrong sender, stage, range, length, proof. Nothing refused leaves a trace."""

import pytest
from contracts_driver import Lie, Player, Run, World, play

from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm.constants import MODEL_LEVEL, STATE_BYTES
from vm.keccak import keccak256
from vm.step import prove_step

RUN = Run(13)
LIE = Lie(13, wrong=7, at=9)
NOBODY = bytes(32)


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


@pytest.fixture
def reach(world):
    """Plays a game of a liar against an honest challenger up to a stage and phase; its id and the prover's side."""

    def reach(stage: Stage, phase: Phase = Phase.TILE, prover: Run = LIE) -> tuple[bytes, Player]:
        _, game_id = world.game_against(prover)
        play(
            world,
            prover,
            RUN if prover is LIE else LIE,
            game_id,
            until=lambda g: (g["stage"], g["phase"]) == (stage, phase),
        )
        assert world.stage(game_id) == stage
        return game_id, Player(world, prover, game_id)

    return reach


STAGES = [
    (Stage.OPEN, Phase.TILE),
    (Stage.CHOOSE, Phase.TILE),
    (Stage.POST, Phase.TILE),
    (Stage.ENTER, Phase.TILE),
    (Stage.CHOOSE, Phase.INSTRUCTION),
    (Stage.POST, Phase.INSTRUCTION),
    (Stage.STEP, Phase.INSTRUCTION),
]


@pytest.mark.parametrize(("stage", "phase"), STAGES, ids=str)
def test_only_the_move_of_the_stage_and_only_by_its_player(world, reach, stage, phase):
    game_id, _ = reach(stage, phase)
    game = world.game(game_id)
    at = (game["position"], game["length"])
    moves = {
        Stage.OPEN: ("open", (game_id, NOBODY, b"", [])),
        Stage.POST: ("post", (game_id, *at, [])),
        Stage.CHOOSE: ("choose", (game_id, *at, 0, [])),
        Stage.ENTER: ("enter", (game_id, at[0], 1, b"", NOBODY, [])),
        Stage.STEP: ("step", (game_id, b"")),
    }
    turn = world.challenger if stage == Stage.CHOOSE else world.prover
    for name, args in (move for its_stage, move in moves.items() if its_stage != stage):
        for sender in (world.prover, world.challenger):
            world.refuses("WrongStage", sender, name, *args)
    if stage != Stage.STEP:
        for sender in {world.prover, world.challenger, world.other} - {turn}:
            world.refuses("NotYourTurn", sender, moves[stage][0], *moves[stage][1])
    world.refuses("ClockRunning", world.other, "timeout", game_id)
    world.refuses("WrongStage", world.challenger, "withdraw", [game_id])
    world.refuses("WrongStage", world.prover, "withdraw", [game_id])


def test_a_game_that_is_not_there(world):
    for name, args in (
        *(("open", (NOBODY, NOBODY, b"", [])), ("post", (NOBODY, 0, 1, [])), ("choose", (NOBODY, 0, 1, 0, []))),
        *(("enter", (NOBODY, 0, 1, b"", NOBODY, [])), ("step", (NOBODY, b"")), ("timeout", (NOBODY,))),
        ("withdraw", ([NOBODY],)),
    ):
        world.refuses("UnknownGame", world.prover, name, *args)
    world.refuses("UnknownClaim", world.prover, "finalise", NOBODY)


@pytest.mark.parametrize("winner", [Stage.PROVER_WON, Stage.CHALLENGER_WON])
def test_nothing_moves_after_the_end(world, winner):
    honest = winner == Stage.PROVER_WON
    _, game_id = world.game_against(RUN if honest else LIE)
    assert play(world, RUN if honest else LIE, LIE if honest else RUN, game_id) == winner
    before = world.game(game_id)
    for name, args in (
        *(("open", (game_id, NOBODY, b"", [])), ("post", (game_id, 0, 1, [])), ("choose", (game_id, 0, 1, 0, []))),
        *(("enter", (game_id, 0, 1, b"", NOBODY, [])), ("step", (game_id, b"")), ("timeout", (game_id,))),
    ):
        for sender in (world.prover, world.challenger):
            world.refuses("WrongStage", sender, name, *args)
    world.evm.now += 10_000
    world.refuses("WrongStage", world.other, "timeout", game_id)
    assert world.game(game_id) == before


def test_open_shows_the_claimed_output(world, reach):
    game_id, player = reach(Stage.OPEN)
    _, (_, root, path, states) = player.answer()
    for forged in (b"", path[:-1], path[:-32], path + b"\0", path + bytes(32), b"\x80" + path[1:]):
        world.refuses("MalformedPath", world.prover, "open", game_id, root, forged, states)
    for place in range(5, len(path), 32):
        forged = path[:place] + bytes([path[place] ^ 1]) + path[place + 1 :]
        world.refuses("BadOutputPath", world.prover, "open", game_id, root, forged, states)
    world.refuses("BadOutputPath", world.prover, "open", game_id, RUN.unit(13), path, states)
    world.refuses("BadOutputPath", world.prover, "open", game_id, RUN.unit(13), RUN.output_path(), states)
    for wrong in ([], states[:-1], [*states, NOBODY]):
        world.refuses("WrongLength", world.prover, "open", game_id, root, path, wrong)
    receipt = world.send(world.prover, "open", game_id, root, path, states)
    assert [name for name, _ in receipt.events] == ["Opened", "Posted"]
    assert receipt.events[1][1] == {
        "gameId": game_id, "phase": 0, "position": 0, "length": 13, "states": tuple(states),
    }  # fmt: skip
    game = world.game(game_id)
    assert (game["lo"], game["hi"], game["posted"]) == (LIE.unit(0), root, rules.commit(states, 13, 4))


@pytest.mark.parametrize("phase", Phase)
def test_posts_are_exact_and_name_their_range(world, reach, phase):
    game_id, player = reach(Stage.POST, phase)
    game = world.game(game_id)
    position, length = game["position"], game["length"]
    player.machine = LIE.machine(7)
    states = player.answer()[1][3]
    for wrong in ([], states[:-1], [*states, NOBODY]):
        world.refuses("WrongLength", world.prover, "post", game_id, position, length, wrong)
    for at in ((position + 1, length), (position, length + 1), (position, length - 1), (0, 13)):
        world.refuses("StaleMove", world.prover, "post", game_id, *at, states)
    world.send(world.prover, "post", game_id, position, length, states)
    assert world.game(game_id)["posted"] == rules.commit(states, length, 4)


@pytest.mark.parametrize("phase", Phase)
def test_choices_are_opened_from_the_post(world, reach, phase):
    game_id, _ = reach(Stage.CHOOSE, phase)
    game = world.game(game_id)
    position, length = game["position"], game["length"]
    states = world.states(LIE, None if phase == Phase.TILE else LIE.machine(7), length, position)
    p = rules.parts(length, 4)
    ends = [game["lo"], *states, game["hi"]]
    args = (game_id, position, length)
    for segment in (p, p + 1, (1 << 256) - 1):
        world.refuses("BadSegment", world.challenger, "choose", *args, segment, [])
    for j in range(p):
        opening = list(rules.opening(states, j))
        world.refuses("WrongLength", world.challenger, "choose", *args, j, opening[:-1])
        world.refuses("WrongLength", world.challenger, "choose", *args, j, [*opening, NOBODY])
        for i in range(len(opening)):
            forged = [*opening[:i], keccak256(opening[i]), *opening[i + 1 :]]
            world.refuses("BadOpening", world.challenger, "choose", *args, j, forged)
        for at in ((position + 1, length), (position, length + 1)):
            world.refuses("StaleMove", world.challenger, "choose", game_id, *at, j, opening)
        with world.evm.rollback():
            ((name, event),) = world.send(world.challenger, "choose", *args, j, opening).events
            start, end = (rules.boundary(length, p, i) for i in (j, j + 1))
            expected = (position + start, end - start, ends[j], ends[j + 1])
            assert name == "Chosen"
            assert (event["position"], event["length"], event["lo"], event["hi"]) == expected
            after = world.game(game_id)
            assert (after["position"], after["length"], after["lo"], after["hi"]) == expected


def test_enter_binds_both_ends(world, reach):
    game_id, player = reach(Stage.ENTER)
    _, (_, tile, steps, end, scratch, states) = player.answer()
    limit = LIE.model()["maxSteps"]
    assert (tile, steps) == (7, limit)

    def refuse(reason: str, **changes) -> None:
        names = ("tile", "steps", "end", "scratch", "states")
        values = [changes.get(n, v) for n, v in zip(names, (tile, steps, end, scratch, states), strict=True)]
        world.refuses(reason, world.prover, "enter", game_id, *values)

    for wrong in (0, limit + 1, (1 << 64) - 1):
        refuse("BadSteps", steps=wrong)
    for wrong in (6, 8, 0):
        refuse("StaleMove", tile=wrong)
    for forged in (b"", end[:-1], end + b"\0", b"\0" + end):
        refuse("BadEndState", end=forged)
    for status in (0, 2, 3, 255):
        refuse("BadEndState", end=end[:-1] + bytes([status]))
    a0 = 32 + 8 * 9
    for place in range(a0, a0 + 8):
        refuse("BadEndState", end=end[:place] + b"\1" + end[place + 1 :])
    for place in (0, 31):
        refuse("BadEndState", end=end[:place] + bytes([end[place] ^ 1]) + end[place + 1 :])
    refuse("BadEndState", scratch=NOBODY)
    honest = RUN.machine(7)[-1]
    refuse("BadEndState", end=honest.encode(), scratch=honest.memory.node(MODEL_LEVEL, 1))
    for wrong in ([], states[:-1], [*states, NOBODY]):
        refuse("WrongLength", states=wrong)
    refuse("WrongLength", steps=1)

    receipt = world.send(world.prover, "enter", game_id, tile, steps, end, scratch, states)
    game = world.game(game_id)
    assert (game["lo"], game["hi"]) == (LIE.machine(7)[0].hash(), keccak256(end))
    assert (game["position"], game["length"], game["phase"]) == (0, steps, Phase.INSTRUCTION)
    assert receipt.events[0] == (
        "Entered", {"gameId": game_id, "tile": 7, "steps": steps, "endState": end, "scratchRoot": scratch},
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_a_wrong_number_of_steps_is_caught(world, reach, steps):
    """Too few: the end state is claimed while the machine still runs."""
    game_id, player = reach(Stage.ENTER)
    _, (_, tile, _, end, scratch, _) = player.answer()
    machine = LIE.machine(tile)
    world.send(world.prover, "enter", game_id, tile, steps, end, scratch, world.states(LIE, machine, steps))
    honest = RUN.machine(tile)
    while (stage := world.stage(game_id)) != Stage.STEP:
        game = world.game(game_id)
        position, length = game["position"], game["length"]
        states = world.states(LIE, machine, length, position)
        if stage == Stage.POST:
            world.send(world.prover, "post", game_id, position, length, states)
            continue
        p = rules.parts(length, 4)
        ends = [position + rules.boundary(length, p, j + 1) for j in range(p)]
        j = next(
            j for j, (end_, s) in enumerate(zip(ends, [*states, game["hi"]], strict=True)) if honest[end_].hash() != s
        )
        world.send(world.challenger, "choose", game_id, position, length, j, list(rules.opening(states, j)))
    world.send(world.other, "step", game_id, prove_step(honest[world.game(game_id)["position"]]))
    assert world.stage(game_id) == Stage.CHALLENGER_WON


def test_step_begins_with_the_agreed_state(world, reach):
    game_id, _ = reach(Stage.STEP, Phase.INSTRUCTION)
    position = world.game(game_id)["position"]
    machine = RUN.machine(7)
    right = prove_step(machine[position])
    for other in (position - 1, position + 1):
        world.refuses("WrongState", world.prover, "step", game_id, prove_step(machine[other]))
    renamed = bytearray(right)
    renamed[32] ^= 1  # another register: well formed, but another state
    world.refuses("WrongState", world.prover, "step", game_id, bytes(renamed))
    for forged in (b"", right[:-1], right + b"\0", right[:STATE_BYTES]):
        world.refuses(
            "MalformedPath" if forged == right[:-1] else "MalformedWitness", world.prover, "step", game_id, forged
        )
    assert world.stage(game_id) == Stage.STEP


@pytest.mark.parametrize("sender", ["prover", "challenger", "other"])
def test_anyone_may_step(world, reach, sender):
    game_id, _ = reach(Stage.STEP, Phase.INSTRUCTION)
    witness = prove_step(RUN.machine(7)[world.game(game_id)["position"]])
    events = dict(world.send(getattr(world, sender), "step", game_id, witness).events)
    assert events["GameEnded"]["proverWon"] is False
    assert {"Stepped", "ClaimRejected", "ClaimSettled"} <= events.keys()


def test_a_step_proves_an_honest_prover_right(world, reach):
    game_id, _ = reach(Stage.STEP, Phase.INSTRUCTION, prover=RUN)
    witness = prove_step(RUN.machine(7)[world.game(game_id)["position"]])
    events = dict(world.send(world.challenger, "step", game_id, witness).events)
    assert events["GameEnded"]["proverWon"] is True


def test_a_start_state_is_never_taken_from_a_player(world):
    """The first instruction is disputed: its pre-state is the one the contract made of the agreed tile."""
    world_lie = Lie(2, wrong=1, at=0)
    _, game_id = world.game_against(world_lie)
    play(world, world_lie, Run(2), game_id, until=lambda g: g["stage"] == Stage.STEP)
    game = world.game(game_id)
    start = Run(2).machine(1)[0]
    assert game["position"] == 0
    assert game["lo"] == start.hash()
    assert start.memory.root() == keccak256(Run(2).unit(1) + start.memory.node(MODEL_LEVEL, 1))
    assert (start.registers[10], start.registers[11]) == (1, 1)
