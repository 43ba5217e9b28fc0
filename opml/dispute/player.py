"""The players: pure functions from what the chain shows and a trace to the next move.

A player keeps no state: killed at any moment and started again, it reads the chain and goes on. It also has no branch
for liars; one that lies is this same player on a false trace (`opml.dispute.liars`).
"""

from collections.abc import Iterable
from typing import Protocol

from opml.dispute.game import ClaimStatus, ClaimView, GameView, Phase, Role, Stage
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.rules import boundary, inner_boundaries, opening, parts
from opml.dispute.trace import Trace


class Player(Protocol):
    """Whoever plays one side of games: the next move, or None to wait."""

    def __call__(self, view: GameView, now: int) -> Move | None: ...


def player(trace: Trace, role: Role) -> Player:
    """The player of `role` that believes `trace`."""
    return lambda view, now: decide(view, trace, role, now)


def decide(view: GameView, trace: Trace, role: Role, now: int) -> Move | None:
    """The move of `role` at chain time `now`; None when there is nothing for it to do.

    The winner's last moves are anyone's: a challenger executes the disputed step himself, and each side calls the
    timeout of the other.
    """
    if view.turn is None:
        return None
    if view.time_left(now) < 0:
        return Timeout() if view.turn is role.other else None
    if view.stage is Stage.STEP:
        return _step(view, trace, role)
    if view.turn is not role:
        return None
    match view.stage:
        case Stage.OPEN:
            states = _states(view, trace, Phase.TILE, 0, 0, trace.tiles)
            return Open(trace.input_path(), trace.tile_root(trace.tiles), trace.output_path(), states)
        case Stage.POST:
            states = _states(view, trace, view.phase, view.tile, view.position, view.length)
            return Post(view.range, states)
        case Stage.ENTER:
            run = trace.machine(view.tile)
            states = _states(view, trace, Phase.INSTRUCTION, view.tile, 0, run.steps)
            return Enter(view.range, run.steps, run.encode(run.steps), run.scratch_root, states)
        case _:
            return _choose(view, trace)


def _state(trace: Trace, phase: Phase, tile: int, position: int) -> bytes:
    return trace.tile_root(position) if phase is Phase.TILE else trace.machine(tile).hash(position)


def _states(view: GameView, trace: Trace, phase: Phase, tile: int, position: int, length: int) -> tuple[bytes, ...]:
    return tuple(_state(trace, phase, tile, position + b) for b in inner_boundaries(length, view.k))


def _choose(view: GameView, trace: Trace) -> Move:
    """The first segment at whose end we disagree; the last one if only `hi` is left to disagree with."""
    p = parts(view.length, view.k)
    for j, theirs in enumerate(view.states):
        ours = _state(trace, view.phase, view.tile, view.position + boundary(view.length, p, j + 1))
        if ours != theirs:
            break
    else:
        j = p - 1
    return Choose(view.range, j, opening(view.states, j))


def _step(view: GameView, trace: Trace, role: Role) -> Move | None:
    """The disputed step, if it begins where our trace has it and decides for us."""
    run = trace.machine(view.tile)
    agreed = run.hash(view.position) == view.lo
    proves = run.hash(view.position + 1) == view.hi
    return Step(view.hi, run.witness(view.position)) if agreed and proves is (role is Role.PROVER) else None


def should_challenge(claim: ClaimView, trace: Trace, now: int) -> bool:
    """Whether a claim about this model and input is false, and may still be challenged."""
    return claim.status is ClaimStatus.PENDING and now <= claim.deadline and claim.output_root != trace.output_root


def should_finalise(claim: ClaimView, now: int) -> bool:
    """Whether the claim's window is over and no game stands against it."""
    return claim.status is ClaimStatus.PENDING and now > claim.deadline and claim.open_games == 0


def collectable(claim: ClaimView, games: Iterable[GameView], account: str) -> list[bytes]:
    """The ids of those of the claim's games whose winnings `account` can collect now.

    A prover takes the challenger's bond as soon as a game is over, a challenger his own and his share of the prover's
    when the claim's last game is.
    """
    due = {Role.PROVER, Role.CHALLENGER} if not claim.open_games else {Role.PROVER}
    won = (game for game in games if game.winner in due and not game.collected)
    return [game.game_id for game in won if game.winner and game.party(game.winner) == account]
