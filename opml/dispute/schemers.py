"""Liars who do not only tell one false story: they play with time, repeat themselves, move out of turn, change stories.

For tests and demonstrations, as `opml.dispute.liars`: each is an honest player on a false trace who, before he sends a
move, thinks better of it. `SCHEMERS` names them all.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from opml.dispute.game import GameView, Phase, Role, Stage
from opml.dispute.liars import FalseTrace, Spot, flip
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.player import Player, decide, player
from opml.dispute.rules import boundary, opening, parts
from opml.dispute.trace import Trace
from vm.constants import ROOT_BYTES
from vm.keccak import keccak256


@dataclass(frozen=True)
class Seat:
    """Who schemes: `play` is the honest player on the false trace; `truth` what he knows, `spot` where he lies."""

    role: Role
    play: Player
    truth: Trace
    spot: Spot

    def moves(self, view: GameView) -> bool:
        """Whether it is his turn."""
        return view.turn is self.role


@dataclass(frozen=True)
class Schemer:
    """`summary` says what the scheme is; `scheme` makes, for one game, the player who follows it."""

    summary: str
    scheme: Callable[[Seat], Player]
    trace: Callable[[Trace, Spot], Trace] = FalseTrace

    def player(self, truth: Trace, role: Role, spot: Spot) -> Player:
        """The schemer at the board."""
        return self.scheme(Seat(role, player(self.trace(truth, spot), role), truth, spot))


# ------------------------------------------------------------------------------------------------------------- time


def _when(ready: Callable[[GameView, int], bool]) -> Callable[[Seat], Player]:
    """His own moves only at certain times."""
    return lambda seat: lambda view, now: None if seat.moves(view) and not ready(view, now) else seat.play(view, now)


def _hasty(seat: Seat) -> Player:
    return lambda view, now: seat.play(view, now) if seat.moves(view) or not view.turn else Timeout()


def _as_if_in_time(seat: Seat) -> Player:
    """Does not know that his clock has run out."""

    def play(view: GameView, now: int) -> Move | None:
        late = seat.moves(view) and view.time_left(now) < 0
        return seat.play(view, view.last_move) if late else None if seat.moves(view) else seat.play(view, now)

    return play


# ------------------------------------------------------------------------------------------------------ repetitions


def _again(seat: Seat) -> Player:
    """Sends each move once more on the other side's turn."""
    sent: list[Move] = []

    def play(view: GameView, now: int) -> Move | None:
        move = seat.play(view, now)
        if move is None and view.turn and sent:
            return sent[-1]
        sent.extend([move] if move else [])
        return move

    return play


def _replay(adapt: Callable[[Move, GameView], Move]) -> Callable[[Seat], Player]:
    """Instead of a second move of a kind sends the first once more, as `adapt` has it."""

    def start(seat: Seat) -> Player:
        first: dict[type, tuple[Move, GameView]] = {}

        def play(view: GameView, now: int) -> Move | None:
            move = seat.play(view, now)
            if move is None:
                return None
            old, seen = first.setdefault(type(move), (move, view))
            return move if seen == view else adapt(old, view)

        return play

    return start


def _renamed(move: Move, view: GameView) -> Move:
    return replace(move, range=view.range) if isinstance(move, Post | Choose | Enter) else move


def _usurper(seat: Seat) -> Player:
    """Makes the other side's moves, too."""

    def play(view: GameView, now: int) -> Move | None:
        own = seat.play(view, now)
        return own if own or seat.moves(view) else decide(view, seat.truth, seat.role.other, now)

    return play


# --------------------------------------------------------------------------------------------------- changing stories


def _posting(mixture: Callable[[GameView, int, random.Random], list[bool]]) -> Callable[[Seat], Player]:
    """Decides anew in each round which states to falsify, and, as a challenger, at what to point.

    `mixture` says which of the inner boundaries are false; a challenger points at the first of them.
    """

    def start(seat: Seat) -> Player:
        chance = random.Random(f"{seat.role} {seat.spot}")

        def states(view: GameView, phase: Phase, length: int, true: tuple[bytes, ...]) -> tuple[bytes, ...]:
            falsified = mixture(replace(view, phase=phase, length=length), len(true), chance)
            return tuple(flip(state, 1) if false else state for state, false in zip(true, falsified, strict=True))

        def play(view: GameView, now: int) -> Move | None:
            move = seat.play(view, now)
            if isinstance(move, Open):
                return replace(move, states=states(view, Phase.TILE, seat.truth.tiles, _truth(seat, view, move)))
            if isinstance(move, Post):
                return replace(move, states=states(view, view.phase, view.length, _truth(seat, view, move)))
            if isinstance(move, Enter):
                move = _entry(seat, view, move)
                return replace(move, states=states(view, Phase.INSTRUCTION, move.steps, _truth(seat, view, move)))
            if isinstance(move, Choose):
                disputed = mixture(view, len(view.states), chance)
                j = disputed.index(True) if any(disputed) else len(view.states)
                return replace(move, segment=j, opening=opening(view.states, j))
            return move

        return play

    return start


