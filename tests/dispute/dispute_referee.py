"""The contract's rules once more, in plain Python: an executable specification, and a court for fast tests.

Method names, order of checks, error names and events are the contract's (contracts/src). What differs: money is a
dictionary of balances, time is a number that a test sets, and the step verifier is a function, so that games can be
played on toy machines as well as on the real one.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from opml.chain.ledger import Entry
from opml.dispute import rules
from opml.dispute.game import PLAYING, Claim, ClaimStatus, ClaimView, GameView, Phase, Range, Stage
from opml.dispute.moves import Move
from opml.errors import RevertError
from opml.header import ModelHeader
from vm.constants import HALTED, LEAF_LOG2, MODEL_LEVEL, REG_A0, REG_A1, REGISTERS, RUNNING, STATE_BYTES
from vm.errors import WitnessError
from vm.keccak import keccak256
from vm.merkle import ZERO, decode_path, fold, subtree_root
from vm.state import StateHeader, decode_state
from vm.step import replay

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Account:
    address: str


@dataclass
class ClaimState:
    prover: str
    deadline: int
    status: ClaimStatus = ClaimStatus.PENDING
    open_games: int = 0
    lost_games: int = 0


class Key(NamedTuple):
    """What a game is called; addresses are whatever a test calls its accounts."""

    claim_id: bytes
    challenger: str
    salt: int

    @property
    def id(self) -> bytes:
        return keccak256(self.claim_id + address_word(self.challenger) + word(self.salt))


@dataclass
class Game:
    prover_clock: int
    challenger_clock: int
    last_move: int
    stage: Stage = Stage.OPEN
    phase: Phase = Phase.TILE
    position: int = 0
    length: int = 0
    collected: bool = False
    range: bytes = bytes(32)


@dataclass
class Shown:
    """What of a game only the events carry: the rules never look here."""

    lo: bytes = bytes(32)
    hi: bytes = bytes(32)
    states: tuple[bytes, ...] = ()
    tile: int = 0


@dataclass
class Ledger:
    """Everything that a reverted transaction must leave as it was."""

    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    credit: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    balance: int = 0
    burnt: int = 0
    models: dict[bytes, ModelHeader] = field(default_factory=dict)
    claims: dict[bytes, ClaimState] = field(default_factory=dict)
    games: dict[bytes, Game] = field(default_factory=dict)
    delegates: set[tuple[str, str]] = field(default_factory=set)
    # What callers bring, and what events carry, by id.
    terms: dict[bytes, Claim] = field(default_factory=dict)
    inputs: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)
    keys: dict[bytes, Key] = field(default_factory=dict)
    shown: dict[bytes, Shown] = field(default_factory=dict)

    def copy(self) -> "Ledger":
        """Shares with this one nothing that a transaction changes."""
        tables = {name: copy.copy(value) for name, value in vars(self).items()}
        for name in ("claims", "games", "shown"):
            tables[name] = {key: _same(value) for key, value in tables[name].items()}
        return Ledger(**tables)


def _same(record: R) -> R:
    """A copy of a record; `copy.copy` takes ten times as long."""
    made = object.__new__(type(record))
    made.__dict__.update(record.__dict__)
    return made


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise RevertError(reason)


def transaction(method: Callable[Concatenate["Referee", P], R]) -> Callable[Concatenate["Referee", P], R]:
    """All or nothing: a revert undoes what the method did before it."""

    @wraps(method)
    def wrapper(self: "Referee", *args: P.args, **kwargs: P.kwargs) -> R:
        saved, events = self.ledger.copy(), len(self.events)
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            self.ledger = saved
            del self.events[events:], self.times[events:]
            if isinstance(error, rules.RuleError):
                raise RevertError(error.reason) from error
            raise

    return wrapper


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """As the contract encodes an address; an account that a test calls by a name has one that follows from the name."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0") if address[:2] == "0x" else keccak256(address.encode())


def fold_path(node: bytes, address: int, level: int, path: bytes) -> bytes:
    """The root of the model half above the region at `address`."""
    try:
        siblings = decode_path(path, level, MODEL_LEVEL)
    except WitnessError:
        raise RevertError("MalformedPath") from None
    return fold(node, level, address >> (LEAF_LOG2 + level), siblings, MODEL_LEVEL)


def start_hash(root: bytes, entry: int, a0: int, a1: int) -> bytes:
    registers = [0] * REGISTERS
    registers[REG_A0], registers[REG_A1] = a0, a1
    return StateHeader(root, registers, entry, RUNNING).hash()


