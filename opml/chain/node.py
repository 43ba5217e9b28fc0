"""An Ethereum node in one process: py-evm under Prague's rules, a block for each transaction, every old state kept.

Blocks are deterministic: the same genesis, transactions and timestamps give the same hashes, so that a journal of the
latter two is the whole chain. Not safe for threads; the JSON-RPC layer holds the lock.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import rlp
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import InsufficientFunds, OutOfGas, Revert, VMError
from eth.vm.forks.prague import PragueVM
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from opml.chain.logindex import LogIndex
from opml.chain.records import (
    BLOCK_GAS,
    CHAIN_ID,
    GENESIS_TIME,
    Block,
    BlockRecord,
    Call,
    Clock,
    Computation,
    Header,
    LogRecord,
    NodeError,
    Transaction,
    TxRecord,
    frozen_clock,
)

# Where a simulated creation puts its contract.
_SIMULATED: Final = Address(hashlib.sha256(b"opml simulated contract").digest()[:20])


class Node:
    """The chain's state and its blocks.

    `on_block(timestamp, raw transactions, block hash)` is called after each new block and `on_clock(offset)` when the
    clock was moved: what a journal needs.
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
        state = {address: {"balance": wei, "nonce": 0, "code": b"", "storage": {}} for address, wei in balances.items()}
        self._chain: Any = kind.from_genesis(AtomicDB(MemoryDB()), genesis, state)  # type: ignore[attr-defined]
        self.blocks = [BlockRecord(self._chain.get_canonical_block_by_number(0), None)]
        self.transactions: dict[bytes, TxRecord] = {}
        self._numbers: dict[bytes, int] = {self.head.hash: 0}
        self.logs = LogIndex()

    # Blocks and time

    @property
    def head(self) -> Header:
        """The latest block's header."""
        return self.blocks[-1].header

    def number_of(self, block_hash: bytes) -> int | None:
        """A block's number by its hash; None if it is not ours."""
        return self._numbers.get(block_hash)

    def next_timestamp(self) -> int:
        """The timestamp of the next block, were it made now. Blocks' times strictly increase."""
        if self._pinned is not None:
            return self._pinned
        latest: int = self.head.timestamp
        return max(latest + 1, self.clock() + self.offset)

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

    def pending_header(self, timestamp: int | None = None) -> Header:
        """The header of the next block before anything is in it."""
        parent = self.head
        return self._chain.create_header_from_parent(
            parent,
            timestamp=self.next_timestamp() if timestamp is None else timestamp,
            gas_limit=parent.gas_limit,
            # The randomness of the merged chain: any number will do, but it has to be the same after a restart.
            mix_hash=hashlib.sha256(parent.hash).digest(),
        )

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

        NodeError if it is invalid. One that reverts is mined as failed, like on any chain, or with `refuse_reverts` is
        not mined and raises NodeError with code 3 and the revert data.
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
                LogRecord(log.address, _words(log.topics), log.data, header.block_number, index, tx.hash)
                for index, log in enumerate(receipt.logs)
            ),
            bloom=receipt.bloom,
        )
        self._seal(header, record)
        return record

    def _seal(self, header: Header, transaction: TxRecord | None) -> BlockRecord:
        block = self._chain.mine_block(mix_hash=header.mix_hash)
        record = BlockRecord(block, transaction)
        self.blocks.append(record)
        self._numbers[block.hash] = block.number
        self._pinned = None
        if transaction is not None:
            self.transactions[transaction.hash] = transaction
            self.logs.add(transaction.logs)
        self.on_block(header.timestamp, [transaction.raw] if transaction else [], block.hash)
        return record

    def _decode(self, raw: bytes) -> Transaction:
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

    def _check(self, tx: Transaction, state: Any, header: Header) -> None:
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

    def call(self, call: Call, block: int | None = None) -> Computation:
        """Runs a message on the state after a block and forgets what it changed.

        NodeError if it reverts (code 3), runs out of gas, or sends more than the sender has.
        """
        computation = self._run(call, block)[1]
        if computation.is_error:
            raise revert_of(computation)
        return computation

    def estimate_gas(self, call: Call) -> int:
        """A gas limit that is enough: what one execution used, plus what a nested call holds back (1/64).

        Who asks how much gas is left wants more than he uses: the limit is tried, and doubled where it fails.
        """
        transaction, computation = self._run(call, None)
        if computation.is_error:
            raise revert_of(computation)
        used: int = transaction.intrinsic_gas + computation.get_gas_used()
        zeros = call.data.count(0)
        floor = 21_000 + 10 * (zeros + 4 * (len(call.data) - zeros))
        if call.data or call.to is None or used > 21_000:
            used += used // 32 + 2_500
        limit = min(max(used, floor), BLOCK_GAS)
        while limit < BLOCK_GAS and self._run(replace(call, gas=limit), None)[1].is_error:
            limit = min(2 * limit, BLOCK_GAS)
        return limit

    def _run(self, call: Call, block: int | None) -> tuple[Any, Computation]:
        state = self.state(block)
        gas = min(call.gas or BLOCK_GAS, BLOCK_GAS)
        builder: Any = PragueVM.get_transaction_builder()
        unsigned = builder.new_unsigned_dynamic_fee_transaction(
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
        place: dict[str, Any] = (
            {"to": call.to, "data": call.data, "code": state.get_code(call.to)}
            if call.to
            else {"to": b"", "data": b"", "code": call.data, "create_address": _SIMULATED}
        )
        message = Message(gas=gas - transaction.intrinsic_gas, sender=Address(call.sender), value=call.value, **place)
        try:
            return transaction, state.get_transaction_executor().build_computation(message, transaction)
        except InsufficientFunds as error:
            raise NodeError(f"insufficient funds for transfer: {error}") from error

    def size_of(self, block: Block) -> int:
        """Bytes of a block's encoding."""
        return len(rlp.encode(block))


def _words(topics: Sequence[int]) -> tuple[bytes, ...]:
    return tuple(topic.to_bytes(32, "big") for topic in topics)


def revert_of(computation: Computation) -> NodeError:
    """The JSON-RPC error of a failed execution."""
    error: VMError = computation.error
    if isinstance(error, Revert):
        return NodeError("execution reverted", 3, computation.output)
    if isinstance(error, OutOfGas):
        return NodeError("out of gas")
    return NodeError(f"invalid opcode: {type(error).__name__}: {error}")
