"""What each move refuses: wrong sender, stage, claim, range, length, proof. Nothing refused leaves a trace."""

import pytest
from contracts_driver import Player, World, play
from contracts_runs import INPUT, Lie, Run

from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm.constants import MODEL_LEVEL, STATE_BYTES
from vm.keccak import keccak256
from vm.step import prove_step

RUN = Run(13)
LIE = Lie(13, wrong=7, at=9)
NOBODY = bytes(32)
NO_KEY = (NOBODY, bytes(20), 0)
NO_CLAIM = (NOBODY, NOBODY, NOBODY, bytes(20), 0, True)
NO_RANGE = (0, 1, NOBODY, NOBODY)


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
        other = RUN if prover is LIE else LIE
        play(world, prover, other, game_id, until=lambda g: (g["stage"], g["phase"]) == (stage, phase))
        assert world.stage(game_id) == stage
        player = Player(world, prover, game_id)
        if phase == Phase.INSTRUCTION:
            player.machine, player.tile = prover.machine(7), 7
        return game_id, player

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


def moves(key, claim=NO_CLAIM, range_=NO_RANGE):
    """Every move in the game of this key, by the stage that it belongs to."""
    return {
        Stage.OPEN: ("open", (key, claim, b"", NOBODY, b"", [])),
        Stage.POST: ("post", (key, range_, [])),
        Stage.CHOOSE: ("choose", (key, range_, 0, [])),
        Stage.ENTER: ("enter", (key, claim, range_, 1, b"", NOBODY, [])),
        Stage.STEP: ("step", (key, NOBODY, b"")),
    }


@pytest.mark.parametrize(("stage", "phase"), STAGES, ids=str)
def test_only_the_move_of_the_stage_and_only_by_its_player(world, reach, stage, phase):
    game_id, _ = reach(stage, phase)
    key = world.key(game_id)
    range_ = (0, 0, NOBODY, NOBODY) if stage == Stage.OPEN else world.range(game_id)
    turn = world.challenger if stage == Stage.CHOOSE else world.prover
    for its_stage, (name, args) in moves(key, world.claim_of(key[0]), range_).items():
        for sender in (world.prover, world.challenger, world.other):
            if its_stage != stage:
                world.refuses("WrongStage", sender, name, *args)
            elif stage != Stage.STEP and sender != turn:
                world.refuses("NotYourTurn", sender, name, *args)
    world.refuses("ClockRunning", world.other, "timeout", key)
    world.cannot_collect("NotCollectable", world.challenger, games=[game_id])
    world.cannot_collect("NotCollectable", world.prover, games=[game_id])


def test_a_game_that_is_not_there(world, reach):
    game_id, _ = reach(Stage.POST)
    key = world.key(game_id)
    others = [NO_KEY, (NOBODY, *key[1:]), (key[0], world.other, key[2]), (*key[:2], key[2] + 1)]
    for other in others:
        for name, args in (*moves(other).values(), ("timeout", (other,)), ("withdraw", (world.prover, [], [other]))):
            world.refuses("UnknownGame", world.prover, name, *args)
    world.refuses("UnknownClaim", world.prover, "finalise", NOBODY)
    world.refuses("UnknownClaim", world.prover, "withdraw", world.prover, [NOBODY], [])


@pytest.mark.parametrize("winner", [Stage.PROVER_WON, Stage.CHALLENGER_WON])
def test_i7_nothing_moves_after_the_end(world, winner):
    honest = winner == Stage.PROVER_WON
    _, game_id = world.game_against(RUN if honest else LIE)
    assert play(world, RUN if honest else LIE, LIE if honest else RUN, game_id) == winner
    before, key = world.game(game_id), world.key(game_id)
    for name, args in (*moves(key, world.claim_of(key[0])).values(), ("timeout", (key,))):
        for sender in (world.prover, world.challenger):
            world.refuses("WrongStage", sender, name, *args)
    world.evm.now += 10_000
    world.refuses("WrongStage", world.other, "timeout", key)
    assert world.game(game_id) == before


