"""Sending transactions without waiting for each: an outbox keeps those that are not mined yet, in order.

Every back end has one (`Chain.outbox`). This is the interface, and the outbox of a chain that mines at once.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opml.errors import ChainError

if TYPE_CHECKING:
    from opml.chain.base import Receipt


@dataclass(frozen=True)
class Outcome:
    """What became of a transaction: its receipt, or the error that ended it (RevertError where a contract refused)."""

    ticket: int
    label: str
    receipt: "Receipt | None"
    error: ChainError | None


class Outbox(ABC):
    """The transactions of one account on one chain. Safe for threads.

    A ticket is a number that names a transaction in this outbox. Its outcome is told once, by `wait` or by `poll`.
    """

    @abstractmethod
    def send(
        self, to: str | None, data: bytes = b"", value: int = 0, *, gas: int | None = None, label: str = ""
    ) -> int:
        """Tries the transaction on the node's newest state, signs it, sends it, and returns its ticket without waiting.

        `to=None` creates a contract; `gas` is the limit, by default a good one is found; `label` is for logs.
        Raises RevertError if it would revert now, ChainError if the node is away or refuses it: then nothing was sent.
        """

    @abstractmethod
    def poll(self) -> list[Outcome]:
        """Looks after all transactions once; returns those that ended since the last time.

        Has to be called now and then, also when nothing is pending. A node that is away is no error here.
        """

    @abstractmethod
    def wait(self, ticket: int, timeout: float | None = None) -> "Receipt":
        """Waits for one transaction, looking after all. Raises what ended it; ChainError after `timeout` seconds.

        A transaction that was given up waiting for stays in the outbox, and a later `poll` tells what became of it.
        """

    @property
    @abstractmethod
    def pending(self) -> int:
        """How many transactions have no outcome yet."""

    @property
    def replaced(self) -> int:
        """How often a transaction was signed again with higher fees."""
        return 0


class DirectOutbox(Outbox):
    """The outbox of a chain that mines at once: `execute(to, data, value, gas)` gives the receipt or raises."""

    def __init__(self, execute: "Callable[[str | None, bytes, int, int | None], Receipt]") -> None:
        self._execute = execute
        self._lock = threading.Lock()
        self._count = 0
        self._done: dict[int, Outcome] = {}

    def send(
        self, to: str | None, data: bytes = b"", value: int = 0, *, gas: int | None = None, label: str = ""
    ) -> int:
        with self._lock:
            receipt = self._execute(to, data, value, gas)
            self._count += 1
            self._done[self._count] = Outcome(self._count, label, receipt, None)
            return self._count

    def poll(self) -> list[Outcome]:
        with self._lock:
            outcomes = list(self._done.values())
            self._done.clear()
            return outcomes

    def wait(self, ticket: int, timeout: float | None = None) -> "Receipt":
        with self._lock:
            outcome = self._done.pop(ticket, None)
        if outcome is None or outcome.receipt is None:
            raise ChainError(f"the outcome of transaction {ticket} was told already, or there is none")
        return outcome.receipt

    @property
    def pending(self) -> int:
        return 0
