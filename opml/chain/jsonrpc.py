"""The Ethereum JSON-RPC methods over a `Node`, in the exact forms that web3.py, ethers, viem and cast expect."""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opml.chain import rpcforms as forms
from opml.chain.hexa import address_bytes, from_hex, from_quantity, quantity, to_hex
from opml.chain.node import Node
from opml.chain.records import Call, NodeError
from opml.chain.units import GWEI

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

CLIENT_VERSION: Final = "opml-devnet/0.1.0/py-evm"
TIP: Final = GWEI

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class EthApi:
    """Answers JSON-RPC requests, one at a time whatever the number of threads.

    `accounts` are unlocked: eth_sendTransaction signs for them. With `refuse_reverts` a transaction that would revert
    is refused with its revert data and not mined.
    """

    def __init__(self, node: Node, accounts: Sequence["LocalAccount"] = (), *, refuse_reverts: bool = False) -> None:
        self.node = node
        self.refuse_reverts = refuse_reverts
        self._accounts = {address_bytes(account.address): account for account in accounts}
        self._lock = threading.Lock()
        self._methods: dict[str, tuple[Callable[..., Any], inspect.Signature]] = {
            name: (method, inspect.signature(method))
            for name, method in inspect.getmembers(self, inspect.ismethod)
            if name.startswith(("eth_", "evm_", "net_", "web3_"))
        }

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """The result as JSON values. Raises NodeError."""
        if method not in self._methods:
            raise NodeError(f"the method {method} does not exist/is not available", METHOD_NOT_FOUND)
        function, signature = self._methods[method]
        try:
            signature.bind(*params)
        except TypeError as error:
            raise NodeError(f"invalid params: {method}: {error}", INVALID_PARAMS) from None
        with self._lock:
            try:
                return function(*params)
            except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
                raise NodeError(f"invalid params: {method}: {error}", INVALID_PARAMS) from error

    def answer(self, body: Any) -> dict[str, Any]:
        """The whole answer to one request object of the wire protocol."""
        if not isinstance(body, Mapping) or not isinstance(body.get("method"), str):
            return _failure(None, NodeError("invalid request", INVALID_REQUEST))
        params = body.get("params")
        params = [] if params is None else params
        if not isinstance(params, Sequence) or isinstance(params, str):
            return _failure(body.get("id"), NodeError("params must be a list", INVALID_PARAMS))
        try:
            return {"jsonrpc": "2.0", "id": body.get("id"), "result": self.request(body["method"], params)}
        except NodeError as error:
            return _failure(body.get("id"), error)
        except Exception as error:  # a defect here must not look like a dead server to the client
            return _failure(body.get("id"), NodeError(f"internal error: {error!r}", INTERNAL_ERROR))

    # About the node

    def web3_clientVersion(self) -> str:
        return CLIENT_VERSION

    def web3_sha3(self, data: str) -> str:
        from eth_utils.crypto import keccak

        return to_hex(keccak(from_hex(data)))

    def net_version(self) -> str:
        return str(self.node.chain_id)

    def net_listening(self) -> bool:
        return True

    def net_peerCount(self) -> str:
        return quantity(0)

    def eth_chainId(self) -> str:
        return quantity(self.node.chain_id)

    def eth_syncing(self) -> bool:
        return False

    def eth_accounts(self) -> list[str]:
        return [account.address for account in self._accounts.values()]

    # Fees

    def eth_gasPrice(self) -> str:
        return quantity(self.node.pending_header().base_fee_per_gas + TIP)

    def eth_maxPriorityFeePerGas(self) -> str:
        return quantity(TIP)

    def eth_blobBaseFee(self) -> str:
        return quantity(1)

    def eth_feeHistory(self, count: Any, newest: Any, percentiles: Sequence[float] | None = None) -> dict[str, Any]:
        last = self._number(newest)
        first = max(0, last + 1 - min(from_quantity(count), 1024))
        headers = [self.node.blocks[number].header for number in range(first, last + 1)]
        mined = last + 1 < len(self.node.blocks)
        following = self.node.blocks[last + 1].header if mined else self.node.pending_header()
        answer: dict[str, Any] = {
            "oldestBlock": quantity(first),
            "baseFeePerGas": [quantity(header.base_fee_per_gas) for header in [*headers, following]],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "baseFeePerBlobGas": [quantity(1)] * (len(headers) + 1),
            "blobGasUsedRatio": [0.0] * len(headers),
        }
        if percentiles:
            answer["reward"] = [[quantity(TIP)] * len(percentiles) for _ in headers]
        return answer

    # Blocks

    def eth_blockNumber(self) -> str:
        return quantity(self.node.head.block_number)

    def eth_getBlockByNumber(self, block: Any, full: bool = False) -> dict[str, Any] | None:
        if block == "pending":
            return forms.pending_block(self.node)
        number = self._number(block)
        return forms.block(self.node, number, full) if number < len(self.node.blocks) else None

    def eth_getBlockByHash(self, block_hash: str, full: bool = False) -> dict[str, Any] | None:
        number = self.node.number_of(from_hex(block_hash))
        return None if number is None else forms.block(self.node, number, full)

    def eth_getBlockTransactionCountByNumber(self, block: Any) -> str | None:
        found = self.eth_getBlockByNumber(block)
        return None if found is None else quantity(len(found["transactions"]))

    def eth_getBlockTransactionCountByHash(self, block_hash: str) -> str | None:
        found = self.eth_getBlockByHash(block_hash)
        return None if found is None else quantity(len(found["transactions"]))

    def eth_getBlockReceipts(self, block: Any) -> list[dict[str, Any]] | None:
        number = self._number(block)
        if number >= len(self.node.blocks):
            return None
        record = self.node.blocks[number].transaction
        return [forms.receipt(self.node, record)] if record else []

    # Transactions

    def eth_getTransactionByHash(self, tx_hash: str) -> dict[str, Any] | None:
        record = self.node.transactions.get(from_hex(tx_hash))
        return None if record is None else forms.transaction(self.node, record)

    def eth_getTransactionByBlockNumberAndIndex(self, block: Any, index: Any) -> dict[str, Any] | None:
        found = self.eth_getBlockByNumber(block, True)
        listed: list[dict[str, Any]] = found["transactions"] if found else []
        position = from_quantity(index)
        return listed[position] if position < len(listed) else None

    def eth_getTransactionByBlockHashAndIndex(self, block_hash: str, index: Any) -> dict[str, Any] | None:
        number = self.node.number_of(from_hex(block_hash))
        return None if number is None else self.eth_getTransactionByBlockNumberAndIndex(number, index)

    def eth_getTransactionReceipt(self, tx_hash: str) -> dict[str, Any] | None:
        record = self.node.transactions.get(from_hex(tx_hash))
        return None if record is None else forms.receipt(self.node, record)

    def eth_sendRawTransaction(self, raw: str) -> str:
        return to_hex(self.node.submit(from_hex(raw), refuse_reverts=self.refuse_reverts).hash)

    def eth_sendTransaction(self, transaction: Mapping[str, Any]) -> str:
        call = self._call(transaction)
        account = self._accounts.get(call.sender)
        if account is None:
            raise NodeError(f"unknown account {to_hex(call.sender)}")
        fields = {key: value for key, value in transaction.items() if value is not None}
        tip = from_quantity(fields.get("maxPriorityFeePerGas", TIP))
        price = fields.get("gasPrice", fields.get("maxFeePerGas"))
        base_fee = self.node.pending_header().base_fee_per_gas
        signed = account.sign_transaction(
            {
                "type": 2,
                "chainId": self.node.chain_id,
                "nonce": from_quantity(fields.get("nonce", self.node.state().get_nonce(call.sender))),
                "to": call.to or b"",
                "data": call.data,
                "value": call.value,
                "gas": call.gas or self.node.estimate_gas(call),
                "maxFeePerGas": 2 * base_fee + tip if price is None else from_quantity(price),
                "maxPriorityFeePerGas": tip if price is None else min(tip, from_quantity(price)),
            }
        )
        return to_hex(self.node.submit(bytes(signed.raw_transaction), refuse_reverts=self.refuse_reverts).hash)

    # State

    def eth_getBalance(self, address: str, block: Any = "latest") -> str:
        return quantity(self._state(block).get_balance(address_bytes(address)))

    def eth_getTransactionCount(self, address: str, block: Any = "latest") -> str:
        return quantity(self._state(block).get_nonce(address_bytes(address)))

    def eth_getCode(self, address: str, block: Any = "latest") -> str:
        return to_hex(self._state(block).get_code(address_bytes(address)))

    def eth_getStorageAt(self, address: str, slot: Any, block: Any = "latest") -> str:
        value: int = self._state(block).get_storage(address_bytes(address), from_quantity(slot))
        return to_hex(value.to_bytes(32, "big"))

    def eth_call(self, message: Mapping[str, Any], block: Any = "latest", overrides: Any = None) -> str:
        if overrides:
            raise NodeError("state overrides are not supported", INVALID_PARAMS)
        return to_hex(self.node.call(self._call(message), self._past(block)).output)

    def eth_estimateGas(self, message: Mapping[str, Any], block: Any = "latest", overrides: Any = None) -> str:
        if overrides:
            raise NodeError("state overrides are not supported", INVALID_PARAMS)
        return quantity(self.node.estimate_gas(self._call(message)))

    def eth_getLogs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        head = self.node.head.block_number
        if query.get("blockHash") is not None:
            first = last = self._number({"blockHash": query["blockHash"]})
        else:
            first, last = (self._number(query.get(name) or "latest") for name in ("fromBlock", "toBlock"))
        addresses = query.get("address")
        if isinstance(addresses, str):
            addresses = [addresses]
        topics = [
            None if topic is None else [from_hex(item) for item in ([topic] if isinstance(topic, str) else topic)]
            for topic in query.get("topics") or []
        ]
        # An empty list of alternatives matches anything, as null does.
        wanted = [topic or None for topic in topics]
        sources = [address_bytes(address) for address in addresses] if addresses else None
        return [forms.log(self.node, item) for item in self.node.logs.find(first, min(last, head), sources, wanted)]

    # Time

    def evm_increaseTime(self, seconds: Any) -> str:
        return quantity(self.node.increase_time(from_quantity(seconds)))

    def evm_setNextBlockTimestamp(self, timestamp: Any) -> str:
        value = from_quantity(timestamp)
        self.node.set_next_timestamp(value)
        return quantity(value)

    def evm_mine(self, timestamp: Any = None) -> str:
        value = timestamp.get("timestamp") if isinstance(timestamp, Mapping) else timestamp
        self.node.mine(None if value is None else from_quantity(value))
        return quantity(0)

    # Common

    def _number(self, block: Any) -> int:
        """The number that a block parameter means; it may lie in the future. Raises NodeError for an unknown hash."""
        if isinstance(block, Mapping):
            if block.get("blockHash") is None:
                return self._number(block["blockNumber"])
            number = self.node.number_of(from_hex(block["blockHash"]))
            if number is None:
                raise NodeError("unknown block")
            return number
        if block in (None, "latest", "pending", "safe", "finalized"):
            return len(self.node.blocks) - 1
        return 0 if block == "earliest" else from_quantity(block)

    def _past(self, block: Any) -> int | None:
        """A mined block by number, or None where the latest state is meant, to be seen at the next block's time."""
        if block in (None, "latest", "pending", "safe", "finalized"):
            return None
        number = self._number(block)
        if number >= len(self.node.blocks):
            raise NodeError("header not found")
        return number

    def _state(self, block: Any) -> Any:
        return self.node.state(self._past(block))

    @staticmethod
    def _call(message: Mapping[str, Any]) -> Call:
        fields = {key: value for key, value in message.items() if value is not None}
        data = from_hex(fields.get("input", fields.get("data", "0x")))
        return Call(
            to=address_bytes(fields["to"]) if fields.get("to", "0x") != "0x" else None,
            data=data,
            sender=address_bytes(fields["from"]) if "from" in fields else bytes(20),
            value=from_quantity(fields.get("value", 0)),
            gas=from_quantity(fields["gas"]) if "gas" in fields else None,
        )


def _failure(request_id: Any, error: NodeError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": error.to_json()}
