"""The contract through the client, on both back ends: whole lives of claims and games, and each refusal by its name."""

import inspect
from collections.abc import Callable, Sequence
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
from opml.chain.abi import Event, artifact
from opml.chain.base import Log
from opml.dispute import game as game_module
from opml.dispute.court import Court
from opml.dispute.game import Claim, ClaimStatus, GameKey, Phase, Range, Role, Stage
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.rules import opening
from opml.errors import ChainError, RevertError
from vm.keccak import keccak256

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
    known = {"verifier", "claimIdOf", "gameIdOf"}  # nobody needs them off chain
    used = inspect.getsource(OpmlClient)
    moves = {kind.method for kind in (Open, Post, Choose, Enter, Step, Timeout)}
    for entry in artifact("Opml").abi._of_type("function"):
        name = entry["name"]
        assert name in known or name in moves or f'"{name}"' in used, name


def test_ids_are_the_contracts(client: OpmlClient, accounts: Accounts) -> None:
    claim = Claim(HEADER.model_id, INPUT_ROOT, OUTPUT_ROOT, accounts[0].address, 2**255 + 1, False)
    key = GameKey(claim.id_at(client.chain.chain_id, client.address), accounts[1].address, 3)
    assert client.contract.read("claimIdOf", claim) == key.claim_id
    assert client.contract.read("gameIdOf", key) == key.id
    assert client.contract.read("claimIdOf", claim._replace(input_posted=True)) != key.claim_id
    assert client.contract.read("gameIdOf", key._replace(salt=4)) != key.id


def test_moves_have_the_arguments_of_the_contract() -> None:
    functions = {entry["name"]: entry for entry in artifact("Opml").abi._of_type("function")}
    for kind in (Open, Post, Choose, Enter, Step, Timeout):
        names = [part["name"] for part in functions[kind.method]["inputs"]]
        snake = ["".join("_" + c.lower() if c.isupper() else c for c in name) for name in names]
        claim = ["claim_"] if kind.about_claim else []
        assert snake == ["key", *claim, *inspect.signature(kind).parameters], kind
    for name, kind in {"Claim": Claim, "GameKey": GameKey, "Range": Range}.items():
        parts = [part for entry in functions.values() for part in entry["inputs"]]
        struct = next(part for part in parts if part.get("internalType") == f"struct IOpml.{name}")
        fields = ["".join("_" + c.lower() if c.isupper() else c for c in p["name"]) for p in struct["components"]]
        assert fields == list(kind._fields), name


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
    refused("UnknownModel", client.claim, bytes(32), INPUT, OUTPUT_ROOT, 0, accounts[0])


