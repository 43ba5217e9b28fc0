"""Every test that takes `chain` runs on both back ends; the devnet's clock stands, so that no test depends on time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount

from opml.chain import Chain, OpmlClient, connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.chain.devnet import Devnet, background
from opml.chain.records import frozen_clock


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[Devnet]:
    with background(tmp_path, clock=frozen_clock) as running:
        yield running


@pytest.fixture(params=["embedded", "devnet"])
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    url = None if request.param == "embedded" else request.getfixturevalue("devnet").url
    with connect(url) as connected:
        yield connected


@pytest.fixture
def client(chain: Chain) -> OpmlClient:
    return OpmlClient(chain, ensure_dev_contract(chain))


@pytest.fixture(scope="session")
def accounts() -> tuple[LocalAccount, ...]:
    return dev_accounts()
