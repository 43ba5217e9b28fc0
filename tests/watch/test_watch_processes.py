"""Watcher, prover, liar and chain as processes, with real models; watcher and prover are killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opml.chain import OpmlClient, connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import dev_contract
from opml.dispute.game import ClaimStatus, Role

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
DIGITS = EXAMPLES / "digits.npz"
OPML = [sys.executable, "-c", "from opml.cli import main; main()"]
KEYS = ["0x" + bytes(account.key).hex() for account in dev_accounts()]
# Claims a wrong result for every digit named, tells the ids, and defends them all; or challenges right ones.
LIAR = """
import sys, numpy
from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract
from opml.demo import lie
from opml.dispute.game import Role
from opml.dispute.keeper import Keeper
from opml.dispute.player import player
from opml.model import load
from opml.prover import register
url, file, digits, role, *words = sys.argv[1:]
chain, model, account = connect(url), load(file), dev_accounts()[1]
client = OpmlClient(chain, dev_contract(chain))
role, liars = Role(role), {}

class Liars:
    def ready(self, claim, _):
        if claim.input not in liars:
            liars[claim.input] = player(lie(model.infer_posted(claim.input), 1), role)
        return liars[claim.input]
    prepare = ready

register(client, account, model)
with numpy.load(digits) as scans:
    for nonce, word in enumerate(words):
        if role is Role.CHALLENGER:
            client.challenge(bytes.fromhex(word[2:]), 0, account)
            client.challenge(bytes.fromhex(word[2:]), 1, account)
            continue
        inference = model.infer({"image": scans["images"][int(word)]})
        root = lie(inference, 1).output_root
        print("0x" + client.claim(model.model_id, inference.posted, root, nonce, account)[0].hex(), flush=True)
print("ready", flush=True)
with Keeper(client, account, Liars(), poll=0.05) as keeper:
    keeper.run(patience=None)
"""


def start(*arguments: str, key: int = 3) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OPML_KEY": KEYS[key]}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def kill(process: "subprocess.Popen[str]", number: int = signal.SIGKILL) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=60)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    devnet = start(*OPML, "devnet", "--port", "0", "--data", str(tmp_path_factory.mktemp("devnet")), "--json")
    assert devnet.stdout
    yield json.loads(devnet.stdout.readline())["url"]
    kill(devnet)


@pytest.fixture(scope="module")
def client(url: str) -> OpmlClient:
    chain = connect(url)
    return OpmlClient(chain, dev_contract(chain) or "")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image of the MLP: two minutes are enough for its games."""
    folder = tmp_path_factory.mktemp("models")
    compiling = start(*OPML, "compile", str(EXAMPLES / "mlp.onnx"), "-o", str(folder / "mlp.opml"),
                      "--window", "300", "--clock", "300")  # fmt: skip
    assert compiling.communicate(timeout=120)
    assert compiling.returncode == 0
    return folder


def liar(url: str, models: Path, role: Role, *words: str) -> "subprocess.Popen[str]":
    return start(sys.executable, "-c", LIAR, url, str(models / "mlp.opml"), str(DIGITS), role.value, *words)


def lines_until_ready(process: "subprocess.Popen[str]") -> list[bytes]:
    assert process.stdout
    lines = []
    while (line := process.stdout.readline().strip()) != "ready":
        assert line, process.communicate()[1]
        lines.append(bytes.fromhex(line[2:]))
    return lines


def wait_for(what: Callable[[], bool], *processes: "subprocess.Popen[str]") -> None:
    while not what():
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def events(text: str) -> list[dict[str, Any]]:
    """The log's lines; who is killed may have been in the middle of one."""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


