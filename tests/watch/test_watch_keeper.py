"""The loop of all players: many games at once, killed at every transaction, beaten to it, refused, and behind."""

from random import Random
from typing import Any

import pytest
from dispute_tiny import CLOCK, WINDOW
from watch_world import CHALLENGER_BOND, PROVER_BOND, Killed, MortalOutbox, World, run_together, survive

from opml.chain.client import OpmlClient
from opml.dispute.driver import turn
from opml.dispute.game import ClaimStatus, ClaimView, GameView, Role, Stage
from opml.dispute.keeper import PATIENCE, Keeper
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Move, Timeout
from opml.dispute.player import Player, player
from opml.dispute.thinker import Decided
from opml.errors import ChainError, DisputeError, InputError, RevertError, UnreachableError
from opml.watch.traces import OnePlayer

WHEN = ("before", "sent", "mined")


@pytest.fixture
def world() -> World:
    return World()


def challenge(world: World, claim_id: bytes, games: int = 1, account: Any = None) -> list[bytes]:
    return [world.client.challenge(claim_id, salt, account or world.liar)[0] for salt in range(games)]


def winners(world: World, claim_id: bytes) -> set[Role | None]:
    return {world.client.game_view(game_id).winner for game_id in world.client.claim_games(claim_id)}


def test_a_prover_defends_against_all_and_takes_their_bonds(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=12)
    world.chain.advance(5)
    prover = world.prover()
    run_together(prover, world.liar_keeper(Role.CHALLENGER))
    assert winners(world, claim_id) == {Role.PROVER}
    assert world.client.credit(world.honest.address) == 0
    assert world.client.balance() == PROVER_BOND
    world.chain.advance(WINDOW)
    run_together(prover)
    assert world.status(claim_id) is ClaimStatus.FINAL
    assert world.books_balance()
    assert [fields["games"] for fields in world.told("sent") if fields["kind"] == "withdraw"][-1] == 0
    assert len(world.told("game-won")) == 12
    assert not world.told("game-lost")
    assert world.model.runs == 1


def test_finished_games_are_dropped(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=3)
    prover = world.prover()
    run_together(prover, world.liar_keeper(Role.CHALLENGER))
    assert not prover.board.ours
    assert not prover.board.won
    assert not prover.board.open_by_claim
    assert not prover.thinker.decided
    assert not len(prover.errands)


def test_a_look_without_news_costs_one_block_and_the_time(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=5)
    prover = world.prover()
    while prover.tick():
        pass
    asked: list[str] = []
    request = world.chain.request

    def counting(method: str, *params: Any) -> Any:
        asked.append(method)
        return request(method, *params)

    world.chain.request = counting  # type: ignore[method-assign]
    assert not prover.tick()
    assert asked == ["eth_getBlockByNumber", "eth_getBlockByNumber"]
    world.chain.advance(1)
    asked.clear()
    prover.tick()
    assert asked == ["eth_getBlockByNumber", "eth_getLogs", "eth_getBlockByNumber"]


def test_a_decision_that_comes_too_late_is_not_kept(world: World) -> None:
    """Somebody with our key has moved while we thought: what was decided then must not stand in the way now."""
    claim_id = world.claim(right=True)
    (game_id,) = challenge(world, claim_id)
    prover, liar = world.prover(), world.liar_keeper(Role.CHALLENGER)
    prover.look()
    old = prover.ledger.games[game_id]
    trace = world.model.infer_posted(world.client.claim_view(claim_id).input).trace
    turn(world.client, world.honest, game_id, player(trace, Role.PROVER))
    prover.look()
    answers = prover.thinker.answers
    late: list[Any] = [Decided(old, Timeout(), 0.0)]
    prover.thinker.answers = lambda: [*answers(), *(late.pop() for _ in list(late))]  # type: ignore[method-assign]
    run_together(prover, liar)
    assert winners(world, claim_id) == {Role.PROVER}


def test_nothing_is_sent_twice_while_it_is_under_way(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=4)
    outbox = MortalOutbox(world.chain.outbox(world.honest), 10**9, "before")
    prover = world.prover(outbox=outbox)
    prover.tick()
    assert outbox.sent == 4
    # No block comes, and nobody says what became of them.
    prover.follower.advance = lambda: None  # type: ignore[method-assign]
    outbox.poll = list  # type: ignore[method-assign]
    for _ in range(5):
        prover.tick()
    assert outbox.sent == 4
    assert len(prover.errands) == 4
    assert not prover.idle