def _truth(seat: Seat, view: GameView, move: Open | Post | Enter) -> tuple[bytes, ...]:
    """What an honest prover would post in place of these states."""
    if isinstance(move, Open):
        start, length, tile = 0, seat.truth.tiles, None
    elif isinstance(move, Enter):
        start, length, tile = 0, move.steps, view.tile
    else:
        start, length, tile = view.position, view.length, view.tile if view.phase is Phase.INSTRUCTION else None
    p = parts(length, view.k)
    places = [start + boundary(length, p, i) for i in range(1, p)]
    if tile is None:
        return tuple(seat.truth.tile_root(at) for at in places)
    run = seat.truth.machine(tile)
    return tuple(run.hash(min(at, run.steps)) for at in places)


def _entry(seat: Seat, view: GameView, move: Enter) -> Enter:
    """The true end of the disputed tile, but for the root, which is the disputed one."""
    run = seat.truth.machine(view.tile)
    root = keccak256(view.hi + run.scratch_root)
    end = root + run.encode(run.steps)[ROOT_BYTES:]
    return replace(move, steps=run.steps, end_state=end, scratch_root=run.scratch_root)


def _bounce(view: GameView, count: int, chance: random.Random) -> list[bool]:
    """Away from where the other side looked last: all true after it went left, all false after it went right."""
    return [bool(view.position % 2)] * count


def _true_entry(seat: Seat) -> Player:
    """Enters the disputed tile with its true end."""

    def play(view: GameView, now: int) -> Move | None:
        move = seat.play(view, now)
        if isinstance(move, Enter):
            run = seat.truth.machine(view.tile)
            return replace(move, end_state=run.encode(run.steps), steps=run.steps)
        return move

    return play


def _false_entry(seat: Seat) -> Player:
    """Enters with an end in which only the disputed root is right."""

    def play(view: GameView, now: int) -> Move | None:
        move = seat.play(view, now)
        if isinstance(move, Enter):
            return replace(move, end_state=flip(move.end_state, ROOT_BYTES + 8))
        return move

    return play


def _step_before(seat: Seat) -> Player:
    """Executes the step before the disputed one."""

    def play(view: GameView, now: int) -> Move | None:
        if view.stage is not Stage.STEP or view.time_left(now) < 0:
            return seat.play(view, now)
        run = seat.truth.machine(view.tile)
        return Step(view.hi, run.witness(view.position - 1 if view.position else run.steps))

    return play


SCHEMERS: dict[str, Schemer] = {
    "last-second": Schemer("moves only in the last second", _when(lambda view, now: view.time_left(now) <= 0)),
    "slow": Schemer("waits some time before each move", _when(lambda view, now: now - view.last_move >= 10)),
    "late": Schemer("moves when the time is over", _as_if_in_time),
    "hasty": Schemer("calls the other side's timeout too early", _hasty),
    "again": Schemer("sends each move twice", _again),
    "replay": Schemer("sends an earlier move instead of a new one", _replay(lambda move, view: move)),
    "replay-renamed": Schemer("sends an earlier move as if made for this range", _replay(_renamed)),
    "usurper": Schemer("makes the other side's moves", _usurper),
    "all-true": Schemer("posts true states only", _posting(lambda view, count, chance: [False] * count)),
    "all-false": Schemer("posts false states only", _posting(lambda view, count, chance: [True] * count)),
    "last-false": Schemer(
        "has only the last state wrong, in every round",
        _posting(lambda view, count, chance: [i == count - 1 for i in range(count)]),
    ),
    "alternate": Schemer(
        "has every other state wrong", _posting(lambda view, count, chance: [i % 2 == 1 for i in range(count)])
    ),
    "bounce": Schemer("changes its story with each choice of the other side", _posting(_bounce)),
    "coin": Schemer(
        "tosses a coin for every state",
        _posting(lambda view, count, chance: [chance.random() < 0.5 for _ in range(count)]),
    ),
    "true-entry": Schemer("enters the disputed tile with its true end", _true_entry),
    "false-entry": Schemer("enters with another register at the end", _false_entry),
    "step-before": Schemer("executes the step before the disputed one", _step_before),
}