def altered(claim):
    """The claim with one field changed, for each field."""
    for i, value in enumerate(claim):
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int):
            other = value ^ 1
        else:
            raw = bytes.fromhex(value[2:]) if isinstance(value, str) else value
            other = bytes([raw[0] ^ 1]) + raw[1:]
        yield (*claim[:i], other, *claim[i + 1 :])


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.ENTER])
def test_the_claim_is_the_games(world, reach, stage):
    """Every field altered, a claim that nobody made, and another that is as real."""
    _, player = reach(stage)
    name, (key, claim, *rest) = player.answer()
    another = world.claim(LIE, claim[0], nonce=1)
    for forged in (*altered(claim), NO_CLAIM, world.claim_of(another)):
        world.refuses("WrongClaim", world.prover, name, key, forged, *rest)
    sold = (*claim[:3], world.other, *claim[4:])
    world.refuses("WrongClaim", world.other, name, key, sold, *rest)
    world.refuses("UnknownGame", world.prover, name, (another, *key[1:]), world.claim_of(another), *rest)
    with world.undone():
        world.challenge(another)  # a game of the same challenger and salt: another game, in another stage
        other_key = (another, *key[1:])
        if stage == Stage.ENTER:
            world.refuses("WrongStage", world.prover, name, other_key, world.claim_of(another), *rest)
        else:
            world.refuses("WrongClaim", world.prover, name, other_key, claim, *rest)
    world.send(world.prover, name, key, claim, *rest)


def test_i3_open_places_the_input(world, reach):
    game_id, player = reach(Stage.OPEN)
    _, (key, claim, path, *rest) = player.answer()

    def refuse(reason: str, forged: bytes) -> None:
        world.refuses(reason, world.prover, "open", key, claim, forged, *rest)

    for forged in (b"", path[:-1], path[:-32], path + b"\0", path + bytes(32), b"\xff" + path[1:]):
        refuse("MalformedPath", forged)
    for place in range(5, len(path), 32):
        refuse("BadInputPath", path[:place] + bytes([path[place] ^ 1]) + path[place + 1 :])
    ((_, opened), _) = world.send(world.prover, "open", key, claim, path, *rest).events
    assert opened == {"gameId": game_id, "lo": LIE.unit(0), "hi": LIE.unit(13)}


def test_i3_open_shows_the_claimed_output(world, reach):
    game_id, player = reach(Stage.OPEN)
    _, (*before, root, path, states) = player.answer()

    def refuse(reason: str, *args) -> None:
        world.refuses(reason, world.prover, "open", *before, *args)

    for forged in (b"", path[:-1], path[:-32], path + b"\0", path + bytes(32), b"\x80" + path[1:]):
        refuse("MalformedPath", root, forged, states)
    for place in range(5, len(path), 32):
        refuse("BadOutputPath", root, path[:place] + bytes([path[place] ^ 1]) + path[place + 1 :], states)
    refuse("BadOutputPath", RUN.unit(13), path, states)
    refuse("BadOutputPath", RUN.unit(13), RUN.output_path(), states)
    for wrong in ([], states[:-1], [*states, NOBODY]):
        refuse("WrongLength", root, path, wrong)
    receipt = world.send(world.prover, "open", *before, root, path, states)
    assert [name for name, _ in receipt.events] == ["Opened", "Posted"]
    assert receipt.events[1][1] == {
        "gameId": game_id, "phase": 0, "position": 0, "length": 13, "states": tuple(states),
    }  # fmt: skip
    expected = keccak256(LIE.unit(0) + root + rules.commit(states, 13, 4))
    assert world.view("games", game_id)["range"] == expected


@pytest.mark.parametrize("changes", [{"inputAddress": 0}, {"modelRoot": None}], ids=["over the code", "not empty"])
def test_a_claim_on_a_wrong_header_can_only_be_lost(world, changes):
    """Where the model has something at the input's place, no opening is accepted: the prover's clock runs out."""
    filled = RUN.blank.fork()
    filled.write(INPUT + 63, b"\1")
    wrong = {"modelRoot": filled.node(MODEL_LEVEL, 0)} if "modelRoot" in changes else changes
    claim_id, game_id = world.game_against(RUN, **wrong)
    name, (key, claim, path, *rest) = Player(world, RUN, game_id).answer()
    for attempt in (path, RUN.input_path()):
        world.refuses("BadInputPath", world.prover, name, key, claim, attempt, *rest)
    world.evm.now += 101
    world.timeout(game_id)
    assert world.view("claims", claim_id)["status"] == 3


def forged_ranges(range_):
    """What StaleMove answers: another place, other states, the states of another place."""
    position, length, lo, hi = range_
    yield from ((position + 1, length, lo, hi), (position, length + 1, lo, hi), (position, length - 1, lo, hi))
    yield (1 << 63, length, lo, hi)
    if position:
        yield (0, 13, RUN.unit(0), LIE.unit(13))


