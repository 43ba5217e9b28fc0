"""Every test that takes `chain` runs on the embedded chain, a devnet process, and anvil under two sets of rules."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import nodes_tools
import pytest

from opml.chain import Chain, connect

ANVILS = {"anvil-prague": nodes_tools.PRAGUE, "anvil-osaka": nodes_tools.OSAKA}


@pytest.fixture(
    scope="module",
    params=["embedded", "devnet", *(pytest.param(name, marks=pytest.mark.node) for name in ANVILS)],
)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with ExitStack() as stack:
        url: str | None = None
        if request.param == "devnet":
            url = stack.enter_context(nodes_tools.devnet(tmp_path_factory.mktemp("devnet")))["url"]
        elif request.param in ANVILS:
            url = stack.enter_context(nodes_tools.anvil(*ANVILS[request.param]))
        yield stack.enter_context(connect(url))


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder: Path = tmp_path_factory.mktemp("devnet")
    with nodes_tools.devnet(folder) as running:
        yield running
