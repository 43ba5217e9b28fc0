"""Fixtures that compile: the build itself, and the contracts that only tests use."""

import fcntl
import hashlib
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from contracts_evm import artifact

CONTRACTS = Path(__file__).parents[2] / "contracts"


@contextmanager
def alone():
    """One of the workers that run the tests side by side at a time."""
    with (CONTRACTS / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def build():
    """A function that runs contracts/build.mjs with arguments; installs the pinned compiler on first use."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is not installed: the contract tests need Node.js 20 or newer with npm")
    with alone():
        if not (CONTRACTS / "node_modules" / "solc" / "package.json").exists():
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
    with alone():
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            build("--tests", str(fresh))
            fresh.rename(folder)
    return lambda name: artifact(name, folder)
