"""An Ethereum node in one process: py-evm under Prague's rules, a block for each transaction, every old state kept.

Blocks are deterministic: the same genesis, transactions and timestamps give the same hashes, so that a journal of the latter
two is the whole chain. Not safe for threads; the JSON-RPC layer holds the lock.
"""

import hashlib
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rlp
from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.consensus import ConsensusApplier, NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import InsufficientFunds, OutOfGas, Revert, VMError
from eth.vm.forks import PragueVM
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError

CHAIN_ID: Final = 31337
BLOCK_GAS: Final = 30_000_000
# EIP-7825; also what an embedded transaction is sent with.
TRANSACTION_GAS: Final = 1 << 24
GENESIS_TIME: Final = 1_767_225_600
DEV_BALANCE: Final = 10_000 * 10**18
_ETHER_TIP: Final = 10**9

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

    tx: SignedTransactionAPI
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
        return self.tx.hash


@dataclass(frozen=True)
class BlockRecord:
    """A block and the one transaction in it, if any."""

    block: BlockAPI
    transaction: TxRecord | None

    @property
    def header(self) -> BlockHeaderAPI:
        return self.block.header


@dataclass(frozen=True)
class Call:
    """A message to be run without being mined. `to=None` creates a contract; `gas=None` is all that a block has."""

    to: bytes | None
    data: bytes = b""
    sender: bytes = bytes(20)
    value: int = 0
    gas: int | None = None