class Referee:
    """The court. `step` takes a witness to the state hashes before and after it, or raises WitnessError."""

    def __init__(
        self,
        k: int,
        prover_bond: int = 1001,
        challenger_bond: int = 500,
        step: Callable[[bytes], tuple[bytes, bytes]] = replay,
    ) -> None:
        require(rules.MIN_K <= k <= rules.MAX_K and prover_bond > 0 and challenger_bond > 0, "BadParameters")
        self.k = k
        self.prover_bond = prover_bond
        self.challenger_bond = challenger_bond
        self.time = 1_000_000
        # What ids depend on.
        self.chain_id, self.address = 0, "contract"
        self.ledger = Ledger()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.times: list[int] = []
        self._verify = step

    # ---------------------------------------------------------------------------------------------- claims

    @transaction
    def register_model(self, model: ModelHeader, uri: str, account: Account) -> None:
        """The ranges of the fields are checked by ModelHeader."""
        self.ledger.models[model.model_id] = model
        self._emit("ModelRegistered", modelId=model.model_id, registrant=account.address, model=asdict(model), uri=uri)

    @transaction
    def claim(
        self,
        model_id: bytes,
        input: bytes,
        output_root: bytes,
        nonce: int,
        account: Account,
        value: int | None = None,
    ) -> tuple[bytes, None]:
        model = self._model(model_id)
        require(len(input) == model.input_bytes, "WrongLength")
        root = subtree_root(input, model.input_level)
        claim_id = self._post_claim(Claim(model_id, root, output_root, account.address, nonce, True), value)
        self.ledger.inputs[claim_id] = input, ""
        self._emit("InputPosted", claimId=claim_id, input=input)
        return claim_id, None

    @transaction
    def claim_by_root(
        self,
        model_id: bytes,
        input_root: bytes,
        output_root: bytes,
        nonce: int,
        uri: str,
        account: Account,
        value: int | None = None,
    ) -> tuple[bytes, None]:
        claim_id = self._post_claim(Claim(model_id, input_root, output_root, account.address, nonce, False), value)
        self.ledger.inputs[claim_id] = b"", uri
        self._emit("InputWithheld", claimId=claim_id, uri=uri)
        return claim_id, None

    @transaction
    def finalise(self, claim_id: bytes, account: Account) -> None:
        state = self._claim(claim_id)
        self._finalise(claim_id, state)
        self.ledger.credit[state.prover] += self.prover_bond

    # ----------------------------------------------------------------------------------------------- moves

    @transaction
    def challenge(self, claim_id: bytes, salt: int, account: Account, value: int | None = None) -> tuple[bytes, None]:
        self._take_bond(account.address, self.challenger_bond, value)
        state = self._claim(claim_id)
        require(state.status is ClaimStatus.PENDING, "WrongStage")
        require(self.time <= state.deadline, "WindowClosed")
        state.open_games += 1
        key = Key(claim_id, account.address, salt)
        require(key.id not in self.ledger.games, "GameExists")
        clock = self._model(self.ledger.terms[claim_id].model_id).clock
        self.ledger.games[key.id] = Game(clock, clock, self.time)
        self.ledger.keys[key.id], self.ledger.shown[key.id] = key, Shown()
        self._emit(
            "Challenged",
            gameId=key.id,
            claimId=claim_id,
            challenger=account.address,
            prover=state.prover,
            salt=salt,
        )
        return key.id, None

    @transaction
    def open(
        self,
        key: Key,
        claim: Claim,
        input_path: bytes,
        final_root: bytes,
        output_path: bytes,
        states: Sequence[bytes],
        account: Account,
    ) -> None:
        game = self._prover_move(key, Stage.OPEN, account, claim)
        model = self._model(claim.model_id)
        before = fold_path(ZERO[model.input_level], model.input_address, model.input_level, input_path)
        require(before == model.model_root, "BadInputPath")
        s0 = fold_path(claim.input_root, model.input_address, model.input_level, input_path)
        root = fold_path(claim.output_root, model.output_address, model.output_level, output_path)
        require(root == final_root, "BadOutputPath")
        self._emit("Opened", gameId=key.id, lo=s0, hi=final_root)
        self._narrow(key.id, game, Range(0, model.tiles, s0, final_root))
        self._accept_post(key.id, game, s0, final_root, states)

    @transaction
    def post(self, key: Key, range: Range, states: Sequence[bytes], account: Account) -> None:
        game = self._prover_move(key, Stage.POST, account)
        self._require_range(game, range)
        self._accept_post(key.id, game, range.lo, range.hi, states)

    @transaction
    def choose(self, key: Key, range: Range, segment: int, opening: Sequence[bytes], account: Account) -> None:
        game = self._game(key.id, Stage.CHOOSE)
        self._require_party(key.challenger, account)
        game.challenger_clock = self._tick(game, game.challenger_clock)
        require((game.position, game.length) == (range.position, range.length), "StaleMove")
        p = rules.parts(game.length, self.k)
        require(0 <= segment < p, "BadSegment")
        lo, hi, root = rules.ends(range.lo, range.hi, p, segment, opening)
        require(rules.range_hash(range.lo, range.hi, root) == game.range, "BadOpening")
        start, end = rules.boundary(game.length, p, segment), rules.boundary(game.length, p, segment + 1)
        position, length = game.position + start, end - start
        self._narrow(key.id, game, Range(position, length, lo, hi))
        self._emit("Chosen", gameId=key.id, segment=segment, position=position, length=length, lo=lo, hi=hi)

    @transaction
    def enter(
        self,
        key: Key,
        claim: Claim,
        range: Range,
        steps: int,
        end_state: bytes,
        scratch_root: bytes,
        states: Sequence[bytes],
        account: Account,
    ) -> None:
        game = self._prover_move(key, Stage.ENTER, account, claim)
        self._require_range(game, range)
        model = self._model(claim.model_id)
        require(1 <= steps <= model.max_steps, "BadSteps")
        require(is_end(end_state, keccak256(range.hi + scratch_root)), "BadEndState")
        start_root = keccak256(range.lo + ZERO[MODEL_LEVEL])
        tile, stride = range.position, model.stride
        lo, hi = start_hash(start_root, model.entry, tile * stride, stride), keccak256(end_state)
        game.phase, self.ledger.shown[key.id].tile = Phase.INSTRUCTION, tile
        end = {"endState": end_state, "scratchRoot": scratch_root}
        self._emit("Entered", gameId=key.id, tile=tile, steps=steps, lo=lo, hi=hi, **end)
        self._narrow(key.id, game, Range(0, steps, lo, hi))
        self._accept_post(key.id, game, lo, hi, states)

    @transaction
    def step(self, key: Key, hi: bytes, witness: bytes, account: Account) -> None:
        game = self._game(key.id, Stage.STEP)
        game.prover_clock = self._tick(game, game.prover_clock)
        try:
            pre, post = self._verify(witness)
        except WitnessError:
            raise RevertError("MalformedWitness") from None
        require(rules.range_hash(pre, hi) == game.range, "WrongState")
        self._emit("Stepped", gameId=key.id, caller=account.address, pre=pre, post=post)
        self._end(key, game, post == hi)

    @transaction
    def timeout(self, key: Key, account: Account) -> None:
        game = self._game(key.id)
        require(game.stage in PLAYING, "WrongStage")
        challengers_turn = game.stage is Stage.CHOOSE
        left = game.challenger_clock if challengers_turn else game.prover_clock
        require(self.time - game.last_move > left, "ClockRunning")
        self._emit("TimedOut", gameId=key.id)
        self._end(key, game, challengers_turn)

    # ----------------------------------------------------------------------------------------------- money

    @transaction
    def withdraw(self, party: str, claim_ids: Sequence[bytes], game_ids: Sequence[bytes], account: Account) -> None:
        self._require_party(party, account, "NotAllowed")
        amount, self.ledger.credit[party] = self.ledger.credit[party], 0
        for claim_id in claim_ids:
            state = self._claim(claim_id)
            require(state.prover == party, "NotAllowed")
            if state.status is not ClaimStatus.FINAL:
                self._finalise(claim_id, state)
                amount += self.prover_bond
        for game_id in game_ids:
            amount += self._collect(game_id, party)
        require(amount > 0, "NothingToWithdraw")
        self.ledger.balance -= amount
        self.ledger.balances[party] += amount
        self._emit("Withdrawn", account=party, amount=amount)

    @transaction
    def set_delegate(self, delegate: str, allowed: bool, account: Account) -> None:
        (self.ledger.delegates.add if allowed else self.ledger.delegates.discard)((account.address, delegate))
        self._emit("DelegateSet", party=account.address, delegate=delegate, allowed=allowed)

    # ------------------------------------------------------------------------------- what the players' loop uses

    def now(self) -> int:
        return self.time

    def advance(self, seconds: int) -> None:
        self.time += seconds

    def move(self, game_id: bytes, move: Move, account: Account) -> None:
        key = self.ledger.keys.get(game_id) or Key(bytes(32), "", 0)
        claim = self.ledger.terms.get(key.claim_id) or Claim(b"", b"", b"", "", 0, True)
        getattr(self, move.method)(*move.args(key, claim), account)  # type: ignore[arg-type]

    def credit(self, address: str) -> int:
        return self.ledger.credit[address]

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        return [game_id for game_id, key in self.ledger.keys.items() if key.claim_id == claim_id]

    def claim_view(self, claim_id: bytes) -> ClaimView:
        state = self.ledger.claims.get(claim_id) or ClaimState("", 0, ClaimStatus.NONE)
        claim = self.ledger.terms.get(claim_id) or Claim(b"", b"", b"", "", 0, True)
        counts = (state.open_games, state.lost_games)
        inputs = self.ledger.inputs.get(claim_id, (b"", ""))
        return ClaimView(claim_id, *claim, state.deadline, state.status, *counts, *inputs)

    def game_view(self, game_id: bytes) -> GameView:
        g = self.ledger.games.get(game_id) or Game(0, 0, 0, Stage.NONE)
        key = self.ledger.keys.get(game_id) or Key(bytes(32), "", 0)
        shown = self.ledger.shown.get(game_id) or Shown()
        return GameView(
            game_id=game_id,
            claim_id=key.claim_id,
            challenger=key.challenger,
            salt=key.salt,
            prover=self.ledger.claims[key.claim_id].prover if g.stage else "",
            k=self.k,
            stage=g.stage,
            phase=g.phase,
            lo=shown.lo,
            hi=shown.hi,
            position=g.position,
            length=g.length,
            tile=g.position if g.phase is Phase.TILE else shown.tile,
            states=shown.states if g.stage is Stage.CHOOSE else (),
            prover_clock=g.prover_clock,
            challenger_clock=g.challenger_clock,
            last_move=g.last_move,
            collected=g.collected,
        )

    # ------------------------------------------------------------------------------------------------ common

    def shares(self, winners: int) -> tuple[int, int]:
        """What each game that the prover lost is worth to its challenger, and what is burnt."""
        share = self.prover_bond // 2 // winners
        return share, self.prover_bond - share * winners

    def winnings(self, game_id: bytes) -> tuple[str, int]:
        """Who is owed how much for a game, as far as it can be collected now."""
        game, key = self.ledger.games[game_id], self.ledger.keys[game_id]
        state = self.ledger.claims[key.claim_id]
        if game.stage is Stage.PROVER_WON and not game.collected:
            return state.prover, self.challenger_bond
        if game.stage is Stage.CHALLENGER_WON and not game.collected and not state.open_games:
            return key.challenger, self.challenger_bond + self.shares(state.lost_games)[0]
        return "", 0

    def liabilities(self) -> int:
        """All that the contract owes: it must hold exactly this much."""
        total = self.ledger.burnt + sum(self.ledger.credit.values())
        for state in self.ledger.claims.values():
            unsettled = state.status is ClaimStatus.REJECTED and state.open_games
            total += self.prover_bond if state.status is ClaimStatus.PENDING or unsettled else 0
        for game_id, game in self.ledger.games.items():
            waits = game.stage is Stage.CHALLENGER_WON and self._state_of(game_id).open_games
            total += self.challenger_bond if game.stage in PLAYING or waits else self.winnings(game_id)[1]
        return total

    def _emit(self, name: str, **args: Any) -> None:
        self.events.append((name, args))
        self.times.append(self.time)

    def entries(self, first: int = 0) -> list[Entry]:
        """The events from number `first` on, as a chain with one event a block would have them."""
        events = list(zip(self.events, self.times, strict=True))[first:]
        return [
            Entry(name, args, block, keccak256(word(block)), time, 0, word(block))
            for block, ((name, args), time) in enumerate(events, first)
        ]

    def _state_of(self, game_id: bytes) -> ClaimState:
        return self.ledger.claims[self.ledger.keys[game_id].claim_id]

    def _take_bond(self, address: str, bond: int, value: int | None) -> None:
        require(value is None or value == bond, "WrongBond")
        self.ledger.balances[address] -= bond
        self.ledger.balance += bond

    def _post_claim(self, claim: Claim, value: int | None) -> bytes:
        self._take_bond(claim.prover, self.prover_bond, value)
        model = self._model(claim.model_id)
        place = word(self.chain_id) + address_word(self.address)
        who = address_word(claim.prover) + word(claim.nonce) + word(claim.input_posted)
        claim_id = keccak256(place + b"".join(claim[:3]) + who)
        require(claim_id not in self.ledger.claims, "ClaimExists")
        deadline = self.time + model.window
        self.ledger.claims[claim_id], self.ledger.terms[claim_id] = ClaimState(claim.prover, deadline), claim
        self._emit(
            "Claimed",
            claimId=claim_id,
            modelId=claim.model_id,
            prover=claim.prover,
            inputRoot=claim.input_root,
            outputRoot=claim.output_root,
            nonce=claim.nonce,
            inputPosted=claim.input_posted,
            deadline=deadline,
        )
        return claim_id

    def _finalise(self, claim_id: bytes, state: ClaimState) -> None:
        require(state.status is ClaimStatus.PENDING, "WrongStage")
        require(self.time > state.deadline, "WindowOpen")
        require(state.open_games == 0, "GamesOpen")
        state.status = ClaimStatus.FINAL
        self._emit("ClaimFinalised", claimId=claim_id)

    def _collect(self, game_id: bytes, party: str) -> int:
        game = self._game(game_id)
        winner, amount = self.winnings(game_id)
        require(winner == party, "NotCollectable")
        game.collected = True
        self._emit("Collected", gameId=game_id, winner=party, amount=amount)
        return amount

    def _model(self, model_id: bytes) -> ModelHeader:
        require(model_id in self.ledger.models, "UnknownModel")
        return self.ledger.models[model_id]

    def _claim(self, claim_id: bytes) -> ClaimState:
        require(claim_id in self.ledger.claims, "UnknownClaim")
        return self.ledger.claims[claim_id]

    def _game(self, game_id: bytes, stage: Stage | None = None) -> Game:
        require(game_id in self.ledger.games, "UnknownGame")
        game = self.ledger.games[game_id]
        require(stage is None or game.stage is stage, "WrongStage")
        return game

    def _require_party(self, party: str, account: Account, reason: str = "NotYourTurn") -> None:
        require(account.address == party or (party, account.address) in self.ledger.delegates, reason)

    def _prover_move(self, key: Key, stage: Stage, account: Account, claim: Claim | None = None) -> Game:
        game = self._game(key.id)
        require(claim in (None, self.ledger.terms[key.claim_id]), "WrongClaim")
        require(game.stage is stage, "WrongStage")
        self._require_party(self._claim(key.claim_id).prover, account)
        game.prover_clock = self._tick(game, game.prover_clock)
        return game

    def _tick(self, game: Game, left: int) -> int:
        elapsed = self.time - game.last_move
        require(elapsed <= left, "ClockExpired")
        game.last_move = self.time
        return left - elapsed

    @staticmethod
    def _require_range(game: Game, range: Range) -> None:
        known = (game.position, game.length, game.range)
        require(known == (range.position, range.length, rules.range_hash(range.lo, range.hi)), "StaleMove")

    def _narrow(self, game_id: bytes, game: Game, range: Range) -> None:
        game.position, game.length = range.position, range.length
        game.range = rules.range_hash(range.lo, range.hi)
        shown = self.ledger.shown[game_id]
        shown.lo, shown.hi = range.lo, range.hi
        if range.length > 1:
            game.stage = Stage.POST
        else:
            game.stage = Stage.ENTER if game.phase is Phase.TILE else Stage.STEP

    def _accept_post(self, game_id: bytes, game: Game, lo: bytes, hi: bytes, states: Sequence[bytes]) -> None:
        root = rules.commit(states, game.length, self.k)
        if game.length == 1:
            return
        game.range, game.stage = rules.range_hash(lo, hi, root), Stage.CHOOSE
        self.ledger.shown[game_id].states = tuple(states)
        place = {"phase": game.phase, "position": game.position, "length": game.length}
        self._emit("Posted", gameId=game_id, **place, states=tuple(states))

    def _end(self, key: Key, game: Game, prover_won: bool) -> None:
        state = self._claim(key.claim_id)
        game.stage = Stage.PROVER_WON if prover_won else Stage.CHALLENGER_WON
        game.range = bytes(32)
        self._emit("GameEnded", gameId=key.id, claimId=key.claim_id, proverWon=prover_won)
        state.open_games -= 1
        if not prover_won:
            state.lost_games += 1
            if state.status is ClaimStatus.PENDING:
                state.status = ClaimStatus.REJECTED
                self._emit("ClaimRejected", claimId=key.claim_id)
        if state.status is ClaimStatus.REJECTED and state.open_games == 0:
            share, burn = self.shares(state.lost_games)
            self.ledger.burnt += burn
            self._emit("ClaimSettled", claimId=key.claim_id, games=state.lost_games, share=share, burnt=burn)


def is_end(state: bytes, root: bytes) -> bool:
    """Whether `state` encodes a machine that has halted with a0 = 0 and this memory root."""
    if len(state) != STATE_BYTES or state[-1] != HALTED:
        return False
    header = decode_state(state)
    return header.registers[REG_A0] == 0 and header.root == root
