"""The deployed Opml contract, typed: every call and every view, and what its events tell."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opml.chain.abi import Event, artifact
from opml.chain.base import Chain, Log, Receipt
from opml.chain.contract import Contract
from opml.chain.hexa import checksum, from_quantity, to_hex
from opml.chain.ledger import Entry, Ledger
from opml.chain.views import NO_CLAIM, BehindError, claim_terms, claim_view, game_key, game_view, present
from opml.dispute.game import Claim, ClaimStatus, ClaimView, GameKey, GameView
from opml.dispute.moves import Move
from opml.dispute.player import collectable, should_finalise
from opml.errors import ChainError, RevertError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from opml.header import ModelHeader

T = TypeVar("T")
# How often a node is asked again whose events and state do not fit: a block came between two questions.
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.05
_TIMES_KEPT: Final = 4096


class OpmlClient:
    """The contract at `address` on `chain`.

    It is a `Court`: the players' loop needs nothing else. Methods that send a transaction take the sender's account
    last, return after it was mined, and raise RevertError with the custom error's name if the contract refuses. Ids and
    roots are 32 bytes, amounts are wei. `from_block` is where events begin: the contract's first block, or 0.

    Raises ChainError if there is no contract of opml at the address.
    """

    def __init__(self, chain: Chain, address: str, from_block: int = 0) -> None:
        self.chain = chain
        self.contract = Contract(chain, address, artifact("Opml").abi, from_block)
        # By id, of which they are the preimages: what the contract does not keep, and no other chain of events changes.
        self._claims: dict[bytes, Claim] = {}
        self._keys: dict[bytes, GameKey] = {}
        self._times: dict[bytes, int] = {}
        try:
            known = 2 <= self.k <= 64 and self.prover_bond > 0
        except ChainError:
            known = False
        if not known:
            raise ChainError(f"the contract at {self.address} is not opml's", "check the address")

    @property
    def address(self) -> str:
        """The contract's address, checksummed."""
        return self.contract.address

    @property
    def from_block(self) -> int:
        """Where events begin."""
        return self.contract.from_block

    # The contract's own numbers

    @cached_property
    def k(self) -> int:
        """The largest number of parts into which one round divides a range."""
        return int(self.contract.read("k"))

    @cached_property
    def prover_bond(self) -> int:
        """What a claim costs to post."""
        return int(self.contract.read("proverBond"))

    @cached_property
    def challenger_bond(self) -> int:
        """What a challenge costs."""
        return int(self.contract.read("challengerBond"))

    def burnt(self) -> int:
        """What nobody will ever get."""
        return sum(event.args["burnt"] for _, event in self.contract.events("ClaimSettled"))

    def credit(self, address: str) -> int:
        """What the contract owes to an account, without winnings that it has not collected yet."""
        return int(self.contract.read("credit", checksum(address)))

    def balance(self) -> int:
        """All that the contract holds."""
        return self.chain.balance(self.address)

    def now(self) -> int:
        """The chain's time in seconds, as the next transaction will meet it."""
        return self.chain.time()

    # Models

    def register_model(self, header: "ModelHeader", uri: str, account: "LocalAccount") -> Receipt:
        """Makes a model known; harmless if it is already."""
        return self.contract.send(account, "registerModel", astuple(header), uri)

    def model(self, model_id: bytes) -> "ModelHeader | None":
        """A registered model's header; None if the contract does not know it."""
        from opml.header import ModelHeader

        fields = self.contract.read("models", model_id)
        return ModelHeader(*fields.values()) if fields["tiles"] else None

    def model_uris(self, model_id: bytes) -> list[str]:
        """Where registrants say that the image can be had, oldest first; none of it is to be believed."""
        return [event.args["uri"] for _, event in self.contract.events("ModelRegistered", model_id)]

    # Claims

    def claim(
        self, model_id: bytes, data: bytes, output_root: bytes, nonce: int, account: "LocalAccount"
    ) -> tuple[bytes, Receipt]:
        """Posts a claim with its bond; returns its id. `data` is the whole input region, which goes on chain."""
        receipt = self.contract.send(account, "claim", model_id, data, output_root, nonce, value=self.prover_bond)
        return bytes(self.contract.event_of(receipt, "Claimed")["claimId"]), receipt

    def claim_by_root(
        self, model_id: bytes, input_root: bytes, output_root: bytes, nonce: int, uri: str, account: "LocalAccount"
    ) -> tuple[bytes, Receipt]:
        """The same for an input that is not on chain: as safe as its bytes are available to who would challenge."""
        args = (model_id, input_root, output_root, nonce, uri)
        receipt = self.contract.send(account, "claimByRoot", *args, value=self.prover_bond)
        return bytes(self.contract.event_of(receipt, "Claimed")["claimId"]), receipt

    def finalise(self, claim_id: bytes, account: "LocalAccount") -> Receipt:
        """Makes a claim final whose window has passed without a game open or lost; its bond becomes credit."""
        return self.contract.send(account, "finalise", claim_id)

    def claim_view(self, claim_id: bytes) -> ClaimView:
        """The claim with its input; status NONE if there is none of that id."""
        state = self.contract.read("claims", claim_id)
        if state["status"] == ClaimStatus.NONE:
            return claim_view(claim_id, NO_CLAIM, state)
        events = {event.name: event.args for _, event in self.contract.events(None, claim_id)}
        claim = self._check_claim(claim_id, claim_terms(present(events, "Claimed")))
        if claim.input_posted:
            return claim_view(claim_id, claim, state, input=present(events, "InputPosted")["input"])
        return claim_view(claim_id, claim, state, input_uri=present(events, "InputWithheld")["uri"])

    def claims(self, model_id: bytes | None = None, prover: str | None = None) -> list[ClaimView]:
        """All claims, or those of a model or a prover, oldest first; from the events, without their inputs."""
        ledger = self.ledger()
        ledger.apply(self.entries(inputs=False))
        party = prover and checksum(prover)
        return [c for c in ledger.claims.values() if model_id in (None, c.model_id) and party in (None, c.prover)]

    def claim_terms(self, claim_id: bytes) -> Claim:
        """What a claim says, of which its id is the hash. RevertError if there is no such claim."""
        if claim_id not in self._claims:
            event = self._only("Claimed", claim_id, unless=("claims", "UnknownClaim"))
            self._claims[claim_id] = self._check_claim(claim_id, claim_terms(event))
        return self._claims[claim_id]

    # Games

    def challenge(self, claim_id: bytes, salt: int, account: "LocalAccount") -> tuple[bytes, Receipt]:
        """Opens a game against a claim, with its bond; returns the game's id."""
        claim = self.claim_terms(claim_id)
        receipt = self.contract.send(account, "challenge", claim, salt, value=self.challenger_bond)
        return bytes(self.contract.event_of(receipt, "Challenged")["gameId"]), receipt

    def move(self, game_id: bytes, move: Move, account: "LocalAccount") -> Receipt:
        """Makes a move of `opml.dispute.moves`."""
        key = self.game_key(game_id)
        return self.chain.transact(account, self.address, self.move_data(key, self.claim_terms(key.claim_id), move))

    def move_data(self, key: GameKey, claim: Claim, move: Move) -> bytes:
        """The call that makes a move, for whoever sends it in another way."""
        return self.contract.abi.encode_call(move.method, *move.args(key, claim))

    def game_view(self, game_id: bytes) -> GameView:
        """The game as the contract's storage has it; stage NONE if there is none of that id.

        What the contract keeps only as a hash comes from the events, and is checked: ChainError where it does not fit.
        """
        return _again(lambda: self._game_view(game_id))

    def game_key(self, game_id: bytes) -> GameKey:
        """What a game is called, of which its id is the hash. RevertError if there is no such game."""
        if game_id not in self._keys:
            key = game_key(self._only("Challenged", game_id, unless=("games", "UnknownGame")))
            if key.id != game_id:
                raise BehindError("the game's key is not that of its id")
            self._keys[game_id] = key
        return self._keys[game_id]

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        """The ids of all games against a claim, oldest first."""
        return [event.args["gameId"] for _, event in self.contract.events("Challenged", None, claim_id)]

    def history(self, item: bytes) -> list[Entry]:
        """All events of a claim (without those of its games) or of a game, in order."""
        return self._entries(self.contract.events(None, item))

    # All at once

    def entries(self, from_block: int = 0, to_block: int | None = None, *, inputs: bool = True) -> list[Entry]:
        """All events of these blocks, for a ledger: one request, however many claims and games there are.

        Without `inputs`, those that carry the inputs' bytes stay where they are.
        """
        abi = self.contract.abi
        wanted = () if inputs else ([abi.topic(name) for name in abi.event_names - {"InputPosted"}],)
        logs = self.chain.logs(self.address, wanted, max(from_block, self.from_block), to_block)
        return self._entries(self.contract.decoded(logs))

    def ledger(self) -> Ledger:
        """An empty ledger for this contract's events; a model not registered in them is read from the contract."""
        return Ledger(self.k, self.model, self.prover_bond, (self.chain.chain_id, self.address))

    # Money and delegates

    def collectable(self, address: str) -> list[bytes]:
        """Games whose winnings the account may collect now: `withdraw` takes them. From the events."""
        return self.due(address)[1]

    def due(self, address: str) -> tuple[list[bytes], list[bytes]]:
        """What `withdraw` can take for an account now: claims that it can make final, and games. From the events."""
        ledger, party, now = self.ledger(), checksum(address), self.now()
        ledger.apply(self.entries(inputs=False))
        claims = ledger.claims.values()
        ready = [claim.claim_id for claim in claims if claim.prover == party and should_finalise(claim, now)]
        return ready, [g for claim in claims for g in collectable(claim, ledger.claim_games(claim.claim_id), party)]

    def withdraw(self, party: str, claims: Sequence[bytes], games: Sequence[bytes], account: "LocalAccount") -> Receipt:
        """Makes these claims of the party final, collects its winnings of these games, pays it that and its credit.

        The account is the party itself, or a delegate of it.
        """
        keys = [self.game_key(game_id) for game_id in games]
        return self.contract.send(account, "withdraw", checksum(party), list(claims), keys)

    def paid(self, receipt: Receipt) -> int:
        """What a withdrawal paid."""
        events = self.contract.decoded(receipt.logs)
        return sum(event.args["amount"] for _, event in events if event.name == "Withdrawn")

    def set_delegate(self, delegate: str, allowed: bool, account: "LocalAccount") -> Receipt:
        """Lets another account move in the sender's games and withdraw for it, or no longer."""
        return self.contract.send(account, "setDelegate", checksum(delegate), allowed)

    def is_delegate(self, party: str, delegate: str) -> bool:
        """Whether `delegate` may do so for `party`."""
        return bool(self.contract.read("isDelegate", checksum(party), checksum(delegate)))

    # Common

    def _game_view(self, game_id: bytes) -> GameView:
        state = self.contract.read("games", game_id)
        events = [event for _, event in self.contract.events(None, game_id)] if state["stage"] else []
        return game_view(game_id, self.k, state, events)

    def _check_claim(self, claim_id: bytes, claim: Claim) -> Claim:
        if claim.id_at(self.chain.chain_id, self.address) != claim_id:
            raise BehindError("what the claim says is not what its id commits to")
        return claim

    def _only(self, name: str, item: bytes, unless: tuple[str, str]) -> Mapping[str, Any]:
        """The event with which an item begins; where the contract does not know it, the error that it would give."""
        events = {event.name: event.args for _, event in self.contract.events(name, item)}
        view, error = unless
        state = {} if events else self.contract.read(view, item)
        if not events and not (state.get("status") or state.get("stage")):
            raise RevertError(error)
        return present(events, name)

    def _entries(self, events: Sequence[tuple[Log, Event]]) -> list[Entry]:
        return [
            Entry(event.name, event.args, log.block, log.block_hash, self._time_of(log), log.index, log.tx_hash)
            for log, event in events
        ]

    def _time_of(self, log: Log) -> int:
        if log.timestamp is not None:
            return log.timestamp
        if log.block_hash not in self._times:
            # By its hash: another block of this number would have another time.
            block = self.chain.request("eth_getBlockByHash", to_hex(log.block_hash), False)
            if block is None:
                raise BehindError(f"block {log.block} has vanished")
            if len(self._times) >= _TIMES_KEPT:
                self._times.clear()
            self._times[log.block_hash] = from_quantity(block["timestamp"])
        return self._times[log.block_hash]


def _again(read: Callable[[], T]) -> T:
    """What was read from state and events of one moment; a block that came in between is nobody's fault."""
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except BehindError:
            time.sleep(_PAUSE)
    return read()
