"""Following the chain: new blocks' events into a ledger, and out again when the chain takes blocks back.

One look costs the newest block's header and one request for events. The events of the last few blocks are asked for
again each time: nodes behind one address may differ by a block, and one that does not know a block says that there are
no events in it.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opml.chain.hexa import from_hex, from_quantity
from opml.chain.ledger import Entry, Ledger
from opml.errors import ChainError

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient

RECHECKED = 3
# How far back a doubt goes.
DOUBTED = 64
# Heads that are remembered, to find where a new branch of the chain begins.
REMEMBERED = 1024
# A head older than one that we have seen: either the node is behind, or the chain has become shorter. After so many
# looks we believe the latter.
BEHIND = 10


@dataclass
class News:
    """What has changed: ids of games and claims. `rewound`: events after that block were taken back.

    It grows until whoever reads it takes things out: a look that fails half way must not lose any.
    """

    games: set[bytes] = field(default_factory=set)
    claims: set[bytes] = field(default_factory=set)
    rewound: int | None = None

    def __bool__(self) -> bool:
        return bool(self.games or self.claims) or self.rewound is not None


@dataclass(frozen=True)
class _Place:
    block: int
    block_hash: bytes
    index: int


class Follower:
    """The ledger of `client`'s contract, kept up to date by `advance`.

    With a `scope`, it takes up nothing but these claims and their games, from the oldest of them on.
    """

    def __init__(self, client: "OpmlClient", scope: Collection[bytes] | None = None) -> None:
        self._client = client
        self._scope = scope
        self._games: set[bytes] = set()
        self._floor = client.from_block - 1
        if scope:
            begun = [entry.block for claim_id in scope for entry in client.history(claim_id)[:1]]
            self._floor = min(begun, default=client.from_block) - 1
        self.ledger = self._empty_ledger()
        self.head = self._floor
        self.timestamp = 0
        # Heads at which we have looked, by number, oldest first.
        self._heads: dict[int, bytes] = {}
        # Events in the newest DOUBTED blocks.
        self._recent: deque[_Place] = deque()
        self._recheck = RECHECKED
        self._behind = 0
        self.news = News()

    def doubt(self) -> None:
        """The node may have told us something else than it knows now: the next look goes further back."""
        self._recheck = DOUBTED

    def advance(self) -> None:
        """Takes up what is new, and notes it in `news`. Raises ChainError; another look may then succeed."""
        block = self._client.chain.block("latest")
        number, block_hash = from_quantity(block["number"]), from_hex(block["hash"])
        self.timestamp = from_quantity(block["timestamp"])
        if number < self.head and self._behind < BEHIND:
            self._behind += 1
            return
        self._behind = 0
        if self._heads.get(number) == block_hash and number == self.head and self._recheck == RECHECKED:
            return
        common = self._common(number, block_hash, from_hex(block["parentHash"]))
        start = max(common - self._recheck, self._floor)
        entries = [entry for entry in self._client.entries(start + 1, number) if self._concerns(entry)]
        if any(entry.block == number and entry.block_hash != block_hash for entry in entries):
            raise ChainError("the node has changed its newest block while it was asked for its events")
        known = [place for place in self._recent if start < place.block <= common]
        found = [_place(entry) for entry in entries if entry.block <= common]
        base = common if known == found else start
        fresh = [entry for entry in entries if entry.block > base]
        self._take(fresh, base)
        self._recheck = RECHECKED
        self.head = number
        self._heads[number] = block_hash
        while len(self._heads) > REMEMBERED:
            del self._heads[next(iter(self._heads))]
        for entry in fresh:
            if "gameId" in entry.args:
                self.news.games.add(entry.args["gameId"])
            if "claimId" in entry.args:
                self.news.claims.add(entry.args["claimId"])

    def _empty_ledger(self) -> Ledger:
        ledger = self._client.ledger()
        ledger.forgets = True
        return ledger

    def _common(self, number: int, block_hash: bytes, parent: bytes) -> int:
        """The newest block that we know and that is still in the chain."""
        if number == self.head + 1 and self._heads.get(self.head) == parent:
            return self.head
        anchors = {**dict(self.ledger.blocks), **self._heads}
        if anchors.get(number) == block_hash:
            return number
        known = sorted(place for place in anchors.items() if place[0] < number)
        low, high = 0, len(known)
        # As long as nothing was taken back, the newest is the answer.
        middle = high - 1
        while low < high:
            if from_hex(self._client.chain.block(known[middle][0])["hash"]) == known[middle][1]:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return known[low - 1][0] if low else self._floor

    def _concerns(self, entry: Entry) -> bool:
        if self._scope is None:
            return True
        game_id = entry.args.get("gameId")
        if entry.args.get("claimId") in self._scope and game_id:
            self._games.add(game_id)
        return game_id in self._games if game_id else entry.args.get("claimId") in (None, *self._scope)

    def _take(self, fresh: list[Entry], base: int) -> None:
        """Replaces everything after block `base`."""
        if base < self.head:
            self._rewind(base)
        if self.head < base:
            raise ChainError("the chain has changed further back than its events were kept", "they are read again")
        try:
            self.ledger.apply(fresh)
        except ChainError:
            # Something was missing before: go further back, and at last to the beginning.
            if self._recheck == RECHECKED:
                self._recheck = DOUBTED
            else:
                self._rewind(self._floor)
            raise
        self._recent.extend(_place(entry) for entry in fresh)
        while self._recent and self._recent[0].block < self._recent[-1].block - DOUBTED - RECHECKED:
            self._recent.popleft()

    def _rewind(self, base: int) -> None:
        newest = self.ledger.head
        if newest is not None and newest[0] > base:
            # All of them: which ones the blocks were about is not known any more.
            self.news.games |= set(self.ledger.games)
            self.news.claims |= set(self.ledger.claims)
            try:
                self.ledger.rewind(base + 1)
            except ChainError:
                base = self._floor
                self.ledger = self._empty_ledger()
            self.news.rewound = base if self.news.rewound is None else min(base, self.news.rewound)
        while self._recent and self._recent[-1].block > base:
            self._recent.pop()
        self._heads = {number: block_hash for number, block_hash in self._heads.items() if number <= base}
        self.head = base


def _place(entry: Entry) -> _Place:
    return _Place(entry.block, entry.block_hash, entry.index)
