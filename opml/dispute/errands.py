"""Transactions that a player has under way: none is sent twice, and one that was refused waits before the next try.

Nothing here has to survive: who forgets it reads the chain, decides the same again, and at worst is refused once.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from opml.chain.outbox import Outbox
from opml.errors import ChainError, RevertError, UnreachableError

# A refused transaction is tried again after the poll interval, then twice that, up to a block of a slow chain.
LONGEST_WAIT = 12.0
# Somebody else may have moved first, and nodes try on a block whose time is past: fewer refusals are no worry.
DOUBTFUL = 3
# After so many seconds without word of a transaction it is decided anew.
LOST_AFTER = 1200.0


class Emit(Protocol):
    """Takes what happens, by name: for logs, metrics, progress. `level` is debug, info, warning or error."""

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None: ...


def quiet(event: str, /, level: str = "info", **fields: Any) -> None:
    """Events that nobody hears."""


@dataclass
class _Flight:
    ticket: int
    kind: str
    fields: dict[str, Any]
    sent: float
    block: int | None = None


@dataclass(frozen=True)
class _Refusal:
    """How often in a row, until when it waits, and why the last time."""

    times: int
    until: float
    error: ChainError | None


_NONE = _Refusal(0, 0.0, None)


class Errands:
    """The transactions to the contract at `address` through one outbox. `poll` is the loop's interval in seconds.

    A transaction is named by a key of the caller's. It is under way from `send` until the loop has seen the block in
    which it was mined (`arrive`), or has been told that it failed.
    """

    def __init__(
        self, outbox: Outbox, address: str, *, emit: Emit, poll: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox = outbox
        self._address = address
        self._emit = emit
        self._poll = poll
        self._clock = clock
        self._flying: dict[Hashable, _Flight] = {}
        self._refused: dict[Hashable, _Refusal] = {}

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def replaced(self) -> int:
        """How often a transaction was sent again with higher fees."""
        return self._outbox.replaced

    def free(self, key: Hashable) -> bool:
        """Whether this transaction is neither under way nor waiting after a refusal."""
        return key not in self._flying and self._refused.get(key, _NONE).until <= self._clock()

    def under_way(self, key: Hashable) -> bool:
        """Whether it has been sent, and its effect has not been seen."""
        return key in self._flying

    def waiting(self) -> bool:
        """Whether anything was refused a moment ago, for the first times, and will be tried again."""
        now = self._clock()
        return any(refusal.times < DOUBTFUL and refusal.until > now for refusal in self._refused.values())

    def send(
        self,
        key: Hashable,
        kind: str,
        data: bytes,
        value: int = 0,
        *,
        to: str | None = None,
        hurry: float = LONGEST_WAIT,
        **fields: Any,
    ) -> bool:
        """Sends a transaction unless its key is not free; whether it was sent. `fields` go with its events; `to` is
        another contract than usual.

        After a refusal it is not tried again for a while, `hurry` seconds at most. Raises UnreachableError where the
        node is away: then the others need not be tried now.
        """
        if not self.free(key):
            return False
        try:
            ticket = self._outbox.send(to or self._address, data, value, label=kind)
        except UnreachableError as error:
            self._wait(key, hurry, error)
            raise
        except ChainError as error:
            self._wait(key, hurry, error)
            times = self.refusals(key)
            level = "info" if isinstance(error, RevertError) and times < DOUBTFUL else "warning"
            self._emit("refused", level, kind=kind, reason=_reason(error), times=times, **fields)
            return False
        self._flying[key] = _Flight(ticket, kind, fields, self._clock())
        self._emit("sent", kind=kind, **fields)
        return True

    def unknown(self) -> list[str]:
        """Kinds of the transactions of which it is not known whether they were mined."""
        return [flight.kind for flight in self._flying.values() if flight.block is None]

    def refusals(self, key: Hashable) -> int:
        """How often in a row this transaction was refused."""
        return self._refused.get(key, _NONE).times

    def reason(self, key: Hashable) -> str:
        """Why it was refused the last time."""
        return _reason(self._refused.get(key, _NONE).error)

    def settle(self) -> None:
        """Looks after what was sent, and tells what became of it."""
        tickets = {flight.ticket: key for key, flight in self._flying.items()}
        for outcome in self._outbox.poll():
            key = tickets.get(outcome.ticket)
            if key is None:
                continue
            flight = self._flying[key]
            if outcome.receipt is not None:
                flight.block = outcome.receipt.block
                self._refused.pop(key, None)
                self._emit(
                    "mined",
                    kind=flight.kind,
                    block=outcome.receipt.block,
                    gas=outcome.receipt.gas_used,
                    cost_wei=outcome.receipt.cost,
                    waited=round(self._clock() - flight.sent, 3),
                    **flight.fields,
                )
                continue
            del self._flying[key]
            self._wait(key, LONGEST_WAIT, outcome.error)
            self._emit("failed", "warning", kind=flight.kind, reason=_reason(outcome.error), **flight.fields)

    def arrive(self, block: int) -> None:
        """The loop knows the chain up to `block`: what was mined until then is no longer under way."""
        for key, flight in list(self._flying.items()):
            if flight.block is not None and flight.block <= block:
                del self._flying[key]
            elif flight.block is None and self._clock() - flight.sent > LOST_AFTER:
                del self._flying[key]
                self._emit("failed", "warning", kind=flight.kind, reason="nothing was heard of it", **flight.fields)
        if len(self._refused) > 10_000:
            now = self._clock()
            self._refused = {key: refusal for key, refusal in self._refused.items() if refusal.until > now}

    def rewind(self, block: int) -> None:
        """The chain has changed after `block`: what was not mined until then is decided anew.

        A transaction may still be mined that was sent before: the same once more is then refused, no harm done.
        """
        for key, flight in list(self._flying.items()):
            if flight.block is None or flight.block > block:
                del self._flying[key]

    def _wait(self, key: Hashable, hurry: float, error: ChainError | None) -> None:
        times = self.refusals(key)
        pause = min(self._poll * 2**times, LONGEST_WAIT, max(hurry, 0.0))
        self._refused[key] = _Refusal(times + 1, self._clock() + pause, error)


def _reason(error: ChainError | None) -> str:
    return error.reason if isinstance(error, RevertError) else str(error)
