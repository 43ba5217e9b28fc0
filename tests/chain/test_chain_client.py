"""The contract through the client, on both back ends: whole lives of claims and games, and each refusal by its name."""

import inspect
from collections.abc import Callable
from dataclasses import astuple

import pytest
from chain_game import (
    CLOCK,
    FINAL_ROOT,
    HEADER,
    INPUT,
    INPUT_PATH,
    INPUT_ROOT,
    MAX_STEPS,
    OUTPUT_PATH,
    OUTPUT_ROOT,
    S0,
    TILES,
    URI,
    WINDOW,
    end_state,
    post_claim,
    states,
)
from eth_account.signers.local import LocalAccount

from opml.chain import Chain, OpmlClient, ensure_dev_contract
from opml.chain.abi import artifact
from opml.dispute import game as game_module
from opml.dispute.court import Court
from opml.dispute.game import ClaimStatus, Phase, Role, Stage
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.rules import opening
from opml.errors import ChainError, RevertError

Accounts = tuple[LocalAccount, ...]
K = 4


@pytest.fixture
def client(chain: Chain) -> OpmlClient:
    return OpmlClient(chain, ensure_dev_contract(chain, k=K))


def refused(reason: str, action: Callable[..., object], *args: object) -> None:
    with pytest.raises(RevertError) as caught:
        action(*args)
    assert caught.value.reason == reason


def test_client_is_a_court() -> None:
    for name, method in inspect.getmembers(Court, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(OpmlClient, name)).parameters
            assert list(ours) == list(inspect.signature(method).parameters), name


def test_every_function_of_the_contract_is_there(client: OpmlClient) -> None:
    known = {"verifier"}  # nobody needs it off chain
    used = inspect.getsource(OpmlClient)
    moves = {kind.method for kind in (Open, Post, Choose, Enter, Step, Timeout)}
    for entry in artifact("Opml").abi._of_type("function"):
        name = entry["name"]
        assert name in known or name in moves or f'"{name}"' in used, name


def test_moves_have_the_arguments_of_the_contract() -> None:
    functions = {entry["name"]: entry for entry in artifact("Opml").abi._of_type("function")}
    for kind in (Open, Post, Choose, Enter, Step, Timeout):
        names = [part["name"] for part in functions[kind.method]["inputs"]]
        snake = ["".join("_" + c.lower() if c.isupper() else c for c in name) for name in names]
        assert snake == ["game_id", *inspect.signature(kind).parameters], kind


def test_models(client: OpmlClient, accounts: Accounts) -> None:
    assert client.model(HEADER.model_id) is None
    client.register_model(HEADER, URI, accounts[0])
    assert client.model(HEADER.model_id) == HEADER
    client.register_model(HEADER, "https://elsewhere", accounts[1])
    assert client.model_uris(HEADER.model_id) == [URI, "https://elsewhere"]
    assert client.model(bytes(32)) is None
    assert client.model_uris(bytes(32)) == []
    # Anybody may announce bytes that are no text: the others are still to be seen.
    call = artifact("Opml").abi.encode_call("registerModel", astuple(HEADER), "~~~~")
    client.chain.transact(accounts[1], client.address, call.replace(b"~~~~", b"\xff\xfe~~"))
    assert client.model_uris(HEADER.model_id) == [URI, "https://elsewhere", "\ufffd\ufffd~~"]
    refused("UnknownModel", client.claim, bytes(32), INPUT, OUTPUT_ROOT, 0, INPUT_PATH, accounts[0])


def test_a_claim_nobody_challenges_becomes_final(client: OpmlClient, accounts: Accounts) -> None:
    alice = accounts[0]
    claim_id = post_claim(client, alice)
    view = client.claim_view(claim_id)
    assert (view.claim_id, view.model_id, view.prover) == (claim_id, HEADER.model_id, alice.address)
    assert (view.input, view.input_root, view.output_root, view.s0) == (INPUT, INPUT_ROOT, OUTPUT_ROOT, S0)
    assert (view.status, view.open_games, view.lost_games) == (ClaimStatus.PENDING, 0, 0)
    assert view.deadline == client.chain.time() - 1 + WINDOW
    assert client.balance() == client.prover_bond

    refused("ClaimExists", client.claim, HEADER.model_id, INPUT, OUTPUT_ROOT, 0, INPUT_PATH, alice)
    refused("WindowOpen", client.finalise, claim_id, alice)
    refused("NothingToWithdraw", client.withdraw, [], alice)
    client.chain.advance(WINDOW)
    refused("WindowClosed", client.challenge, claim_id, 0, accounts[1])
    assert client.now() > view.deadline
    client.finalise(claim_id, accounts[2])
    assert client.claim_view(claim_id).status is ClaimStatus.FINAL
    refused("WrongStage", client.finalise, claim_id, alice)
    assert client.credit(alice.address) == client.prover_bond
    before = client.chain.balance(alice.address)
    receipt = client.withdraw([], alice)
    assert client.chain.balance(alice.address) == before + client.prover_bond - receipt.cost
    assert client.balance() == client.burnt() == 0
    names = [entry.name for entry in client.history(claim_id)]
    assert names == ["Claimed", "InputPosted", "ClaimFinalised"]