@pytest.mark.parametrize("when", WHEN)
def test_a_prover_killed_at_every_transaction_wins_all_his_games(world: World, when: str) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=2)
    liar = world.liar_keeper(Role.CHALLENGER)
    deaths = survive(world, lambda outbox: world.prover(outbox=outbox), world.honest, [liar], when)
    world.chain.advance(WINDOW)
    deaths += survive(world, lambda outbox: world.prover(outbox=outbox), world.honest, [liar], when)
    assert winners(world, claim_id) == {Role.PROVER}
    assert world.status(claim_id) is ClaimStatus.FINAL
    assert world.books_balance()
    # Five moves or more and a withdrawal for each game; both games' moves are sent before one is looked for.
    assert deaths >= (6 if when == "mined" else 12)
    print(f"prover, {when}: killed {deaths} times")


@pytest.mark.parametrize("when", WHEN)
def test_a_watcher_killed_at_every_transaction_wins_all_his_games(world: World, when: str) -> None:
    claims = [world.claim(right=False, number=number) for number in range(2)]
    liar = world.liar_keeper(Role.PROVER)
    account = world.accounts[3]
    deaths = survive(world, lambda outbox: world.watcher(outbox=outbox), account, [liar], when)
    for claim_id in claims:
        assert winners(world, claim_id) == {Role.CHALLENGER}
        assert len(world.client.claim_games(claim_id)) == 1, "one bond, however often he dies"
        assert world.status(claim_id) is ClaimStatus.REJECTED
    assert world.books_balance()
    assert deaths >= (6 if when == "mined" else 12)
    print(f"watcher, {when}: killed {deaths} times")


def test_who_is_killed_once_anywhere_goes_on(world: World) -> None:
    """Not in every life, but at each of all transactions in one life: the n-th, for all n."""
    deaths = 0
    for deadly in range(100):
        claim_id = world.claim(right=False, number=deadly)
        liar, account = world.liar_keeper(Role.PROVER), world.accounts[3]
        mortal = world.watcher(outbox=MortalOutbox(world.chain.outbox(account), deadly, WHEN[deadly % 3]))
        try:
            run_together(mortal, liar)
        except Killed:
            deaths += 1
            run_together(world.watcher(), liar)
        assert world.status(claim_id) is ClaimStatus.REJECTED
        assert len(world.client.claim_games(claim_id)) == 1
        assert world.books_balance()
        if deaths == deadly:
            break
    assert deaths >= 7


def test_a_prover_who_loses_one_game_plays_the_others_and_still_stops(world: World) -> None:
    """The prover lies; one challenger is honest, the other one lies as well, differently."""
    claim_id = world.claim(right=False)
    honest, other = (
        world.client.challenge(claim_id, 0, account)[0] for account in (world.accounts[3], world.accounts[4])
    )
    trace = world.model.infer_posted(world.client.claim_view(claim_id).input).trace
    side = LIARS["wrong-from"].player(trace, Role.CHALLENGER, Spot(1, 1))
    loops = [
        Keeper(world.client, world.accounts[4], OnePlayer(side), threads=0, poll=0.0),
        Keeper(world.client, world.accounts[3], OnePlayer(player(trace, Role.CHALLENGER)), threads=0, poll=0.0),
        world.liar_keeper(Role.PROVER, emit=world.emit),
    ]
    run_together(*loops)
    assert world.client.game_view(honest).winner is Role.CHALLENGER
    assert world.client.game_view(other).winner is Role.PROVER
    assert world.status(claim_id) is ClaimStatus.REJECTED
    assert world.books_balance()
    assert len(world.told("game-lost")) == 1


def test_games_that_others_left_lying_are_ended(world: World) -> None:
    """Our share is paid when the last game of the claim is over, and nobody else ends it."""
    claim_id = world.claim(right=False)
    lazy = challenge(world, claim_id, account=world.accounts[5])[0]
    watcher, liar = world.watcher(), world.liar_keeper(Role.PROVER)
    run_together(watcher, liar)
    assert world.status(claim_id) is ClaimStatus.REJECTED
    assert world.client.game_view(lazy).turn is Role.CHALLENGER
    assert watcher.board.won
    world.chain.advance(CLOCK + 1)
    liar.close()
    run_together(watcher)
    assert world.client.game_view(lazy).winner is Role.PROVER
    assert not watcher.board.won
    assert world.client.balance() - world.client.burnt() == CHALLENGER_BOND, "the lazy one's bond, for the liar"


def test_silence_is_ended_by_a_timeout(world: World) -> None:
    claim_id = world.claim(right=False)
    watcher = world.watcher()
    run_together(watcher)
    assert winners(world, claim_id) == {None}
    world.chain.advance(CLOCK + 1)
    run_together(watcher)
    assert winners(world, claim_id) == {Role.CHALLENGER}
    assert world.books_balance()


