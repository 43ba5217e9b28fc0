"""The contract's rules once more, in plain Python: an executable specification, and a court for fast tests.

Method names, order of checks, error names and events are the contract's (contracts/src). What differs: money is a
dictionary of balances, time is a number that a test sets, and the step verifier is a function, so that games can be
played on toy machines as well as on the real one.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from opml.dispute import rules
from opml.dispute.game import PLAYING, ClaimStatus, ClaimView, GameView, Phase, Role, Stage
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
class Claim:
    prover: str
    deadline: int
    model_id: bytes
    input_root: bytes
    output_root: bytes
    s0: bytes
    input: bytes
    status: ClaimStatus = ClaimStatus.PENDING
    open_games: int = 0
    lost_games: int = 0


@dataclass
class Game:
    claim_id: bytes
    challenger: str
    prover_clock: int
    challenger_clock: int
    last_move: int
    stage: Stage = Stage.OPEN
    phase: Phase = Phase.TILE
    lo: bytes = bytes(32)
    hi: bytes = bytes(32)
    posted: bytes = bytes(32)
    position: int = 0
    length: int = 0
    collected: bool = False
    # What only the events carry.
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
    claims: dict[bytes, Claim] = field(default_factory=dict)
    games: dict[bytes, Game] = field(default_factory=dict)


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise RevertError(reason)


def transaction(method: Callable[Concatenate["Referee", P], R]) -> Callable[Concatenate["Referee", P], R]:
    """All or nothing: a revert undoes what the method did before it."""

    @wraps(method)
    def wrapper(self: "Referee", *args: P.args, **kwargs: P.kwargs) -> R:
        saved, events = copy.deepcopy(self.ledger), len(self.events)
        try:
            return method(self, *args, **kwargs)
        except rules.RuleError as error:
            self.ledger = saved
            del self.events[events:]
            raise RevertError(error.reason) from error
        except BaseException:
            self.ledger = saved
            del self.events[events:]
            raise

    return wrapper


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


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
        self.ledger = Ledger()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._verify = step

    # ---------------------------------------------------------------------------------------------- claims

    @transaction
    def register_model(self, model: ModelHeader, uri: str, account: Account) -> None:
        """The ranges of the fields are checked by ModelHeader."""
        self.ledger.models[model.model_id] = model
        self._emit("ModelRegistered", model_id=model.model_id, uri=uri)

    @transaction
    def claim(
        self,
        model_id: bytes,
        input: bytes,
        output_root: bytes,
        nonce: int,
        input_path: bytes,
        account: Account,
        value: int | None = None,
    ) -> tuple[bytes, None]:
        self._take_bond(account, self.prover_bond, value)
        require(model_id in self.ledger.models, "UnknownModel")
        model = self.ledger.models[model_id]
        require(len(input) == model.input_bytes, "WrongLength")
        root = subtree_root(input, model.input_level)
        before = fold_path(ZERO[model.input_level], model.input_address, model.input_level, input_path)
        require(before == model.model_root, "BadInputPath")
        s0 = fold_path(root, model.input_address, model.input_level, input_path)
        claim_id = keccak256(model_id + root + output_root + account.address.encode() + word(nonce))
        require(claim_id not in self.ledger.claims, "ClaimExists")
        deadline = self.time + model.window
        self.ledger.claims[claim_id] = Claim(account.address, deadline, model_id, root, output_root, s0, input)
        self._emit("Claimed", claim_id=claim_id, model_id=model_id, prover=account.address, s0=s0)
        self._emit("InputPosted", claim_id=claim_id, input=input)
        return claim_id, None

    @transaction
    def finalise(self, claim_id: bytes, account: Account) -> None:
        claim = self._claim(claim_id)
        require(claim.status is ClaimStatus.PENDING, "WrongStage")
        require(self.time > claim.deadline, "WindowOpen")
        require(claim.open_games == 0, "GamesOpen")
        claim.status = ClaimStatus.FINAL
        self.ledger.credit[claim.prover] += self.prover_bond
        self._emit("ClaimFinalised", claim_id=claim_id)

    # ----------------------------------------------------------------------------------------------- moves

    @transaction
    def challenge(self, claim_id: bytes, salt: int, account: Account, value: int | None = None) -> tuple[bytes, None]:
        self._take_bond(account, self.challenger_bond, value)
        claim = self._claim(claim_id)
        require(claim.status is ClaimStatus.PENDING, "WrongStage")
        require(self.time <= claim.deadline, "WindowClosed")
        claim.open_games += 1
        game_id = keccak256(claim_id + account.address.encode() + word(salt))
        require(game_id not in self.ledger.games, "GameExists")
        clock = self.ledger.models[claim.model_id].clock
        self.ledger.games[game_id] = Game(claim_id, account.address, clock, clock, self.time)
        self._emit("Challenged", game_id=game_id, claim_id=claim_id, challenger=account.address, salt=salt)
        return game_id, None

    @transaction
    def open(
        self, game_id: bytes, final_root: bytes, output_path: bytes, states: Sequence[bytes], account: Account
    ) -> None:
        game, claim = self._prover_move(game_id, Stage.OPEN, account)
        model = self.ledger.models[claim.model_id]
        root = fold_path(claim.output_root, model.output_address, model.output_level, output_path)
        require(root == final_root, "BadOutputPath")
        game.lo, game.hi = claim.s0, final_root
        self._emit("Opened", game_id=game_id, final_root=final_root)
        self._set_range(game, 0, model.tiles)
        self._accept_post(game_id, game, states)

    @transaction
    def post(self, game_id: bytes, position: int, length: int, states: Sequence[bytes], account: Account) -> None:
        game, _ = self._prover_move(game_id, Stage.POST, account)
        self._require_range(game, position, length)
        self._accept_post(game_id, game, states)

    @transaction
    def choose(
        self, game_id: bytes, position: int, length: int, segment: int, opening: Sequence[bytes], account: Account
    ) -> None:
        game = self._game(game_id, Stage.CHOOSE)
        require(account.address == game.challenger, "NotYourTurn")
        self._require_range(game, position, length)
        game.challenger_clock = self._tick(game, game.challenger_clock)
        p = rules.parts(length, self.k)
        require(0 <= segment < p, "BadSegment")
        game.lo, game.hi = rules.ends(game.posted, game.lo, game.hi, p, segment, opening)
        start, end = rules.boundary(length, p, segment), rules.boundary(length, p, segment + 1)
        self._set_range(game, position + start, end - start)
        self._emit("Chosen", game_id=game_id, segment=segment, position=game.position, length=game.length)

    @transaction
    def enter(
        self,
        game_id: bytes,
        position: int,
        steps: int,
        end_state: bytes,
        scratch_root: bytes,
        states: Sequence[bytes],
        account: Account,
    ) -> None:
        game, claim = self._prover_move(game_id, Stage.ENTER, account)
        self._require_range(game, position, 1)
        model = self.ledger.models[claim.model_id]
        require(1 <= steps <= model.max_steps, "BadSteps")
        require(is_end(end_state, keccak256(game.hi + scratch_root)), "BadEndState")
        start_root = keccak256(game.lo + ZERO[MODEL_LEVEL])
        game.lo = start_hash(start_root, model.entry, position * model.stride, model.stride)
        game.hi = keccak256(end_state)
        game.phase, game.tile = Phase.INSTRUCTION, position
        self._emit("Entered", game_id=game_id, tile=position, steps=steps, end_state=end_state)
        self._set_range(game, 0, steps)
        self._accept_post(game_id, game, states)

    @transaction
    def step(self, game_id: bytes, witness: bytes, account: Account) -> None:
        game = self._game(game_id, Stage.STEP)
        self._tick(game, game.prover_clock)
        try:
            pre, post = self._verify(witness)
        except WitnessError:
            raise RevertError("MalformedWitness") from None
        require(pre == game.lo, "WrongState")
        self._emit("Stepped", game_id=game_id, caller=account.address, pre=pre, post=post)
        self._end(game_id, game, post == game.hi)

    @transaction
    def timeout(self, game_id: bytes, account: Account) -> None:
        game = self._game(game_id)
        require(game.stage in PLAYING, "WrongStage")
        challengers_turn = game.stage is Stage.CHOOSE
        left = game.challenger_clock if challengers_turn else game.prover_clock
        require(self.time - game.last_move > left, "ClockRunning")
        self._emit("TimedOut", game_id=game_id)
        self._end(game_id, game, challengers_turn)

    @transaction
    def withdraw(self, games: Sequence[bytes], account: Account) -> None:
        for game_id in games:
            game = self._game(game_id, Stage.CHALLENGER_WON)
            claim = self._claim(game.claim_id)
            mine = game.challenger == account.address and not game.collected
            require(mine and claim.open_games == 0, "NotCollectable")
            game.collected = True
            self.ledger.credit[account.address] += self.shares(claim.lost_games)[0]
        amount = self.ledger.credit[account.address]
        require(amount > 0, "NothingToWithdraw")
        self.ledger.credit[account.address] = 0
        self.ledger.balance -= amount
        self.ledger.balances[account.address] += amount
        self._emit("Withdrawn", account=account.address, amount=amount)

    # ------------------------------------------------------------------------------- what the players' loop uses

    def now(self) -> int:
        return self.time

    def advance(self, seconds: int) -> None:
        self.time += seconds

    def move(self, game_id: bytes, move: Move, account: Account) -> None:
        getattr(self, move.method)(game_id, *move.args(), account)

    def credit(self, address: str) -> int:
        return self.ledger.credit[address]

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        return [game_id for game_id, game in self.ledger.games.items() if game.claim_id == claim_id]

    def claim_view(self, claim_id: bytes) -> ClaimView:
        c = self.ledger.claims.get(claim_id) or Claim("", 0, b"", b"", b"", b"", b"", ClaimStatus.NONE)
        roots = (c.input_root, c.output_root, c.s0)
        return ClaimView(
            claim_id, c.model_id, c.prover, *roots, c.deadline, c.status, c.open_games, c.lost_games, c.input
        )

    def game_view(self, game_id: bytes) -> GameView:
        g = self.ledger.games.get(game_id) or Game(bytes(32), "", 0, 0, 0, Stage.NONE)
        tile = g.position if g.phase is Phase.TILE else g.tile
        return GameView(
            game_id=game_id,
            claim_id=g.claim_id,
            challenger=g.challenger,
            k=self.k,
            stage=g.stage,
            phase=g.phase,
            lo=g.lo,
            hi=g.hi,
            position=g.position,
            length=g.length,
            tile=tile,
            states=g.states if g.stage is Stage.CHOOSE else (),
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

    def liabilities(self) -> int:
        """All that the contract owes: it must hold exactly this much."""
        total = self.ledger.burnt + sum(self.ledger.credit.values())
        for claim in self.ledger.claims.values():
            unsettled = claim.status is ClaimStatus.REJECTED and claim.open_games
            total += self.prover_bond if claim.status is ClaimStatus.PENDING or unsettled else 0
        for game in self.ledger.games.values():
            claim = self.ledger.claims[game.claim_id]
            total += self.challenger_bond if game.stage in PLAYING else 0
            if game.stage is Stage.CHALLENGER_WON and not game.collected and not claim.open_games:
                total += self.shares(claim.lost_games)[0]
        return total

    def _emit(self, name: str, **args: Any) -> None:
        self.events.append((name, args))

    def _take_bond(self, account: Account, bond: int, value: int | None) -> None:
        require(value is None or value == bond, "WrongBond")
        self.ledger.balances[account.address] -= bond
        self.ledger.balance += bond

    def _claim(self, claim_id: bytes) -> Claim:
        require(claim_id in self.ledger.claims, "UnknownClaim")
        return self.ledger.claims[claim_id]

    def _game(self, game_id: bytes, stage: Stage | None = None) -> Game:
        require(game_id in self.ledger.games, "UnknownGame")
        game = self.ledger.games[game_id]
        require(stage is None or game.stage is stage, "WrongStage")
        return game

    def _prover_move(self, game_id: bytes, stage: Stage, account: Account) -> tuple[Game, Claim]:
        game = self._game(game_id, stage)
        claim = self._claim(game.claim_id)
        require(account.address == claim.prover, "NotYourTurn")
        game.prover_clock = self._tick(game, game.prover_clock)
        return game, claim

    def _tick(self, game: Game, left: int) -> int:
        elapsed = self.time - game.last_move
        require(elapsed <= left, "ClockExpired")
        game.last_move = self.time
        return left - elapsed

    @staticmethod
    def _require_range(game: Game, position: int, length: int) -> None:
        require((game.position, game.length) == (position, length), "StaleMove")

    @staticmethod
    def _set_range(game: Game, position: int, length: int) -> None:
        game.position, game.length = position, length
        if length > 1:
            game.stage = Stage.POST
        else:
            game.stage = Stage.ENTER if game.phase is Phase.TILE else Stage.STEP

    def _accept_post(self, game_id: bytes, game: Game, states: Sequence[bytes]) -> None:
        root = rules.commit(states, game.length, self.k)
        if game.length == 1:
            return
        game.posted, game.states, game.stage = root, tuple(states), Stage.CHOOSE
        self._emit("Posted", game_id=game_id, phase=game.phase, position=game.position, states=tuple(states))

    def _end(self, game_id: bytes, game: Game, prover_won: bool) -> None:
        claim = self._claim(game.claim_id)
        game.stage = Stage.PROVER_WON if prover_won else Stage.CHALLENGER_WON
        self.ledger.credit[claim.prover if prover_won else game.challenger] += self.challenger_bond
        self._emit("GameEnded", game_id=game_id, winner=Role.PROVER if prover_won else Role.CHALLENGER)
        claim.open_games -= 1
        if not prover_won:
            claim.lost_games += 1
            if claim.status is ClaimStatus.PENDING:
                claim.status = ClaimStatus.REJECTED
                self._emit("ClaimRejected", claim_id=game.claim_id)
        if claim.status is ClaimStatus.REJECTED and claim.open_games == 0:
            share, burn = self.shares(claim.lost_games)
            self.ledger.burnt += burn
            self._emit("ClaimSettled", claim_id=game.claim_id, games=claim.lost_games, share=share, burnt=burn)


def is_end(state: bytes, root: bytes) -> bool:
    """Whether `state` encodes a machine that has halted with a0 = 0 and this memory root."""
    if len(state) != STATE_BYTES or state[-1] != HALTED:
        return False
    header = decode_state(state)
    return header.registers[REG_A0] == 0 and header.root == root