def forged_ends(range_):
    position, length, lo, hi = range_
    for other in (NOBODY, keccak256(lo), hi):
        yield (position, length, other, hi)
    for other in (NOBODY, keccak256(hi), lo):
        yield (position, length, lo, other)
    yield (position, length, hi, lo)


@pytest.mark.parametrize("phase", Phase)
def test_i13_posts_are_exact_and_name_their_range(world, reach, phase):
    game_id, player = reach(Stage.POST, phase)
    _, (key, range_, states) = player.answer()
    for wrong in ([], states[:-1], [*states, NOBODY]):
        world.refuses("WrongLength", world.prover, "post", key, range_, wrong)
    for other in (*forged_ranges(range_), *forged_ends(range_)):
        world.refuses("StaleMove", world.prover, "post", key, other, states)
    world.send(world.prover, "post", key, range_, states)
    expected = keccak256(range_[2] + range_[3] + rules.commit(states, range_[1], 4))
    assert world.view("games", game_id)["range"] == expected
    world.refuses("WrongStage", world.prover, "post", key, range_, states)


@pytest.mark.parametrize("phase", Phase)
def test_i13_choices_are_opened_from_the_post(world, reach, phase):
    game_id, _ = reach(Stage.CHOOSE, phase)
    game, key, range_ = world.game(game_id), world.key(game_id), world.range(game_id)
    position, length, lo, hi = range_
    p = rules.parts(length, 4)
    ends = [lo, *game["states"], hi]
    for segment in (p, p + 1, (1 << 256) - 1):
        world.refuses("BadSegment", world.challenger, "choose", key, range_, segment, [])
    for j in range(p):
        opening = list(rules.opening(game["states"], j))
        world.refuses("WrongLength", world.challenger, "choose", key, range_, j, opening[:-1])
        world.refuses("WrongLength", world.challenger, "choose", key, range_, j, [*opening, NOBODY])
        for i in range(len(opening)):
            forged = [*opening[:i], keccak256(opening[i]), *opening[i + 1 :]]
            world.refuses("BadOpening", world.challenger, "choose", key, range_, j, forged)
        for other in forged_ranges(range_):
            world.refuses("StaleMove", world.challenger, "choose", key, other, j, opening)
        for other in forged_ends(range_):
            world.refuses("BadOpening", world.challenger, "choose", key, other, j, opening)
        with world.undone():
            ((name, event),) = world.send(world.challenger, "choose", key, range_, j, opening).events
            start, end = (rules.boundary(length, p, i) for i in (j, j + 1))
            expected = (position + start, end - start, ends[j], ends[j + 1])
            assert name == "Chosen"
            assert (event["position"], event["length"], event["lo"], event["hi"]) == expected
            assert world.range(game_id) == expected
            world.refuses("WrongStage", world.challenger, "choose", key, range_, j, opening)


def test_i13_a_choice_does_not_fit_another_post_of_the_same_range(world, reach):
    """After a reorganisation: the prover's post was another one, and nothing is chosen from it by mistake."""
    game_id, player = reach(Stage.POST)
    _, (key, range_, states) = player.answer()
    with world.undone():
        world.send(world.prover, "post", key, range_, states)
        name, args = world.choose(game_id, 1)
    world.send(world.prover, "post", key, range_, [keccak256(states[0]), *states[1:]])
    world.refuses("BadOpening", world.challenger, name, *args)


