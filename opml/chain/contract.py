"""A deployed contract by its ABI: calls, transactions and events."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opml.chain.abi import Abi, Event
from opml.chain.base import Chain, Log, Receipt, Topic
from opml.chain.hexa import checksum
from opml.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


class Contract:
    """The contract at `address`, whose events begin at `from_block`. Raises ChainError if there is none."""

    def __init__(self, chain: Chain, address: str, abi: Abi, from_block: int = 0) -> None:
        self.chain = chain
        self.abi = abi
        self.from_block = from_block
        try:
            self.address = checksum(address)
        except ValueError:
            raise ChainError(f"{address!r} is not an address", "20 bytes in hexadecimal, as 0x…") from None
        if not chain.code(self.address):
            raise ChainError(
                f"there is no contract at {self.address} on chain {chain.chain_id}", "check the address and the chain"
            )

    def read(self, name: str, *args: Any) -> Any:
        """The result of a view, as `Abi.decode_result` gives it."""
        return self.abi.decode_result(name, self.chain.call(self.address, self.abi.encode_call(name, *args)))

    def send(self, account: "LocalAccount", name: str, *args: Any, value: int = 0) -> Receipt:
        """A transaction, mined. Raises RevertError with the custom error's name if the contract refuses."""
        return self.chain.transact(account, self.address, self.abi.encode_call(name, *args), value)

    def events(
        self, names: str | Sequence[str] | None, *topics: Topic, from_block: int | None = None
    ) -> list[tuple[Log, Event]]:
        """Events of these names (None: of all) with these indexed arguments, in order."""
        wanted: Topic = None
        if names is not None:
            wanted = [self.abi.topic(name) for name in ([names] if isinstance(names, str) else names)]
        first = self.from_block if from_block is None else max(from_block, self.from_block)
        return self.decoded(self.chain.logs(self.address, [wanted, *topics], first))

    def decoded(self, logs: Sequence[Log]) -> list[tuple[Log, Event]]:
        """This contract's events among logs."""
        pairs = [(log, self.abi.decode_event(log.topics, log.data)) for log in logs if log.address == self.address]
        return [(log, event) for log, event in pairs if event is not None]

    def event_of(self, receipt: Receipt, name: str) -> Mapping[str, Any]:
        """The first event of this name in a transaction."""
        for _, event in self.decoded(receipt.logs):
            if event.name == name:
                return event.args
        raise ChainError(f"transaction 0x{receipt.tx_hash.hex()} has no event {name}")


def address_topic(address: str | None) -> bytes | None:
    """An address as a topic; None for any."""
    return None if address is None else bytes(12) + bytes.fromhex(checksum(address)[2:])
