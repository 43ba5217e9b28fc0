"""Hard cases: floods of games, conflicting claims, full counters, registration again, players racing (I16 to I18)."""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, Player, World, play
from contracts_evm import TX_GAS, address_of
from contracts_runs import Lie, Run

from opml.dispute.game import Stage
from vm.keccak import keccak256

RUN = Run(5)
LIE = Lie(5, wrong=2, at=9)
CLOCK, WINDOW = 100, 1000
HALF = PROVER_BOND // 2
CLAIMS_SLOT = 2  # of the mapping; contracts/README.md


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


def test_i18_a_flood_of_games_makes_no_move_dearer(world):
    """The gas of every transaction of a game is the same beside sixty others; the honest challenger wins his own."""
    claim_id = world.claim(LIE, world.register(LIE))

    def gas_of_a_game() -> list[tuple[str, int]]:
        start = len(world.gas)
        assert play(world, LIE, RUN, world.challenge(claim_id, salt=1 << 200)) == Stage.CHALLENGER_WON
        return world.gas[start:]

    world.challenge(claim_id, salt=99)  # so that neither case is a claim's first game or its last
    with world.undone():
        alone = gas_of_a_game()
    flood = [world.challenge(claim_id, salt) for salt in range(60)]
    assert gas_of_a_game() == alone
    assert world.view("claims", claim_id)["openGames"] == 61
    assert {world.stage(game_id) for game_id in flood} == {Stage.OPEN}