class Node:
    """The chain's state and its blocks.

    `on_block(timestamp, raw transactions, block hash)` is called after each new block and `on_clock(offset)` when the clock
    was moved: what a journal needs.
    """

    def __init__(
        self,
        balances: Mapping[bytes, int],
        *,
        clock: Clock = frozen_clock,
        genesis_time: int = GENESIS_TIME,
        chain_id: int = CHAIN_ID,
    ) -> None:
        self.chain_id = chain_id
        self.clock = clock
        self.offset = 0
        self.on_block: Callable[[int, Sequence[bytes], bytes], None] = lambda *_: None
        self.on_clock: Callable[[int], None] = lambda _: None
        self._pinned: int | None = None
        kind = type(
            "OpmlChain",
            (MiningChain,),
            {
                "chain_id": chain_id,
                "vm_configuration": ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, PragueVM),)),
            },
        )
        genesis = {
            "difficulty": 0,
            "gas_limit": BLOCK_GAS,
            "timestamp": genesis_time,
            "nonce": bytes(8),
            "mix_hash": bytes(32),
        }
        state = {
            address: {"balance": wei, "nonce": 0, "code": b"", "storage": {}} for address, wei in balances.items()
        }
        self._chain: Any = kind.from_genesis(AtomicDB(MemoryDB()), genesis, state)  # type: ignore[attr-defined]
        self.blocks = [BlockRecord(self._chain.get_canonical_block_by_number(0), None)]
        self.transactions: dict[bytes, TxRecord] = {}
        self._numbers = {self.head.hash: 0}
        self._logs: list[LogRecord] = []
        self._logs_of: dict[bytes, list[LogRecord]] = {}

    # Blocks and time

    @property
    def head(self) -> BlockHeaderAPI:
        """The latest block's header."""
        return self.blocks[-1].header

    def number_of(self, block_hash: bytes) -> int | None:
        """A block's number by its hash; None if it is not ours."""
        return self._numbers.get(block_hash)

    def next_timestamp(self) -> int:
        """The timestamp of the next block, were it made now. Blocks' times strictly increase."""
        if self._pinned is not None:
            return self._pinned
        return max(self.head.timestamp + 1, self.clock() + self.offset)

    def increase_time(self, seconds: int) -> int:
        """Moves the clock forward; returns its offset in seconds."""
        self._set_offset(self.next_timestamp() + seconds - self.clock())
        return self.offset

    def set_next_timestamp(self, timestamp: int) -> None:
        """Fixes the next block's time, from which the clock then goes on."""
        if timestamp <= self.head.timestamp:
            raise NodeError(f"timestamp {timestamp} is not after the latest block's {self.head.timestamp}")
        self._set_offset(timestamp - self.clock())
        self._pinned = timestamp

    def _set_offset(self, offset: int) -> None:
        self.offset = offset
        self._pinned = None
        self.on_clock(offset)

    def pending_header(self, timestamp: int | None = None) -> BlockHeaderAPI:
        """The header of the next block before anything is in it."""
        parent = self.head
        header: BlockHeaderAPI = self._chain.create_header_from_parent(
            parent,
            timestamp=self.next_timestamp() if timestamp is None else timestamp,
            gas_limit=parent.gas_limit,
            # The randomness of the merged chain: any number will do, but it has to be the same after a restart.
            mix_hash=hashlib.sha256(parent.hash).digest(),
        )
        return header

    def mine(self, timestamp: int | None = None) -> BlockRecord:
        """Makes an empty block."""
        if timestamp is not None:
            self.set_next_timestamp(timestamp)
        header = self.pending_header()
        self._chain.header = header
        return self._seal(header, None)

    # Transactions

    def submit(self, raw: bytes, *, refuse_reverts: bool = False) -> TxRecord:
        """Puts a signed transaction into a block of its own.

        NodeError if it is invalid. One that reverts is mined as failed, like on any chain, or with `refuse_reverts` is not
        mined and raises NodeError with code 3 and the revert data.
        """
        tx = self._decode(raw)
        header = self.pending_header()
        self._chain.header = header
        vm = self._chain.get_vm(header)
        self._check(tx, vm.state, header)
        try:
            receipt, computation = vm.apply_transaction(header, tx)
        except ValidationError as error:
            raise NodeError(str(error)) from error
        if refuse_reverts and computation.is_error:
            raise revert_of(computation)
        vm.state.persist()
        filled = vm.add_receipt_to_header(header, receipt).copy(state_root=vm.state.state_root)
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), filled, (tx,), (receipt,))
        self._chain.header = block.header
        record = TxRecord(
            tx=tx,
            raw=raw,
            sender=tx.sender,
            block=header.block_number,
            succeeded=not computation.is_error,
            gas_used=receipt.gas_used,
            gas_price=vm.state.get_transaction_context(tx).gas_price,
            contract=None if tx.to else computation.msg.storage_address,
            logs=tuple(
                LogRecord(
                    log.address, tuple(t.to_bytes(32, "big") for t in log.topics), log.data, header.block_number, i, tx.hash
                )
                for i, log in enumerate(receipt.logs)
            ),
            bloom=receipt.bloom,
        )
        self._seal(header, record)
        return record

    def _seal(self, header: BlockHeaderAPI, transaction: TxRecord | None) -> BlockRecord:
        block = self._chain.mine_block(mix_hash=header.mix_hash)
        record = BlockRecord(block, transaction)
        self.blocks.append(record)
        self._numbers[block.hash] = block.number
        self._pinned = None
        if transaction is not None:
            self.transactions[transaction.hash] = transaction
            self._logs += transaction.logs
            for log in transaction.logs:
                self._logs_of.setdefault(log.address, []).append(log)
        self.on_block(header.timestamp, [transaction.raw] if transaction else [], block.hash)
        return record

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        if raw[:1] in (b"\x03", b"\x04"):
            raise NodeError(f"transactions of type {raw[0]} are not supported")
        try:
            tx = PragueVM.get_transaction_builder().decode(raw)
            tx.validate()
            _ = tx.sender
        except Exception as error:  # py-evm's decoders raise many kinds
            raise NodeError(f"invalid transaction: {error}") from error
        if tx.chain_id not in (None, self.chain_id):
            raise NodeError(f"invalid chain id for signer: have {tx.chain_id} want {self.chain_id}")
        return tx

    def _check(self, tx: SignedTransactionAPI, state: Any, header: BlockHeaderAPI) -> None:
        """What py-evm would refuse, in the words that clients know from geth."""
        if tx.hash in self.transactions:
            raise NodeError("already known")
        nonce = state.get_nonce(tx.sender)
        if tx.nonce != nonce:
            word = "low" if tx.nonce < nonce else "high"
            raise NodeError(f"nonce too {word}: next nonce {nonce}, tx nonce {tx.nonce}")
        if tx.gas > header.gas_limit:
            raise NodeError(f"exceeds block gas limit: {tx.gas} > {header.gas_limit}")
        if tx.gas < tx.intrinsic_gas:
            raise NodeError(f"intrinsic gas too low: have {tx.gas}, want {tx.intrinsic_gas}")
        if tx.max_fee_per_gas < header.base_fee_per_gas:
            raise NodeError(
                f"max fee per gas less than block base fee: {tx.max_fee_per_gas} < {header.base_fee_per_gas}"
            )
        need, have = tx.gas * tx.max_fee_per_gas + tx.value, state.get_balance(tx.sender)
        if have < need:
            raise NodeError(f"insufficient funds for gas * price + value: have {have} want {need}")

    # Reading

    def state(self, block: int | None = None) -> Any:
        """py-evm's state after a block; None is the latest, with the time of the next block."""
        header = self.pending_header() if block is None else self.blocks[block].header
        return self._chain.get_vm(header).state

    def call(self, call: Call, block: int | None = None) -> ComputationAPI:
        """Runs a message on the state after a block and forgets what it changed.

        NodeError if it reverts (code 3), runs out of gas, or sends more than the sender has.
        """
        computation = self._run(call, block)[1]
        if computation.is_error:
            raise revert_of(computation)
        return computation

    def estimate_gas(self, call: Call) -> int:
        """A gas limit that is enough, from one execution: what it used, plus what a call nested in it holds back (1/64)."""
        transaction, computation = self._run(call, None)
        if computation.is_error:
            raise revert_of(computation)
        used: int = transaction.intrinsic_gas + computation.get_gas_used()
        zeros = call.data.count(0)
        floor = 21_000 + 10 * (zeros + 4 * (len(call.data) - zeros))
        if call.data or call.to is None or used > 21_000:
            used += used // 32 + 2_500
        return min(max(used, floor), BLOCK_GAS)

    def _run(self, call: Call, block: int | None) -> tuple[Any, ComputationAPI]:
        state = self.state(block)
        gas = min(call.gas or BLOCK_GAS, BLOCK_GAS)
        unsigned = PragueVM.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=state.get_nonce(call.sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=state.execution_context.base_fee_per_gas,
            gas=gas,
            to=Address(call.to or b""),
            value=call.value,
            data=call.data,
            access_list=(),
        )
        transaction: Any = SpoofTransaction(unsigned, from_=call.sender)
        if gas < transaction.intrinsic_gas:
            raise NodeError(f"intrinsic gas too low: have {gas}, want {transaction.intrinsic_gas}")
        message = Message(
            gas=gas - transaction.intrinsic_gas,
            to=Address(call.to or b""),
            sender=Address(call.sender),
            value=call.value,
            data=call.data if call.to else b"",
            code=state.get_code(call.to) if call.to else call.data,
            create_address=None if call.to else hashlib.sha256(call.sender).digest()[:20],
        )
        return transaction, state.get_transaction_executor().build_computation(message, transaction)

    def logs(
        self, first: int, last: int, addresses: Sequence[bytes] | None, topics: Sequence[Sequence[bytes] | None]
    ) -> list[LogRecord]:
        """Logs of blocks first..last by address and topics; None matches anything."""
        if addresses is None:
            sources = [self._logs]
        else:
            sources = [self._logs_of.get(address, []) for address in dict.fromkeys(addresses)]
        found = []
        for source in sources:
            for log in source[bisect_left(source, first, key=lambda log: log.block) :]:
                if log.block > last:
                    break
                if len(log.topics) >= len(topics) and all(
                    wanted is None or topic in wanted for wanted, topic in zip(topics, log.topics, strict=False)
                ):
                    found.append(log)
        return sorted(found, key=lambda log: (log.block, log.index)) if len(sources) > 1 else found

    def size_of(self, block: BlockAPI) -> int:
        """Bytes of a block's encoding."""
        return len(rlp.encode(block))


def revert_of(computation: ComputationAPI) -> NodeError:
    """The JSON-RPC error of a failed execution."""
    error: VMError = computation.error
    if isinstance(error, Revert):
        return NodeError("execution reverted", 3, computation.output)
    if isinstance(error, OutOfGas):
        return NodeError("out of gas")
    if isinstance(error, InsufficientFunds):
        return NodeError(f"insufficient funds for transfer: {error}")
    return NodeError(f"invalid opcode: {type(error).__name__}: {error}")
