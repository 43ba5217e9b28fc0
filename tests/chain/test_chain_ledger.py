"""The ledger of events against the contract's storage: random play on the embedded chain, every field, every block."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from dispute_tiny import INPUTS, tiny_header, tiny_trace
from eth_account.signers.local import LocalAccount

from opml.chain import Chain, OpmlClient
from opml.chain.accounts import dev_accounts
from opml.chain.base import Log
from opml.chain.deploy import deploy
from opml.chain.embedded import EmbeddedChain
from opml.chain.ledger import Entry, Ledger
from opml.dispute.game import ClaimView, GameView, Role, Stage
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Timeout
from opml.dispute.player import Player, player, should_finalise
from opml.errors import ChainError, RevertError

PEOPLE = dev_accounts()[:3]
# Those who go on playing for a while.
LIES = ["register", "memory", "pc", "many-steps", "status", "other-tile", "silent-6", "witness-short"]
TRACES = {one_phase: tiny_trace(one_phase) for one_phase in (False, True)}


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with EmbeddedChain() as embedded:
        yield embedded


class Play:
    """Random play by three people on a contract of their own, followed by a ledger."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.random = random.Random(seed)
        made = deploy(chain, dev_accounts()[4], 10**6 + 1, 10**5, self.random.choice((2, 3, 5)))
        self.client = OpmlClient(chain, made.address, made.block)
        self.ledger = self.client.ledger()
        self.synced = made.block
        self.sides: dict[bytes, dict[Role, Player]] = {}
        self.honest: dict[bytes, bool] = {}
        self.stages: set[Stage] = set()
        self.past: dict[int, tuple[dict[bytes, ClaimView], dict[bytes, GameView], dict[str, int]]] = {}
        for header in (tiny_header(), tiny_header(one_phase=True)):
            self.client.register_model(header, "", PEOPLE[0])
        for begin in (self.claim, self.claim, self.challenge, self.challenge):
            begin()

    def anybody(self) -> LocalAccount:
        return self.random.choice(PEOPLE)

    def claim(self) -> None:
        one_phase, lie = self.random.random() < 0.3, self.random.choice(["", *LIES])
        truth = TRACES[one_phase]
        trace = LIARS[lie].trace(truth, Spot(1, 3)) if lie else truth
        args = (truth.header.model_id, trace.output_root, self.random.getrandbits(256))
        if self.random.random() < 0.3:
            root = truth.memory.input_root
            claim_id, _ = self.client.claim_by_root(args[0], root, *args[1:], "somewhere", self.anybody())
        else:
            claim_id, _ = self.client.claim(args[0], INPUTS.tobytes(), *args[1:], self.anybody())
        self.honest[claim_id] = not lie

    def challenge(self) -> None:
        claim_id = self.random.choice(list(self.honest))
        lie = self.random.choice(LIES)
        truth = TRACES[self.client.claim_view(claim_id).model_id == TRACES[True].header.model_id]
        liar = LIARS[lie]
        game_id, _ = self.client.challenge(claim_id, self.random.getrandbits(256), self.anybody())
        self.sides[game_id] = {
            Role.PROVER: player(truth, Role.PROVER)
            if self.honest[claim_id]
            else liar.player(truth, Role.PROVER, Spot(1, 3)),
            Role.CHALLENGER: liar.player(truth, Role.CHALLENGER, Spot(2, 5))
            if self.honest[claim_id]
            else player(truth, Role.CHALLENGER),
        }

    def move(self) -> None:
        game_id = self.random.choice(self.ledger.open_games()).game_id
        accounts = {account.address: account for account in PEOPLE}
        for role, side in self.sides[game_id].items():
            view = self.client.game_view(game_id)
            move = side(view, self.client.now())
            if move is not None:
                with suppress(RevertError):
                    self.client.move(game_id, move, accounts[view.party(role)])

    def wait(self) -> None:
        self.client.chain.advance(self.random.choices((5, 30, 100, 650), (6, 4, 4, 1))[0])

    def time_out(self) -> None:
        self.client.move(self.random.choice(list(self.sides)), Timeout(), self.anybody())

    def finalise(self) -> None:
        self.client.finalise(self.random.choice(list(self.honest)), self.anybody())

    def withdraw(self) -> None:
        account = self.anybody()
        claims = [claim.claim_id for claim in self.client.claims(prover=account.address)]
        ready = [claim for claim in claims if should_finalise(self.client.claim_view(claim), self.client.now())]
        self.client.withdraw(account.address, ready, self.client.collectable(account.address), account)

    def delegate(self) -> None:
        self.client.set_delegate(self.anybody().address, self.random.random() < 0.7, self.anybody())

    def announce(self) -> None:
        self.client.register_model(tiny_header(), self.random.choice(("", "a", "b")), self.anybody())

    def act(self) -> None:
        """Something random; what the contract refuses changes nothing."""
        kinds = [self.claim, self.challenge, self.move, self.wait, self.time_out, self.finalise, self.withdraw]
        kinds += [self.delegate, self.announce]
        with suppress(RevertError, IndexError):
            self.random.choices(kinds, (2, 4, 30, 2, 2, 1, 2, 1, 1))[0]()

    def look(self) -> None:
        """Takes up what is new, and compares what it has changed with the contract."""
        client, ledger = self.client, self.ledger
        head = client.chain.block_number()
        entries = client.entries(self.synced + 1, head)
        ledger.apply(entries)
        self.synced = head
        for game_id in {entry.args["gameId"] for entry in entries if "gameId" in entry.args}:
            game = ledger.games[game_id]
            self.stages.add(game.stage)
            assert game == client.game_view(game_id)
            assert ledger.claims[game.claim_id] == client.claim_view(game.claim_id)
        for claim_id in {entry.args["claimId"] for entry in entries if "claimId" in entry.args}:
            assert ledger.claims[claim_id] == client.claim_view(claim_id)
        self.past[head] = dict(ledger.claims), dict(ledger.games), dict(ledger.credit)

    def compare(self) -> None:
        """Compares all that the ledger says with the contract."""
        client, ledger = self.client, self.ledger
        assert ledger.claims == {claim.claim_id: client.claim_view(claim.claim_id) for claim in client.claims()}
        games = [game for claim_id in ledger.claims for game in client.claim_games(claim_id)]
        assert ledger.games == {game_id: client.game_view(game_id) for game_id in games}
        assert {game.game_id for game in ledger.open_games()} == {g for g in games if ledger.games[g].turn}
        for account in PEOPLE:
            assert ledger.credit.get(account.address, 0) == client.credit(account.address)
            mine = {game.game_id for game in ledger.open_games(account.address)}
            assert mine == {g.game_id for g in ledger.open_games() if account.address in (g.prover, g.challenger)}
            for other in PEOPLE:
                allowed = other is account or client.is_delegate(account.address, other.address)
                assert ledger.may_act_for(account.address, other.address) is allowed
        for claim_id, claim in ledger.claims.items():
            assert [game.game_id for game in ledger.claim_games(claim_id)] == client.claim_games(claim_id)
            assert ledger.posted_inputs.get(claim_id, b"") == claim.input
        assert ledger.burnt == client.burnt()
        for header in (tiny_header(), tiny_header(one_phase=True)):
            assert ledger.headers[header.model_id] == client.model(header.model_id)
            assert set(ledger.model_uris(header.model_id)) == set(client.model_uris(header.model_id))

    def take_back(self) -> None:
        """Some blocks vanish from the ledger: it is as it was before them."""
        block = self.random.choice(list(self.past))
        self.ledger.rewind(block + 1)
        assert (self.ledger.claims, self.ledger.games, self.ledger.credit) == self.past[block]
        self.synced = block


