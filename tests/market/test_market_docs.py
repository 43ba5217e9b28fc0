"""docs/consumer.md from its first line to the last: what it says to type is typed, its contract is compiled."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts_evm import artifact

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "consumer.md").read_text()
HOST = "http://127.0.0.1:8545"
OWNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder that the text speaks of, with this repository's compiler in place of a downloaded one."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (toml,) = blocks("toml")
    compiler = ROOT / "contracts" / "tools" / "solc.mjs"
    ours = f'allow_paths = ["{ROOT}"]\nsolc = "{compiler}"\nauto_detect_solc = false\noffline = true\nvia_ir = true\n'
    (tmp_path / "foundry.toml").write_text(toml + ours)
    (contract,) = blocks("solidity")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "DigitReader.sol").write_text(contract)
    return tmp_path


class Shell:
    """Runs the text's commands with the values that earlier ones printed in the place of its names."""

    def __init__(self, folder: Path, forge: str, cast: str) -> None:
        self.folder = folder
        self.tools = {"forge": [forge], "cast": [cast], "opml": [str(Path(sys.executable).parent / "opml")]}
        self.environment = dict(os.environ) | {"NO_COLOR": "1"}
        self.names: dict[str, str] = {}
        self.devnet: subprocess.Popen[str] | None = None
        self.ran: list[str] = []

    def run(self, line: str) -> None:
        for name, value in self.names.items():
            line = line.replace(name, value)
        line = line.replace("$OPML_KEY", self.environment.get("OPML_KEY", ""))
        words = shlex.split(line)
        self.ran.append(words[0])
        if words[0] == "export":
            name, value = words[1].split("=")
            self.environment[name] = value
            return
        if words[0] == "npm":
            words[words.index("../opml/contracts/src")] = str(ROOT / "contracts" / "src")
            words += ["--no-audit", "--no-fund", "--ignore-scripts"]
        words = self.tools.get(words[0], [words[0]]) + words[1:]
        if "devnet" in words:
            self._serve(words)
            return
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        self._learn(line, done.stdout)

    def _serve(self, words: list[str]) -> None:
        # Another port than the text's, which may be in use.
        words[words.index("--port") + 1] = "0"
        self.devnet = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.devnet.stdout
        first = self.devnet.stdout.readline().split()
        self.names |= {HOST: first[0], "MARKET": first[first.index("market") + 1]}

    def _learn(self, line: str, output: str) -> None:
        found: dict[str, Any] = {}
        if " publish " in line:
            found["MODEL"] = re.search(r"model (0x\w{64})", output)
        if " create " in line:
            found["READER"] = re.search(r"Deployed to: (0x\w{40})", output)
        if " list " in line:
            found["REQUEST"] = re.search(r"(0x\w{64}) accepted", output)
            assert "not final yet" in output
        if " call " in line:
            assert output.split()[0] == "7"
            self.ran.append("verified")
        for name, match in found.items():
            assert match, output
            self.names[name] = match[1]

    def close(self) -> None:
        if self.devnet:
            self.devnet.kill()
            self.devnet.communicate()


@pytest.fixture
def shell(project: Path, forge: str, cast: str) -> Iterator[Shell]:
    shell = Shell(project, forge, cast)
    yield shell
    shell.close()


def test_from_npm_install_to_a_verified_answer(shell: Shell) -> None:
    for block in blocks("sh"):
        for line in block.strip().splitlines():
            shell.run(line)
    assert shell.ran[-1] == "verified"


def test_the_consumer_has_twenty_lines() -> None:
    (contract,) = blocks("solidity")
    own = contract[contract.index("contract DigitReader") :].strip().splitlines()
    assert len(own) <= 20


def test_the_terms_are_all_there() -> None:
    (request,) = [entry for entry in artifact("InferenceMarket")["abi"] if entry.get("name") == "request"]
    names = [part["name"] for part in request["inputs"][0]["components"]]
    assert len(names) == 8
    assert re.findall(r"^\| `(\w+)` \|", TEXT[: TEXT.index("## What it costs")], re.MULTILINE) == names


def test_the_readers_named_are_those_of_the_library() -> None:
    source = (ROOT / "contracts" / "src" / "Tensor.sol").read_text()
    functions = re.findall(r"function (\w+)\(bytes calldata data[^)]*\) internal", source)
    assert functions
    assert all(f"`{name}`" in TEXT for name in functions)
