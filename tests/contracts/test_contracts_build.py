"""What is published is what the sources say, and the numbers are those of the machine."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from contracts_evm import ARTIFACTS, artifact

from vm.alu import OPERATIONS

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "contracts" / "src").glob("*.sol"))
CODE_LIMIT = 24_576  # EIP-170


def test_artifacts_equal_a_rebuild(build, tmp_path):
    build("--out", str(tmp_path))
    rebuilt = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert rebuilt.keys() == {file.name for file in ARTIFACTS.glob("*.json")}
    for name, content in rebuilt.items():
        assert (ARTIFACTS / name).read_bytes() == content, f"{name} is stale: run `make contracts`"


def test_constants_are_generated():
    assert subprocess.run([sys.executable, ROOT / "contracts" / "generate.py", "--check"]).returncode == 0


def test_a_changed_constant_is_noticed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "contracts"))
    import generate

    stale = tmp_path / "Constants.sol"
    stale.write_text(generate.render().replace("SYSCALL_EXIT = 93", "SYSCALL_EXIT = 94"))
    monkeypatch.setattr(generate, "TARGET", stale)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1


@pytest.mark.parametrize(("name", "limit"), [("StepVerifier", 12_000), ("Opml", CODE_LIMIT)])
def test_code_size(name, limit):
    assert artifact(name)["deployedBytecodeSize"] < limit


def test_names_in_the_interface_are_unambiguous():
    for name in ("Opml", "StepVerifier"):
        for kind in ("function", "event", "error"):
            names = [entry["name"] for entry in artifact(name)["abi"] if entry["type"] == kind]
            assert len(names) == len(set(names)), f"{name}: {kind}"


def test_alu_has_the_names_of_the_definition():
    source = (ROOT / "contracts" / "src" / "Alu.sol").read_text()
    names = re.findall(r"function (\w+)\(uint64 x, uint64 y\)", source)
    assert sorted(names) == sorted(OPERATIONS)


def test_every_operation_has_its_proof():
    """For all inputs, by `make audit`; here only that none is left out."""
    source = (ROOT / "contracts" / "audit" / "AluProof.sol").read_text()
    assert set(re.findall(r"assert\W*Alu\.(\w+)\(", source)) >= {*OPERATIONS, "signExtend", "sext32"}


def test_compiler_is_pinned_and_the_lock_names_no_host():
    package = json.loads((ROOT / "contracts" / "package.json").read_text())
    lock = json.loads((ROOT / "contracts" / "package-lock.json").read_text())
    assert package["devDependencies"] == {"solc": "0.8.30"}
    assert lock["packages"]["node_modules/solc"]["version"] == "0.8.30"
    assert all("resolved" not in entry for entry in lock["packages"].values())


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: file.name)
def test_sources_are_safe_by_form(source):
    text = source.read_text()
    assert "tx.origin" not in text
    assert ".transfer(" not in text
    assert ".send(" not in text
    assert "delegatecall" not in text
    assert "assembly {" not in text, "assembly is memory-safe and says so"
    # Ether leaves each contract by one door, and guards never read the contract's own balance.
    assert text.count("{value:") == (source.name in ("Bonds.sol", "InferenceMarket.sol"))
    assert ".balance" not in text
    assert len(text.splitlines()) <= (500 if source.name == "IOpml.sol" else 320)
