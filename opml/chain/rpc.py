"""A chain behind a JSON-RPC URL, through web3.py's HTTP provider."""

import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opml.chain.base import Chain, Receipt
from opml.chain.hexa import address_bytes, checksum, from_quantity, quantity, to_hex
from opml.chain.outbox import DirectOutbox
from opml.chain.reverts import node_error
from opml.errors import ChainError, RevertError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

GWEI: Final = 10**9
_SEND_ATTEMPTS: Final = 5
_STALE_NONCE = ("nonce too low", "nonce too high", "replacement transaction underpriced", "invalid nonce")
_KNOWN = ("already known", "known transaction", "already imported")

# What two storage slots cost more to write if they are empty (EIP-2929).
EMPTIED: Final = 2 * 17_100


class RpcChain(Chain):
    """Any Ethereum node that speaks JSON-RPC over HTTP.

    `timeout` is how many seconds one request may take, `receipt_timeout` how long to wait until a transaction is mined.
    Raises ChainError at once where nobody answers at the URL or where it is no Ethereum node.
    """

    def __init__(self, url: str, *, timeout: float = 30, receipt_timeout: float = 180) -> None:
        if not url.startswith(("http://", "https://")):
            raise ChainError(f"{url} is not a JSON-RPC URL", "it should look like http://127.0.0.1:8545")
        import requests
        from web3 import HTTPProvider

        self.url = url
        self.receipt_timeout = receipt_timeout
        self._session = requests.Session()
        # A proxy that the environment names is for the network, not for this computer.
        self._session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout}, session=self._session, exception_retry_configuration=None
        )
        self._sending = threading.Lock()
        try:
            _ = self.chain_id
        except ValueError as error:
            raise self._no_node(error) from error

    def request(self, method: str, *params: Any) -> Any:
        import requests

        try:
            try:
                answer = self._post(method, params)
            except requests.ConnectionError:
                # The node closed an idle connection, or restarted. Sending the same transaction twice is harmless.
                answer = self._post(method, params)
        except requests.Timeout as error:
            raise ChainError(f"the node at {self.url} did not answer in time") from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "?"
            raise ChainError(f"the server at {self.url} answered with HTTP status {status}", "check the URL") from error
        except (requests.RequestException, OSError) as error:
            raise ChainError(
                f"nobody answers at {self.url}", "check the URL, or start a chain there with `opml devnet`"
            ) from error
        except ValueError as error:
            raise self._no_node(error) from error
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise self._no_node("it answers without a result")
        if answer.get("error") is not None:
            raise node_error(answer["error"])
        return answer.get("result")

    def _no_node(self, why: object) -> ChainError:
        return ChainError(f"the server at {self.url} is no Ethereum node: {why}", "check the URL")

    def _post(self, method: str, params: Sequence[Any]) -> Any:
        return self._provider.make_request(method, list(params))

    def _new_outbox(self, account: "LocalAccount") -> DirectOutbox:
        return DirectOutbox(lambda *transaction: self._transact(account, *transaction))

    def _transact(
        self, account: "LocalAccount", to: str | None, data: bytes = b"", value: int = 0, gas: int | None = None
    ) -> Receipt:
        message: dict[str, Any] = {"from": account.address, "data": to_hex(data), "value": quantity(value)}
        if to is not None:
            message["to"] = checksum(to)
        fields: dict[str, Any] = {
            "chainId": self.chain_id,
            "to": address_bytes(to) if to else b"",
            "data": data,
            "value": value,
            "gas": gas or self._estimate(message),
            **self._fees(),
        }
        # One at a time, so that two threads of this process do not take the same nonce.
        with self._sending:
            tx_hash = self._send(account, fields)
        answer = self._wait(tx_hash)
        if from_quantity(answer["status"]) != 1:
            raise self._reason(message, answer, fields["gas"])
        return self._receipt(answer)

    def _estimate(self, message: dict[str, Any]) -> int:
        """A gas limit with a margin: when the transaction is mined, slots that it writes may have become empty."""
        needed = from_quantity(self.request("eth_estimateGas", message))
        limit = from_quantity(self.block("latest")["gasLimit"])
        return needed if needed <= 21_000 else min(needed * 6 // 5 + EMPTIED, max(needed, limit))

    def _fees(self) -> dict[str, int]:
        """EIP-1559 fees that stay good for six full blocks; a plain gas price on a chain without them."""
        base_fee = self.block("latest").get("baseFeePerGas")
        if base_fee is None:
            return {"gasPrice": from_quantity(self.request("eth_gasPrice"))}
        try:
            tip = from_quantity(self.request("eth_maxPriorityFeePerGas"))
        except ChainError:
            tip = GWEI
        return {"type": 2, "maxFeePerGas": 2 * from_quantity(base_fee) + tip, "maxPriorityFeePerGas": tip}

    def _send(self, account: "LocalAccount", fields: dict[str, Any]) -> bytes:
        """Signs with the next nonce and sends; once more with another where somebody else used that nonce meanwhile."""
        for attempt in range(_SEND_ATTEMPTS):
            signed = account.sign_transaction(fields | {"nonce": self.nonce(account.address)})
            tx_hash = bytes(signed.hash)
            try:
                self.request("eth_sendRawTransaction", to_hex(bytes(signed.raw_transaction)))
                return tx_hash
            except RevertError:
                raise
            except ChainError as error:
                words = error.message.lower()
                if any(word in words for word in _KNOWN) or self._is_known(tx_hash):
                    return tx_hash
                if attempt == _SEND_ATTEMPTS - 1 or not any(word in words for word in _STALE_NONCE):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")

    def _is_known(self, tx_hash: bytes) -> bool:
        return self.request("eth_getTransactionByHash", to_hex(tx_hash)) is not None

    def _wait(self, tx_hash: bytes) -> Any:
        deadline = time.monotonic() + self.receipt_timeout
        pause = 0.01
        while True:
            answer = self.receipt(tx_hash)
            if answer is not None and answer.get("blockNumber") is not None:
                return answer
            if time.monotonic() > deadline:
                raise ChainError(
                    f"transaction {to_hex(tx_hash)} was not mined within {self.receipt_timeout:g} s",
                    "it may still be; look before sending it again",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    def _reason(self, message: dict[str, Any], answer: Any, gas: int) -> RevertError:
        """Why a mined transaction failed: the same call again on the state it met (or nearly: the block before)."""
        if from_quantity(answer["gasUsed"]) == gas:
            return RevertError("out of gas", f"the transaction ran out of gas ({gas})")
        try:
            self.request("eth_call", message, quantity(from_quantity(answer["blockNumber"]) - 1))
        except RevertError as error:
            return error
        except ChainError:
            pass
        return RevertError("reverted", f"transaction {answer['transactionHash']} reverted; its reason is not known")

    @cached_property
    def web3(self) -> "Web3":
        from web3 import Web3

        return Web3(self._provider)

    def close(self) -> None:
        self._session.close()
