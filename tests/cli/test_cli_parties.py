"""Who acts for whom, what was left to be taken, and claims whose input only some have."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from opml.chain import Chain, OpmlClient, connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.chain.devnet import background
from opml.chain.records import frozen_clock
from opml.cli import main
from opml.dispute.moves import Timeout
from opml.evidence.receipt import read_receipt
from opml.model import Model, load
from opml.prover import register

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
DIGITS = EXAMPLES / "digits.npz"
ANN, BOB, CAT = dev_accounts()[:3]
WINDOW, CLOCK = 50, 1000


def opml(*arguments: str, who: Any = ANN) -> dict[str, Any]:
    """The command's JSON object."""
    environment = {"OPML_KEY": "0x" + bytes(who.key).hex()}
    result = CliRunner().invoke(main, [*arguments, "--json"], env=environment)
    return json.loads(result.stdout)  # type: ignore[no-any-return]


class World:
    """A devnet whose clock stands, with the contract on it."""

    def __init__(self, chain: Chain, url: str, image: str) -> None:
        self.chain = chain
        self.rpc = ("--rpc", url)
        self.image = image
        self.model: Model = load(image)
        self.client = OpmlClient(chain, ensure_dev_contract(chain))

    def prove(self, *arguments: str, who: Any = ANN) -> str:
        body = opml("prove", self.image, "-i", f"{DIGITS}:images:4", "--detach", *arguments, *self.rpc, who=who)
        return str(body["claim_id"])

    def false_claim(self) -> bytes:
        """A claim of Ann's about the fourth digit, whose input is not on chain, and which is wrong."""
        with np.load(DIGITS) as scans:
            inference = self.model.infer({"image": scans["images"][4]})
        register(self.client, ANN, self.model)
        roots = (inference.input_root, bytes(32))
        return self.client.claim_by_root(self.model.model_id, *roots, self.chain.nonce(ANN.address), "a desk", ANN)[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    image = str(folder / "mlp.opml")
    opml("compile", str(EXAMPLES / "mlp.onnx"), "-o", image, "--window", str(WINDOW), "--clock", str(CLOCK))
    with background(folder, clock=frozen_clock) as devnet, connect(devnet.url) as chain:
        yield World(chain, devnet.url, image)


def test_an_input_that_is_not_on_chain_has_to_be_brought(world: World, tmp_path: Path) -> None:
    claim = world.prove("--input-uri", "https://example.org/digit")
    view = world.client.claim_view(bytes.fromhex(claim[2:]))
    assert (view.input_posted, view.input, view.input_uri) == (False, b"", "https://example.org/digit")
    (row,) = opml("claims", claim, *world.rpc)["claims"]
    assert (row["input_posted"], row["input_uri"]) == (False, "https://example.org/digit")
    challenge = ("challenge", claim, "-m", world.image, *world.rpc)
    error = opml(*challenge, who=BOB)["error"]
    assert "not on chain; its prover says that it can be had at https://example.org/digit" in error["message"]
    assert "--input" in error["hint"]
    assert "another" in opml(*challenge, "-i", f"{DIGITS}:images:5", who=BOB)["error"]["message"]
    assert opml(*challenge, "-i", f"{DIGITS}:images:4", who=BOB)["right"]
    with np.load(DIGITS) as scans:
        region = world.model.input_region({"image": scans["images"][4]})
    for data, right in ((region, True), (region[:-1], None), (region[:-1] + b"\xff", None), (b"", None)):
        (tmp_path / "region.bin").write_bytes(data)
        assert opml(*challenge, "-i", str(tmp_path / "region.bin"), who=BOB).get("right") is right


def test_the_prover_of_such_a_claim_needs_its_input_too(world: World) -> None:
    claim = world.prove("--input-uri", "")
    defend = ("prove", world.image, "--claim", claim, *world.rpc)
    assert "not on chain" in opml(*defend)["error"]["message"]
    world.chain.advance(WINDOW + 1)
    body = opml(*defend, "-i", f"{DIGITS}:images:4")
    assert body["status"] == "final"


def test_the_printed_command_goes_on_with_such_a_claim(world: World) -> None:
    arguments = ["prove", world.image, "-i", f"{DIGITS}:images:4", "--input-uri", "x", "--detach", "--max-fee", "2.5"]
    key = {"OPML_KEY": "0x" + bytes(ANN.key).hex()}
    printed = CliRunner().invoke(main, [*arguments, *world.rpc], env=key).stderr.splitlines()[-1]
    words = shlex.split(printed)
    assert words[words.index("--max-fee") + 1] == "2.5"
    world.chain.advance(WINDOW + 1)
    assert words[0] == "opml"
    assert opml(*words[1:])["status"] == "final"


def test_a_false_claim_about_a_hidden_input_is_beaten_by_who_has_it(world: World) -> None:
    """Nobody answers for Ann; Bob begins, and his delegate Cat goes on."""
    claim_id = world.false_claim()
    game_id, _ = world.client.challenge(claim_id, 0, BOB)
    challenge = ("challenge", "0x" + claim_id.hex(), "-m", world.image, *world.rpc, "-i", f"{DIGITS}:images:4")
    world.chain.advance(CLOCK + 1)
    refused = opml(*challenge, "--for", BOB.address, who=CAT)["error"]
    assert "no delegate" in refused["message"]
    assert opml("delegate", CAT.address, *world.rpc, who=BOB)["allowed"]
    before = world.chain.balance(BOB.address)
    verdict = opml(*challenge, "--for", BOB.address, who=CAT)
    assert (verdict["winner"], verdict["status"], verdict["game_id"]) == (
        "challenger",
        "rejected",
        "0x" + game_id.hex(),
    )
    won = world.client.challenger_bond + world.client.prover_bond // 2
    assert world.chain.balance(BOB.address) == before + won
    assert not opml("delegate", CAT.address, "--remove", *world.rpc, who=BOB)["allowed"]
    assert not world.client.is_delegate(BOB.address, CAT.address)


def test_a_delegate_cannot_begin_what_the_party_has_not(world: World) -> None:
    claim_id = world.false_claim()
    opml("delegate", CAT.address, *world.rpc, who=BOB)
    challenge = ("challenge", "0x" + claim_id.hex(), "-m", world.image, *world.rpc, "-i", f"{DIGITS}:images:4")
    error = opml(*challenge, "--for", BOB.address, who=CAT)["error"]
    assert "has no game against the claim" in error["message"]
    assert world.client.claim_games(claim_id) == []


def test_a_delegate_defends_a_claim_to_its_end(world: World) -> None:
    claim = world.prove()
    world.chain.advance(WINDOW + 1)
    defend = ("prove", world.image, "--claim", claim, *world.rpc, "--for", ANN.address)
    assert "no delegate" in opml(*defend, who=CAT)["error"]["message"]
    assert "was posted by" in opml("prove", world.image, "--claim", claim, *world.rpc, who=CAT)["error"]["message"]
    opml("delegate", CAT.address, *world.rpc)
    before = world.chain.balance(ANN.address)
    assert opml(*defend, who=CAT)["status"] == "final"
    assert world.chain.balance(ANN.address) >= before + world.client.prover_bond
    opml("delegate", CAT.address, "--remove", *world.rpc)


def test_what_was_left_is_withdrawn_at_once(world: World) -> None:
    withdraw = ("withdraw", *world.rpc)
    opml(*withdraw)
    first, second = world.prove(), world.prove()
    game_id, _ = world.client.challenge(bytes.fromhex(first[2:]), 5, BOB)
    assert opml(*withdraw)["wei"] == 0
    world.chain.advance(CLOCK + 1)
    # Ann has not answered: her second claim is final now, her first one lost.
    world.client.move(game_id, Timeout(), CAT)
    body = opml(*withdraw)
    assert (body["claims"], body["games"], body["wei"]) == ([second], [], world.client.prover_bond)
    body = opml(*withdraw, who=BOB)
    assert (body["claims"], body["games"]) == ([], ["0x" + game_id.hex()])
    assert body["wei"] == world.client.challenger_bond + world.client.prover_bond // 2
    for who in (ANN, BOB):
        assert opml(*withdraw, who=who)["wei"] == 0
    assert "no delegate" in opml(*withdraw, "--for", ANN.address, who=CAT)["error"]["message"]


def test_what_somebody_else_made_final_is_credit(world: World) -> None:
    claim = world.prove()
    world.chain.advance(WINDOW + 1)
    world.client.finalise(bytes.fromhex(claim[2:]), CAT)
    opml("delegate", BOB.address, *world.rpc)
    body = opml("withdraw", "--for", ANN.address, *world.rpc, who=BOB)
    assert (body["party"], body["claims"], body["wei"]) == (ANN.address, [], world.client.prover_bond)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prove", "x", "--for", ANN.address, "-i", "y"), "posted by the prover itself"),
        (("prove", "x", "--claim", "0x00", "--input-uri", "z", "--rpc", "http://127.0.0.1:1"), "--input-uri is"),
        (("delegate", "0x1234", "--rpc", "http://127.0.0.1:1"), "is not an address"),
        (("withdraw", "--for", "me", "--rpc", "http://127.0.0.1:1"), "is not an address"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: tuple[str, ...], words: str) -> None:
    assert words in opml(*arguments)["error"]["message"]


def test_a_prover_who_comes_back_to_a_false_claim_hears_it(world: World, tmp_path: Path) -> None:
    wrong, right = "0x" + world.false_claim().hex(), world.prove()
    digit, receipt = ("-i", f"{DIGITS}:images:4"), tmp_path / "receipt.json"
    back = ("prove", world.image, *world.rpc, "--claim")
    error = opml(*back, wrong, *digit, "--receipt", str(receipt))["error"]
    assert "the claim has another output than this model gives here" in error["message"]
    error = opml(*back, right, "--receipt", str(receipt), who=CAT)["error"]
    assert f"was posted by {ANN.address}, not by {CAT.address}" in error["message"]
    assert not receipt.exists()
    world.chain.advance(WINDOW + 1)
    for claim, more, warned in ((wrong, digit, True), (right, ("--receipt", str(receipt)), False)):
        environment = {"OPML_KEY": "0x" + bytes(ANN.key).hex()}
        result = CliRunner().invoke(main, [*back, claim, *more], env=environment)
        assert result.exit_code == 0, "defended all the same"
        assert ("WARNING: the claim has another output than this model gives here" in result.stderr) == warned
    assert read_receipt(receipt).claim is not None