@pytest.mark.parametrize("seed", range(3))
def test_events_tell_all_that_the_contract_keeps(chain: Chain, seed: int) -> None:
    play = Play(chain, seed)
    for _ in range(60):
        play.act()
        play.look()
        if play.random.random() < 0.1:
            play.compare()
            play.take_back()
    play.look()
    play.compare()
    assert len(play.stages) >= 5


@pytest.fixture(scope="module")
def story(chain: Chain) -> tuple[OpmlClient, list[Entry]]:
    """All events of a game that goes down to one instruction."""
    made = deploy(chain, dev_accounts()[4], k=4)
    client, (prover, challenger) = OpmlClient(chain, made.address, made.block), PEOPLE[:2]
    truth, liar = TRACES[False], LIARS["register"]
    client.register_model(tiny_header(), "", prover)
    claim_id, _ = client.claim(
        tiny_header().model_id, INPUTS.tobytes(), liar.trace(truth, Spot(4, 9)).output_root, 0, prover
    )
    game_id, _ = client.challenge(claim_id, 0, challenger)
    sides = [
        (liar.player(truth, Role.PROVER, Spot(4, 9)), prover),
        (player(truth, Role.CHALLENGER), challenger),
    ]
    while client.game_view(game_id).turn:
        for side, account in sides:
            move = side(client.game_view(game_id), client.now())
            if move is not None:
                client.move(game_id, move, account)
    client.withdraw(challenger.address, [], [game_id], challenger)
    return client, client.entries()


