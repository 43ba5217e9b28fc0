"""Prover, challenger and chain as three processes, as two strangers would meet; each may be killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml.chain import OpmlClient, connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import dev_contract

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
MODEL, DIGIT = str(EXAMPLES / "mlp.onnx"), f"{EXAMPLES / 'digits.npz'}:images:6"
PROVER, CHALLENGER = ("0x" + bytes(account.key).hex() for account in dev_accounts()[:2])
OPML = [sys.executable, "-c", "from opml.cli import main; main()"]
# A prover whose result has a bit wrong, and who defends it: claim id on the first line, what became of it on the last.
LIAR = """
import sys, numpy
from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract
from opml.demo import lie
from opml.dispute.game import Role
from opml.dispute.player import player
from opml.model import load
from opml.prover import defend_claim, register
url, image, digits = sys.argv[1:]
chain, model, account = connect(url), load(image), dev_accounts()[0]
client = OpmlClient(chain, dev_contract(chain))
with numpy.load(digits) as scans:
    inference = model.infer({"image": scans["images"][6]})
bluff = lie(inference, 1)
register(client, account, model)
claim_id, _ = client.claim(model.model_id, inference.posted, bluff.output_root, 5, account)
print("0x" + claim_id.hex(), flush=True)
print(defend_claim(client, account, claim_id, model, who=player(bluff, Role.PROVER), poll=0.05).name)
"""


def start(*arguments: str, key: str = "") -> "subprocess.Popen[str]":
    environment = {**os.environ, "OPML_KEY": key}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: "subprocess.Popen[str]", status: int = 0) -> Any:
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == status, stderr
    return json.loads(stdout.splitlines()[-1])


class Devnet:
    """`opml devnet` as a process that can be killed and started again on the same chain and port."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = "0"
        self.start()

    def start(self) -> None:
        self.process = start(*OPML, "devnet", "--port", self.port, "--data", str(self.data), "--json")
        assert self.process.stdout
        first = json.loads(self.process.stdout.readline())
        self.url, self.accounts = first["url"], first["accounts"]
        self.port = self.url.rsplit(":", 1)[1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    made = Devnet(tmp_path_factory.mktemp("devnet"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A window of two minutes is enough for the games; `quick` is for claims that nobody disputes."""
    target = tmp_path_factory.mktemp("image") / "mlp.opml"
    finish(start(*OPML, "compile", MODEL, "-o", str(target), "--window", "120", "--clock", "120", "--json"))
    return str(target)


def claims(devnet: Devnet, *arguments: str) -> Any:
    return finish(start(*OPML, "claims", *arguments, "--rpc", devnet.url, "--json"))["claims"]


def test_it_names_the_ten_accounts_that_it_has_funded(devnet: Devnet) -> None:
    addresses = [account["address"] for account in devnet.accounts]
    assert len(set(addresses)) == 10
    with connect(devnet.url) as chain:
        assert all(chain.balance(address) > 10**18 for address in addresses)


def test_an_honest_prover_is_left_alone_and_paid(devnet: Devnet, tmp_path: Path) -> None:
    quick = str(tmp_path / "quick.opml")
    finish(start(*OPML, "compile", MODEL, "-o", quick, "--window", "3", "--clock", "60", "--json"))
    prover = start(*OPML, "prove", quick, "-i", DIGIT, "--rpc", devnet.url, "--poll", "0.2", "--json", key=PROVER)
    body = finish(prover)
    assert body["status"] == "final"
    verdict = finish(
        start(*OPML, "challenge", body["claim_id"], "-m", quick, "--rpc", devnet.url, "--json", key=CHALLENGER)
    )
    assert verdict["right"]
    assert verdict["game_id"] is None


def test_a_liar_in_another_process_is_caught(devnet: Devnet, image: str) -> None:
    liar = start(sys.executable, "-c", LIAR, devnet.url, image, str(EXAMPLES / "digits.npz"))
    assert liar.stdout
    claim_id = liar.stdout.readline().strip()
    assert re.fullmatch("0x[0-9a-f]{64}", claim_id)
    challenge = (*OPML, "challenge", claim_id, "-m", image, "--rpc", devnet.url, "--poll", "0.05", "--json")
    # Killed in the middle of the game, the challenger goes on where he was.
    first = start(*challenge, key=CHALLENGER)
    chain = connect(devnet.url)
    client = OpmlClient(chain, dev_contract(chain) or "")
    while not client.claim_games(bytes.fromhex(claim_id[2:])):
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.communicate()
    verdict = finish(start(*challenge, key=CHALLENGER))
    assert (verdict["winner"], verdict["status"]) == ("challenger", "rejected")
    stdout, _ = liar.communicate(timeout=60)
    assert stdout.splitlines()[-1] == "REJECTED"


def test_a_claim_survives_the_death_of_prover_and_chain(devnet: Devnet, tmp_path: Path) -> None:
    quick = str(tmp_path / "quick.opml")
    finish(start(*OPML, "compile", MODEL, "-o", quick, "--window", "4", "--clock", "60", "--json"))
    rpc = ("--rpc", devnet.url, "--poll", "0.2", "--json")
    body = finish(start(*OPML, "prove", quick, "-i", DIGIT, "--detach", *rpc, key=PROVER))
    devnet.kill()
    devnet.start()
    assert claims(devnet, body["claim_id"])[0]["status"] == "pending"
    assert finish(start(*OPML, "prove", quick, "--claim", body["claim_id"], *rpc, key=PROVER))["status"] == "final"
    stranger = start(*OPML, "prove", quick, "--claim", body["claim_id"], *rpc, key=CHALLENGER)
    assert finish(stranger, status=6)["error"]["code"] == "dispute"
