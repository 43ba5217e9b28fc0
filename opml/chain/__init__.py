"""The only part of opml that talks to a chain.

`connect(url)` gives a `Chain`: an embedded one in this process, or any JSON-RPC node. `OpmlClient` is the contract
on it. The heavy libraries (web3, py-evm, eth-account) are imported only when a function needs them.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from opml.chain.base import Chain, Log, Receipt
from opml.chain.connection import connect
from opml.chain.deploy import Deployment, deploy, dev_contract, ensure_dev_contract
from opml.chain.outbox import Outbox, Outcome

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient
    from opml.chain.ledger import Ledger

# Ids and commitments are hashed with compiled kernels, whose library takes a while to import.
_HOMES = {"Ledger": "opml.chain.ledger", "OpmlClient": "opml.chain.client"}

__all__ = [
    "Chain",
    "Deployment",
    "Ledger",
    "Log",
    "OpmlClient",
    "Outbox",
    "Outcome",
    "Receipt",
    "connect",
    "deploy",
    "dev_contract",
    "ensure_dev_contract",
]

# The fastest keccak for the EVM; the library's own choice would be a slower one. Read at the first hash.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'opml.chain' has no attribute {name!r}")