def test_claims_are_listed(client: OpmlClient, accounts: Accounts) -> None:
    assert client.claims() == []
    first = post_claim(client, accounts[0])
    second = post_claim(client, accounts[1])
    third = post_claim(client, accounts[0], nonce=1)
    assert [view.claim_id for view in client.claims()] == [first, second, third]
    assert [view.claim_id for view in client.claims(prover=accounts[0].address)] == [first, third]
    assert [view.claim_id for view in client.claims(model_id=HEADER.model_id)] == [first, second, third]
    assert client.claims(model_id=bytes(32)) == []
    assert client.claims(prover=accounts[5].address) == []
    assert client.claims()[0].input == b""


def test_unknown_things_are_none_or_refused(client: OpmlClient, accounts: Accounts) -> None:
    nothing = bytes(32)
    assert client.claim_view(nothing).status is ClaimStatus.NONE
    assert client.game_view(nothing).stage is Stage.NONE
    assert client.game_view(nothing).turn is None
    assert client.claim_games(nothing) == []
    assert client.collectable(accounts[0].address) == []
    assert client.history(nothing) == []
    refused("UnknownClaim", client.challenge, nothing, 0, accounts[0])
    refused("UnknownClaim", client.finalise, nothing, accounts[0])
    refused("UnknownGame", client.move, nothing, Timeout(), accounts[0])


