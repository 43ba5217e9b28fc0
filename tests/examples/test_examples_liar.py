"""The lying prover of `04_liar.py` meets a watcher, as an operator would see it, and one who looks away."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from opml.chain import connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.chain.devnet import background
from opml.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "0x" + bytes(dev_accounts()[0].key).hex()


def lying(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(EXAMPLES / "04_liar.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy())


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with background(tmp_path) as devnet:
        ensure_dev_contract(connect(devnet.url))
        yield devnet.url


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_a_watcher_beats_the_liar(name: str, url: str) -> None:
    liar = lying("--rpc", url, "--model", str(EXAMPLES / "models" / f"{name}.onnx"))
    assert liar.stdout
    assert liar.stdout.readline().startswith("claimed: 0x")
    watch = ("watch", "--models", str(EXAMPLES / "models"), "--rpc", url, "--once", "--poll", "0.05", "--json")
    seen = []
    # `--once` leaves with 6 while wrong claims stand, here in games that are played.
    for _ in range(100):
        result = CliRunner().invoke(main, watch, env={"OPML_KEY": KEY})
        seen.append(result.exit_code)
        if result.exit_code == 0:
            break
    stdout, stderr = liar.communicate(timeout=60)
    assert (liar.returncode, stdout.splitlines()[-1]) == (0, "the watcher wins, the claim is rejected"), stderr
    assert set(seen) <= {0, 6}


def test_a_liar_whom_nobody_watches_is_told_of_it(url: str) -> None:
    liar = lying("--rpc", url)
    assert liar.stdout
    claim_id = liar.stdout.readline().split()[1]
    connect(url).advance(86401)
    _, stderr = liar.communicate(timeout=60)
    assert liar.returncode == 1
    assert "nobody has challenged it in time" in stderr
    body = json.loads(CliRunner().invoke(main, ["claims", claim_id, "--rpc", url, "--json"]).stdout)
    assert body["claims"][0]["status"] == "final"


def test_without_a_contract_it_says_what_is_missing(tmp_path: Path) -> None:
    with background(tmp_path) as devnet:
        liar = lying("--rpc", devnet.url)
        _, stderr = liar.communicate(timeout=60)
    assert liar.returncode == 2
    assert "name it with --contract" in stderr