def test_a_party_on_both_sides_plays_both(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, account=world.honest)
    run_together(world.prover())
    assert winners(world, claim_id) == {Role.PROVER}


def test_a_delegate_plays_for_his_party(world: World) -> None:
    party, delegate = world.honest, world.accounts[6]
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=2)
    world.client.set_delegate(delegate.address, True, party)
    before = world.chain.balance(party.address)
    keeper = world.prover(account=delegate, party=party.address)
    run_together(keeper, world.liar_keeper(Role.CHALLENGER))
    world.chain.advance(WINDOW)
    run_together(keeper)
    assert winners(world, claim_id) == {Role.PROVER}
    assert world.chain.balance(party.address) == before + PROVER_BOND + 2 * CHALLENGER_BOND
    stranger = world.prover(account=world.accounts[7], party=party.address)
    challenge_again = world.claim(right=True, number=3)
    challenge(world, challenge_again)
    for _ in range(3):
        stranger.tick()
    assert winners(world, challenge_again) == {None}
    assert {fields["reason"] for fields in world.told("refused")} == {"NotYourTurn"}


# Trouble


class Behind(OpmlClient):
    """A client that tells the time of the next block, while transactions are tried at that of the latest."""

    def now(self) -> int:
        return super().now() + 12


def test_a_node_whose_blocks_are_older_than_its_time_costs_no_game(world: World) -> None:
    client = Behind(world.chain, world.client.address)
    claim_id = world.claim(right=False)
    world.client = client
    watcher = world.watcher()
    run_together(watcher)
    game = client.game_view(client.claim_games(claim_id)[0])
    world.chain.advance(game.time_left(OpmlClient.now(client)) - 5)
    for _ in range(3):
        watcher.tick()
    assert world.told("refused")[-1]["reason"] == "ClockRunning"
    world.chain.advance(30)
    run_together(watcher)
    assert winners(world, claim_id) == {Role.CHALLENGER}


class FlakyOutbox(MortalOutbox):
    """Sometimes the node is away, before a transaction was sent or after it was mined."""

    def __init__(self, inner: Any, random: Random) -> None:
        super().__init__(inner, 10**9, "before")
        self._random = random

    def send(self, *args: Any, **options: Any) -> int:
        if self._random.random() < 0.2:
            raise UnreachableError("the node does not answer")
        ticket = super().send(*args, **options)
        if self._random.random() < 0.3:
            raise UnreachableError("the answer was lost")
        return ticket


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_fails_now_and_then_costs_no_game(world: World, seed: int) -> None:
    random = Random(seed)
    claims = [world.claim(right=False, number=number) for number in range(3)]
    request = world.chain.request

    def flaky(method: str, *params: Any) -> Any:
        if random.random() < 0.1 and method != "eth_getTransactionReceipt":
            raise UnreachableError("the node does not answer")
        return request(method, *params)

    watcher = world.watcher(outbox=FlakyOutbox(world.chain.outbox(world.accounts[3]), random))
    liar = world.liar_keeper(Role.PROVER)

    def others(_: float) -> None:
        world.chain.request = request  # type: ignore[method-assign]
        liar.tick()
        world.chain.request = flaky  # type: ignore[method-assign]

    world.chain.request = flaky  # type: ignore[method-assign]
    watcher._sleep = others
    watcher.run(lambda: all(watcher.ledger.claims[c].status is ClaimStatus.REJECTED for c in claims)
                and watcher.purse.settled, patience=None)  # fmt: skip
    world.chain.request = request  # type: ignore[method-assign]
    assert [len(world.client.claim_games(claim_id)) for claim_id in claims] == [1, 1, 1]
    assert world.books_balance()
    assert world.told("chain-lost")


def test_a_node_that_fails_while_the_caller_asks_it_is_asked_again(world: World) -> None:
    asked: list[int] = []

    def finished() -> bool:
        asked.append(1)
        if len(asked) < 3:
            raise UnreachableError("the node does not answer")
        return True

    world.prover(sleep=lambda _: None).run(finished, patience=5)
    assert len(asked) == 3
    assert len(world.told("chain-lost")) == 2


def test_a_node_that_never_answers_is_an_error_in_the_end(world: World) -> None:
    waits: list[float] = []
    prover = world.prover(sleep=waits.append)

    def dead(*_: Any) -> Any:
        raise UnreachableError("the node does not answer")

    world.chain.request = dead  # type: ignore[method-assign]
    with pytest.raises(ChainError, match="does not answer"):
        prover.run()
    assert len(waits) == PATIENCE


