"""Everything that the contract knows, from its events alone: one request for new events brings all claims and games
up to date, however many there are.

A ledger asks nobody. It is given decoded events in the chain's order and can take back the newest blocks, for when the
chain does. All that the contract keeps follows from events: a clock, from the times of their blocks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from opml.chain.replay import GAME_EVENTS, Entry, after, contradiction, new_claim, new_game
from opml.dispute.game import Claim, ClaimStatus, ClaimView, GameKey, GameView, Role
from opml.errors import ChainError

__all__ = ["HISTORY", "Entry", "Ledger", "ModelTerms"]

# How many blocks back a ledger can go: more than any chain takes back, and days of memory at most.
HISTORY: Final = 10_000


class ModelTerms(Protocol):
    """What the course of a game depends on; a model's header has it."""

    @property
    def tiles(self) -> int: ...

    @property
    def clock(self) -> int: ...


class _Journal:
    """Changes of dictionaries, which can be taken back block by block."""

    def __init__(self, history: int) -> None:
        self._history = history
        self._undo: deque[tuple[int, bytes, list[Callable[[], None]]]] = deque()
        self.floor = 0  # blocks below this one can no longer be taken back

    @property
    def blocks(self) -> list[tuple[int, bytes]]:
        return [(number, block_hash) for number, block_hash, _ in self._undo]

    @property
    def head(self) -> tuple[int, bytes] | None:
        return self._undo[-1][:2] if self._undo else None

    def begin(self, number: int, block_hash: bytes) -> None:
        self._undo.append((number, block_hash, []))
        while self._undo[0][0] < number - self._history:
            self.floor = self._undo.popleft()[0] + 1

    def set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        undo = self._undo[-1][2].append
        if key in table:
            before = table[key]
            undo(lambda: table.__setitem__(key, before))
        else:
            undo(lambda: table.__delitem__(key))
        table[key] = value

    def delete(self, table: dict[Any, Any], key: Any) -> None:
        before = table.pop(key)
        self._undo[-1][2].append(lambda: table.__setitem__(key, before))

    def rewind(self, block: int) -> None:
        if block < self.floor:
            raise ChainError(f"blocks before {self.floor} can no longer be taken back", "build the ledger anew")
        while self._undo and self._undo[-1][0] >= block:
            for undo in reversed(self._undo.pop()[2]):
                undo()


