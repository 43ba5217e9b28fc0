"""The requests of a market that are not closed, kept up to date by its events.

A look costs two blocks' headers and one request for events, however many requests are open; blocks that the chain takes
back are undone. What a request says was paid for by nobody: whoever keeps a book drops what is of no use to him.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from opml.chain.abi import Event
from opml.chain.base import Log
from opml.chain.hexa import from_hex
from opml.chain.market import MarketClient, Request, Status, read_request
from opml.chain.views import NOBODY, BehindError

# Blocks that are read again at each look, since nodes behind one address may differ by one; and when the chain has
# taken blocks back, or may have.
RECHECKED = 3
DOUBTED = 64
# Blocks in one request for events: between two of them, what is of no use can be dropped.
SPAN = 10_000

Place = tuple[int, bytes, int]


@dataclass(frozen=True)
class Entry:
    """A request that is not closed. `claim_id` and `prover` are those of the last acceptance."""

    request: Request
    input: bytes | None = None
    input_uri: str = ""
    status: Status = Status.OPEN
    claim_id: bytes = bytes(32)
    prover: str = NOBODY

    @property
    def run(self) -> tuple[bytes, bytes]:
        """Model and root of the input: what is to be run."""
        return self.request.terms.model_id, self.request.input_root

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        return 2_000 + len(self.input or b"") + len(self.input_uri)


@dataclass(frozen=True)
class _Change:
    """What an event has changed: the entry as it was before."""

    place: Place
    request_id: bytes
    before: Entry | None


class RequestBook:
    """The open requests of `market`; those that `prover` has accepted come back even if they were dropped."""

    def __init__(self, market: MarketClient, prover: str) -> None:
        self.entries: dict[bytes, Entry] = {}
        # Whether anybody was paid since this was last set to False.
        self.paid = True
        self._market = market
        self._prover = prover
        self._head = market.contract.from_block - 1
        self._hash: bytes | None = None
        # Changes in the newest blocks, oldest first.
        self._changes: deque[_Change] = deque()

    def drop(self, request_id: bytes) -> None:
        """Forgets a request."""
        self.entries.pop(request_id, None)

    def drop_least(self, worth: Callable[[bytes, Entry], float], most: int, most_bytes: int) -> list[bytes]:
        """Forgets the least worthy requests, so that no more than so many are left; which ones."""
        if len(self.entries) <= most and sum(entry.nbytes for entry in self.entries.values()) <= most_bytes:
            return []
        ranked = sorted(self.entries, key=lambda request_id: worth(request_id, self.entries[request_id]), reverse=True)
        kept, nbytes = 0, 0
        for request_id in ranked[:most]:
            nbytes += self.entries[request_id].nbytes
            if nbytes > most_bytes:
                break
            kept += 1
        for request_id in ranked[kept:]:
            self.drop(request_id)
        return ranked[kept:]

    def advance(self, head: int) -> bool:
        """Takes up events of blocks up to `head`, or the next SPAN; whether there were any. Raises ChainError.

        `behind` says whether more are left.
        """
        if head < self._head:
            # The follower, who names the head, has thought about it: the chain has become shorter.
            self._head, self._hash = head, None
        last = min(head, max(self._head, 0) + SPAN)
        block_hash = from_hex(self._market.chain.block(last)["hash"])
        if last == self._head and block_hash == self._hash:
            return False
        start = max(self._head - self._recheck(last) + 1, self._market.contract.from_block)
        logs = self._market.logs(start, last)
        if any(log.block == last and log.block_hash != block_hash for log in logs):
            raise BehindError("the node has changed its newest block while it was asked for its events")
        known = [change.place for change in self._changes if change.place[0] >= start]
        same = 0
        while same < min(len(known), len(logs)) and known[same] == _place(logs[same]):
            same += 1
        for _ in range(len(known) - same):
            self._undo(self._changes.pop())
        for log, event in self._market.contract.decoded(logs[same:]):
            self._apply(log, event)
        self._head, self._hash = last, block_hash
        while self._changes and self._changes[0].place[0] < last - 2 * DOUBTED:
            self._changes.popleft()
        return len(logs) > same or len(known) > same

    def behind(self, head: int) -> bool:
        """Whether there are blocks up to `head` that were not looked at."""
        return self._head < head

    def _recheck(self, last: int) -> int:
        if self._hash is None:
            return DOUBTED
        same = last >= self._head and from_hex(self._market.chain.block(self._head)["hash"]) == self._hash
        return RECHECKED if same else DOUBTED

    def _undo(self, change: _Change) -> None:
        if change.before is None:
            self.drop(change.request_id)
        else:
            self.entries[change.request_id] = change.before

    def _apply(self, log: Log, event: Event) -> None:
        request_id, before = event.args["requestId"], self.entries.get(event.args["requestId"])
        self._changes.append(_Change(_place(log), request_id, before))
        if event.name == "Delivered":
            self.paid = True
        if event.name in ("Delivered", "Refunded"):
            self.drop(request_id)
            return
        entry = before
        if before is None and event.name == "Accepted" and event.args["prover"] == self._prover:
            for _, earlier in self._market.contract.decoded(self._market.logs(0, log.block, request_id)):
                entry = self._after(entry, request_id, earlier.name, earlier.args)
        entry = self._after(entry, request_id, event.name, event.args)
        if entry is not None:
            self.entries[request_id] = entry

    def _after(self, entry: Entry | None, request_id: bytes, name: str, args: Any) -> Entry | None:
        """A request after an event; None if it is none that we know."""
        if name == "Requested":
            request = read_request(args["request"])
            if request.id_at(self._market.chain.chain_id, self._market.address) != request_id:
                raise BehindError("what a request says is not what its id commits to")
            return Entry(request)
        if entry is None:
            return None
        if name == "RequestInput":
            return replace(entry, input=args["input"])
        if name == "RequestInputAt":
            return replace(entry, input_uri=args["uri"])
        if name == "Accepted":
            return replace(entry, status=Status.ACCEPTED, claim_id=args["claimId"], prover=args["prover"])
        return entry


def _place(log: Log) -> Place:
    return log.block, log.block_hash, log.index
