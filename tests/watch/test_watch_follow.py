"""Following a chain that takes blocks back, nodes that lag, know less, or change their mind; and playing on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from watch_world import World, run_together

from opml.chain.base import Chain
from opml.chain.client import OpmlClient
from opml.chain.embedded import EmbeddedChain
from opml.chain.hexa import to_hex
from opml.chain.ledger import Entry
from opml.dispute.follow import BEHIND, Follower
from opml.dispute.game import ClaimStatus, Role
from opml.errors import ChainError
from vm.keccak import keccak256


class ListLedger:
    """A ledger that only remembers; as strict about order as the real one."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.claims: dict[bytes, Any] = {}
        self.games: dict[bytes, Any] = {}

    @property
    def head(self) -> tuple[int, bytes] | None:
        return (self.entries[-1].block, self.entries[-1].block_hash) if self.entries else None

    @property
    def blocks(self) -> list[tuple[int, bytes]]:
        return sorted({(entry.block, entry.block_hash) for entry in self.entries})

    def apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self.entries and (entry.block, entry.index) <= (self.entries[-1].block, self.entries[-1].index):
                raise ChainError("not in order")
            self.entries.append(entry)
            self.claims[entry.args["claimId"]] = entry

    def rewind(self, block: int) -> None:
        self.entries = [entry for entry in self.entries if entry.block < block]
        self.claims = {entry.args["claimId"]: entry for entry in self.entries}


@dataclass
class FakeNode:
    """A chain of blocks, each with a number of events, and what a node shows of it. Chain and client in one."""

    events: list[int] = field(default_factory=lambda: [0])
    branch: list[int] = field(default_factory=lambda: [0])
    hidden: int = 0
    blind: int = 0
    from_block: int = 0

    @property
    def chain(self) -> Any:
        return self

    def ledger(self) -> Any:
        return ListLedger()

    def hash(self, number: int) -> bytes:
        return keccak256(repr((self.events[: number + 1], self.branch[: number + 1])).encode())

    def block(self, tag: Any) -> dict[str, str]:
        number = len(self.events) - 1 - self.hidden if tag == "latest" else tag
        parent = self.hash(number - 1) if number else bytes(32)
        return {"number": hex(number), "hash": to_hex(self.hash(number)), "parentHash": to_hex(parent),
                "timestamp": hex(number)}  # fmt: skip

    def all_entries(self, first: int, last: int) -> list[Entry]:
        return [
            Entry("Claimed", {"claimId": keccak256(self.hash(b) + bytes([i]))}, b, self.hash(b), b, i, bytes(32))
            for b in range(first, last + 1)
            for i in range(self.events[b])
        ]

    def entries(self, first: int, last: int) -> list[Entry]:
        """A node that does not know a block yet says that it has no events."""
        return self.all_entries(first, min(last, len(self.events) - 1 - self.hidden - self.blind))


