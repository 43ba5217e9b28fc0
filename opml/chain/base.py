"""The interface to a chain. A back end says how one JSON-RPC request is answered; the rest is the same for all."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from opml.chain.hexa import address_bytes, checksum, from_hex, from_quantity, quantity, to_hex
from opml.chain.outbox import Outbox
from opml.errors import ChainError, UnreachableError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

Topic = bytes | Sequence[bytes] | None


@dataclass(frozen=True)
class Log:
    """One event as the chain keeps it: undecoded topics (32 bytes each) and data.

    `timestamp` is its block's; None where the node does not say it with the log.
    """

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: bytes
    timestamp: int | None
    index: int
    tx_hash: bytes


@dataclass(frozen=True)
class Receipt:
    """A mined transaction that succeeded. `cost` is what the sender paid for gas, in wei."""

    tx_hash: bytes
    block: int
    timestamp: int
    gas_used: int
    cost: int
    contract: str | None
    logs: tuple[Log, ...]


class Chain(ABC):
    """An Ethereum chain.

    Everything raises ChainError where the node cannot be reached or refuses, and RevertError where a contract reverts.
    Addresses are hexadecimal text in any letter case; those that are returned are checksummed.
    """

    @abstractmethod
    def request(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC request, as plain JSON values."""

    @abstractmethod
    def _new_outbox(self, account: "LocalAccount") -> Outbox:
        """An outbox for an account that has none yet."""

    def outbox(self, account: "LocalAccount") -> Outbox:
        """The account's outbox on this chain: always the same, so that they do not disturb each other."""
        with self._outbox_lock:
            if account.address not in self._outboxes:
                self._outboxes[account.address] = self._new_outbox(account)
            return self._outboxes[account.address]

    def transact(
        self, account: "LocalAccount", to: str | None, data: bytes = b"", value: int = 0, gas: int | None = None
    ) -> Receipt:
        """Signs and sends a transaction and waits until it is mined. `to=None` creates a contract.

        `gas` is the limit; by default the back end finds a good one. RevertError if the contract reverts: then nothing
        is sent, or it was mined as failed.
        """
        box = self.outbox(account)
        return box.wait(box.send(to, data, value, gas=gas))

    @property
    @abstractmethod
    def web3(self) -> "Web3":
        """The same chain as a web3.py object, for whoever wants more of it than this interface has."""

    @cached_property
    def _outboxes(self) -> dict[str, Outbox]:
        return {}

    @cached_property
    def _outbox_lock(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def chain_id(self) -> int:
        """EIP-155 number of the chain."""
        return from_quantity(self.request("eth_chainId"))

    def time(self) -> int:
        """Chain time in seconds: what the next block's timestamp would be now."""
        try:
            block = self.request("eth_getBlockByNumber", "pending", False)
        except ChainError:
            block = None  # some nodes know no pending block, and say so in various ways
        return from_quantity((block or self.block("latest"))["timestamp"])

    def advance(self, seconds: int) -> None:
        """Moves the chain's time on and mines a block; only development chains can."""
        self.request("evm_increaseTime", quantity(seconds))
        self.request("evm_mine")

    def block_number(self) -> int:
        """Number of the latest block."""
        return from_quantity(self.request("eth_blockNumber"))

    def block(self, block: int | str = "latest") -> Mapping[str, Any]:
        """A block without its transactions, in JSON form."""
        found = self.request("eth_getBlockByNumber", _tag(block), False)
        if found is None:
            raise ChainError(f"the chain has no block {block}")
        return found  # type: ignore[no-any-return]

    def balance(self, address: str) -> int:
        """Balance in wei."""
        return from_quantity(self.request("eth_getBalance", checksum(address), "latest"))

    def nonce(self, address: str) -> int:
        """Number of the account's next transaction, after those that wait to be mined."""
        return from_quantity(self.request("eth_getTransactionCount", checksum(address), "pending"))

    def code(self, address: str) -> bytes:
        """Runtime code of a contract; empty where there is none."""
        return from_hex(self.request("eth_getCode", checksum(address), "latest"))

    def call(
        self, to: str, data: bytes, *, sender: str | None = None, value: int = 0, block: int | str = "latest"
    ) -> bytes:
        """Runs a call without changing anything; returns its output."""
        message: dict[str, Any] = {"to": checksum(to), "data": to_hex(data)}
        if sender is not None:
            message["from"] = checksum(sender)
        if value:
            message["value"] = quantity(value)
        return from_hex(self.request("eth_call", message, _tag(block)))

    def logs(
        self, address: str, topics: Sequence[Topic] = (), from_block: int = 0, to_block: int | None = None
    ) -> list[Log]:
        """Logs of a contract in order. A topic is a value, several of which any may match, or None for any.

        A node that refuses a range of blocks is asked for its halves, down to single blocks, and of a single block for
        the receipts: whoever floods a contract with events must not blind those who follow it.
        """
        last = self.block_number() if to_block is None else to_block
        query = {"address": checksum(address), "topics": [_topic(topic) for topic in topics]}
        found: list[Log] = []
        ranges = [(from_block, last)]
        while ranges:
            first, last = ranges.pop()
            if first > last:
                continue
            try:
                answer = self.request("eth_getLogs", query | {"fromBlock": quantity(first), "toBlock": quantity(last)})
            except UnreachableError:
                raise
            except ChainError as refusal:
                if first == last:
                    found += self._logs_of_block(first, query, refusal)
                else:
                    middle = (first + last) // 2
                    ranges += [(middle + 1, last), (first, middle)]
                continue
            found += [_log(item) for item in answer]
        return found

    def _logs_of_block(self, number: int, query: Mapping[str, Any], refusal: ChainError) -> list[Log]:
        """What `eth_getLogs` would say of one block, from its receipts; `refusal` is why it does not."""
        try:
            receipts = self.request("eth_getBlockReceipts", quantity(number))
        except ChainError:
            raise refusal from None
        logs = [item for receipt in receipts or () for item in receipt["logs"]]
        return [_log(item) for item in logs if _matches(item, query)]

    def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the node, once: where the node does not answer, it may still have taken it."""
        self.request("eth_sendRawTransaction", to_hex(raw))

    def receipt(self, tx_hash: bytes) -> Mapping[str, Any] | None:
        """A transaction's receipt in JSON form; None while it is not mined."""
        return self.request("eth_getTransactionReceipt", to_hex(tx_hash))  # type: ignore[no-any-return]

    def close(self) -> None:  # noqa: B027 (most back ends hold nothing)
        """Lets go of connections; a chain is also a context manager that does so."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receipt(self, answer: Mapping[str, Any]) -> Receipt:
        number = from_quantity(answer["blockNumber"])
        gas_used = from_quantity(answer["gasUsed"])
        contract = answer.get("contractAddress")
        return Receipt(
            tx_hash=from_hex(answer["transactionHash"]),
            block=number,
            timestamp=from_quantity(self.block(number)["timestamp"]),
            gas_used=gas_used,
            cost=gas_used * from_quantity(answer.get("effectiveGasPrice", 0)),
            contract=checksum(contract) if contract else None,
            logs=tuple(_log(item) for item in answer["logs"]),
        )


def _tag(block: int | str) -> str:
    return quantity(block) if isinstance(block, int) else block


def _topic(topic: Topic) -> Any:
    if topic is None:
        return None
    return to_hex(topic) if isinstance(topic, bytes) else [to_hex(item) for item in topic]


def _matches(item: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    wanted, topics = query["topics"], [topic.lower() for topic in item["topics"]]
    return (
        item["address"].lower() == query["address"].lower()
        and len(topics) >= len(wanted)
        and all(want is None or have in want for want, have in zip(wanted, topics, strict=False))
    )


def _log(item: Mapping[str, Any]) -> Log:
    return Log(
        address=checksum(address_bytes(item["address"])),
        topics=tuple(from_hex(topic) for topic in item["topics"]),
        data=from_hex(item["data"]),
        block=from_quantity(item["blockNumber"]),
        block_hash=from_hex(item["blockHash"]),
        timestamp=from_quantity(item["blockTimestamp"]) if item.get("blockTimestamp") else None,
        index=from_quantity(item["logIndex"]),
        tx_hash=from_hex(item["transactionHash"]),
    )
