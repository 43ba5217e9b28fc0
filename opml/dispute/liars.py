"""Those who lie, for tests and demonstrations: honest players on false traces, or players whose moves are spoilt.

Every liar claims, or as a challenger defends, a false output: tile `Spot.tile` is the first whose root he has wrong,
and the lie about the machine begins after step `Spot.step` of it. `LIARS` names them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from opml.dispute.game import GameView, Range, Role
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step
from opml.dispute.player import Player, player
from opml.dispute.rules import opening, parts
from opml.dispute.trace import MachineTraceLike, Trace
from opml.header import ModelHeader
from vm.constants import LEAF_LOG2, MODEL_LEVEL, REG_A0, REGISTER_BYTES, ROOT_BYTES, STATE_BYTES, TRAPPED
from vm.keccak import keccak256
from vm.merkle import decode_path, fold

REGISTER = ROOT_BYTES + 5 * REGISTER_BYTES
PC = STATE_BYTES - 1 - REGISTER_BYTES
A0 = ROOT_BYTES + (REG_A0 - 1) * REGISTER_BYTES


@dataclass(frozen=True)
class Spot:
    """Where a lie begins: at the root after unit `tile`, in the state after instruction `step` of it."""

    tile: int
    step: int = 0


def flip(data: bytes, offset: int) -> bytes:
    """`data` with the lowest bit of the byte at `offset` (from the end, if negative) inverted."""
    offset %= len(data)
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


class FalseRun:
    """A run whose states after `spoilt` steps went through `spoil`, and which ends with `model_root` in memory."""

    def __init__(
        self, truth: MachineTraceLike, model_root: bytes, spoilt: int, spoil: Callable[[bytes], bytes], extra: int = 0
    ) -> None:
        self._truth = truth
        self._model_root = model_root
        self._spoil = spoil
        self._steps = truth.steps + extra
        self._spoilt = min(spoilt, max(self._steps - 1, 0))

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def scratch_root(self) -> bytes:
        return self._truth.scratch_root

    def encode(self, t: int) -> bytes:
        if t >= self._steps:
            end = self._truth.encode(self._truth.steps)
            return keccak256(self._model_root + self.scratch_root) + end[ROOT_BYTES:]
        state = self._truth.encode(t)
        return self._spoil(state) if t > self._spoilt else state

    def hash(self, t: int) -> bytes:
        return keccak256(self.encode(t))

    def witness(self, t: int) -> bytes:
        return self._truth.witness(t)


class FalseTrace:
    """A trace with false roots after unit `spot.tile`: all later ones, or with `once` that one and the last."""

    def __init__(self, truth: Trace, spot: Spot, once: bool = False) -> None:
        self._truth = truth
        self._spot = spot
        self._once = once

    @property
    def header(self) -> ModelHeader:
        return self._truth.header

    @property
    def tiles(self) -> int:
        return self._truth.tiles

    @property
    def output_root(self) -> bytes:
        return flip(self._truth.output_root, 0)

    def input_path(self) -> bytes:
        return self._truth.input_path()

    def output_path(self) -> bytes:
        return self._truth.output_path()

    def tile_root(self, m: int) -> bytes:
        if m == self.tiles:
            return self._final_root()
        false = m == self._spot.tile + 1 if self._once else m > self._spot.tile
        return flip(self._truth.tile_root(m), 0) if false else self._truth.tile_root(m)

    def machine(self, m: int) -> MachineTraceLike:
        truth = self._truth.machine(m)
        if self.tile_root(m + 1) == self._truth.tile_root(m + 1):
            return truth
        return self._false_run(m, truth)

    def _false_run(self, m: int, truth: MachineTraceLike) -> MachineTraceLike:
        return FalseRun(truth, self.tile_root(m + 1), self._spot.step, lambda state: flip(state, REGISTER))

    def _final_root(self) -> bytes:
        level, path = self.header.output_level, self.output_path()
        index = self.header.output_address >> (LEAF_LOG2 + level)
        return fold(self.output_root, level, index, decode_path(path, level, MODEL_LEVEL), MODEL_LEVEL)


class _FalseMachine(FalseTrace):
    """A false trace with a chosen lie about the disputed tile's machine."""

    def __init__(self, truth: Trace, spot: Spot, run: Callable[[Trace, Spot, int, bytes], MachineTraceLike]) -> None:
        super().__init__(truth, spot)
        self._run = run

    def _false_run(self, m: int, truth: MachineTraceLike) -> MachineTraceLike:
        return self._run(self._truth, self._spot, m, self.tile_root(m + 1))


Tamper = Callable[[Move, GameView], Move | None]


def _keep(move: Move, view: GameView) -> Move | None:
    return move


