"""The deployed InferenceMarket, typed: requests, their states, and every call."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from opml.chain.abi import Event, artifact
from opml.chain.base import Chain, Log, Receipt
from opml.chain.client import OpmlClient
from opml.chain.contract import Contract, address_topic
from opml.chain.hexa import checksum
from opml.chain.views import NOBODY, BehindError
from opml.dispute.game import Claim
from opml.errors import ChainError
from vm.keccak import keccak256

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from opml.header import ModelHeader

BPS = 10_000
_REQUESTED = ("Requested", "RequestInput", "RequestInputAt")
# All that a request's course consists of.
_COURSE = (*_REQUESTED, "Accepted", "Delivered", "Refunded")
_EVENTS_HINT = "the node may have dropped old events: ask another one"


class Status(IntEnum):
    """Where a request stands; the values are the contract's."""

    NONE = 0
    OPEN = 1
    ACCEPTED = 2
    DELIVERED = 3
    REFUNDED = 4


class Terms(NamedTuple):
    """What a requester asks for: the contract's struct of that name. Prices are wei, `deadline` is chain seconds."""

    model_id: bytes
    registrant: str
    refund_to: str
    min_price: int
    deadline: int
    callback_gas: int = 0
    optimistic: bool = False
    accept_withheld: bool = False


class Request(NamedTuple):
    """A request as it was made: the contract's struct of that name, of which its id is the hash."""

    terms: Terms
    requester: str
    nonce: int
    input_root: bytes
    max_price: int
    start: int
    royalty_bps: int

    def id_at(self, chain_id: int, market: str) -> bytes:
        """The id that the request has at a market."""
        return keccak256(b"".join(map(_word, (chain_id, market, *self.terms, *self[1:]))))

    def price_at(self, now: int) -> int:
        """Wei that an acceptance at chain time `now` fixes."""
        terms = self.terms
        elapsed = min(now, terms.deadline) - self.start
        return terms.min_price + (self.max_price - terms.min_price) * elapsed // (terms.deadline - self.start)

    def royalty_of(self, price: int) -> int:
        """The registrant's part of a price; the rest is the prover's."""
        return price * self.royalty_bps // BPS


def _word(value: Any) -> bytes:
    """One word of the ABI's encoding."""
    if isinstance(value, bytes):
        return value
    return (int(value, 16) if isinstance(value, str) else int(value)).to_bytes(32, "big")


@dataclass(frozen=True)
class RequestView:
    """A request with its state. `price` is what was accepted; `claim_id` and `output_hash` are zero before that.

    `input` are the bytes that came with it; None where it came with their root alone, and `input_uri` says where they
    can be had.
    """

    request_id: bytes
    request: Request
    status: Status
    price: int
    claim_id: bytes
    output_hash: bytes
    input: bytes | None
    input_uri: str = ""