def test_a_claim_nobody_challenges_becomes_final(client: OpmlClient, accounts: Accounts) -> None:
    alice = accounts[0]
    claim_id = post_claim(client, alice)
    view = client.claim_view(claim_id)
    assert (view.claim_id, view.model_id, view.prover) == (claim_id, HEADER.model_id, alice.address)
    assert (view.input, view.input_root, view.output_root) == (INPUT, INPUT_ROOT, OUTPUT_ROOT)
    assert (view.nonce, view.input_posted, view.input_uri) == (0, True, "")
    assert client.claim_terms(claim_id) == view.claim
    assert (view.status, view.open_games, view.lost_games) == (ClaimStatus.PENDING, 0, 0)
    assert view.deadline == client.chain.time() - 1 + WINDOW
    assert client.balance() == client.prover_bond

    refused("ClaimExists", client.claim, HEADER.model_id, INPUT, OUTPUT_ROOT, 0, alice)
    refused("WindowOpen", client.finalise, claim_id, alice)
    refused("NothingToWithdraw", client.withdraw, alice.address, [], [], alice)
    refused("WindowOpen", client.withdraw, alice.address, [claim_id], [], alice)
    client.chain.advance(WINDOW)
    refused("WindowClosed", client.challenge, claim_id, 0, accounts[1])
    assert client.now() > view.deadline
    client.finalise(claim_id, accounts[2])
    assert client.claim_view(claim_id).status is ClaimStatus.FINAL
    refused("WrongStage", client.finalise, claim_id, alice)
    assert client.credit(alice.address) == client.prover_bond
    before = client.chain.balance(alice.address)
    receipt = client.withdraw(alice.address, [claim_id], [], alice)
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
    refused("BadInputPath", client.move, game_id, Open(OUTPUT_PATH, FINAL_ROOT, OUTPUT_PATH, first), prover)
    refused("BadOutputPath", client.move, game_id, Open(INPUT_PATH, S0, OUTPUT_PATH, first), prover)
    move(Open(INPUT_PATH, FINAL_ROOT, OUTPUT_PATH, first), prover, challenger)
    view = client.game_view(game_id)
    assert (view.stage, view.turn, view.states) == (Stage.CHOOSE, Role.CHALLENGER, first)
    assert (view.position, view.length, view.lo, view.hi) == (0, TILES, S0, FINAL_ROOT)

    whole = view.range
    assert whole == Range(0, TILES, S0, FINAL_ROOT)
    refused("StaleMove", client.move, game_id, Choose(whole._replace(position=1), 0, ()), challenger)
    refused("BadOpening", client.move, game_id, Choose(whole, 3, opening(states("x", K - 1), 3)), challenger)
    refused("BadOpening", client.move, game_id, Choose(whole._replace(hi=S0), 3, opening(first, 3)), challenger)
    refused("WrongLength", client.move, game_id, Choose(whole, 3, opening(first, 3)[:-1]), challenger)
    refused("BadSegment", client.move, game_id, Choose(whole, K, opening(first, 3)), challenger)
    move(Choose(whole, 3, opening(first, 3)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.position, view.length) == (Stage.POST, 3, 2)
    assert (view.lo, view.hi, view.states) == (first[2], FINAL_ROOT, ())

    second = states("second", 1)
    refused("StaleMove", client.move, game_id, Post(whole, second), prover)
    refused("StaleMove", client.move, game_id, Post(view.range._replace(lo=S0), second), prover)
    move(Post(view.range, second), prover, challenger)
    assert client.game_view(game_id).states == second
    move(Choose(view.range, 1, opening(second, 1)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.phase, view.tile, view.lo) == (Stage.ENTER, Phase.TILE, 4, second[0])

    scratch = states("scratch", 1)[0]
    inner = states("inner", 1)
    end = end_state(FINAL_ROOT, scratch)
    refused("BadSteps", client.move, game_id, Enter(view.range, MAX_STEPS + 1, end, scratch, inner), prover)
    refused("BadEndState", client.move, game_id, Enter(view.range, 2, bytes(289), scratch, inner), prover)
    move(Enter(view.range, 2, end, scratch, inner), prover, challenger)
    view = client.game_view(game_id)
    assert (view.stage, view.phase, view.tile) == (Stage.CHOOSE, Phase.INSTRUCTION, 4)
    assert (view.position, view.length, view.states) == (0, 2, inner)

    move(Choose(view.range, 1, opening(inner, 1)), challenger, prover)
    view = client.game_view(game_id)
    assert (view.stage, view.turn, view.tile, view.position) == (Stage.STEP, Role.PROVER, 4, 1)
    assert (view.lo, view.hi) == (inner[0], keccak256(end))
    return claim_id, game_id


def test_a_prover_who_cannot_show_the_step_loses_half_to_the_challenger(client: OpmlClient, accounts: Accounts) -> None:
    prover, challenger = accounts[:2]
    claim_id, game_id = play_to_the_step(client, accounts)
    refused("ClockRunning", client.move, game_id, Timeout(), challenger)
    view = client.game_view(game_id)
    with pytest.raises(RevertError):
        client.move(game_id, Step(view.hi, bytes(290)), challenger)
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
    refused("NotCollectable", client.withdraw, prover.address, [], [game_id], prover)
    refused("NotAllowed", client.withdraw, challenger.address, [], [game_id], prover)
    before = client.chain.balance(challenger.address)
    receipt = client.withdraw(challenger.address, [], [game_id], challenger)
    gained = client.chain.balance(challenger.address) + receipt.cost - before
    assert gained == client.challenger_bond + client.prover_bond // 2
    assert client.collectable(challenger.address) == []
    assert client.game_view(game_id).collected
    assert client.balance() == client.burnt() == client.prover_bond // 2
    names = [entry.name for entry in client.history(game_id)]
    assert names == [
        *("Challenged", "Opened", "Posted", "Chosen", "Posted", "Chosen"),
        *("Entered", "Posted", "Chosen", "TimedOut", "GameEnded", "Collected"),
    ]


def test_a_silent_challenger_loses_its_bond(client: OpmlClient, accounts: Accounts) -> None:
    prover, challenger = accounts[:2]
    claim_id = post_claim(client, prover)
    game_id, _ = client.challenge(claim_id, 0, challenger)
    client.move(game_id, Open(INPUT_PATH, FINAL_ROOT, OUTPUT_PATH, states("first", K - 1)), prover)
    client.chain.advance(CLOCK)
    refused("ClockExpired", client.move, game_id, Choose(Range(0, TILES, S0, FINAL_ROOT), 0, ()), challenger)
    client.move(game_id, Timeout(), prover)
    assert client.game_view(game_id).winner is Role.PROVER
    assert client.collectable(prover.address) == [game_id]
    assert client.collectable(challenger.address) == []
    client.chain.advance(WINDOW)
    client.withdraw(prover.address, [claim_id], [game_id], prover)
    assert client.claim_view(claim_id).status is ClaimStatus.FINAL
    assert client.balance() == client.credit(prover.address) == 0
    refused("NothingToWithdraw", client.withdraw, challenger.address, [], [], challenger)
    refused("NothingToWithdraw", client.withdraw, prover.address, [claim_id], [], prover)
    refused("NotCollectable", client.withdraw, prover.address, [claim_id], [game_id], prover)


def test_a_claim_whose_input_is_not_on_chain(client: OpmlClient, accounts: Accounts) -> None:
    client.register_model(HEADER, URI, accounts[0])
    args = (HEADER.model_id, INPUT_ROOT, OUTPUT_ROOT, 0)
    claim_id, _ = client.claim_by_root(*args, "https://inputs/1", accounts[0])
    posted = client.claim_view(client.claim(HEADER.model_id, INPUT, OUTPUT_ROOT, 0, accounts[0])[0])
    view = client.claim_view(claim_id)
    assert (view.input, view.input_uri, view.input_posted) == (b"", "https://inputs/1", False)
    assert view.claim == posted.claim._replace(input_posted=False)
    assert view.claim_id != posted.claim_id
    assert [entry.name for entry in client.history(claim_id)] == ["Claimed", "InputWithheld"]
    refused("UnknownModel", client.claim_by_root, bytes(32), *args[1:], "", accounts[0])
    refused("ClaimExists", client.claim_by_root, *args, "", accounts[0])
    game_id, _ = client.challenge(claim_id, 0, accounts[1])
    client.move(game_id, Open(INPUT_PATH, FINAL_ROOT, OUTPUT_PATH, states("first", K - 1)), accounts[0])
    assert client.game_view(game_id).lo == S0


def test_a_delegate_moves_and_withdraws_for_a_party_and_the_party_is_paid(
    client: OpmlClient, accounts: Accounts
) -> None:
    prover, challenger, helper = accounts[:3]
    claim_id = post_claim(client, prover)
    game_id, _ = client.challenge(claim_id, 0, challenger)
    opening_move = Open(INPUT_PATH, FINAL_ROOT, OUTPUT_PATH, states("first", K - 1))
    refused("NotYourTurn", client.move, game_id, opening_move, helper)
    client.set_delegate(helper.address, True, challenger)
    refused("NotYourTurn", client.move, game_id, opening_move, helper)
    client.set_delegate(helper.address, True, prover)
    assert client.is_delegate(prover.address, helper.address)
    client.move(game_id, opening_move, helper)
    client.chain.advance(CLOCK)
    client.move(game_id, Timeout(), helper)
    client.set_delegate(helper.address, False, prover)
    refused("NotAllowed", client.withdraw, prover.address, [], [game_id], helper)
    client.set_delegate(helper.address, True, prover)
    before = client.chain.balance(prover.address)
    client.withdraw(prover.address, [], [game_id], helper)
    assert client.chain.balance(prover.address) == before + client.challenger_bond


def test_a_node_without_old_events_is_told(client: OpmlClient, accounts: Accounts) -> None:
    claim_id = post_claim(client, accounts[0])
    blind = OpmlClient(client.chain, client.address, from_block=client.chain.block_number() + 1)
    with pytest.raises(ChainError, match="event Claimed"):
        blind.claim_view(claim_id)
    with pytest.raises(ChainError, match="event"):
        blind.challenge(claim_id, 0, accounts[1])
    game_id, _ = client.challenge(claim_id, 0, accounts[1])
    blind = OpmlClient(client.chain, client.address, from_block=client.chain.block_number() + 1)
    with pytest.raises(ChainError, match="event Challenged"):
        blind.game_view(game_id)


class Lying(OpmlClient):
    """A client whose node shows events that were never there."""

    lie: Callable[[str, dict[str, object]], dict[str, object]] = staticmethod(lambda name, args: args)

    def __init__(self, chain: Chain, address: str) -> None:
        super().__init__(chain, address)
        told = self.contract.decoded

        def decoded(logs: Sequence[Log]) -> list[tuple[Log, Event]]:
            return [(log, Event(e.name, self.lie(e.name, dict(e.args)))) for log, e in told(logs)]

        self.contract.decoded = decoded  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("event", "argument", "value"),
    [
        ("Opened", "lo", bytes(32)),
        ("Opened", "hi", bytes(32)),
        ("Posted", "states", states("others", K - 1)),
        ("Posted", "states", states("too few", K - 2)),
        ("Challenged", "salt", 77),
        ("Challenged", "claimId", bytes(32)),
    ],
)
def test_a_node_whose_events_are_false_is_noticed(
    client: OpmlClient, accounts: Accounts, event: str, argument: str, value: object
) -> None:
    claim_id = post_claim(client, accounts[0])
    game_id, _ = client.challenge(claim_id, 0, accounts[1])
    client.move(game_id, Open(INPUT_PATH, FINAL_ROOT, OUTPUT_PATH, states("first", K - 1)), accounts[0])
    liar = Lying(client.chain, client.address)
    liar.lie = lambda name, args: args
    assert liar.game_view(game_id) == client.game_view(game_id)
    liar.lie = lambda name, args: args | {argument: value} if name == event else args
    with pytest.raises(ChainError, match="do not fit"):
        liar.game_view(game_id)


@pytest.mark.parametrize("argument", ["modelId", "outputRoot", "inputRoot"])
def test_a_node_whose_claims_are_false_is_noticed(client: OpmlClient, accounts: Accounts, argument: str) -> None:
    claim_id = post_claim(client, accounts[0])
    liar = Lying(client.chain, client.address)
    liar.lie = lambda name, args: args | {argument: bytes(32)} if name == "Claimed" else args
    for read in (lambda: liar.claim_view(claim_id), lambda: liar.claim_terms(claim_id), liar.claims):
        with pytest.raises(ChainError, match=r"do not fit|contradict each other"):
            read()


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
