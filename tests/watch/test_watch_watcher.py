"""The watcher: what it thinks of claims, what it does about them, and what it leaves alone."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dispute_tiny import CLOCK, WINDOW, tiny_header
from watch_world import CHALLENGER_BOND, TinyModel, World, inputs, run_together

from opml.chain.client import OpmlClient
from opml.chain.devnet import background
from opml.chain.records import frozen_clock
from opml.chain.rpc import RpcChain
from opml.chain.units import ETHER
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.errors import InputError, SelfCheckError
from opml.watch.library import Library
from opml.watch.watcher import Limits, Opinion, Watcher


@pytest.fixture
def world() -> World:
    return World()


def games(world: World, claim_id: bytes) -> int:
    return len(world.client.claim_games(claim_id))


def test_wrong_claims_are_challenged_and_right_ones_left_alone(world: World) -> None:
    wrong = [world.claim(right=False, number=number) for number in range(3)]
    right = [world.claim(right=True, number=number) for number in range(3)]
    account = world.accounts[3]
    before = world.chain.balance(account.address)
    watcher = world.watcher()
    run_together(watcher, world.liar_keeper(Role.PROVER))
    assert {world.status(claim_id) for claim_id in wrong} == {ClaimStatus.REJECTED}
    assert {world.status(claim_id) for claim_id in right} == {ClaimStatus.PENDING}
    assert [games(world, claim_id) for claim_id in wrong + right] == [1, 1, 1, 0, 0, 0]
    assert world.chain.balance(account.address) > before + 3 * (ETHER // 2) - ETHER // 100
    opinions = {claim_id: Opinion.WRONG if claim_id in wrong else Opinion.RIGHT for claim_id in wrong + right}
    assert watcher.opinions == opinions
    assert watcher.standing == []
    # Right and wrong claims about one input are one computation, once for its output and once for games.
    assert world.model.runs == 3 + 3


def test_claims_that_come_later_are_seen_too(world: World) -> None:
    watcher, liar = world.watcher(), world.liar_keeper(Role.PROVER)
    run_together(watcher, liar)
    for number in range(3):
        claim_id = world.claim(right=False, number=number)
        run_together(watcher, liar)
        assert world.status(claim_id) is ClaimStatus.REJECTED


def test_its_own_claims_are_not_its_business_unless_told_to_defend(world: World) -> None:
    account = world.accounts[3]
    claim_id = world.claim(right=True, account=account)
    world.client.challenge(claim_id, 0, world.liar)
    liar = world.liar_keeper(Role.CHALLENGER)
    watcher = world.watcher()
    run_together(watcher, liar)
    assert world.told("claim-skipped")[0]["reason"] == "own"
    assert world.client.game_view(world.client.claim_games(claim_id)[0]).winner is None
    defender = world.watcher(defend=True)
    run_together(defender, liar)
    assert world.client.game_view(world.client.claim_games(claim_id)[0]).winner is Role.PROVER
    world.chain.advance(WINDOW)
    # Without that, it still collects what is its own.
    run_together(watcher)
    assert world.status(claim_id) is ClaimStatus.FINAL
    assert world.books_balance()


def test_without_defending_it_executes_the_last_step_and_calls_timeouts(world: World) -> None:
    """Of the games of its own prover, which may be another process with the same key."""
    account = world.accounts[3]
    claim_id = world.claim(right=True, account=account)
    for salt in (0, 1):
        world.client.challenge(claim_id, salt, world.liar)
    # He does not execute the step himself, to lose by it.
    prover, liar = world.prover(account=account), world.liar_keeper(Role.CHALLENGER, "witness-empty")
    while any(game.stage.name != "STEP" for game in prover.ledger.games.values()) or not prover.ledger.games:
        prover.look(), prover.think()
        for left, view, move, seconds in prover._moves():
            if view.stage.name != "STEP":
                prover._send(view, move, left, seconds)
        liar.tick()
    watcher = world.watcher()
    run_together(watcher)
    assert {world.client.game_view(game).winner for game in world.client.claim_games(claim_id)} == {Role.PROVER}
    assert "step" in [fields["kind"] for fields in world.told("sent")]


def test_a_model_that_it_does_not_have_is_told_once_and_skipped(world: World) -> None:
    other = TinyModel(replace(tiny_header(), model_root=bytes(31) + b"\1"))
    world.client.register_model(other.header, "ipfs://somewhere", world.accounts[0])
    args = (other.model_id, inputs(1), bytes(32))
    claim_id = world.client.claim(*args, 1, world.liar)[0]
    watcher = world.watcher()
    run_together(watcher)
    for _ in range(3):
        world.chain.advance(1)
        run_together(watcher)
    told = world.told("claim-skipped")
    assert [(fields["claim"], fields["reason"], fields["uris"]) for fields in told] == [
        (claim_id, "unknown-model", ["ipfs://somewhere"])
    ]
    assert watcher.opinions == {claim_id: Opinion.SKIPPED}
    assert games(world, claim_id) == 0


def test_a_model_is_known_whatever_its_window_and_clock(world: World) -> None:
    """Otherwise a liar would register it once more with a window of his own, and nobody would look."""
    library = Library()
    seen: list[bytes] = []
    library.add(world.model)  # type: ignore[arg-type]
    get = library.get

    def open_it(model_id: bytes, header: Any = None) -> Any:
        seen.append(model_id)
        return TinyModel(header) if model_id != world.model.model_id else get(model_id, header)

    library.get = open_it  # type: ignore[method-assign]
    hasty = replace(tiny_header(), window=7777, clock=5555)
    world.client.register_model(hasty, "", world.liar)
    trace = TinyModel(hasty).infer_posted(inputs(1)).trace
    claim_id = world.client.claim(hasty.model_id, inputs(1), world.lie(trace).output_root, 1, world.liar)[0]
    run_together(world.watcher(library=library))
    assert games(world, claim_id) == 1
    assert seen


def test_an_input_that_is_not_on_chain_is_told_once_and_skipped(world: World) -> None:
    args = (world.model.model_id, bytes(32), bytes(32), 1, "https://somewhere/input")
    claim_id = world.client.claim_by_root(*args, world.liar)[0]
    watcher = world.watcher()
    for _ in range(3):
        world.chain.advance(1)
        run_together(watcher)
    told = world.told("claim-skipped")
    assert [(f["claim"], f["reason"], f["uri"]) for f in told] == [(claim_id, "input-withheld", args[-1])]


def test_an_input_that_does_not_fit_is_told_once_and_skipped(world: World) -> None:
    bad = b"\xff" + inputs(1)[1:]
    claim_id = world.client.claim(world.model.model_id, bad, bytes(32), 1, world.liar)[0]
    wrong = world.claim(right=False, number=2)
    watcher = world.watcher()
    run_together(watcher, world.liar_keeper(Role.PROVER))
    assert [(f["claim"], f["reason"]) for f in world.told("claim-skipped")] == [(claim_id, "bad-input")]
    assert world.status(wrong) is ClaimStatus.REJECTED


def test_nothing_is_bonded_on_a_computer_that_errs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def disagree(*_: Any) -> None:
        raise SelfCheckError("the machine and the native kernels disagree")

    monkeypatch.setattr("opml.watch.traces.self_check", disagree)
    claim_id = world.claim(right=False)
    watcher = world.watcher()
    run_together(watcher)
    assert games(world, claim_id) == 0
    assert world.told("claim-skipped")[0] == {
        "claim": claim_id,
        "model": world.model.model_id,
        "reason": "self-check",
        "level": "error",
    }


@pytest.mark.parametrize("error", [RuntimeError("a defect"), MemoryError()])
def test_what_goes_wrong_with_one_claim_does_not_stop_the_others(world: World, error: Exception) -> None:
    bad, good = world.claim(right=False, number=1), world.claim(right=False, number=2)
    watcher = world.watcher()
    answer = watcher.traces.answer

    def failing(claim: ClaimView) -> bytes:
        if claim.claim_id == bad:
            raise error
        return answer(claim)

    watcher.traces.answer = failing  # type: ignore[method-assign]
    run_together(watcher, world.liar_keeper(Role.PROVER))
    while watcher.unchecked:
        watcher.tick()
    assert world.status(good) is ClaimStatus.REJECTED
    assert world.status(bad) is ClaimStatus.PENDING
    assert [fields["times"] for fields in world.told("claim-failed")] == [1, 2, 3]
    assert world.told("claim-skipped")[0]["reason"] == "internal"


def test_a_claim_whose_window_is_over_is_left(world: World) -> None:
    claim_id = world.claim(right=False)
    world.chain.advance(WINDOW + 1)
    watcher = world.watcher()
    run_together(watcher)
    assert watcher.opinions == {}
    assert games(world, claim_id) == 0
    assert world.told("claim") == []


def test_a_claim_whose_window_closes_before_it_was_checked_is_told(world: World) -> None:
    claim_id = world.claim(right=False)
    watcher = world.watcher()
    watcher.look()
    world.chain.advance(WINDOW + 1)
    run_together(watcher)
    assert [fields["claim"] for fields in world.told("claim-missed")] == [claim_id]
    assert games(world, claim_id) == 0


def test_a_wrong_claim_that_becomes_final_is_told(world: World) -> None:
    claim_id = world.claim(right=False)
    watcher = world.watcher(limits=Limits(send=False))
    run_together(watcher)
    world.chain.advance(WINDOW + 1)
    world.client.finalise(claim_id, world.liar)
    run_together(watcher)
    assert [fields["claim"] for fields in world.told("claim-wrong-final")] == [claim_id]
    assert watcher.standing == [claim_id]


def test_nothing_is_bonded_where_the_clock_is_too_short_for_a_rerun(world: World) -> None:
    """Of our own file, too: its terms are ours to choose, but not how fast this computer is."""
    claim_id = world.claim(right=False)
    watcher = world.watcher()
    watcher.traces.seconds = lambda model_id: CLOCK / 2 + 1.0  # type: ignore[method-assign]
    # As if it had been known only after the re-run.
    watcher._admit = lambda claim: watcher._new.add(claim.claim_id)  # type: ignore[method-assign]
    run_together(watcher)
    assert [(f["reason"], f["term"], f["clock"]) for f in world.told("claim-skipped")] == [
        ("terms-refused", "clock", CLOCK)
    ]
    assert games(world, claim_id) == 0
    assert watcher.standing == [claim_id]


# Limits


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(games=2), "max-games"),
        (Limits(stake=2 * CHALLENGER_BOND + 1), "max-stake"),
        (Limits(reserve=10_000 * ETHER - 5 * CHALLENGER_BOND // 2), "balance"),
    ],
)
def test_limits_hold_and_the_most_urgent_claims_come_first(world: World, limits: Limits, name: str) -> None:
    account = world.accounts[8]
    world.chain.transact(
        world.accounts[9], account.address, value=10_000 * ETHER - world.chain.balance(account.address)
    )
    claims = [world.claim(right=False, number=number) for number in range(5)]
    watcher = world.watcher(account=account, limits=limits)
    for _ in range(5):
        watcher.tick()
    assert [games(world, claim_id) for claim_id in claims] == [1, 1, 0, 0, 0]
    assert [fields["limit"] for fields in world.told("limit-reached")] == [name]
    assert len(watcher.standing) == 5
    # When games are won there is room for the others.
    for _ in range(60):
        watcher.tick(), world.chain.advance(CLOCK // 20)
    assert [games(world, claim_id) for claim_id in claims] == [1, 1, 1, 1, 1]


def test_a_dry_run_checks_everything_and_sends_nothing(world: World) -> None:
    wrong, right = world.claim(right=False), world.claim(right=True, number=3)
    block = world.chain.block_number()
    watcher = world.watcher(limits=Limits(send=False))
    run_together(watcher)
    assert watcher.opinions == {wrong: Opinion.WRONG, right: Opinion.RIGHT}
    assert world.chain.block_number() == block
    assert watcher.standing == [wrong]
    assert world.told("sent") == []


def test_once_it_has_caught_up_there_is_nothing_to_do(world: World) -> None:
    wrong = world.claim(right=False)
    world.claim(right=True, number=3)
    watcher = world.watcher()
    watcher.run(watcher.caught_up)
    assert games(world, wrong) == 1
    assert watcher.standing == [wrong]
    run_together(world.liar_keeper(Role.PROVER))
    for _ in range(20):
        again = world.watcher()
        again.run(again.caught_up)
        run_together(world.liar_keeper(Role.PROVER))
        if not again.standing:
            break
    assert world.status(wrong) is ClaimStatus.REJECTED
    assert games(world, wrong) == 1


# Many at once


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_hundred_games_at_once_against_one_liars_claims(count: int) -> None:
    world = World(k=64)
    claims = [world.claim(right=False, number=number) for number in range(count)]
    watcher = world.watcher(threads=1)
    while watcher.unchecked or not watcher.opinions or not watcher.idle:
        watcher.tick()
    assert len(watcher.board.ours) == count
    liar = world.liar_keeper(Role.PROVER)
    while {watcher.ledger.claims[c].status for c in claims} != {ClaimStatus.REJECTED} or not watcher.purse.settled:
        if not watcher.tick() | liar.tick():
            watcher.pause(0.01)
    assert [games(world, claim_id) for claim_id in claims] == [1] * count
    assert world.books_balance()
    assert len(world.told("game-won")) == count
    watcher.close()


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_prover_holds_a_hundred_games_against_one_claim(count: int) -> None:
    world = World(k=64)
    claim_id = world.claim(right=True)
    for salt in range(count):
        world.client.challenge(claim_id, salt, world.liar)
    prover, liar = world.prover(), world.liar_keeper(Role.CHALLENGER)
    run_together(prover, liar)
    assert {game.winner for game in prover.ledger.games.values()} == {Role.PROVER}
    world.chain.advance(WINDOW)
    run_together(prover)
    assert world.status(claim_id) is ClaimStatus.FINAL
    assert world.books_balance()
    assert world.model.runs == 1


def test_a_flood_about_one_input_costs_one_run(world: World) -> None:
    for _ in range(30):
        world.claim(right=False, number=1)
    watcher = world.watcher(limits=Limits(games=3))
    for _ in range(10):
        watcher.tick()
    assert len(watcher.wrong) == 30
    assert world.model.runs == 2
    assert len(watcher.board.ours) == 3


def test_games_come_before_claims_and_claims_by_their_deadline(world: World) -> None:
    """What is handed to the worker, most urgent first."""
    watcher = world.watcher()
    world.claim(right=False, number=1)
    run_together(watcher)
    liar = world.liar_keeper(Role.PROVER)
    for number in (2, 3, 4):
        world.claim(right=False, number=number)
    watcher.traces._held.clear()
    liar.tick()
    offered: list[Any] = []
    watcher.thinker.runs.offer = lambda jobs: offered.extend(jobs)  # type: ignore[method-assign]
    watcher.look()
    watcher.think()
    order = sorted(offered, key=lambda job: job.urgency)
    assert [job.key[0] == "check" for job in order] == [False, True, True, True]
    deadlines = [watcher.ledger.claims[job.key[1]].deadline for job in order[1:]]
    assert deadlines == sorted(deadlines)


def test_memory_for_one_trace_is_enough_for_many_games(world: World) -> None:
    """Each re-run makes progress in all games that wait for it, so that nothing turns in circles."""
    claims = [world.claim(right=False, number=number) for number in range(5)]
    watcher = world.watcher(memory=1)
    run_together(watcher, world.liar_keeper(Role.PROVER))
    assert {world.status(claim_id) for claim_id in claims} == {ClaimStatus.REJECTED}
    assert len(watcher.traces) == 1
    assert world.told("memory-short")


# Two with one key


def test_two_watchers_with_one_key_do_not_lose_and_do_not_bond_twice(tmp_path: Path) -> None:
    """Each in its own thread with its own connection, as two processes would be."""
    with background(tmp_path, clock=frozen_clock) as devnet:
        chains = [RpcChain(devnet.url) for _ in range(3)]
        world = World(chains[0])
        claims = [world.claim(right=False, number=number) for number in range(4)]
        liar = world.liar_keeper(Role.PROVER, threads=0)
        account, done = world.accounts[3], threading.Event()
        errors: list[BaseException] = []

        def watch(chain: RpcChain) -> None:
            client = OpmlClient(chain, world.client.address)
            watcher = Watcher(client, account, world.library(), emit=world.emit, poll=0.01, threads=1)
            try:
                watcher.run(done.is_set, patience=None)
            except BaseException as error:
                errors.append(error)
            finally:
                watcher.close()

        threads = [threading.Thread(target=watch, args=(chain,)) for chain in chains[1:]]
        for thread in threads:
            thread.start()
        while not errors and any(
            world.status(claim_id) is not ClaimStatus.REJECTED or world.client.claim_view(claim_id).open_games
            for claim_id in claims
        ):
            liar.tick()
        while not errors and not world.books_balance():
            done.wait(0.05)
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [games(world, claim_id) for claim_id in claims] == [1, 1, 1, 1]
        assert world.told("game-lost") == []
        for chain in chains:
            chain.close()


def test_stopping_finishes_what_was_sent(world: World) -> None:
    claim_id = world.claim(right=False)
    watcher = world.watcher(sleep=None)
    watcher.tick()
    watcher.stop()
    watcher.run()
    watcher.finish(1.0)
    assert watcher.errands.unknown() == []
    assert games(world, claim_id) == 1


def test_errors_of_the_library_are_the_claims(world: World) -> None:
    library = world.library()

    def damaged(*_: Any) -> Any:
        raise InputError("the file was damaged")

    library.get = damaged  # type: ignore[method-assign]
    claim_id = world.claim(right=False)
    watcher = world.watcher(library=library)
    run_together(watcher)
    assert watcher.opinions == {claim_id: Opinion.SKIPPED}
