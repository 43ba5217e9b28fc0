"""The market on the real contracts, with parties, a model that nobody runs, and books that are checked at every step.

Claims about it are true or false by what a test does with them: a prover who lets his clock run out has lied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from contracts_evm import ETHER, TX_GAS, Evm, Receipt, Reverted, address_of, artifact

from vm.keccak import keccak256
from vm.merkle import subtree_root

PROVER_BOND, CHALLENGER_BOND = ETHER, ETHER // 10
WINDOW, CLOCK = 1000, 100
NOBODY = bytes(20)
INPUT = bytes(range(1, 41))
OUTPUT = bytes(range(101, 141))
FALSE = bytes(40)
PRICE = ETHER // 100
PATIENCE = 500  # seconds from a request to its deadline

PENDING, FINAL, REJECTED = 1, 2, 3
OPEN, ACCEPTED, DELIVERED, REFUNDED = 1, 2, 3, 4

MODEL = {
    "modelRoot": keccak256(b"model"),
    "guestRoot": keccak256(b"guest"),
    "entry": 0,
    "tiles": 2,
    "stride": 1,
    "maxSteps": 100,
    "inputAddress": 1 << 21,
    "inputBytes": 40,
    "outputAddress": 1 << 22,
    "outputBytes": 40,
    "window": WINDOW,
    "clock": CLOCK,
    "inputLevel": 1,
    "outputLevel": 1,
}


def model_id(model: dict[str, Any]) -> bytes:
    return keccak256(b"".join(v if isinstance(v, bytes) else v.to_bytes(32, "big") for v in model.values()))


def words(value: Any) -> Any:
    """A struct as its encoder wants it."""
    return tuple(map(words, value.values())) if isinstance(value, dict) else value


class World:
    """Opml and the market, deployed; `requester`, `prover`, `rival`, `author` and `stranger` have ether."""

    def __init__(self) -> None:
        self.evm = Evm()
        self.requester, self.prover, self.rival, self.author, self.stranger, self.challenger = self.parties = [
            address_of(name) for name in ("requester", "prover", "rival", "author", "stranger", "challenger")
        ]
        self.evm.fund(*self.parties)
        verifier = self.evm.deploy(self.stranger, artifact("StepVerifier"))
        self.opml = self.evm.deploy(self.stranger, artifact("Opml"), verifier, PROVER_BOND, CHALLENGER_BOND, 4)
        self.evm.learn(artifact("InferenceMarket"))
        self.market = self.evm.deploy(self.stranger, artifact("InferenceMarket"), self.opml)
        self.model_id = model_id(MODEL)
        self.accounts = set(self.parties)
        self.open: dict[bytes, int] = {}
        self.nonce = 0
        self.send(self.author, "publish", words(MODEL), "", 1000)

    # Transactions

    def send(
        self, sender: bytes, name: str, *args: Any, value: int = 0, gas: int = TX_GAS, through: bytes | None = None
    ) -> Receipt:
        """A transaction to the market, after which its books must balance; `through` is a contract that forwards it."""
        self.accounts |= {sender} | ({through} if through else set())
        to, data = self.market, self.evm.abi.encode(name, args)
        if through:
            to, data = through, self.evm.abi.encode("forward", (self.market, data))
        receipt = self.evm.transact(sender, to, data, value, gas)
        for event, found in receipt.events:
            match event:
                case "Requested":
                    self.open[found["requestId"]] = found["request"]["maxPrice"]
                    self.accounts.add(bytes.fromhex(found["request"]["terms"]["refundTo"][2:]))
                case "Delivered" | "Refunded":
                    del self.open[found["requestId"]]
        self.check_books()
        return receipt

    def check_books(self) -> None:
        """K1: what the market holds is what open requests have brought and what it owes, to the wei."""
        owed = sum(self.credit(account) for account in self.accounts)
        assert self.evm.balance(self.market) == sum(self.open.values()) + owed

    def refuses(self, reason: str, sender: bytes, name: str, *args: Any, value: int = 0, gas: int = TX_GAS) -> None:
        """The transaction reverts, for this reason."""
        with self.evm.rollback(), pytest.raises(Reverted) as error:
            self.evm.transact(sender, self.market, self.evm.abi.encode(name, args), value, gas)
        assert error.value.name == reason, f"{name}: {error.value.name} instead of {reason}"

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Forgets, at its end, all that happened inside."""
        before = dict(self.open)
        with self.evm.rollback():
            yield
        self.open = before

    # Requests

    def terms(self, **changes: Any) -> tuple[Any, ...]:
        terms = {
            "modelId": self.model_id,
            "registrant": self.author,
            "refundTo": self.requester,
            "minPrice": PRICE,
            "deadline": self.evm.now + PATIENCE,
            "callbackGas": 0,
            "optimistic": False,
            "acceptWithheld": False,
        }
        assert changes.keys() <= terms.keys()
        return words(terms | changes)  # type: ignore[no-any-return]

    def request(self, value: int = PRICE, through: bytes | None = None, **changes: Any) -> Any:
        """A request as its event has it, as a dictionary."""
        receipt = self.send(self.requester, "request", self.terms(**changes), INPUT, value=value, through=through)
        return event(receipt, "Requested")["request"]

    def id_of(self, request: Any) -> bytes:
        return self.view("requestIdOf", words(request))  # type: ignore[no-any-return]

    def state(self, request: Any) -> Any:
        return self.view("requests", self.id_of(request))

    def status(self, request: Any) -> int:
        return self.state(request)["status"]  # type: ignore[no-any-return]

    # Claims

    def claim(self, output: bytes = OUTPUT, sender: bytes | None = None, **changes: Any) -> tuple[Any, ...]:
        """A claim at Opml that the input gives this output: as its struct."""
        self.nonce += 1
        claim = {
            "modelId": self.model_id,
            "inputRoot": subtree_root(INPUT, 1),
            "outputRoot": subtree_root(output, 1),
            "prover": sender or self.prover,
            "nonce": self.nonce,
            "inputPosted": True,
        } | changes
        model, root, out, prover, nonce, posted = claim.values()
        if posted:
            call = self.evm.abi.encode("claim", (model, INPUT, out, nonce))
        else:
            call = self.evm.abi.encode("claimByRoot", (model, root, out, nonce, "ipfs://input"))
        self.evm.transact(prover, self.opml, call, PROVER_BOND)
        return words(claim)  # type: ignore[no-any-return]

    def claim_id(self, claim: tuple[Any, ...]) -> bytes:
        return self.evm.call(self.opml, "claimIdOf", claim)  # type: ignore[no-any-return]

    def claim_status(self, claim: tuple[Any, ...]) -> int:
        return self.evm.call(self.opml, "claims", self.claim_id(claim))["status"]  # type: ignore[no-any-return]

    def opml_send(self, sender: bytes, name: str, *args: Any, value: int = 0) -> Receipt:
        return self.evm.transact(sender, self.opml, self.evm.abi.encode(name, args), value)

    def challenge(self, claim: tuple[Any, ...], salt: int = 0) -> tuple[Any, ...]:
        """A game against a claim: its key."""
        self.opml_send(self.challenger, "challenge", claim, salt, value=CHALLENGER_BOND)
        return (self.claim_id(claim), self.challenger, salt)

    def reject(self, claim: tuple[Any, ...]) -> None:
        """Somebody challenges, and the prover has nothing to say: his clock runs out."""
        key = self.challenge(claim)
        self.evm.now += CLOCK + 1
        self.opml_send(self.challenger, "timeout", key)
        assert self.claim_status(claim) == REJECTED

    def accept(self, request: Any, claim: tuple[Any, ...], output: bytes = OUTPUT, **more: Any) -> Receipt:
        return self.send(claim[3], "accept", words(request), claim, output, **more)

    def answered(self, **changes: Any) -> tuple[Any, tuple[Any, ...]]:
        """A request with an accepted claim."""
        request, claim = self.request(**changes), self.claim()
        self.accept(request, claim)
        return request, claim

    def pass_window(self) -> None:
        self.evm.now += WINDOW + 1

    def deliver(self, request: Any, output: bytes = OUTPUT, sender: bytes | None = None, **more: Any) -> Receipt:
        return self.send(sender or self.stranger, "deliver", words(request), output, **more)

    # Views

    def view(self, name: str, *args: Any) -> Any:
        return self.evm.call(self.market, name, *args)

    def credit(self, account: bytes) -> int:
        return self.evm.call(self.market, "credit", account)  # type: ignore[no-any-return]


def event(receipt: Receipt, name: str) -> Any:
    """The only event of this name."""
    (found,) = [args for kind, args in receipt.events if kind == name]
    return found


def events(receipt: Receipt) -> list[str]:
    return [name for name, _ in receipt.events]