def test_a_game_in_which_we_are_refused_does_not_hold_up_the_others(world: World) -> None:
    claim_id = world.claim(right=True)
    first, second = challenge(world, claim_id, games=2)
    trace = world.model.infer_posted(world.client.claim_view(claim_id).input).trace
    honest, stubborn = player(trace, Role.PROVER), LIARS["post-long"].player(trace, Role.PROVER, Spot(4, 9))

    def who(view: GameView, now: int) -> Move | None:
        return (stubborn if view.game_id == first else honest)(view, now)

    keeper = Keeper(world.client, world.honest, OnePlayer(who), threads=0, poll=0.0, emit=world.emit)
    liar = world.liar_keeper(Role.CHALLENGER)
    for _ in range(40):
        keeper.tick(), liar.tick()
    assert world.client.game_view(second).winner is Role.PROVER
    assert world.client.game_view(first).stage is Stage.OPEN
    assert world.told("refused")[-1]["times"] > 3
    assert world.told("refused")[-1]["level"] == "warning"


def test_a_move_that_is_always_refused_is_an_error_that_says_so(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id)
    trace = world.model.infer_posted(world.client.claim_view(claim_id).input).trace
    stubborn = LIARS["post-long"].player(trace, Role.PROVER, Spot(4, 9))
    keeper = Keeper(world.client, world.honest, OnePlayer(stubborn), sleep=lambda _: None, poll=0.0)
    with pytest.raises(DisputeError, match="refuses our move `open`: BadOutputPath"):
        keeper.run(patience=5)


@pytest.mark.parametrize("error", [InputError("no such input"), ZeroDivisionError()])
def test_a_player_that_fails_does_not_hold_up_the_others(world: World, error: Exception) -> None:
    good, bad = world.claim(right=True, number=1), world.claim(right=True, number=2)
    challenge(world, good), challenge(world, bad)
    keeper = world.prover()
    prepare = keeper.thinker._players.prepare

    def failing(claim: ClaimView, role: Role) -> Player:
        if claim.claim_id == bad:
            raise error
        return prepare(claim, role)

    keeper.thinker._players.prepare = failing  # type: ignore[method-assign]
    liar = world.liar_keeper(Role.CHALLENGER)
    for _ in range(30):
        keeper.tick(), liar.tick()
    assert winners(world, good) == {Role.PROVER}
    assert winners(world, bad) == {None}
    code = "bad-input" if isinstance(error, InputError) else "internal"
    assert {fields["code"] for fields in world.told("game-stuck")} == {code}
    # Where there is nothing else to do, it is the caller's.
    keeper._sleep = lambda _: None
    with pytest.raises(type(error)):
        keeper.run(patience=5)


def test_to_be_beaten_to_a_move_is_no_trouble(world: World) -> None:
    """A second loop with the same key makes each move first."""
    claim_id = world.claim(right=True)
    games = challenge(world, claim_id, games=2)
    keeper, liar = world.prover(), world.liar_keeper(Role.CHALLENGER)
    trace = world.model.infer_posted(world.client.claim_view(claim_id).input).trace

    class Racing(MortalOutbox):
        def send(self, *args: Any, **options: Any) -> int:
            for game_id in games:
                turn(world.client, world.honest, game_id, player(trace, Role.PROVER))
            return super().send(*args, **options)

    keeper = world.prover(outbox=Racing(world.chain.outbox(world.honest), 10**9, "before"))
    run_together(keeper, liar)
    assert winners(world, claim_id) == {Role.PROVER}
    assert {fields["reason"] for fields in world.told("refused")} <= {"StaleMove", "WrongStage", "NotCollectable"}
    assert {fields["times"] for fields in world.told("refused")} == {1}


def test_money_that_cannot_be_collected_does_not_hold_up_the_rest(world: World) -> None:
    claim_id = world.claim(right=True)
    challenge(world, claim_id, games=3)
    bad = claim_id + bytes(12) + bytes.fromhex(world.liar.address[2:]) + bytes(32)

    class Picky(MortalOutbox):
        """Whoever asks for the first game's money is refused."""

        def send(self, to: str | None, data: bytes = b"", value: int = 0, **options: Any) -> int:
            if options["label"] == "withdraw" and bad in data:
                raise RevertError("NotCollectable")
            return super().send(to, data, value, **options)

    keeper = world.prover(outbox=Picky(world.chain.outbox(world.honest), 10**9, "before"))
    liar = world.liar_keeper(Role.CHALLENGER)
    for _ in range(60):
        keeper.tick(), liar.tick()
    assert [keeper.ledger.games[game_id].salt for game_id in keeper.board.won] == [0]