class Following(RuleBasedStateMachine):
    """Whatever the chain and the node do, a good node's answer in the end is the truth, and the news name it all."""

    def __init__(self) -> None:
        super().__init__()
        self.node = FakeNode()
        self.follower = Follower(self.node)  # type: ignore[arg-type]
        self.known: dict[bytes, Entry] = {}

    @rule(events=st.lists(st.integers(0, 3), min_size=1, max_size=5))
    def mine(self, events: list[int]) -> None:
        self.node.events += events
        self.node.branch += [self.node.branch[-1]] * len(events)

    @rule(depth=st.integers(1, 8), events=st.lists(st.integers(0, 3), min_size=0, max_size=10), data=st.integers(1, 9))
    def reorganise(self, depth: int, events: list[int], data: int) -> None:
        keep = max(len(self.node.events) - depth, 1)
        self.node.events = self.node.events[:keep]
        self.node.branch = self.node.branch[:keep]
        self.node.events += events
        self.node.branch += [self.node.branch[-1] + data] * len(events)

    @rule(hidden=st.integers(0, 3), blind=st.integers(0, 2))
    def look_at_a_node_that_lags(self, hidden: int, blind: int) -> None:
        self.node.hidden, self.node.blind = min(hidden, len(self.node.events) - 1), blind
        self.look()
        self.node.hidden = self.node.blind = 0

    @rule()
    def doubt(self) -> None:
        self.follower.doubt()

    @rule()
    def look(self) -> None:
        try:
            self.follower.advance()
        except ChainError:
            return
        self.read_news()

    def read_news(self) -> None:
        news = self.follower.news
        for claim_id in list(news.claims):
            entry = self.follower.ledger.claims.get(claim_id)
            self.known.pop(claim_id, None) if entry is None else self.known.__setitem__(claim_id, entry)
            news.claims.discard(claim_id)
        news.rewound = None

    @invariant()
    def what_the_news_tell_is_all_there_is(self) -> None:
        assert self.known == self.follower.ledger.claims

    def teardown(self) -> None:
        """At last the node is well, and the chain grows: what was missed or made up is mended."""
        self.follower.doubt()
        for _ in range(3):
            self.mine([1])
            for _ in range(BEHIND + 3):
                self.look()
        assert self.follower.ledger.entries == self.node.all_entries(0, len(self.node.events) - 1)
        assert self.follower.head == len(self.node.events) - 1
        assert self.known == self.follower.ledger.claims


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def followed(node: FakeNode) -> Follower:
    follower = Follower(node)  # type: ignore[arg-type]
    follower.advance()
    return follower


def test_a_node_that_lags_is_not_believed_at_once() -> None:
    node = FakeNode([0, 1, 1, 1], [0] * 4)
    follower = followed(node)
    follower.news.claims.clear()
    node.hidden = 1
    for _ in range(BEHIND):
        follower.advance()
        assert follower.head == 3
        assert not follower.news
    follower.advance()
    assert follower.head == 2
    assert follower.news.rewound == 2


def test_events_that_a_node_did_not_know_yet_are_found_later() -> None:
    node = FakeNode([0, 1, 1], [0] * 3)
    node.blind = 1
    follower = followed(node)
    assert len(follower.ledger.entries) == 1
    node.blind = 0
    node.events.append(0)
    node.branch.append(0)
    follower.advance()
    assert len(follower.ledger.entries) == 2


def test_a_block_that_changes_between_two_questions_is_asked_for_again() -> None:
    node = FakeNode([0, 1, 1], [0] * 3)
    block = node.block
    node.block = lambda tag: block(tag) | {"hash": to_hex(bytes(32))}  # type: ignore[method-assign]
    follower = Follower(node)  # type: ignore[arg-type]
    with pytest.raises(ChainError, match="changed its newest block"):
        follower.advance()
    assert follower.ledger.entries == []
    node.block = block  # type: ignore[method-assign]
    follower.advance()
    assert len(follower.ledger.entries) == 2


def test_a_ledger_that_cannot_go_back_so_far_is_built_anew() -> None:
    node = FakeNode([0, 1, 1, 1, 1], [0] * 5)
    follower = followed(node)
    first = follower.ledger

    def refuse(block: int) -> None:
        raise ChainError("can no longer be taken back")

    first.rewind = refuse  # type: ignore[method-assign]
    node.branch[2:] = [7] * 3
    with pytest.raises(ChainError, match="further back"):
        follower.advance()
    follower.advance()
    assert follower.ledger is not first
    assert follower.ledger.entries == node.all_entries(0, 4)


def test_contradictions_send_it_back_to_the_beginning() -> None:
    node = FakeNode([0] + [1] * 100, [0] * 101)
    follower = followed(node)
    # An event is missing far back, which shows only now.
    del follower.ledger.entries[3]
    follower.ledger.apply = lambda entries: (_ for _ in ()).throw(ChainError("contradiction"))  # type: ignore[method-assign]
    for _ in range(2):
        node.events.append(1)
        node.branch.append(0)
        with pytest.raises(ChainError, match="contradiction"):
            follower.advance()
    del follower.ledger.apply
    follower.advance()
    assert follower.ledger.entries == node.all_entries(0, len(node.events) - 1)


