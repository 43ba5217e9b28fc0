"""A small world for keepers and watchers: the tiny model of the dispute tests, the contract on a chain, and liars."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np
from dispute_tiny import INPUTS, tiny_header, tiny_memory

from opml.chain.accounts import dev_accounts
from opml.chain.base import Chain
from opml.chain.client import OpmlClient
from opml.chain.deploy import deploy
from opml.chain.embedded import EmbeddedChain
from opml.chain.outbox import Outbox, Outcome
from opml.commitment import ModelMemory
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.dispute.keeper import Keeper
from opml.dispute.liars import LIARS, Spot
from opml.dispute.player import Player
from opml.dispute.trace import ModelTrace
from opml.errors import InputError
from opml.header import ModelHeader
from opml.watch.library import Library
from opml.watch.traces import Traces
from opml.watch.watcher import Watcher

K = 4
PROVER_BOND, CHALLENGER_BOND = 10**18, 10**17
NONCES = count(1)


class TinyInference:
    """What `Model.infer_posted` gives, of the tiny model."""

    def __init__(self, header: ModelHeader, posted: bytes) -> None:
        self.header = header
        self.memory: ModelMemory = tiny_memory(inputs=np.frombuffer(posted, np.uint8))

    @property
    def output_root(self) -> bytes:
        return self.memory.output_root

    @property
    def trace(self) -> ModelTrace:
        return ModelTrace(self.header, self.memory)


class TinyModel:
    """The tiny model as the library holds models; counts how often it is run."""

    def __init__(self, header: ModelHeader | None = None) -> None:
        self.header = header or tiny_header()
        self.model_id = self.header.model_id
        self.runs = 0

    def infer_posted(self, posted: bytes) -> TinyInference:
        if posted[0] == 0xFF:
            raise InputError("an input that does not fit")
        self.runs += 1
        return TinyInference(self.header, posted)


def inputs(number: int) -> bytes:
    """Different inputs for different numbers."""
    changed = INPUTS.copy()
    changed[8:12] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
    changed[0] = number % 251
    return changed.tobytes()


class World:
    """A chain with the contract and the tiny model on it. Accounts: 0 owner, 1 liar, 2 honest, the others free."""

    def __init__(self, chain: Chain | None = None, k: int = K, header: ModelHeader | None = None) -> None:
        self.chain = chain or EmbeddedChain()
        self.accounts = dev_accounts()
        made = deploy(self.chain, self.accounts[0], PROVER_BOND, CHALLENGER_BOND, k)
        self.client = OpmlClient(self.chain, made.address, made.block)
        self.model = TinyModel(header)
        self.client.register_model(self.model.header, "", self.accounts[0])
        self.events: list[tuple[str, dict[str, Any]]] = []

    @property
    def liar(self) -> Any:
        return self.accounts[1]

    @property
    def honest(self) -> Any:
        return self.accounts[2]

    def library(self) -> Library:
        library = Library()
        library.add(self.model)  # type: ignore[arg-type]
        return library

    def emit(self, event: str, /, level: str = "info", **fields: Any) -> None:
        self.events.append((event, fields | {"level": level}))

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def claim(self, right: bool, number: int = 0, account: Any = None) -> bytes:
        """A claim about `inputs(number)`, with the output or with another one."""
        trace = TinyInference(self.model.header, inputs(number)).trace
        root = (trace if right else self.lie(trace)).output_root
        sender = account or (self.honest if right else self.liar)
        return self.client.claim(self.model.model_id, inputs(number), root, next(NONCES), sender)[0]

    @staticmethod
    def lie(trace: ModelTrace) -> Any:
        return LIARS["register"].trace(trace, Spot(4, 9))

    def liar_keeper(self, role: Role, name: str = "register", **options: Any) -> Keeper:
        """The other side's loop, which plays all of the liar's games."""
        players = Liars(self, role, name)
        return Keeper(self.client, self.liar, players, **{"threads": 0, "poll": 0.0, **options})

    def watcher(self, account: Any = None, **options: Any) -> Watcher:
        """An honest watcher that thinks within its loop."""
        options = {"emit": self.emit, "threads": 0, "poll": 0.0, **options}
        return Watcher(self.client, account or self.accounts[3], options.pop("library", self.library()), **options)

    def prover(self, account: Any = None, **options: Any) -> Keeper:
        """An honest prover's loop."""
        options = {"emit": self.emit, "threads": 0, "poll": 0.0, **options}
        traces = Traces(lambda claim: self.model)
        return Keeper(self.client, account or self.honest, traces, **options)

    def status(self, claim_id: bytes) -> ClaimStatus:
        return self.client.claim_view(claim_id).status

    def books_balance(self) -> bool:
        """Whether the contract holds nothing but what is burnt: all else was paid out."""
        return self.client.balance() == self.client.burnt()


def run_together(*loops: Keeper, rounds: int = 400) -> int:
    """Everybody looks in turn until nobody has anything to do; the number of rounds."""
    for number in range(rounds):
        if not any([loop.tick() for loop in loops]) and all(loop.idle for loop in loops):
            return number
    raise AssertionError("they never end")


class Liars:
    """Players who lie in every game, each about its own claim's input."""

    def __init__(self, world: World, role: Role, name: str = "register") -> None:
        self._world, self._role, self._liar = world, role, LIARS[name]
        self._players: dict[tuple[bytes, bytes], Player] = {}

    def ready(self, claim: ClaimView, role: Role) -> Player:
        key = (claim.claim_id, claim.input)
        if key not in self._players:
            trace = TinyInference(self._world.model.header, claim.input).trace
            self._players[key] = self._liar.player(trace, self._role, Spot(4, 9))
        return self._players[key]

    prepare = ready


class Killed(BaseException):
    """The process is gone. No `except Exception` survives it."""


class MortalOutbox(Outbox):
    """An outbox whose process dies at its `deadly`-th transaction: before it was sent, after that, or once it is mined.

    On the embedded chain sent is mined; that it died before it learned so makes the difference.
    """

    def __init__(self, inner: Outbox, deadly: int, when: str) -> None:
        self._inner, self._deadly, self._when = inner, deadly, when
        self.sent = 0

    def send(
        self, to: str | None, data: bytes = b"", value: int = 0, *, gas: int | None = None, label: str = ""
    ) -> int:
        last = self.sent == self._deadly
        if last and self._when == "before":
            raise Killed
        ticket = self._inner.send(to, data, value, gas=gas, label=label)
        self.sent += 1
        if last and self._when == "sent":
            raise Killed
        return ticket

    def poll(self) -> list[Outcome]:
        outcomes = self._inner.poll()
        if self.sent > self._deadly and self._when == "mined":
            raise Killed
        return outcomes

    def wait(self, ticket: int, timeout: float | None = None) -> Any:
        return self._inner.wait(ticket, timeout)

    @property
    def pending(self) -> int:
        return self._inner.pending


def survive(world: World, make: Callable[[Outbox], Keeper], account: Any, others: Iterable[Keeper], when: str) -> int:
    """Plays until nobody has anything to do. Whoever `make` makes is killed at his first transaction, made anew, killed
    at his second one, and so on: each life gets one transaction further. Returns the number of deaths.
    """
    others, deaths, done = list(others), 0, False
    while not done:
        # A new life sends one transaction without harm, and dies at the next.
        keeper = make(MortalOutbox(world.chain.outbox(account), 1 if when == "before" else 0, when))
        try:
            run_together(keeper, *others)
            done = True
        except Killed:
            deaths += 1
    return deaths
