"""The same games in front of two courts: the referee in Python, and the contract on the embedded chain."""

from collections.abc import Iterator
from typing import Any

import pytest
from dispute_bench import Bench, chain_bench, referee_bench


@pytest.fixture(scope="session")
def chain() -> Any:
    """One chain for all tests: it is the contract's state that counts, and every claim is its own."""
    from opml.chain.embedded import EmbeddedChain

    return EmbeddedChain()


@pytest.fixture(params=["referee", "chain"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A court with the tiny model registered, one-phase and two-phase, and two accounts; its books must balance."""
    made = referee_bench() if request.param == "referee" else chain_bench(request.getfixturevalue("chain"))
    yield made
    made.check_books()
