"""The node's parameters and records: clocks, errors, mined blocks, transactions and logs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from opml.chain.hexa import to_hex
from opml.chain.units import ETHER

CHAIN_ID: Final = 31337
BLOCK_GAS: Final = 30_000_000
# EIP-7825; also what an embedded transaction is sent with.
TRANSACTION_GAS: Final = 1 << 24
GENESIS_TIME: Final = 1_767_225_600
DEV_BALANCE: Final = 10_000 * ETHER

# py-evm's own hints leave half of a header and of a transaction optional: no help in checking anything.
Header = Any
Block = Any
Transaction = Any
Computation = Any

Clock = Callable[[], int]


def wall_clock() -> int:
    """Seconds of the computer's clock."""
    return int(time.time())


def frozen_clock() -> int:
    """A clock that stands: chain time moves one second a block, and by what is asked for."""
    return 0


class NodeError(Exception):
    """A refusal, as the JSON-RPC error that it becomes; `data` is revert data."""

    def __init__(self, message: str, code: int = -32000, data: bytes | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """The error member of a JSON-RPC answer."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        return body if self.data is None else body | {"data": to_hex(self.data)}


@dataclass(frozen=True)
class LogRecord:
    """A log with its place in the chain; `index` counts within the block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int
    tx_hash: bytes


@dataclass(frozen=True)
class TxRecord:
    """A mined transaction with its receipt."""

    tx: Transaction
    raw: bytes
    sender: bytes
    block: int
    succeeded: bool
    gas_used: int
    gas_price: int
    contract: bytes | None
    logs: tuple[LogRecord, ...]
    bloom: int

    @property
    def hash(self) -> bytes:
        return bytes(self.tx.hash)


@dataclass(frozen=True)
class BlockRecord:
    """A block and the one transaction in it, if any."""

    block: Block
    transaction: TxRecord | None

    @property
    def header(self) -> Header:
        return self.block.header


@dataclass(frozen=True)
class Call:
    """A message to be run without being mined. `to=None` creates a contract; `gas=None` is all that a block has."""

    to: bytes | None
    data: bytes = b""
    sender: bytes = bytes(20)
    value: int = 0
    gas: int | None = None