def blocks(entries: Sequence[Entry]) -> list[list[Entry]]:
    numbers = sorted({entry.block for entry in entries})
    return [[entry for entry in entries if entry.block == number] for number in numbers]


def test_block_by_block_or_all_at_once(story: tuple[OpmlClient, list[Entry]]) -> None:
    client, entries = story
    whole, slow = client.ledger(), client.ledger()
    whole.apply(entries)
    for block in blocks(entries):
        slow.apply(block)
        assert slow.head == (block[0].block, block[0].block_hash)
    assert (slow.games, slow.claims, slow.blocks) == (whole.games, whole.claims, whole.blocks)
    (game,) = whole.games.values()
    assert (game.winner, game.collected, game.tile) == (Role.CHALLENGER, True, 4)
    slow.rewind(0)
    assert not slow.games
    assert not slow.claims
    assert slow.head is None
    slow.apply(entries)
    assert slow.games == whole.games


NEEDED = ["Claimed", "Challenged", "Opened", "Posted", "Chosen", "Entered", "ModelRegistered"]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_event_is_noticed_and_nothing_of_the_block_is_taken(
    story: tuple[OpmlClient, list[Entry]], name: str
) -> None:
    client, entries = story
    lost = next(i for i, entry in enumerate(entries) if entry.name == name)
    ledger = Ledger(client.k)
    refused = False
    for block in blocks([entry for i, entry in enumerate(entries) if i != lost]):
        before = dict(ledger.games), dict(ledger.claims), ledger.head
        try:
            ledger.apply(block)
        except ChainError:
            assert (ledger.games, ledger.claims, ledger.head) == before
            refused = True
            break
    assert refused
    ledger.rewind(entries[lost].block)
    ledger.apply(entry for entry in entries if entry.block >= entries[lost].block)
    assert next(iter(ledger.games.values())).collected


CHANGES: dict[str, Callable[[Entry], Entry]] = {
    "another first state": lambda e: changed(e, "Chosen", lo=bytes(32)),
    "another last state": lambda e: changed(e, "Chosen", hi=bytes(32)),
    "another segment": lambda e: changed(e, "Chosen", segment=e.args.get("segment", 0) ^ 1),
    "no such segment": lambda e: changed(e, "Chosen", segment=64),
    "another length": lambda e: changed(e, "Chosen", length=e.args.get("length", 0) + 1),
    "too few states": lambda e: changed(e, "Posted", states=e.args.get("states", ())[1:]),
    "a post for another range": lambda e: changed(e, "Posted", position=10**6),
    "another tile": lambda e: changed(e, "Entered", tile=7),
    "another model": lambda e: changed(e, "ModelRegistered", modelId=bytes(32)),
    "another output": lambda e: changed(e, "Claimed", outputRoot=bytes(32)),
    "another nonce": lambda e: changed(e, "Claimed", nonce=7),
    "another salt": lambda e: changed(e, "Challenged", salt=7),
    "another challenger": lambda e: changed(e, "Challenged", challenger=PEOPLE[2].address),
    "another prover": lambda e: changed(e, "Challenged", prover=PEOPLE[2].address),
    "an unknown claim": lambda e: changed(e, "Challenged", claimId=bytes(32)),
    "a time before the last move": lambda e: replace(e, timestamp=e.timestamp + 10**6 * (e.name == "Opened")),
    "an unknown event": lambda e: replace(e, name="Surprise") if e.name == "Challenged" else e,
}


