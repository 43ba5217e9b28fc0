"""A toy node with what matters to an outbox: a pool, a base fee, blocks that vanish, answers that are bad or get lost.

There are no contracts. A transaction to the account 0x00…bad reverts from the block on that `refuses_from` names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rlp
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from opml.chain.base import Chain
from opml.chain.fees import FeePolicy
from opml.chain.hexa import checksum, from_hex, from_quantity, quantity, to_hex
from opml.chain.outbox import Outbox
from opml.chain.rpcoutbox import RpcOutbox
from opml.chain.units import GWEI
from opml.errors import ChainError, RevertError, UnreachableError

BAD = checksum(bytes(18) + b"\x0b\xad")
BLOCK_SECONDS = 12


@dataclass(frozen=True)
class Tx:
    hash: str
    sender: str
    nonce: int
    tip: int
    limit: int
    to: str
    value: int

    def form(self) -> dict[str, Any]:
        return {"hash": self.hash, "from": self.sender, "nonce": quantity(self.nonce), "to": self.to}


@dataclass
class Block:
    number: int
    hash: str
    base_fee: int
    txs: list[Tx]
    nonces: dict[str, int]

    def form(self, full: bool) -> dict[str, Any]:
        return {
            "number": quantity(self.number),
            "hash": self.hash,
            "timestamp": quantity(1000 + BLOCK_SECONDS * self.number),
            "gasLimit": quantity(30_000_000),
            "baseFeePerGas": quantity(self.base_fee),
            "transactions": [tx.form() if full else tx.hash for tx in self.txs],
        }


@dataclass
class Faults:
    """What goes wrong at the moment."""

    away: bool = False
    lose_request: bool = False
    lose_answer: bool = False
    hide_receipts: bool = False
    lag: int = 0
    pool_full: bool = False


@dataclass
class Pool(Chain):
    """`now` is a clock that only moves with blocks and by `sleep`; `on_sleep` is called each time somebody waits."""

    base_fee: int = GWEI
    blocks: list[Block] = field(default_factory=list)
    waiting: dict[str, dict[int, Tx]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    refuses_from: int = 1 << 62
    now: float = 0.0
    replacements: int = 0
    on_sleep: Callable[[], None] = lambda: None
    policy: FeePolicy = field(default_factory=FeePolicy)
    confirmations: int = 1
    forks: int = 0
    supports_pending: bool = True

    def __post_init__(self) -> None:
        self.blocks.append(Block(0, to_hex(keccak(b"genesis")), self.base_fee, [], {}))

    # The world's side

    def mine(self, only: int | None = None) -> Block:
        """A block with what is waiting and pays enough; of that, at most `only` transactions."""
        nonces = dict(self.blocks[-1].nonces)
        chosen: list[Tx] = []
        for sender, queue in self.waiting.items():
            nonce = nonces.get(sender, 0)
            for stale in [number for number in queue if number < nonce]:
                del queue[stale]
            while nonce in queue and queue[nonce].limit >= self.base_fee and (only is None or len(chosen) < only):
                chosen.append(queue.pop(nonce))
                nonce += 1
            nonces[sender] = nonce
        number = len(self.blocks)
        text = f"{number} {self.forks} {[tx.hash for tx in chosen]}"
        self.blocks.append(Block(number, to_hex(keccak(text.encode())), self.base_fee, chosen, nonces))
        self.now += BLOCK_SECONDS
        return self.blocks[-1]

    def reorganise(self, depth: int, *, lose: bool) -> None:
        """The last blocks vanish; their transactions wait again, or are lost too."""
        self.forks += 1
        for _ in range(min(depth, len(self.blocks) - 1)):
            for tx in self.blocks.pop().txs:
                if not lose:
                    self.waiting.setdefault(tx.sender, {})[tx.nonce] = tx
        for _ in range(depth):
            self.mine(only=0)

    def drop(self) -> None:
        self.waiting.clear()

    def mined(self) -> list[Tx]:
        return [tx for block in self.blocks for tx in block.txs]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    # The node's side

    def request(self, method: str, *params: Any) -> Any:
        if self.faults.away:
            raise UnreachableError("nobody answers")
        return getattr(self, method)(*params)

    def send_raw(self, raw: bytes) -> None:
        if self.faults.lose_request:
            raise UnreachableError("cut off")
        super().send_raw(raw)
        if self.faults.lose_answer:
            raise UnreachableError("cut off")

    def eth_sendRawTransaction(self, raw: str) -> str:
        tx = decode(from_hex(raw))
        if any(tx.hash == other.hash for other in [*self.mined(), *self.waiting.get(tx.sender, {}).values()]):
            raise ChainError("the node refused: already known")
        if tx.nonce < self.blocks[-1].nonces.get(tx.sender, 0):
            raise ChainError("the node refused: nonce too low")
        queue = self.waiting.setdefault(tx.sender, {})
        old = queue.get(tx.nonce)
        if old is None and self.faults.pool_full:
            raise ChainError("the node refused: txpool is full")
        if old is not None:
            if min(tx.limit * 100 - old.limit * 110, tx.tip * 100 - old.tip * 110) < 0:
                raise ChainError("the node refused: replacement transaction underpriced")
            self.replacements += 1
        queue[tx.nonce] = tx
        return tx.hash

    def _seen(self) -> list[Block]:
        return self.blocks[: max(1, len(self.blocks) - self.faults.lag)]

    def _block(self, tag: str) -> Block:
        if tag in ("latest", "pending"):
            return self._seen()[-1]
        if from_quantity(tag) >= len(self._seen()):
            raise ChainError("the node refused: header not found")
        return self._seen()[from_quantity(tag)]

    def eth_chainId(self) -> str:
        return "0x1"

    def eth_blockNumber(self) -> str:
        return quantity(self._seen()[-1].number)

    def eth_getBlockByNumber(self, tag: str, full: bool) -> Any:
        try:
            return self._block(tag).form(full)
        except ChainError:
            return None

    def eth_getTransactionCount(self, address: str, tag: str) -> str:
        nonce = self._block(tag).nonces.get(address, 0)
        while tag == "pending" and self.supports_pending and nonce in self.waiting.get(address, {}):
            nonce += 1
        return quantity(nonce)

    def eth_getTransactionByHash(self, tx_hash: str) -> Any:
        known = [*self.mined(), *(tx for queue in self.waiting.values() for tx in queue.values())]
        return next((tx.form() for tx in known if tx.hash == tx_hash), None)

    def eth_getTransactionReceipt(self, tx_hash: str) -> Any:
        for block in [] if self.faults.hide_receipts else self._seen():
            for tx in block.txs:
                if tx.hash == tx_hash:
                    return {
                        "transactionHash": tx.hash,
                        "blockNumber": quantity(block.number),
                        "blockHash": block.hash,
                        "status": quantity(not self._refuses(tx.to, block.number)),
                        "gasUsed": quantity(21_000),
                        "effectiveGasPrice": quantity(min(tx.limit, block.base_fee + tx.tip)),
                        "logs": [],
                    }
        return None

    def _refuses(self, to: str | None, number: int) -> bool:
        return to == BAD and number >= self.refuses_from

    def eth_estimateGas(self, message: dict[str, Any], tag: str) -> str:
        if self._refuses(message.get("to"), self._block(tag).number + 1):
            raise RevertError("TooLate")
        return quantity(21_000)

    def eth_call(self, message: dict[str, Any], tag: str) -> str:
        self.eth_estimateGas(message, tag)
        return "0x"

    def eth_feeHistory(self, *_: Any) -> Any:
        return {"reward": [[quantity(GWEI)]] * 5}

    # The client's side

    def client(self, account: LocalAccount) -> RpcOutbox:
        """A new outbox, as after a restart."""
        return RpcOutbox(
            self, account, self.policy, confirmations=self.confirmations, clock=lambda: self.now, sleep=self.sleep
        )

    def _new_outbox(self, account: LocalAccount) -> Outbox:
        return self.client(account)

    @property
    def web3(self) -> Any:
        raise NotImplementedError


def decode(raw: bytes) -> Tx:
    """A signed EIP-1559 transaction."""
    assert raw[0] == 2
    _, nonce, tip, limit, _, to, value, *_ = rlp.decode(raw[1:])
    return Tx(
        to_hex(keccak(raw)),
        Account.recover_transaction(raw),
        int.from_bytes(nonce, "big"),
        int.from_bytes(tip, "big"),
        int.from_bytes(limit, "big"),
        checksum(to),
        int.from_bytes(value, "big"),
    )