@dataclass(frozen=True)
class Liar:
    """`summary` says what the lie is; `trace` makes the false trace from the true one; `tamper` spoils the moves."""

    summary: str
    trace: Callable[[Trace, Spot], Trace] = FalseTrace
    tamper: Callable[[], Tamper] = lambda: _keep

    def player(self, truth: Trace, role: Role, spot: Spot) -> Player:
        """The liar at the board."""
        honest_on_lies, tamper = player(self.trace(truth, spot), role), self.tamper()

        def play(view: GameView, now: int) -> Move | None:
            move = honest_on_lies(view, now)
            return None if move is None else tamper(move, view)

        return play


def _spoil_at(offset: int) -> Callable[[Trace, Spot], Trace]:
    def run(truth: Trace, spot: Spot, m: int, root: bytes) -> MachineTraceLike:
        return FalseRun(truth.machine(m), root, spot.step, lambda state: flip(state, offset))

    return lambda truth, spot: _FalseMachine(truth, spot, run)


def _start_with(offset: int) -> Callable[[Trace, Spot], Trace]:
    def run(truth: Trace, spot: Spot, m: int, root: bytes) -> MachineTraceLike:
        return FalseRun(truth.machine(m), root, -1, lambda state: flip(state, offset))

    return lambda truth, spot: _FalseMachine(truth, spot, run)


def _other_tile(truth: Trace, spot: Spot) -> Trace:
    def run(truth: Trace, spot: Spot, m: int, root: bytes) -> MachineTraceLike:
        other = m - 1 if m else min(1, truth.tiles - 1)
        return FalseRun(truth.machine(other), root, spot.step, lambda state: state)

    return _FalseMachine(truth, spot, run)


def _steps(extra: Callable[[MachineTraceLike, Spot, Trace], int]) -> Callable[[Trace, Spot], Trace]:
    def run(truth: Trace, spot: Spot, m: int, root: bytes) -> MachineTraceLike:
        honest = truth.machine(m)
        return FalseRun(honest, root, honest.steps, lambda state: state, extra(honest, spot, truth))

    return lambda truth, spot: _FalseMachine(truth, spot, run)


def _silent_from(turn: int) -> Callable[[], Tamper]:
    def start() -> Tamper:
        made: set[tuple[int, int, int]] = set()

        def tamper(move: Move, view: GameView) -> Move | None:
            made.add((view.stage, view.phase, view.length))
            return move if len(made) <= turn else None

        return tamper

    return start


