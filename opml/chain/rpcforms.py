"""How blocks, transactions, receipts and logs look in JSON-RPC answers: hexadecimal quantities, fixed widths."""

from typing import Any

from opml.chain.hexa import checksum, quantity, to_hex
from opml.chain.node import Node
from opml.chain.records import Header, LogRecord, TxRecord

_TYPES = {0: "0x0", 1: "0x1", 2: "0x2"}


def _header(header: Header) -> dict[str, Any]:
    return {
        "number": quantity(header.block_number),
        "parentHash": to_hex(header.parent_hash),
        "sha3Uncles": to_hex(header.uncles_hash),
        "transactionsRoot": to_hex(header.transaction_root),
        "stateRoot": to_hex(header.state_root),
        "receiptsRoot": to_hex(header.receipt_root),
        "miner": checksum(header.coinbase),
        "logsBloom": to_hex(header.bloom.to_bytes(256, "big")),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": to_hex(header.extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": to_hex(header.mix_hash),
        "nonce": "0x" + "00" * 8,
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": to_hex(header.withdrawals_root),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": to_hex(header.parent_beacon_block_root),
        "requestsHash": to_hex(header.requests_hash),
        "uncles": [],
        "withdrawals": [],
    }


def block(node: Node, number: int, full: bool) -> dict[str, Any]:
    """A mined block, with whole transactions or their hashes."""
    record = node.blocks[number]
    listed: list[Any] = []
    if record.transaction is not None:
        listed = [transaction(node, record.transaction) if full else to_hex(record.transaction.hash)]
    return _header(record.header) | {
        "hash": to_hex(record.header.hash),
        "size": quantity(node.size_of(record.block)),
        "transactions": listed,
    }


def pending_block(node: Node) -> dict[str, Any]:
    """The block that would be made now, without hash and nonce."""
    form = _header(node.pending_header())
    return form | {"hash": None, "nonce": None, "logsBloom": None, "size": "0x0", "transactions": []}


def transaction(node: Node, record: TxRecord) -> dict[str, Any]:
    """A mined transaction of type 0, 1 or 2."""
    tx: Any = record.tx
    kind = record.raw[0] if record.raw[0] < 0x7F else 0
    form: dict[str, Any] = {
        "type": _TYPES[kind],
        "hash": to_hex(record.hash),
        "nonce": quantity(tx.nonce),
        "blockHash": to_hex(node.blocks[record.block].header.hash),
        "blockNumber": quantity(record.block),
        "transactionIndex": "0x0",
        "from": checksum(record.sender),
        "to": checksum(tx.to) if tx.to else None,
        "value": quantity(tx.value),
        "gas": quantity(tx.gas),
        "gasPrice": quantity(record.gas_price),
        "input": to_hex(tx.data),
        "v": quantity(tx.v if kind == 0 else tx.y_parity),
        "r": quantity(tx.r),
        "s": quantity(tx.s),
    }
    if kind > 0 or tx.chain_id is not None:
        form["chainId"] = quantity(node.chain_id)
    if kind > 0:
        form["yParity"] = quantity(tx.y_parity)
        form["accessList"] = [
            {"address": checksum(address), "storageKeys": [to_hex(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in tx.access_list
        ]
    if kind == 2:
        form["maxFeePerGas"] = quantity(tx.max_fee_per_gas)
        form["maxPriorityFeePerGas"] = quantity(tx.max_priority_fee_per_gas)
    return form


def receipt(node: Node, record: TxRecord) -> dict[str, Any]:
    """The receipt of a mined transaction."""
    tx: Any = record.tx
    return {
        "type": _TYPES[record.raw[0] if record.raw[0] < 0x7F else 0],
        "transactionHash": to_hex(record.hash),
        "transactionIndex": "0x0",
        "blockHash": to_hex(node.blocks[record.block].header.hash),
        "blockNumber": quantity(record.block),
        "from": checksum(record.sender),
        "to": checksum(tx.to) if tx.to else None,
        "contractAddress": checksum(record.contract) if record.contract else None,
        "gasUsed": quantity(record.gas_used),
        "cumulativeGasUsed": quantity(record.gas_used),
        "effectiveGasPrice": quantity(record.gas_price),
        "logs": [log(node, item) for item in record.logs],
        "logsBloom": to_hex(record.bloom.to_bytes(256, "big")),
        "status": "0x1" if record.succeeded else "0x0",
    }


def log(node: Node, record: LogRecord) -> dict[str, Any]:
    """One log."""
    header = node.blocks[record.block].header
    return {
        "address": checksum(record.address),
        "topics": [to_hex(topic) for topic in record.topics],
        "data": to_hex(record.data),
        "blockNumber": quantity(record.block),
        "blockHash": to_hex(header.hash),
        "blockTimestamp": quantity(header.timestamp),
        "transactionHash": to_hex(record.tx_hash),
        "transactionIndex": "0x0",
        "logIndex": quantity(record.index),
        "removed": False,
    }