def play_to_the_step(client: OpmlClient, accounts: Accounts) -> tuple[bytes, bytes]:
    """A game in which every move is made, up to the last one; each view is compared with what was played."""
    prover, challenger = accounts[:2]
    claim_id = post_claim(client, prover)
    game_id, _ = client.challenge(claim_id, 7, challenger)
    assert client.claim_games(claim_id) == [game_id]

    def move(move: Move, account: LocalAccount, other: LocalAccount) -> None:
        refused("NotYourTurn", client.move, game_id, move, other)
        client.move(game_id, move, account)

    view = client.game_view(game_id)
    assert (view.stage, view.phase, view.turn, view.winner) == (Stage.OPEN, Phase.TILE, Role.PROVER, None)
    assert (view.claim_id, view.challenger, view.k) == (claim_id, challenger.address, K)
    assert (view.prover_clock, view.challenger_clock, view.last_move) == (CLOCK, CLOCK, client.now() - 1)

    first = states("first", K - 1)
    move(Open(FINAL_ROOT, OUTPUT_PATH, first), prover, challenger)
    view = client.game_view(game_id)
    assert (view.stage, view.turn, view.states) == (Stage.CHOOSE, Role.CHALLENGER, first)
    assert (view.position, view.length, view.lo, view.hi) == (0, TILES, S0, FINAL_ROOT)

    refused("StaleMove", client.move, game_id, Choose(1, TILES, 0, ()), challenger)
    refused("BadOpening", client.move, game_id, Choose(0, TILES, 3, opening(states("x", K - 1), 3)), challenger)
    move(Choose(0, TILES, 3, opening(first, 3)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.position, view.length) == (Stage.POST, 3, 2)
    assert (view.lo, view.hi, view.states) == (first[2], FINAL_ROOT, ())

    second = states("second", 1)
    move(Post(3, 2, second), prover, challenger)
    assert client.game_view(game_id).states == second
    move(Choose(3, 2, 1, opening(second, 1)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.phase, view.tile, view.lo) == (Stage.ENTER, Phase.TILE, 4, second[0])

    scratch = states("scratch", 1)[0]
    inner = states("inner", 1)
    end = end_state(FINAL_ROOT, scratch)
    refused("BadSteps", client.move, game_id, Enter(4, MAX_STEPS + 1, end, scratch, inner), prover)
    refused("BadEndState", client.move, game_id, Enter(4, 2, bytes(289), scratch, inner), prover)
    move(Enter(4, 2, end, scratch, inner), prover, challenger)
    view = client.game_view(game_id)
    assert (view.stage, view.phase, view.tile) == (Stage.CHOOSE, Phase.INSTRUCTION, 4)
    assert (view.position, view.length, view.states) == (0, 2, inner)

    move(Choose(0, 2, 1, opening(inner, 1)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.turn, view.tile, view.position) == (Stage.STEP, Role.PROVER, 4, 1)
    assert view.lo == inner[0]
    return claim_id, game_id


def test_a_prover_who_cannot_show_the_step_loses_half_to_the_challenger(client: OpmlClient, accounts: Accounts) -> None:
    prover, challenger = accounts[:2]
    claim_id, game_id = play_to_the_step(client, accounts)
    refused("ClockRunning", client.move, game_id, Timeout(), challenger)
    with pytest.raises(RevertError):
        client.move(game_id, Step(bytes(290)), challenger)
    assert client.collectable(challenger.address) == []
    client.chain.advance(CLOCK)
    assert client.game_view(game_id).time_left(client.now()) < 0
    client.move(game_id, Timeout(), accounts[3])
    view = client.game_view(game_id)
    assert (view.stage, view.winner, view.collected) == (Stage.CHALLENGER_WON, Role.CHALLENGER, False)
    claim = client.claim_view(claim_id)
    assert (claim.status, claim.open_games, claim.lost_games) == (ClaimStatus.REJECTED, 0, 1)

    assert client.collectable(challenger.address) == [game_id]
    assert client.collectable(prover.address) == []
    refused("NotCollectable", client.withdraw, [game_id], prover)
    before = client.chain.balance(challenger.address)
    receipt = client.withdraw([game_id], challenger)
    gained = client.chain.balance(challenger.address) + receipt.cost - before
    assert gained == client.challenger_bond + client.prover_bond // 2
    assert client.collectable(challenger.address) == []
    assert client.game_view(game_id).collected
    assert client.balance() == client.burnt() == client.prover_bond // 2
    names = [entry.name for entry in client.history(game_id)]
    assert names == [
        *("Challenged", "Opened", "Posted", "Chosen", "Posted", "Chosen"),
        *("Entered", "Posted", "Chosen", "TimedOut", "GameEnded", "ShareCollected"),
    ]


def test_a_silent_challenger_loses_its_bond(client: OpmlClient, accounts: Accounts) -> None:
    prover, challenger = accounts[:2]
    claim_id = post_claim(client, prover)
    game_id, _ = client.challenge(claim_id, 0, challenger)
    client.move(game_id, Open(FINAL_ROOT, OUTPUT_PATH, states("first", K - 1)), prover)
    client.chain.advance(CLOCK)
    refused("ClockExpired", client.move, game_id, Choose(0, TILES, 0, ()), challenger)
    client.move(game_id, Timeout(), prover)
    assert client.game_view(game_id).winner is Role.PROVER
    assert client.credit(prover.address) == client.challenger_bond
    client.chain.advance(WINDOW)
    client.finalise(claim_id, prover)
    client.withdraw([], prover)
    assert client.balance() == 0
    refused("NothingToWithdraw", client.withdraw, [], challenger)


def test_a_node_without_old_events_is_told(client: OpmlClient, accounts: Accounts) -> None:
    claim_id = post_claim(client, accounts[0])
    blind = OpmlClient(client.chain, client.address, from_block=client.chain.block_number() + 1)
    with pytest.raises(ChainError, match="events"):
        blind.claim_view(claim_id)


def test_the_numbers_of_the_stages_are_the_contracts() -> None:
    source = inspect.getsource(game_module)
    assert "the values are the contract's" in source
    kinds = {"Stage": Stage, "Phase": Phase, "Status": ClaimStatus}
    interface = (artifact_source() / "IOpml.sol").read_text()
    for name, kind in kinds.items():
        body = interface.split(f"enum {name} {{", 1)[1].split("}", 1)[0]
        names = [line.split("//")[0].strip(" ,") for line in body.splitlines()]
        assert [name for name in names if name] == [member.name for member in kind], name


def artifact_source():  # type: ignore[no-untyped-def]
    from pathlib import Path

    return Path(__file__).parents[2] / "contracts" / "src"
