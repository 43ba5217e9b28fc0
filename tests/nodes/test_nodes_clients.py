"""Other people's clients on our devnet: ethers and viem read and send, cast plays, all of them decode custom errors."""

import re
from dataclasses import astuple, dataclass
from typing import Any

import nodes_tools
import pytest
from dispute_tiny import INPUTS, tiny_header, tiny_trace

from opml.chain import OpmlClient, connect
from opml.chain.accounts import dev_accounts
from opml.chain.hexa import to_hex
from opml.dispute.game import ClaimStatus, Stage

pytestmark = pytest.mark.node
ABI = nodes_tools.HERE.parents[1] / "opml" / "chain" / "artifacts" / "Opml.json"
NOBODY = "0x" + "00" * 32


@dataclass(frozen=True)
class Scene:
    """A devnet with a claim and a game against it; a client, and the keys of prover, challenger and a stranger."""

    url: str
    client: OpmlClient
    claim_id: bytes
    game_id: bytes
    keys: tuple[str, str, str]


@pytest.fixture(scope="module")
def scene(devnet: dict[str, Any]) -> Any:
    with connect(devnet["url"]) as chain:
        client = OpmlClient(chain, devnet["contract"])
        prover, challenger, stranger = dev_accounts()[1:4]
        client.register_model(tiny_header(), "", prover)
        root = tiny_trace().output_root
        claim_id, _ = client.claim(tiny_header().model_id, INPUTS.tobytes(), root, 0, prover)
        game_id, _ = client.challenge(claim_id, 0, challenger)
        keys = tuple("0x" + bytes(account.key).hex() for account in (prover, challenger, stranger))
        yield Scene(devnet["url"], client, claim_id, game_id, keys)  # type: ignore[arg-type]


def selector(signature: str) -> str:
    return nodes_tools.cast("sig", signature)


def struct(client: OpmlClient, function: str) -> str:
    """The types of the struct that is a function's first argument."""
    entry = next(entry for entry in client.contract.abi._of_type("function") if entry["name"] == function)
    return ",".join(part["type"] for part in entry["inputs"][0]["components"])


@pytest.mark.parametrize("library", ["ethers", "viem"])
def test_libraries_read_and_send(scene: Scene, library: str) -> None:
    claim_id = to_hex(scene.claim_id)
    arguments = (scene.url, scene.client.address, str(ABI), claim_id, scene.keys[2])
    seen = nodes_tools.node(f"read_{library}.mjs", *arguments)
    ids = [to_hex(game_id) for game_id in scene.client.claim_games(scene.claim_id)]
    gas = seen.pop("gas")
    games = seen.pop("games")
    assert seen == {
        "k": scene.client.k,
        "prover": dev_accounts()[1].address,
        "openGames": len(ids),
        "input": to_hex(INPUTS.tobytes()),
        "refusal": "UnknownClaim",
        "dynamicFees": True,
        "transactions": 1,
    }
    assert [game["id"] for game in games] == ids
    assert games[0]["challenger"] == dev_accounts()[2].address
    assert games[0]["stage"] == Stage.OPEN
    assert len(gas) == 4
    assert all(20_000 < used < 60_000 for used in gas)


def test_cast_registers_claims_and_challenges(scene: Scene) -> None:
    client, to = scene.client, ("--rpc-url", scene.url, scene.client.address)
    fields = ["0x" + value.hex() if isinstance(value, bytes) else str(value) for value in astuple(tiny_header())]
    model = f"({','.join(fields)})"
    kinds = struct(client, "registerModel")
    nodes_tools.cast("send", *to, f"registerModel(({kinds}),string)", model, "here", "--private-key", scene.keys[0])
    assert "here" in client.model_uris(tiny_header().model_id)
    root = to_hex(tiny_trace().output_root)
    arguments = (to_hex(tiny_header().model_id), to_hex(INPUTS.tobytes()), root, "5")
    bond = ("--value", str(client.prover_bond), "--private-key", scene.keys[0])
    nodes_tools.cast("send", *to, "claim(bytes32,bytes,bytes32,uint256)", *arguments, *bond)
    claim = client.claims()[-1]
    assert claim.status is ClaimStatus.PENDING
    assert claim.prover == dev_accounts()[1].address
    terms = client.claim_terms(claim.claim_id)
    kinds = struct(client, "challenge")
    values = [to_hex(v) if isinstance(v, bytes) else str(v).lower() if isinstance(v, bool) else str(v) for v in terms]
    bond = ("--value", str(client.challenger_bond), "--private-key", scene.keys[1])
    challenge = ("send", *to, f"challenge(({kinds}),uint256)", f"({','.join(values)})", "9", *bond)
    nodes_tools.cast(*challenge)
    (game_id,) = client.claim_games(claim.claim_id)
    assert client.game_view(game_id).stage is Stage.OPEN
    assert selector("GameExists()") in nodes_tools.cast_refused(*challenge)


def test_cast_reads_and_is_refused_by_name(scene: Scene) -> None:
    to = ("--rpc-url", scene.url, scene.client.address)
    assert int(nodes_tools.cast("call", *to, "k()(uint256)")) == scene.client.k
    assert selector("UnknownClaim()") in nodes_tools.cast_refused("call", *to, "finalise(bytes32)", NOBODY)
    sent = nodes_tools.cast_refused("send", *to, "finalise(bytes32)", NOBODY, "--private-key", scene.keys[2])
    assert selector("UnknownClaim()") in sent
    challenger = dev_accounts()[2].address
    key = f"({to_hex(scene.claim_id)},{challenger},0)"
    withdraw = ("withdraw(address,bytes32[],(bytes32,address,uint256)[])", challenger, "[]", f"[{key}]")
    refused = nodes_tools.cast_refused("call", *to, *withdraw, "--from", challenger)
    data = re.search(r"0x[0-9a-f]{72}", refused)
    assert data is not None, refused
    decoded = nodes_tools.cast("decode-error", "--sig", "NotCollectable(bytes32)", data.group())
    assert decoded == to_hex(scene.game_id)
    logs = nodes_tools.cast("logs", "--rpc-url", scene.url, "--address", scene.client.address, "--from-block", "0")
    assert logs.count("- address: ") >= 3
    assert nodes_tools.cast("chain-id", "--rpc-url", scene.url) == "31337"
    assert int(nodes_tools.cast("block-number", "--rpc-url", scene.url)) == scene.client.chain.block_number()
    balance = nodes_tools.cast("balance", "--rpc-url", scene.url, scene.client.address)
    assert int(balance) == scene.client.balance()