def test_i3_enter_binds_both_ends(world, reach):
    game_id, player = reach(Stage.ENTER)
    _, (key, claim, range_, steps, end, scratch, states) = player.answer()
    limit = LIE.model()["maxSteps"]
    assert (range_[0], steps) == (7, limit)

    def refuse(reason: str, **changes) -> None:
        names = ("range", "steps", "end", "scratch", "states")
        values = [changes.get(n, v) for n, v in zip(names, (range_, steps, end, scratch, states), strict=True)]
        world.refuses(reason, world.prover, "enter", key, claim, *values)

    for wrong in (0, limit + 1, (1 << 64) - 1):
        refuse("BadSteps", steps=wrong)
    for wrong in (*forged_ranges(range_), *forged_ends(range_), (6, *range_[1:]), (0, *range_[1:])):
        refuse("StaleMove", range=wrong)
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

    receipt = world.send(world.prover, "enter", key, claim, range_, steps, end, scratch, states)
    lo, hi = LIE.machine(7)[0].hash(), keccak256(end)
    assert world.range(game_id) == (0, steps, lo, hi)
    assert world.game(game_id)["phase"] == Phase.INSTRUCTION
    assert receipt.events[0] == (
        "Entered",
        {"gameId": game_id, "tile": 7, "steps": steps, "lo": lo, "hi": hi, "endState": end, "scratchRoot": scratch},
    )


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_a_wrong_number_of_steps_is_caught(world, reach, steps):
    """Too few: the end state is claimed while the machine still runs."""
    game_id, player = reach(Stage.ENTER)
    _, (key, claim, range_, _, end, scratch, _) = player.answer()
    machine, honest = LIE.machine(7), RUN.machine(7)
    args = (key, claim, range_, steps, end, scratch, world.states(LIE, machine, steps))
    world.send(world.prover, "enter", *args)
    while (stage := world.stage(game_id)) != Stage.STEP:
        game = world.game(game_id)
        position, length = game["position"], game["length"]
        if stage == Stage.POST:
            states = world.states(LIE, machine, length, position)
            world.send(world.prover, "post", key, world.range(game_id), states)
            continue
        p = rules.parts(length, 4)
        claimed = [*game["states"], game["hi"]]
        ends = [position + rules.boundary(length, p, j + 1) for j in range(p)]
        name, args = world.choose(game_id, next(j for j in range(p) if honest[ends[j]].hash() != claimed[j]))
        world.send(world.challenger, name, *args)
    game = world.game(game_id)
    world.send(world.other, "step", key, game["hi"], prove_step(honest[game["position"]]))
    assert world.stage(game_id) == Stage.CHALLENGER_WON


def test_step_begins_with_the_agreed_state_and_ends_with_the_disputed_one(world, reach):
    game_id, _ = reach(Stage.STEP, Phase.INSTRUCTION)
    key, (position, _, lo, hi) = world.key(game_id), world.range(game_id)
    machine = RUN.machine(7)
    right = prove_step(machine[position])
    for other in (position - 1, position + 1):
        world.refuses("WrongState", world.prover, "step", key, hi, prove_step(machine[other]))
    renamed = bytearray(right)
    renamed[32] ^= 1  # another register: well formed, but another state
    world.refuses("WrongState", world.prover, "step", key, hi, bytes(renamed))
    for forged in (NOBODY, keccak256(hi), lo, machine[position + 1].hash()):
        for sender in (world.prover, world.challenger):
            world.refuses("WrongState", sender, "step", key, forged, right)
    for forged in (b"", right[:-1], right + b"\0", right[:STATE_BYTES]):
        reason = "MalformedPath" if forged == right[:-1] else "MalformedWitness"
        world.refuses(reason, world.prover, "step", key, hi, forged)
    assert world.stage(game_id) == Stage.STEP


@pytest.mark.parametrize("sender", ["prover", "challenger", "other"])
def test_anyone_may_step(world, reach, sender):
    _, player = reach(Stage.STEP, Phase.INSTRUCTION)
    player.machine = RUN.machine(7)  # the truth, whoever tells it
    name, args = player.answer()
    events = dict(world.send(getattr(world, sender), name, *args).events)
    assert events["GameEnded"]["proverWon"] is False
    assert {"Stepped", "ClaimRejected", "ClaimSettled"} <= events.keys()


def test_i2_a_step_proves_an_honest_prover_right(world, reach):
    _, player = reach(Stage.STEP, Phase.INSTRUCTION, prover=RUN)
    name, args = player.answer()
    events = dict(world.send(world.challenger, name, *args).events)
    assert events["GameEnded"]["proverWon"] is True


def test_i3_a_start_state_is_never_taken_from_a_player(world):
    """The first instruction is disputed: its pre-state is the one the contract made of the agreed tile."""
    world_lie = Lie(2, wrong=1, at=0)
    _, game_id = world.game_against(world_lie)
    play(world, world_lie, Run(2), game_id, until=lambda g: g["stage"] == Stage.STEP)
    position, _, lo, _ = world.range(game_id)
    start = Run(2).machine(1)[0]
    assert position == 0
    assert lo == start.hash()
    assert start.memory.root() == keccak256(Run(2).unit(1) + start.memory.node(MODEL_LEVEL, 1))
    assert (start.registers[10], start.registers[11]) == (1, 1)
