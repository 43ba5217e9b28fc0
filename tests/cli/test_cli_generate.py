"""Generation as a user calls it; and a prover and a challenger as processes that are killed in the middle of a game."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dispute_repeated import decoder
from test_cli_commands import EXAMPLES, KEYS, answer, opml, refusal

from opml import guest
from opml.chain import connect
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract
from opml.dispute.game import ClaimStatus, Role
from opml.image import build_image, write_image
from opml.model import load
from opml.program import build_program

COUNT, PROMPT = 40, "3,4,17"
OPML = [sys.executable, "-c", "from opml.cli import main; main()"]
# Challenges the claim named, or claims a false answer and tells its id; and goes on until it has lost.
LIAR = """
import sys
from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract
from opml.demo import random_lie
from opml.dispute.game import Role
from opml.dispute.keeper import Keeper
from opml.dispute.player import player
from opml.model import load
from opml.prover import register
from opml.watch.traces import OnePlayer
url, file, *claims = sys.argv[1:]
chain, model, account = connect(url), load(file), dev_accounts()[1]
client = OpmlClient(chain, dev_contract(chain))
answer = model.generate([3, 4, 17], 9).inference
lie = random_lie(answer, 3)
register(client, account, model)
if claims:
    client.challenge(bytes.fromhex(claims[0][2:]), 0, account)
else:
    print("0x" + client.claim(model.model_id, answer.posted, lie.output_root, 0, account)[0].hex(), flush=True)
print("ready", flush=True)
role = Role.CHALLENGER if claims else Role.PROVER
with Keeper(client, account, OnePlayer(player(lie, role)), poll=0.05) as keeper:
    keeper.run(patience=None)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("generate") / "decoder.opml"
    write_image(build_image(build_program(decoder(COUNT)), guest.load(), window=300, clock=300), target)
    return str(target)


def said(image: str, prompt: list[int], new: int) -> list[int]:
    return load(image).generate(prompt, new).tokens


def test_run_says_token_by_token(image: str, tmp_path: Path) -> None:
    tokens = said(image, [3, 4, 17], 9)
    body = answer("run", image, "--generate", "--prompt-ids", PROMPT, "--max-tokens", "9")
    assert (body["tokens"], body["ended"]) == (tokens, False)
    words = opml("run", image, "--generate", "--prompt-ids", PROMPT, "--max-tokens", "9")
    assert words.stdout.split() == [str(token) for token in tokens]
    assert "9 tokens" in words.stderr
    assert "tokens/s" in words.stderr
    file = tmp_path / "ids"
    file.write_text("3 4\n17\n")
    out = str(tmp_path / "out.npz")
    assert opml("run", image, "--generate", "--prompt-ids", str(file), "-o", out).exit_code == 0
    with np.load(out) as arrays:
        assert arrays["tokens"][2:11].tolist() == tokens


def test_prove_claims_the_answer(image: str) -> None:
    body = answer("prove", image, "--generate", "--prompt-ids", PROMPT, "--max-tokens", "9")
    assert body["status"] == "final"
    assert body["tokens"] == said(image, [3, 4, 17], 9)
    assert body["tokens"] == body["outputs"]["tokens"][2:11]


def test_the_same_in_python(image: str) -> None:
    done = load(image).generate([3, 4, 17], 9)
    claim = done.prove(connect())
    assert claim.settle() is ClaimStatus.FINAL