def _spoil_post(spoil: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Callable[[], Tamper]:
    def tamper(move: Move, view: GameView) -> Move:
        return replace(move, states=spoil(move.states)) if isinstance(move, Open | Post | Enter) else move

    return lambda: tamper


def _spoil_entry(spoil: Callable[[Enter], Enter]) -> Callable[[], Tamper]:
    return lambda: lambda move, view: spoil(move) if isinstance(move, Enter) else move


def _spoil_choice(spoil: Callable[[Choose], Choose]) -> Callable[[], Tamper]:
    return lambda: lambda move, view: spoil(move) if isinstance(move, Choose) else move


def _spoil_witness(spoil: Callable[[bytes], bytes]) -> Callable[[], Tamper]:
    return lambda: lambda move, view: replace(move, witness=spoil(move.witness)) if isinstance(move, Step) else move


def _spoil_opening(spoil: Callable[[Open], Open]) -> Callable[[], Tamper]:
    return lambda: lambda move, view: spoil(move) if isinstance(move, Open) else move


def _spoil_range(spoil: Callable[[Range], Range]) -> Callable[[], Tamper]:
    """Moves for a range that is not the game's; a step names only the end of it."""

    def tamper(move: Move, view: GameView) -> Move:
        if isinstance(move, Step):
            return replace(move, hi=spoil(view.range).hi)
        return replace(move, range=spoil(move.range)) if isinstance(move, Post | Choose | Enter) else move

    return lambda: tamper


def _choose_always(last: bool) -> Callable[[], Tamper]:
    """A challenger who points at the first or the last segment whatever is posted there."""

    def tamper(move: Move, view: GameView) -> Move:
        if not isinstance(move, Choose):
            return move
        j = parts(view.length, view.k) - 1 if last else 0
        return replace(move, segment=j, opening=opening(view.states, j))

    return lambda: tamper


def _end_status(move: Enter, status: int) -> Enter:
    return replace(move, end_state=move.end_state[:-1] + bytes([status]))


TURNS = 12

LIARS: dict[str, Liar] = {
    "wrong-from": Liar("all roots from one tile on are wrong"),
    "wrong-once": Liar("one root is wrong, and the output", lambda truth, spot: FalseTrace(truth, spot, once=True)),
    "wrong-output": Liar(
        "one bit of the output", lambda truth, spot: FalseTrace(truth, Spot(truth.tiles - 1, spot.step))
    ),
    "register": Liar("a register from one instruction on", _spoil_at(REGISTER)),
    "memory": Liar("the memory root from one instruction on", _spoil_at(0)),
    "pc": Liar("the program counter from one instruction on", _spoil_at(PC + REGISTER_BYTES - 1)),
    "status": Liar("the status from one instruction on", _spoil_at(STATE_BYTES - 1)),
    "start-register": Liar("a start state with another register", _start_with(REGISTER)),
    "start-tile": Liar("a start state with another first tile", _start_with(A0 + REGISTER_BYTES - 1)),
    "start-memory": Liar("a start state with another memory", _start_with(0)),
    "other-tile": Liar("the run of another tile", _other_tile),
    "one-step-few": Liar("a step count that is one too small", _steps(lambda run, spot, truth: -1)),
    "few-steps": Liar("a step count of one", _steps(lambda run, spot, truth: 1 - run.steps)),
    "no-steps": Liar("a step count of zero", _steps(lambda run, spot, truth: -run.steps)),
    "many-steps": Liar("a step count that is some too large", _steps(lambda run, spot, truth: 1 + spot.step)),
    "max-steps": Liar("a step count above the bound", _steps(lambda run, spot, truth: truth.header.max_steps)),
    "end-running": Liar("an end state that has not halted", tamper=_spoil_entry(lambda move: _end_status(move, 0))),
    "end-trapped": Liar("an end state that has trapped", tamper=_spoil_entry(lambda move: _end_status(move, TRAPPED))),
    "end-unknown": Liar("an end state of no known status", tamper=_spoil_entry(lambda move: _end_status(move, 255))),
    "end-code": Liar(
        "an end state with an exit code",
        tamper=_spoil_entry(lambda move: replace(move, end_state=flip(move.end_state, A0))),
    ),
    "end-root": Liar(
        "an end state with another memory",
        tamper=_spoil_entry(lambda move: replace(move, end_state=flip(move.end_state, 0))),
    ),
    "end-short": Liar(
        "an end state cut short", tamper=_spoil_entry(lambda move: replace(move, end_state=move.end_state[:-1]))
    ),
    "end-scratch": Liar(
        "another scratch root",
        tamper=_spoil_entry(lambda move: replace(move, scratch_root=flip(move.scratch_root, 0))),
    ),
    "post-short": Liar("posts that lack a state", tamper=_spoil_post(lambda states: states[1:])),
    "post-long": Liar("posts with a state too many", tamper=_spoil_post(lambda states: (*states, bytes(32)))),
    "post-zero": Liar("posts of zeros", tamper=_spoil_post(lambda states: (bytes(32),) * len(states))),
    "post-turned": Liar("posts in the wrong order", tamper=_spoil_post(lambda states: states[::-1])),
    "witness-short": Liar("a witness cut short", tamper=_spoil_witness(lambda witness: witness[:-1])),
    "witness-long": Liar("a witness with a byte too many", tamper=_spoil_witness(lambda witness: witness + b"\0")),
    "witness-state": Liar("a witness of another state", tamper=_spoil_witness(lambda witness: flip(witness, REGISTER))),
    "witness-empty": Liar("no witness", tamper=_spoil_witness(lambda witness: b"")),
    "choose-first": Liar("always the first segment", tamper=_choose_always(last=False)),
    "choose-last": Liar("always the last segment", tamper=_choose_always(last=True)),
    "choose-beyond": Liar(
        "a segment that does not exist", tamper=_spoil_choice(lambda move: replace(move, segment=64))
    ),
    "opening-short": Liar(
        "an opening cut short", tamper=_spoil_choice(lambda move: replace(move, opening=move.opening[:-1]))
    ),
    "opening-false": Liar(
        "an opening of states that were not posted",
        tamper=_spoil_choice(lambda move: replace(move, opening=tuple(flip(word, 0) for word in move.opening))),
    ),
    "opening-long": Liar(
        "an opening with a word too many",
        tamper=_spoil_choice(lambda move: replace(move, opening=(*move.opening, bytes(32)))),
    ),
    "stale": Liar(
        "moves for another position", tamper=_spoil_range(lambda range: range._replace(position=range.position + 1))
    ),
    "stale-length": Liar(
        "moves for another length", tamper=_spoil_range(lambda range: range._replace(length=range.length + 1))
    ),
    "range-lo": Liar(
        "moves from another agreed state", tamper=_spoil_range(lambda range: range._replace(lo=flip(range.lo, 0)))
    ),
    "range-hi": Liar(
        "moves to another disputed state", tamper=_spoil_range(lambda range: range._replace(hi=flip(range.hi, 0)))
    ),
    "input-path": Liar(
        "an opening move with another input path",
        tamper=_spoil_opening(lambda move: replace(move, input_path=flip(move.input_path, -1))),
    ),
    "final-root": Liar(
        "an opening move with another final root",
        tamper=_spoil_opening(lambda move: replace(move, final_root=flip(move.final_root, 0))),
    ),
    "output-path": Liar(
        "an opening move with another output path",
        tamper=_spoil_opening(lambda move: replace(move, output_path=flip(move.output_path, -1))),
    ),
    **{f"silent-{turn}": Liar(f"silence from move {turn + 1} on", tamper=_silent_from(turn)) for turn in range(TURNS)},
}