def changed(entry: Entry, name: str, **args: object) -> Entry:
    return replace(entry, args={**entry.args, **args}) if entry.name == name else entry


@pytest.mark.parametrize("change", CHANGES)
def test_events_that_contradict_each_other_are_refused(story: tuple[OpmlClient, list[Entry]], change: str) -> None:
    client, entries = story
    ledger = client.ledger()
    with pytest.raises(ChainError):
        ledger.apply(map(CHANGES[change], entries))
    assert not ledger.games
    assert not ledger.claims
    ledger.apply(entries)


def test_events_out_of_order_are_refused(story: tuple[OpmlClient, list[Entry]]) -> None:
    client, entries = story
    ledger = client.ledger()
    first, *rest = blocks(entries)
    two = next(block for block in rest if len(block) > 1)
    for wrong in (
        [*two, *first],
        [*first, *first],
        two[::-1],
        [*two[:1], replace(two[1], block_hash=bytes(32))],
    ):
        with pytest.raises(ChainError):
            ledger.apply(wrong)
        assert ledger.head is None
    ledger.apply(first)
    with pytest.raises(ChainError, match="order"):
        ledger.apply(first)
    assert ledger.head == (first[0].block, first[0].block_hash)


def test_what_is_too_old_cannot_be_taken_back(story: tuple[OpmlClient, list[Entry]]) -> None:
    client, entries = story
    ledger = Ledger(client.k, history=3)
    ledger.apply(entries)
    last = entries[-1].block
    ledger.rewind(last - 2)
    with pytest.raises(ChainError, match="can no longer be taken back"):
        ledger.rewind(entries[0].block)


def test_a_model_registered_before_events_begin_is_asked_for(story: tuple[OpmlClient, list[Entry]]) -> None:
    client, entries = story
    late = [entry for entry in entries if entry.name != "ModelRegistered"]
    asked: list[bytes] = []

    def models(model_id: bytes) -> object:
        asked.append(model_id)
        return client.model(model_id)

    ledger = Ledger(client.k, models)  # type: ignore[arg-type]
    ledger.apply(late)
    assert len(ledger.games) == 1
    assert set(asked) == {tiny_header().model_id}


class Terse(EmbeddedChain):
    """A node that does not say a block's time with its logs."""

    asked = 0

    def logs(self, *args: object, **named: object) -> list[Log]:
        return [replace(log, timestamp=None) for log in super().logs(*args, **named)]  # type: ignore[arg-type]

    def request(self, method: str, *params: object) -> object:
        self.asked += method == "eth_getBlockByHash"
        return super().request(method, *params)


def test_times_are_asked_for_once_where_logs_have_none() -> None:
    with Terse() as chain:
        made = deploy(chain, PEOPLE[0], k=4)
        client = OpmlClient(chain, made.address, made.block)
        client.register_model(tiny_header(), "", PEOPLE[0])
        claim_id, receipt = client.claim(tiny_header().model_id, INPUTS.tobytes(), bytes(32), 0, PEOPLE[0])
        entries = client.entries()
        assert client.entries() == entries
        assert chain.asked == 2
        assert entries[-1].timestamp == receipt.timestamp
        ledger = client.ledger()
        ledger.apply(entries)
        assert ledger.claims[claim_id] == client.claim_view(claim_id)