def test_inspect_says_that_it_is_repeated(image: str) -> None:
    body = answer("inspect", image)
    assert body["repeat"]["count"] == COUNT
    assert body["header"]["tiles"] == COUNT * body["repeat"]["tiles"]
    assert f"up to {COUNT} times" in opml("inspect", image).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--prompt-ids", "1"), "bad-input", "for a model that generates"),
        (("run", "--generate"), "bad-input", "takes a prompt"),
        (("run", "--generate", "--prompt-ids", "1", "--input", "length=x.npy"), "bad-input", "no --input"),
        (("run", "--generate", "--prompt-ids", "1,x"), "bad-input", "neither a list of token ids"),
        (("run", "--generate", "--prompt-ids", ","), "bad-input", "neither a list of token ids"),
        (("run", "--generate", "--prompt-ids", "99999999999"), "bad-input", "neither a list of token ids"),
        (("run", "--generate", "--prompt-ids", "23"), "bad-input", "no token 23"),
        (("run", "--generate", "--prompt-ids", "1 " * 41), "bad-input", "takes 1 to 40"),
        (("run", "--generate", "--prompt-ids", "1", "--receipt", "r.json"), "unsupported", "no receipts"),
        (("prove", "--generate", "--prompt-ids", "1", "--receipt", "r.json"), "unsupported", "no receipts"),
        (("prove", "--generate", "--prompt-ids", "1", "--claim", "0x12"), "bad-input", "new claim"),
        (("prove",), "bad-input", "--generate"),
    ],
)
def test_refusals(image: str, arguments: tuple[str, ...], code: str, words: str) -> None:
    _, found, message = refusal(arguments[0], image, *arguments[1:])
    assert (found, words in message) == (code, True), message


def test_a_model_that_does_not_generate() -> None:
    model = str(EXAMPLES / "mlp.onnx")
    assert refusal("run", model, "--generate", "--prompt-ids", "1")[1:] == (
        "bad-input",
        "the model does not generate tokens",
    )


def start(*arguments: str, key: int = 0) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OPML_KEY": KEYS[key]}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def kill(process: "subprocess.Popen[str]") -> tuple[str, str]:
    process.send_signal(signal.SIGKILL)
    return process.communicate(timeout=60)


def wait_for(what: Callable[[], bool], *processes: "subprocess.Popen[str]") -> None:
    while not what():
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


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


def test_a_prover_killed_in_the_middle_defends_his_answer(url: str, client: OpmlClient, image: str) -> None:
    generate = ("--generate", "--prompt-ids", PROMPT, "--max-tokens", "9")
    posting = start(*OPML, "prove", image, *generate, "--rpc", url, "--detach", "--json")
    claim = json.loads(posting.communicate(timeout=120)[0])["claim_id"]
    opponent = start(sys.executable, "-c", LIAR, url, image, claim)
    assert opponent.stdout
    assert opponent.stdout.readline().strip() == "ready"
    (game,) = client.claim_games(bytes.fromhex(claim[2:]))
    command = (*OPML, "prove", image, "--claim", claim, "--rpc", url, "--poll", "0.05")
    for moves in (2, 5):
        prover = start(*command)
        wait_for(lambda: len(client.history(game)) >= moves or over(client, game), prover, opponent)  # noqa: B023
        kill(prover)
    prover = start(*command)
    wait_for(lambda: over(client, game), prover, opponent)
    kill(prover), kill(opponent)
    assert client.game_view(game).winner is Role.PROVER


def test_a_challenger_killed_in_the_middle_catches_a_false_answer(url: str, client: OpmlClient, image: str) -> None:
    opponent = start(sys.executable, "-c", LIAR, url, image, key=1)
    assert opponent.stdout
    claim = opponent.stdout.readline().strip()
    claim_id = bytes.fromhex(claim[2:])
    command = (*OPML, "challenge", claim, "--model", image, "--rpc", url, "--poll", "0.05")
    for moves in (1, 4):
        challenger = start(*command)
        wait_for(lambda: progress(client, claim_id) >= moves, challenger, opponent)  # noqa: B023
        kill(challenger)
    challenger = start(*command)
    told, errors = challenger.communicate(timeout=120)
    kill(opponent)
    assert challenger.returncode == 0, errors
    assert "was wrong and is rejected" in told
    assert client.claim_view(claim_id).status is ClaimStatus.REJECTED


def over(client: OpmlClient, game: bytes) -> bool:
    return client.game_view(game).winner is not None


def progress(client: OpmlClient, claim_id: bytes) -> int:
    """Moves in the claim's games; more than any number once it is settled."""
    if client.claim_view(claim_id).status is ClaimStatus.REJECTED:
        return 1 << 30
    return sum(len(client.history(game)) for game in client.claim_games(claim_id))