@pytest.mark.slow
def test_a_watcher_killed_again_and_again_beats_a_liar(url: str, client: OpmlClient, models: Path) -> None:
    opponent = liar(url, models, Role.PROVER, "3", "4", "5")
    claims = lines_until_ready(opponent)
    command = (*OPML, "watch", "--models", str(models), "--rpc", url, "--poll", "0.05", "--log-format", "json",
               "--metrics", "127.0.0.1:0")  # fmt: skip

    def progress() -> int:
        return sum(len(client.history(game)) for claim in claims for game in client.claim_games(claim))

    seen, kills, logs = 0, 0, ""
    for wanted in (1, 6, 12, 18):
        watcher = start(*command)
        wait_for(lambda: progress() >= seen + wanted or rejected(client, claims), watcher, opponent)  # noqa: B023
        logs += kill(watcher)[1]
        kills, seen = kills + 1, progress()
    watcher = start(*command)
    wait_for(lambda: rejected(client, claims) and client.credit(dev_accounts()[3].address) == 0, watcher, opponent)
    wait_for(lambda: all(client.game_view(g).collected for c in claims for g in client.claim_games(c)), watcher)
    stdout, stderr = kill(watcher, signal.SIGTERM)
    kill(opponent)
    assert watcher.returncode == 0
    assert stdout == ""
    assert events(stderr)[-1]["event"] == "stopped"
    assert [len(client.claim_games(claim)) for claim in claims] == [1, 1, 1]
    assert {client.game_view(g).winner for c in claims for g in client.claim_games(c)} == {Role.CHALLENGER}
    assert client.balance() == client.burnt()
    assert {"claim-wrong", "sent", "mined"} <= {event["event"] for event in events(logs)}
    assert kills == 4


def rejected(client: OpmlClient, claims: list[bytes]) -> bool:
    return all(client.claim_view(claim).status is ClaimStatus.REJECTED for claim in claims)


@pytest.mark.slow
def test_a_prover_killed_again_and_again_defends_his_claim(url: str, client: OpmlClient, models: Path) -> None:
    common = ("--rpc", url, "--poll", "0.05")
    posting = start(*OPML, "prove", str(models / "mlp.opml"), "-i", f"{DIGITS}:images:6", "--detach", *common, "--json")
    claim = json.loads(posting.communicate(timeout=120)[0])["claim_id"]
    opponent = liar(url, models, Role.CHALLENGER, claim)
    lines_until_ready(opponent)
    games = client.claim_games(bytes.fromhex(claim[2:]))
    command = (*OPML, "prove", str(models / "mlp.opml"), "--claim", claim, *common)

    def progress() -> int:
        return sum(len(client.history(game)) for game in games)

    def won() -> bool:
        return all(client.game_view(game).winner for game in games)

    for _ in range(3):
        prover, seen = start(*command), progress()
        wait_for(lambda: progress() >= seen + 3 or won(), prover, opponent)  # noqa: B023
        kill(prover)
    prover = start(*command)
    wait_for(won, prover, opponent)
    kill(prover), kill(opponent)
    assert {client.game_view(game).winner for game in games} == {Role.PROVER}


def test_once_says_whether_wrong_claims_stand(url: str, client: OpmlClient, models: Path, tmp_path: Path) -> None:
    common = (*OPML, "watch", "--rpc", url, "--once", "--json", "--poll", "0.05")
    before = json.loads(start(*common, "--models", str(models)).communicate(timeout=120)[0])
    assert before["standing"] == []
    opponent = liar(url, models, Role.PROVER, "8")
    (claim,) = lines_until_ready(opponent)
    kill(opponent)
    dry = start(*common, "--models", str(models), "--dry-run", key=9)
    body = json.loads(dry.communicate(timeout=120)[0])
    assert dry.returncode == 6
    assert body["standing"] == ["0x" + claim.hex()]
    assert client.claim_games(claim) == []
    # The ONNX file has another window and clock; the model is the same, but these are not everybody's taste.
    onnx = (*common, "-m", str(EXAMPLES / "mlp.onnx"))
    careful = start(*onnx)
    body = json.loads(careful.communicate(timeout=120)[0])
    assert (careful.returncode, body["games"], body["claims"]["skipped"]) == (0, 0, 1)
    acting = start(*onnx, "--min-clock", "300", "--min-window", "300")
    assert json.loads(acting.communicate(timeout=120)[0])["games"] == 1
    assert acting.returncode == 6
    assert len(client.claim_games(claim)) == 1
    # Who does not have the model says so, and that nothing wrong is known.
    other = tmp_path / "none"
    other.mkdir()
    blind = start(*common, "--models", str(other))
    body = json.loads(blind.communicate(timeout=120)[0])
    assert (blind.returncode, body["standing"]) == (0, [])
    assert body["claims"]["skipped"] >= 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "no models"),
        (("-m", "none.onnx"), "no such file"),
        (("--max-stake", "lots"), "no amount of ether"),
        (("--memory", "much"), "no size"),
        (("-m", str(EXAMPLES / "mlp.onnx"), "--metrics", "nowhere"), "no HOST:PORT"),
    ],
)
def test_bad_usage_is_named(url: str, arguments: tuple[str, ...], text: str) -> None:
    process = start(*OPML, "watch", "--rpc", url, *arguments)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode in (2, 3)
    assert text in stderr