class Ledger:
    """All claims and games of a contract whose rounds have up to `k` parts.

    Tables, which are for reading: `claims` and `games` by id, oldest first (ended ones are kept), the inputs on chain
    by claim, what the contract owes to whom as `credit` (without winnings not yet collected), the models' headers by
    id, and who has let whom move for him by (party, delegate).

    `models` gives the header of a model that no event announced, where events begin after its registration.
    `prover_bond` is the contract's, of which credit consists. `contract` is its chain's number and its address: what
    claims and games say is then checked against their ids. `history`: how many blocks can be taken back. Where
    `forgets` is set, the inputs of claims that were settled before those blocks are dropped: for daemons.

    Everything raises ChainError where the events contradict each other: the node has lost or made up some.
    """

    def __init__(
        self,
        k: int,
        models: Callable[[bytes], ModelTerms | None] = lambda model_id: None,
        prover_bond: int = 0,
        contract: tuple[int, str] | None = None,
        history: int = HISTORY,
    ) -> None:
        self.k = k
        self.forgets = False
        self.prover_bond = prover_bond
        self.claims: dict[bytes, ClaimView] = {}
        self.games: dict[bytes, GameView] = {}
        self.posted_inputs: dict[bytes, bytes] = {}
        self.credit: dict[str, int] = {}
        self.headers: dict[bytes, ModelTerms] = {}
        self.delegates: dict[tuple[str, str], bool] = {}
        self._models = models
        self._contract = contract
        self._uris: dict[bytes, dict[str, None]] = {}
        self._games_of: dict[bytes, dict[bytes, None]] = {}
        self._open: dict[bytes, int] = {}
        self._totals: dict[str, int] = {}
        # Claims by the block in which they may have been settled, oldest first.
        self._settled: deque[tuple[int, bytes]] = deque()
        self._journal = _Journal(history)

    # Reading

    @property
    def burnt(self) -> int:
        """What nobody will ever get, in wei."""
        return self._totals.get("burnt", 0)

    @property
    def head(self) -> tuple[int, bytes] | None:
        """Number and hash of the newest block of which there are events; None if there are none yet."""
        return self._journal.head

    @property
    def blocks(self) -> list[tuple[int, bytes]]:
        """Numbers and hashes of all blocks with events that can be taken back, oldest first."""
        return self._journal.blocks

    def open_games(self, party: str | None = None) -> list[GameView]:
        """Games that are being played, oldest first: all, or those of an address, on either side."""
        games = (self.games[game_id] for game_id in sorted(self._open, key=self._open.__getitem__))
        return [game for game in games if party in (None, game.prover, game.challenger)]

    def claim_games(self, claim_id: bytes) -> list[GameView]:
        """All games against a claim, oldest first."""
        return [self.games[game_id] for game_id in self._games_of.get(claim_id, ())]

    def model_uris(self, model_id: bytes) -> list[str]:
        """Where registrants say that the image can be had, oldest first; none of it is to be believed."""
        return list(self._uris.get(model_id, ()))

    def may_act_for(self, party: str, account: str) -> bool:
        """Whether the account can make the party's moves and withdraw for it."""
        return party == account or self.delegates.get((party, account), False)

    # Changing

    def apply(self, entries: Iterable[Entry]) -> None:
        """Takes up the events of whole blocks, newer than all so far, in order. All of them, or, if it raises, none."""
        first = None
        try:
            for entry in entries:
                if not self.head or entry.block > self.head[0]:
                    self._journal.begin(entry.block, entry.block_hash)
                    first, index = entry.block if first is None else first, -1
                if first is None or (entry.block, entry.block_hash) != self.head or entry.index <= index:
                    raise ChainError("events that are not in the chain's order", "the node may have changed its mind")
                index = entry.index
                self._take(entry)
                if entry.name in ("ClaimFinalised", "ClaimRejected", "GameEnded"):
                    self._note_end(entry)
        except BaseException:
            if first is not None:
                self.rewind(first)
            raise
        if self.forgets:
            self._forget()

    def rewind(self, block: int) -> None:
        """Forgets the events of `block` and of all blocks after it."""
        self._journal.rewind(block)

    def _note_end(self, entry: Entry) -> None:
        args = entry.args
        claim_id = self.games[args["gameId"]].claim_id if entry.name == "GameEnded" else args["claimId"]
        self._settled.append((entry.block, claim_id))

    def _forget(self) -> None:
        """Drops inputs that nobody needs any more. That is not taken back: nor is what made them superfluous."""
        while self._settled and self._settled[0][0] < self._journal.floor:
            claim = self.claims.get(self._settled.popleft()[1])
            if claim and claim.status is not ClaimStatus.PENDING and not claim.open_games:
                self.claims[claim.claim_id] = replace(claim, input=b"")
                self.posted_inputs.pop(claim.claim_id, None)

    def _take(self, entry: Entry) -> None:
        if entry.name in GAME_EVENTS:
            self._take_game(entry)
        elif entry.name == "ModelRegistered":
            self._take_model(entry.args)
        else:
            self._take_claim(entry)

    def _take_model(self, args: Mapping[str, Any]) -> None:
        from opml.header import ModelHeader

        model_id = args["modelId"]
        if model_id not in self.headers:
            header = ModelHeader(*args["model"].values())
            if header.model_id != model_id:
                raise contradiction("a model", model_id)
            self._set(self.headers, model_id, header)
            self._set(self._uris, model_id, {})
        if args["uri"] not in self._uris[model_id]:
            self._set(self._uris[model_id], args["uri"], None)

    def _take_claim(self, entry: Entry) -> None:
        args = entry.args
        match entry.name:
            case "Claimed":
                view = new_claim(args)
                if view.claim_id in self.claims or not self._is_of(view.claim_id, view.claim):
                    raise contradiction("a claim", view.claim_id)
                self._set(self.claims, view.claim_id, view)
                self._set(self._games_of, view.claim_id, {})
            case "InputPosted":
                self._change_claim(args["claimId"], input=args["input"])
                self._set(self.posted_inputs, args["claimId"], args["input"])
            case "InputWithheld":
                self._change_claim(args["claimId"], input_uri=args["uri"])
            case "Challenged":
                self._take_challenge(entry)
            case "ClaimRejected":
                self._change_claim(args["claimId"], status=ClaimStatus.REJECTED)
            case "ClaimFinalised":
                self._change_claim(args["claimId"], status=ClaimStatus.FINAL)
                prover = self.claims[args["claimId"]].prover
                self._set(self.credit, prover, self.credit.get(prover, 0) + self.prover_bond)
            case "ClaimSettled":
                self._set(self._totals, "burnt", self.burnt + args["burnt"])
            case "Withdrawn":
                self._set(self.credit, args["account"], 0)
            case "DelegateSet":
                self._set(self.delegates, (args["party"], args["delegate"]), args["allowed"])
            case name:
                raise ChainError(f"an event {name} that the ledger does not know")

    def _take_challenge(self, entry: Entry) -> None:
        args = entry.args
        claim = self._claim(args["claimId"])
        key = GameKey(claim.claim_id, args["challenger"], args["salt"])
        if args["gameId"] in self.games or args["prover"] != claim.prover or not self._is_of(args["gameId"], key):
            raise contradiction("a game", args["gameId"])
        clock = self._terms(claim.model_id).clock
        game = new_game(args["gameId"], key, claim.prover, self.k, clock, entry.timestamp)
        self._set(self._open, game.game_id, len(self.games))
        self._set(self.games, game.game_id, game)
        self._set(self._games_of[claim.claim_id], game.game_id, None)
        self._change_claim(claim.claim_id, open_games=claim.open_games + 1)

    def _take_game(self, entry: Entry) -> None:
        game_id = entry.args["gameId"]
        game = self.games.get(game_id)
        if game is None:
            raise contradiction("a game", game_id)
        claim = self._claim(game.claim_id)
        game = after(game, entry, self._terms(claim.model_id).tiles if entry.name == "Opened" else 0)
        self._set(self.games, game_id, game)
        if entry.name == "GameEnded":
            self._journal.delete(self._open, game_id)
            lost = claim.lost_games + (game.winner is Role.CHALLENGER)
            self._change_claim(claim.claim_id, open_games=claim.open_games - 1, lost_games=lost)

    def _is_of(self, item: bytes, preimage: Claim | GameKey) -> bool:
        """Whether an id is that of what it is said to be the hash of."""
        if self._contract is None:
            return True
        return item == (preimage.id if isinstance(preimage, GameKey) else preimage.id_at(*self._contract))

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._journal.set(table, key, value)

    def _claim(self, claim_id: bytes) -> ClaimView:
        claim = self.claims.get(claim_id)
        if claim is None:
            raise contradiction("a claim", claim_id)
        return claim

    def _change_claim(self, claim_id: bytes, **fields: Any) -> None:
        self._set(self.claims, claim_id, replace(self._claim(claim_id), **fields))

    def _terms(self, model_id: bytes) -> ModelTerms:
        terms = self.headers.get(model_id) or self._models(model_id)
        if terms is None:
            raise contradiction("a model", model_id)
        return terms
