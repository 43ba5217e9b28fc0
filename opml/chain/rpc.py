"""A chain behind a JSON-RPC URL, through web3.py's HTTP provider."""

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opml.chain.base import Chain
from opml.chain.fees import FeePolicy
from opml.chain.hexa import to_hex
from opml.chain.outbox import Outbox
from opml.chain.reverts import node_error
from opml.errors import ChainError, UnreachableError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

log = logging.getLogger("opml.chain")

_BUSY_WORDS = ("rate limit", "too many requests", "compute units", "capacity exceeded", "try again later")
# Requests that may be sent twice: all but those that change a development chain, sending a signed transaction included.
_REPEATABLE = ("eth_", "net_", "web3_")
_LONGEST_PAUSE: Final = 1.0
# What is over sooner is not worth a line; what is not, is worth one a minute.
_QUIET_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 60.0


class RpcChain(Chain):
    """Any Ethereum node that speaks JSON-RPC over HTTP.

    `timeout` is how many seconds one request may take; one that fails for the node's or the network's reasons is
    repeated for `patience` seconds. `receipt_timeout` is how long `transact` waits until a transaction is mined, `fees`
    what it may cost, and `confirmations` how many blocks deep (1: just mined) it has to be until it is forgotten: if
    its block vanishes before that, it is sent again.

    Raises ChainError at once where nobody answers at the URL or where it is no Ethereum node.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30,
        receipt_timeout: float = 180,
        patience: float = 15,
        fees: FeePolicy | None = None,
        confirmations: int = 1,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ChainError(f"{url} is not a JSON-RPC URL", "it should look like http://127.0.0.1:8545")
        import requests
        from web3 import HTTPProvider

        self.url = url
        self.receipt_timeout = receipt_timeout
        self.fees = fees or FeePolicy()
        self.confirmations = confirmations
        self._session = requests.Session()
        # A proxy that the environment names is for the network, not for this computer.
        self._session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout}, session=self._session, exception_retry_configuration=None
        )
        self._patience = 0.0
        self._away_since: float | None = None
        self._logged: float | None = None
        try:
            _ = self.chain_id
        except ValueError as error:
            raise self._no_node(error) from error
        except UnreachableError as error:
            raise ChainError(error.message, error.hint) from error
        self._patience = patience

    def request(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC request. UnreachableError where the node was away for longer than `patience`."""
        deadline = time.monotonic() + self._patience
        pause = 0.05
        # The first connection after a while is often one that the node has closed: that costs no patience.
        spare = 1 if method.startswith(_REPEATABLE) else 0
        while True:
            try:
                result = self._ask(method, params)
            except UnreachableError as error:
                self._note_absence(error)
                if spare == 0 and (time.monotonic() + pause > deadline or not method.startswith(_REPEATABLE)):
                    raise
                spare = 0
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._note_presence()
                return result

    def send_raw(self, raw: bytes) -> None:
        # Not repeated here: a refusal of the second sending would not tell what became of the first.
        self._ask("eth_sendRawTransaction", [to_hex(raw)])

    def _ask(self, method: str, params: Sequence[Any]) -> Any:
        import requests

        try:
            answer = self._provider.make_request(method, list(params))
        except requests.Timeout as error:
            raise UnreachableError(f"the node at {self.url} did not answer in time") from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            kind = UnreachableError if status == 429 or status >= 500 else ChainError
            raise kind(
                f"the server at {self.url} answered with HTTP status {status or '?'}", "check the URL"
            ) from error
        except (requests.JSONDecodeError, ValueError) as error:
            raise self._no_node(error) from error
        except (requests.RequestException, OSError) as error:
            raise UnreachableError(
                f"nobody answers at {self.url}", "check the URL, or start a chain there with `opml devnet`"
            ) from error
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise self._no_node("it answers without a result")
        if answer.get("error") is not None:
            refusal = node_error(answer["error"])
            if type(refusal) is ChainError and any(word in refusal.message.lower() for word in _BUSY_WORDS):
                raise UnreachableError(refusal.message)
            raise refusal
        return answer.get("result")

    def _no_node(self, why: object) -> ChainError:
        """What answers in this way was cut off in the middle if it was a node before; else it is none."""
        return UnreachableError(f"the server at {self.url} is no Ethereum node: {why}", "check the URL")

    def _note_absence(self, error: ChainError) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        since = now - self._away_since
        if since >= _QUIET_SECONDS and (self._logged is None or now - self._logged >= _LOG_SECONDS):
            self._logged = now
            log.warning("waiting for the node since %.0f s: %s", since, error.message)

    def _note_presence(self) -> None:
        since, logged = self._away_since, self._logged
        self._away_since = self._logged = None
        if since is not None and logged is not None:
            log.warning("the node at %s answers again after %.0f s", self.url, time.monotonic() - since)

    def _new_outbox(self, account: "LocalAccount") -> Outbox:
        from opml.chain.rpcoutbox import RpcOutbox

        return RpcOutbox(
            self, account, self.fees, confirmations=self.confirmations, default_timeout=self.receipt_timeout
        )

    @cached_property
    def web3(self) -> "Web3":
        from web3 import Web3

        return Web3(self._provider)

    def close(self) -> None:
        self._session.close()
