import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from contracts_evm import Evm, address_of, artifact

CONTRACTS = Path(__file__).parents[2] / "contracts"


@pytest.fixture(scope="session")
def build():
    """A function that runs contracts/build.mjs with arguments; installs the pinned compiler on first use."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is not installed: the contract tests need Node.js 20 or newer with npm")
    if not (CONTRACTS / "node_modules" / "solc").exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=CONTRACTS, check=True)

    def run(*args: str) -> None:
        subprocess.run(["node", "build.mjs", *args], cwd=CONTRACTS, check=True, stdout=subprocess.DEVNULL)

    return run


@pytest.fixture(scope="session")
def harness(build):
    """The artifacts of contracts/test, by name; compiled again only after a source has changed."""
    digest = hashlib.sha256()
    for source in sorted([*CONTRACTS.glob("src/*.sol"), *CONTRACTS.glob("test/*.sol"), CONTRACTS / "build.mjs"]):
        digest.update(source.name.encode() + source.read_bytes())
    folder = CONTRACTS / "out" / digest.hexdigest()[:16]
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        build("--tests", str(fresh))
        with contextlib.suppress(OSError):  # another worker was first
            fresh.rename(folder)
    return lambda name: artifact(name, folder)


@pytest.fixture(scope="module")
def evm():
    machine = Evm()
    machine.fund(address_of("deployer"))
    return machine


@pytest.fixture
def deploy(evm, harness):
    """Deploys a contract of contracts/test and makes its interface known."""

    def deploy(name: str) -> bytes:
        built = harness(name)
        evm.learn(built)
        return evm.deploy(address_of("deployer"), built)

    return deploy


@pytest.fixture(scope="module")
def verifier(evm):
    return evm.deploy(address_of("deployer"), artifact("StepVerifier"))
