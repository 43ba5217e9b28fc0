"""A chain inside this process: no server, no sockets; it ends with the process."""

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opml.chain.accounts import dev_accounts
from opml.chain.base import Chain, Receipt
from opml.chain.gas import check_gas, too_much
from opml.chain.hexa import address_bytes, to_hex
from opml.chain.jsonrpc import TIP, EthApi
from opml.chain.node import Node
from opml.chain.outbox import DirectOutbox
from opml.chain.records import DEV_BALANCE, GENESIS_TIME, TRANSACTION_GAS, Clock, NodeError, frozen_clock
from opml.chain.reverts import node_error
from opml.errors import RevertError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3


class EmbeddedChain(Chain):
    """py-evm under Prague's rules, with ether for the development accounts.

    By default time is deterministic: a block is one second after the one before, and `advance` adds to that; so the
    same calls give the same ids and hashes. `wall_clock` as `clock` lets it follow the computer's clock instead.
    """

    def __init__(self, *, clock: Clock = frozen_clock, genesis_time: int = GENESIS_TIME) -> None:
        balances = {address_bytes(account.address): DEV_BALANCE for account in dev_accounts()}
        self._api = EthApi(Node(balances, clock=clock, genesis_time=genesis_time), dev_accounts(), refuse_reverts=True)
        # So that two threads do not take the same nonce.
        self._sending = threading.Lock()

    def __repr__(self) -> str:
        return f"EmbeddedChain(block {self.block_number()})"

    @property
    def node(self) -> Node:
        """The node itself."""
        return self._api.node

    def request(self, method: str, *params: Any) -> Any:
        try:
            return self._api.request(method, params)
        except NodeError as error:
            raise node_error(error.to_json()) from error

    def _new_outbox(self, account: "LocalAccount") -> DirectOutbox:
        def execute(to: str | None, data: bytes, value: int, gas: int | None) -> Receipt:
            check_gas(gas)
            try:
                with self._sending:
                    return self._transact(account, to, data, value, gas or TRANSACTION_GAS)
            except RevertError as error:
                if gas is None and "out of gas" in error.message:
                    raise too_much() from error
                raise

        return DirectOutbox(execute)

    def _transact(self, account: "LocalAccount", to: str | None, data: bytes, value: int, gas: int) -> Receipt:
        # No estimate: a transaction that would revert is not mined, so that trying it costs no more than asking.
        base_fee = self.node.pending_header().base_fee_per_gas
        signed = account.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": self.nonce(account.address),
                "to": address_bytes(to) if to else b"",
                "data": data,
                "value": value,
                "gas": gas,
                "maxFeePerGas": base_fee + TIP,
                "maxPriorityFeePerGas": TIP,
            }
        )
        self.request("eth_sendRawTransaction", to_hex(bytes(signed.raw_transaction)))
        answer = self.receipt(bytes(signed.hash))
        assert answer is not None
        return self._receipt(answer)

    @cached_property
    def web3(self) -> "Web3":
        from web3 import Web3
        from web3.providers.base import JSONBaseProvider

        api = self._api

        class NodeProvider(JSONBaseProvider):
            def make_request(self, method: Any, params: Any) -> Any:
                return api.answer({"id": 1, "method": method, "params": params})

            def is_connected(self, show_traceback: bool = False) -> bool:
                return True

        return Web3(NodeProvider())
