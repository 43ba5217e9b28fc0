from collections.abc import Iterator

import pytest
from contracts_compiler import build, harness
from market_world import World

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
