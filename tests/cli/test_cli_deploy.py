"""`opml deploy`: the contracts on a chain that has none, with the user's own key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.devnet import background
from opml.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
MODEL, DIGIT = str(EXAMPLES / "mlp.onnx"), f"{EXAMPLES / 'digits.npz'}:images:4"
ANN = dev_accounts()[0]


def opml(*arguments: str, key: str | None = "0x" + bytes(ANN.key).hex()) -> Any:
    """The exit status and the JSON object."""
    result = CliRunner().invoke(main, [*arguments, "--json"], env={"OPML_KEY": key})
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with background(tmp_path_factory.mktemp("bare")) as devnet:
        yield devnet.url


def test_a_bare_chain_names_the_command_that_helps(url: str) -> None:
    for arguments in (("claims",), ("market", "list")):
        status, body = opml(*arguments, "--rpc", url)
        assert (status, body["error"]["code"]) == (5, "chain")
        assert "`opml deploy --rpc URL" in body["error"]["hint"]


def test_what_it_prints_is_what_the_others_take(url: str) -> None:
    bonds = ("--prover-bond", "0.25", "--challenger-bond", "0.125", "-k", "8")
    status, body = opml("deploy", "--rpc", url, *bonds, "--market")
    assert (status, body["deployer"]) == (0, ANN.address)
    place = ("--rpc", url, "--contract", body["contract"])
    assert opml("prove", MODEL, "-i", DIGIT, "--detach", *place)[1]["status"] == "pending"
    assert len(opml("claims", *place)[1]["claims"]) == 1
    assert opml("market", "list", "--rpc", url, "--market", body["market"])[0] == 0
    with connect(url) as chain:
        address, _, block = body["contract"].partition("@")
        assert chain.code(address)
        assert int(block) == 2
        client = OpmlClient(chain, address, int(block))
        assert (client.k, client.prover_bond, client.challenger_bond) == (8, 25 * 10**16, 125 * 10**15)
    words = CliRunner().invoke(main, ["deploy", "--rpc", url], env={"OPML_KEY": "0x" + bytes(ANN.key).hex()})
    assert words.exit_code == 0
    assert "@" in words.stdout.split("contract ")[1]
    assert "--market" not in words.output


@pytest.mark.parametrize(
    ("more", "key", "code"),
    [
        (("--prover-bond", "0"), "", "bad-input"),
        (("--challenger-bond", "1e30"), "", "bad-input"),
        (("--prover-bond", "much"), "", "usage"),
        (("-k", "1"), "", "usage"),
        ((), "0x" + "77" * 32, "chain"),
        ((), None, "chain"),
    ],
)
def test_nothing_is_paid_for_what_cannot_be(url: str, more: tuple[str, ...], key: str | None, code: str) -> None:
    """Bonds of nothing or of too much, an account without ether, and no key."""
    with connect(url) as chain:
        before = chain.nonce(ANN.address)
        status, body = opml("deploy", "--rpc", url, *more, key="0x" + bytes(ANN.key).hex() if key == "" else key)
        assert body["error"]["code"] == code
        assert status == (5 if code == "chain" else 2)
        assert chain.nonce(ANN.address) == before