def test_i1_sybils_that_lapse_first_do_not_stop_an_honest_challenger(world):
    """A liar loses twenty games to himself before the honest one ends: it is still won, its bond and share are paid."""
    claim_id = world.claim(LIE, world.register(LIE))
    honest = world.challenge(claim_id)
    sybils = [world.challenge(claim_id, salt, world.prover) for salt in range(20)]
    Player(world, LIE, honest).send_answer(world.prover)
    world.evm.now += CLOCK
    name, args = Player(world, RUN, honest).choice(0)
    world.send(world.challenger, name, *args)
    world.evm.now += 1
    for game_id in sybils:
        world.timeout(game_id)
    assert world.view("claims", claim_id)["status"] == 3
    world.cannot_collect("NotCollectable", world.prover, games=sybils)
    world.evm.now += CLOCK
    world.timeout(honest)
    assert world.collect(world.challenger, games=[honest]) == CHALLENGER_BOND + HALF // 21
    assert world.collect(world.prover, games=sybils) == 20 * (CHALLENGER_BOND + HALF // 21)
    assert world.burnt >= PROVER_BOND - HALF


def test_i1_a_wrong_claim_does_not_stand_beside_lost_challenges(world):
    """Shills challenge and lose on purpose, before and after; one honest game rejects the claim all the same."""
    claim_id = world.claim(LIE, world.register(LIE))
    shills = [world.challenge(claim_id, salt, world.prover) for salt in range(5)]
    honest = world.challenge(claim_id)
    for game_id in shills:
        Player(world, LIE, game_id).send_answer(world.prover)
    Player(world, LIE, honest).send_answer(world.prover)
    world.evm.now += CLOCK
    name, args = Player(world, RUN, honest).choice(0)
    world.send(world.challenger, name, *args)
    world.evm.now += 1
    for game_id in shills:
        world.timeout(game_id)
    assert world.view("claims", claim_id)["status"] == 1
    with world.undone():
        world.evm.now += WINDOW
        world.refuses("GamesOpen", world.prover, "finalise", claim_id)
    prover = Player(world, LIE, honest)
    while (stage := world.stage(honest)) < Stage.PROVER_WON:
        if stage == Stage.CHOOSE:
            name, args = Player(world, RUN, honest).choice(prover.tile)
            world.send(world.challenger, name, *args)
        else:
            prover.send_answer(world.prover)
    assert stage == Stage.CHALLENGER_WON
    assert world.view("claims", claim_id)["status"] == 3
    assert world.collect(world.challenger, games=[honest]) == CHALLENGER_BOND + HALF


def test_conflicting_claims_on_one_input(world):
    """The right one becomes final, the wrong one is rejected; neither touches the other."""
    model_id = world.register(RUN)
    right, wrong = world.claim(RUN, model_id), world.claim(LIE, model_id, sender=world.other)
    assert world.claim_of(right)[:2] == world.claim_of(wrong)[:2]
    against_wrong, against_right = world.challenge(wrong), world.challenge(right, sender=world.other)
    assert play(world, LIE, RUN, against_wrong) == Stage.CHALLENGER_WON
    assert play(world, RUN, LIE, against_right) == Stage.PROVER_WON
    world.evm.now += WINDOW + 1
    assert world.collect(world.prover, [right], [against_right]) == PROVER_BOND + CHALLENGER_BOND
    assert [world.view("claims", c)["status"] for c in (right, wrong)] == [2, 3]


def test_registration_again_changes_nothing(world):
    """Also in the middle of a game, by somebody else, with another place."""
    _, game_id = world.game_against(LIE)
    model = tuple(LIE.model().values())
    with world.undone():
        play(world, LIE, RUN, game_id)
        expected = world.events[-1]
    for until in (Stage.CHOOSE, Stage.ENTER, Stage.STEP):
        play(world, LIE, RUN, game_id, until=lambda g, until=until: g["stage"] == until)
        before = world.game(game_id)
        world.send(world.challenger, "registerModel", model, "https://elsewhere")
        assert world.game(game_id) == before
        if until == Stage.ENTER:
            break
    play(world, LIE, RUN, game_id)
    assert world.events[-1] == expected


def set_open_games(world: World, claim_id: bytes, count: int) -> None:
    """Writes the counter where the contract has it."""
    slot = int.from_bytes(keccak256(claim_id + CLAIMS_SLOT.to_bytes(32, "big")), "big")
    word = world.evm.state.get_storage(world.opml, slot)
    word = word & ~(0xFFFFFF << 200) | count << 200
    world.evm.state.set_storage(world.opml, slot, word)
    assert world.view("claims", claim_id)["openGames"] == count


def test_a_full_counter_of_games_refuses_and_does_not_begin_anew(world):
    """2^24 - 1 games at once, each with its bond; then no other before one has ended."""
    claim_id = world.claim(RUN, world.register(RUN))
    claim = world.claim_of(claim_id)
    set_open_games(world, claim_id, 0xFFFFFE)
    game_id = world.challenge(claim_id)
    assert world.view("claims", claim_id)["openGames"] == 0xFFFFFF
    world.refuses("Panic", world.challenger, "challenge", claim, 1, value=CHALLENGER_BOND)
    world.evm.now += CLOCK + 1
    world.timeout(game_id)
    c = world.view("claims", claim_id)
    assert (c["openGames"], c["lostGames"], c["status"]) == (0xFFFFFE, 1, 3)
    assert c["deadline"] == world.logged("Claimed")[0]["deadline"]


def test_two_players_with_one_key_race(world):
    """Whichever move comes second, the same or another, is refused and costs nothing but its gas."""
    _, game_id = world.game_against(LIE)
    prover = Player(world, LIE, game_id)
    name, args = prover.answer()
    world.send(world.prover, name, *args)
    world.refuses("WrongStage", world.prover, name, *args)
    name, args = world.choose(game_id, 2)
    world.send(world.challenger, name, *args)
    world.refuses("WrongStage", world.challenger, name, *args)
    stale, stale_args = prover.answer()
    world.send(world.prover, stale, *stale_args)
    world.refuses("WrongStage", world.prover, stale, *stale_args)
    world.refuses("StaleMove", world.challenger, name, *args)


def test_i16_a_game_belongs_to_its_claim_and_challenger(world):
    """The same salt against two claims, by two challengers: four games, each moved by its own key only."""
    model_id = world.register(LIE)
    claims = [world.claim(LIE, model_id, nonce) for nonce in range(2)]
    games = [world.challenge(c, sender=who) for c in claims for who in (world.challenger, world.other)]
    assert len(set(games)) == 4
    for game_id in games:
        before = {other: world.game(other) for other in games if other != game_id}
        Player(world, LIE, game_id).send_answer(world.prover)
        name, args = world.choose(game_id, 1)
        for intruder in {world.challenger, world.other, world.prover} - {bytes.fromhex(world.key(game_id)[1][2:])}:
            world.refuses("NotYourTurn", intruder, name, *args)
        assert {other: world.game(other) for other in before} == before


def test_i17_the_events_are_all_that_a_player_needs(world):
    """Who has only the events and `games` has every preimage at every point of a game: `World.game` reads nothing else
    and compares the hash. Here, that the contract agrees with nothing else."""
    _, game_id = world.game_against(LIE)
    prover, challenger = Player(world, LIE, game_id), Player(world, RUN, game_id)
    while (stage := world.stage(game_id)) < Stage.PROVER_WON:
        game = world.game(game_id)
        if stage in (Stage.POST, Stage.ENTER, Stage.STEP):
            assert game["range"] == keccak256(game["lo"] + game["hi"]) != keccak256(game["hi"] + game["lo"])
        name, args = challenger.choice(prover.tile) if stage == Stage.CHOOSE else prover.answer()
        receipt = world.send(world.challenger if stage == Stage.CHOOSE else world.prover, name, *args)
        assert {values["gameId"] for event, values in receipt.events if "gameId" in values} == {game_id}
    assert stage == Stage.CHALLENGER_WON


def test_i18_lists_fit_a_transaction(world):
    """Two hundred games of one account would take a quarter of what a transaction may use."""
    claim_id = world.claim(LIE, world.register(LIE))
    games = [world.challenge(claim_id, salt) for salt in range(40)]
    world.evm.now += CLOCK + 1
    for game_id in games:
        world.timeout(game_id)
    with world.undone():
        world.collect(world.challenger, games=games[:20])
        some = world.gas[-1][1]
    world.collect(world.challenger, games=games)
    each = (world.gas[-1][1] - some) / 20
    assert 200 * each < TX_GAS / 4


def test_the_same_question_by_two_provers(world):
    """Two provers claim the same; a challenger must win both games, and each loses his own bond."""
    model_id = world.register(LIE)
    second = address_of("second prover")
    world.evm.fund(second)
    world.accounts.add(second)
    claims = [world.claim(LIE, model_id), world.claim(LIE, model_id, sender=second)]
    games = [world.challenge(c) for c in claims]
    assert play(world, LIE, RUN, games[0]) == Stage.CHALLENGER_WON
    assert world.view("claims", claims[1])["status"] == 1
    assert play(world, LIE, RUN, games[1]) == Stage.CHALLENGER_WON
    assert world.collect(world.challenger, games=games) == 2 * (CHALLENGER_BOND + HALF)