def test_a_scope_leaves_everything_else_out(world: World) -> None:
    """Also games that were begun before the claim's block: they would contradict the little that is known."""
    early = world.claim(right=False, number=1)
    world.client.challenge(early, 0, world.accounts[4])
    ours = world.claim(right=True, number=2)
    later = world.claim(right=False, number=3)
    world.client.challenge(ours, 0, world.liar)
    world.client.challenge(later, 0, world.accounts[4])
    prover = world.prover(scope={ours})
    run_together(prover, world.liar_keeper(Role.CHALLENGER))
    assert set(prover.ledger.claims) == {ours}
    assert {game.claim_id for game in prover.ledger.games.values()} == {ours}
    assert {game.winner for game in prover.ledger.games.values()} == {Role.PROVER}


# On a real chain that is reorganised


@pytest.fixture
def world() -> World:
    return World()


class Branching(Chain):
    """A chain that can be cut back to an older block, with other blocks after it; or its transactions once more."""

    def __init__(self) -> None:
        self.now = EmbeddedChain()

    def request(self, method: str, *params: Any) -> Any:
        return self.now.request(method, *params)

    def transact(self, *args: Any, **options: Any) -> Any:
        return self.now.transact(*args, **options)

    def _new_outbox(self, account: Any) -> Any:
        chain = self

        class Newest:
            """The outbox of whatever chain there is."""

            replaced = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(chain.now.outbox(account), name)

        return Newest()

    @property
    def web3(self) -> Any:
        return self.now.web3

    def cut(self, depth: int) -> None:
        """Takes back the last `depth` blocks, and mines an empty one in their place."""
        old = self.now
        blocks = old.node.blocks
        new = EmbeddedChain()
        for block in blocks[1 : len(blocks) - depth]:
            stamp = block.header.timestamp
            new.request("evm_setNextBlockTimestamp", hex(stamp))
            if block.transaction is None:
                new.request("evm_mine")
            else:
                new.node.submit(block.transaction.raw, refuse_reverts=False)
        assert new.block("latest")["hash"] == old.block(len(blocks) - 1 - depth)["hash"]
        new.request("evm_increaseTime", hex(7))
        new.request("evm_mine")
        self.now = new


def play_with_reorgs(world: World, chain: Branching, keepers: list[Any], depths: dict[int, int]) -> None:
    for number in range(80):
        if number in depths:
            chain.cut(depths[number])
        active = [keeper.tick() for keeper in keepers]
        if not any(active) and number > max(depths) + BEHIND:
            return


@pytest.mark.parametrize("depth", [1, 2, 5, 9])
def test_a_watcher_wins_although_blocks_vanish(depth: int) -> None:
    chain = Branching()
    world = World(chain)
    claim_id = world.claim(right=False)
    watcher, liar = world.watcher(), world.liar_keeper(Role.PROVER)
    play_with_reorgs(world, chain, [watcher, liar], {6: depth if depth < 9 else 3, 9: depth})
    client = OpmlClient(chain, world.client.address)
    if client.claim_view(claim_id).status is ClaimStatus.NONE:
        pytest.fail("the cut went back before the claim")
    assert client.claim_view(claim_id).status is ClaimStatus.REJECTED
    assert len(client.claim_games(claim_id)) == 1
    assert client.balance() == client.burnt()
    assert world.told("reorg")


def test_a_claim_and_a_game_that_vanish_are_forgotten() -> None:
    chain = Branching()
    world = World(chain)
    watcher, liar = world.watcher(), world.liar_keeper(Role.PROVER)
    block = chain.block_number()
    claim_id = world.claim(right=False)
    for _ in range(4):
        watcher.tick(), liar.tick()
    assert watcher.board.ours
    chain.cut(chain.block_number() - block)
    for _ in range(BEHIND + 3):
        watcher.tick()
    assert watcher.ledger.claims == {}
    assert not watcher.board.ours
    assert watcher.standing == []
    assert watcher.idle
    # The liar says the same once more.
    again = OpmlClient(chain, world.client.address)
    view = world.model.infer_posted(b"\0" * 32).trace
    assert again.claim_view(claim_id).status is ClaimStatus.NONE
    assert view is not None
