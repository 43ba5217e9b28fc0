import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts_compiler import build, harness
from market_world import World

ROOT = Path(__file__).parents[2]

__all__ = ["build", "harness"]


@pytest.fixture(scope="session")
def deployed() -> World:
    return World()


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    """The contracts as they were deployed: what a test does is undone."""
    with deployed.undone():
        yield deployed


@pytest.fixture
def consumer(world: World, harness) -> bytes:
    """A contract that asks, and is called back."""
    built = harness("MoodyConsumer")
    world.evm.learn(built)
    return world.evm.deploy(world.stranger, built)


@pytest.fixture(scope="session")
def forge() -> str:
    return foundry("forge", ROOT / "contracts")


@pytest.fixture(scope="session")
def cast() -> str:
    return foundry("cast", ROOT / "tests" / "nodes")


@pytest.fixture(scope="session")
def anvil() -> str:
    return foundry("anvil", ROOT / "tests" / "nodes")


def foundry(name: str, project: Path) -> str:
    """A tool of Foundry: from npm, as the lock file has it, or, where npm has none for this computer, on PATH."""
    tool = project / "node_modules" / "@foundry-rs" / f"{name}-linux-amd64" / "bin" / name
    with (project / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not tool.exists() and shutil.which("npm"):
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=project, check=True)
    found = str(tool) if tool.exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: npm has it for x86-64 Linux; elsewhere put Foundry 1.7 on PATH")
    return found