class MarketClient:
    """The market at `address` on `chain`.

    Methods that send a transaction take the sender's account last, return after it was mined, and raise RevertError
    with the custom error's name if the contract refuses. `from_block` is where events begin: the market's first block.
    Raises ChainError if there is no market at the address.
    """

    def __init__(self, chain: Chain, address: str, from_block: int = 0) -> None:
        self.chain = chain
        self.contract = Contract(chain, address, artifact("InferenceMarket").abi, from_block)
        try:
            self.contract.read("MAX_ROYALTY_BPS")
        except ChainError:
            raise ChainError(f"the contract at {self.address} is no market of opml's", "check the address") from None

    @property
    def address(self) -> str:
        """The market's address, checksummed."""
        return self.contract.address

    @cached_property
    def opml(self) -> OpmlClient:
        """The contract at which claims are made and disputed."""
        return OpmlClient(self.chain, self.contract.read("opml"), self.contract.from_block)

    def now(self) -> int:
        """The chain's time in seconds, as the next transaction will meet it."""
        return self.chain.time()

    # Models

    def publish(self, header: "ModelHeader", uri: str, royalty_bps: int, account: "LocalAccount") -> Receipt:
        """Registers a model, and the account's royalty on it (hundredths of a percent) once and for good."""
        return self.contract.send(account, "publish", astuple(header), uri, royalty_bps)

    def royalty(self, model_id: bytes, registrant: str) -> int | None:
        """A registrant's royalty on a model, in hundredths of a percent; None if he has not published it."""
        found = self.contract.read("royalty", model_id, checksum(registrant))
        return int(found["royaltyBps"]) if found["published"] else None

    # Requests

    def request(self, terms: Terms, data: bytes, max_price: int, account: "LocalAccount") -> tuple[bytes, Receipt]:
        """Asks what a model says about an input, whose region's bytes go on chain; returns the request's id."""
        receipt = self.contract.send(account, "request", terms, data, value=max_price)
        return bytes(self.contract.event_of(receipt, "Requested")["requestId"]), receipt

    def request_by_root(
        self, terms: Terms, input_root: bytes, uri: str, max_price: int, account: "LocalAccount"
    ) -> tuple[bytes, Receipt]:
        """The same without the bytes, which `uri` says where to get."""
        receipt = self.contract.send(account, "requestByRoot", terms, input_root, uri, value=max_price)
        return bytes(self.contract.event_of(receipt, "Requested")["requestId"]), receipt

    def view(self, request_id: bytes) -> RequestView | None:
        """A request with its state and its input; None if there is none of that id."""
        if self.state(request_id)["status"] == Status.NONE:
            return None
        found = self._posted(self.contract.events(_REQUESTED, request_id))
        if not found:
            raise ChainError("the node does not have the request's events", _EVENTS_HINT)
        return self._view(*found[0])

    def requests(
        self, model_id: bytes | None = None, requester: str | None = None, from_block: int | None = None
    ) -> list[RequestView]:
        """All requests, or those for a model, of a requester or since a block, oldest first."""
        who = None if requester is None else checksum(requester)
        return [
            view
            for request_id, request, given in self.posted(from_block)
            if model_id in (None, request.terms.model_id) and who in (None, request.requester)
            for view in [self._view(request_id, request, given)]
        ]

    def posted(self, from_block: int | None = None) -> list[tuple[bytes, Request, Mapping[str, Any]]]:
        """Requests by their events alone, oldest first: id, request, and `input` or `uri` as they came with it."""
        return self._posted(self.contract.events(_REQUESTED, from_block=from_block))

    def logs(self, from_block: int, to_block: int, request_id: bytes | None = None) -> list[Log]:
        """What happened to requests, or to one, in these blocks, in order; `contract.decoded` reads it."""
        topics = [[self.contract.abi.topic(name) for name in _COURSE], request_id]
        return self.chain.logs(self.address, topics, max(from_block, self.contract.from_block), to_block)

    def state(self, request_id: bytes) -> Mapping[str, Any]:
        """What the contract keeps of a request: status, price, claimId, outputHash."""
        return self.contract.read("requests", request_id)  # type: ignore[no-any-return]

    def output(self, request_id: bytes) -> bytes | None:
        """The output that was accepted last, final or not; None if none was."""
        accepted = self.contract.events("Accepted", request_id)
        output: bytes | None = accepted[-1][1].args["output"] if accepted else None
        if output is not None and keccak256(output) != self.state(request_id)["outputHash"]:
            raise BehindError("the accepted output is another")
        return output

    def called(self, request_id: bytes) -> bool | None:
        """Whether the requester's final call succeeded; None if there was none."""
        found = [event.args for _, event in self.contract.events("ConsumerCalled", request_id)]
        return next((args["succeeded"] for args in found if args["isFinal"]), None)

    def accept(self, request: Request, claim: Claim, output: bytes, account: "LocalAccount") -> Receipt:
        """Answers a request with a claim of the account's and the output region's bytes."""
        return self.contract.send(account, "accept", request, claim, output)

    def deliver(self, request: Request, output: bytes, account: "LocalAccount") -> Receipt:
        """Pays and delivers an accepted request whose claim is final or can be made so; anyone may."""
        return self.contract.send(account, "deliver", request, output)

    def refund(self, request: Request, account: "LocalAccount") -> Receipt:
        """Closes a request that nobody answered in time; anyone may."""
        return self.contract.send(account, "refund", request)

    # Money

    def credit(self, address: str) -> int:
        """Wei that the market owes to an account."""
        return int(self.contract.read("credit", checksum(address)))

    def withdraw(self, to: str, account: "LocalAccount") -> Receipt:
        """Pays out the account's credit, to itself or to somebody else."""
        return self.contract.send(account, "withdraw", checksum(to))

    def balance(self) -> int:
        """All that the market holds."""
        return self.chain.balance(self.address)

    def earned(self, address: str) -> int:
        """Wei that deliveries have brought an account as a prover, withdrawn or not."""
        found = self.contract.events("Delivered", None, None, address_topic(address))
        return sum(event.args["payment"] for _, event in found)

    def _posted(self, events: list[tuple[Log, Event]]) -> list[tuple[bytes, Request, Mapping[str, Any]]]:
        inputs = {event.args["requestId"]: event.args for _, event in events if event.name != "Requested"}
        found = []
        for _, event in events:
            if event.name == "Requested":
                request_id, request = event.args["requestId"], read_request(event.args["request"])
                if request.id_at(self.chain.chain_id, self.address) != request_id:
                    raise BehindError("what a request says is not what its id commits to")
                found.append((request_id, request, inputs.get(request_id, {})))
        return found

    def _view(self, request_id: bytes, request: Request, given: Mapping[str, Any]) -> RequestView:
        state = self.state(request_id)
        return RequestView(
            request_id=request_id,
            request=request,
            status=Status(state["status"]),
            price=state["price"],
            claim_id=state["claimId"],
            output_hash=state["outputHash"],
            input=given.get("input"),
            input_uri=given.get("uri", ""),
        )


def read_request(fields: Mapping[str, Any]) -> Request:
    """A request from its event's struct."""
    terms, *rest = fields.values()
    return Request(Terms(*terms.values()), *rest)


__all__ = ["NOBODY", "MarketClient", "Request", "RequestView", "Status", "Terms", "read_request"]
