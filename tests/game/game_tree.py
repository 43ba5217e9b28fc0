"""The whole tree of a small game: one side is the honest player, the other does everything that the rules allow.

A lying prover posts any mixture of true and false states, anew in every round; enters a tile with every number of
steps; and falls silent at every turn. A lying challenger chooses every segment, and falls silent at every turn. One
kind of false state stands for all: the rules and the honest player do nothing with a state but compare it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from dispute_toy import CHALLENGER, PROVER, WINDOW, ToyTrace, claim_toy, toy_court
from game_money import Purses, money_court

from opml.dispute.game import GameView, Phase, Role, Stage
from opml.dispute.liars import FalseTrace, Spot, flip
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.player import decide
from opml.dispute.rules import inner_boundaries, opening, parts
from opml.dispute.trace import MachineTraceLike
from vm.constants import ROOT_BYTES
from vm.keccak import keccak256

ACCOUNTS = {Role.PROVER: PROVER, Role.CHALLENGER: CHALLENGER}
# Up to this many posted states every mixture of true and false is tried; above, those in which one is false, or all
# from one on: the honest challenger looks for the first that it disputes.
ALL_MIXTURES = 4
# How far beyond the true number of steps a lying prover goes.
EXTRA_STEPS = 2


def mixtures(count: int) -> Iterator[tuple[bool, ...]]:
    """Which of `count` posted states are false."""
    if count <= ALL_MIXTURES:
        yield from product((False, True), repeat=count)
        return
    yield (False,) * count
    for first in range(count):
        yield tuple(i == first for i in range(count))
        if first < count - 1:
            yield tuple(i >= first for i in range(count))


class Tree:
    """A claim with one game against it, and all that can become of it."""

    def __init__(self, truth: ToyTrace, k: int, liar: Role) -> None:
        self.truth, self.liar, self.honest = truth, liar, liar.other
        court, model_id = toy_court(truth, k)
        self.court, self.purses = money_court(court), Purses(court)
        self.false = FalseTrace(truth, Spot(-1))
        claimed = self.false if liar is Role.PROVER else truth
        self.claim_id = claim_toy(court, model_id, truth, claimed.output_root)
        self.game_id, _ = court.challenge(self.claim_id, 0, CHALLENGER)
        for account, method in ((PROVER, "claim"), (CHALLENGER, "challenge")):
            self.purses.spend(account, method)
        self.leaves: Counter[str] = Counter()
        self.moves = 0

    def play(self) -> Counter[str]:
        """Counts the leaves by their last event; fails at the first that the honest side has not won with a profit."""
        self._visit()
        return self.leaves

    def _visit(self) -> None:
        view = self.court.game_view(self.game_id)
        if view.winner:
            self._leaf(view)
            return
        honest = decide(view, self.truth, self.honest, self.court.now())
        if honest:
            with self._made(honest, self.honest):
                self._visit()
            return
        assert view.turn is self.liar
        for move in self._lies(view):
            with self._made(move, self.liar):
                self._visit()
        with self._undone():
            self.court.advance(view.time_left(self.court.now()) + 1)
            late = decide(view, self.truth, self.honest, self.court.now())
            assert late == Timeout()
            with self._made(late, self.honest):
                self._visit()

    @contextmanager
    def _made(self, move: Move, role: Role) -> Iterator[None]:
        with self._undone():
            self.court.move(self.game_id, move, ACCOUNTS[role])
            self.purses.spend(ACCOUNTS[role], move.method)
            self.moves += 1
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        court, gas = self.court, self.purses.gas.copy()
        ledger, time, events = court.ledger, court.time, len(court.events)
        court.ledger = ledger.copy()
        yield
        court.ledger, court.time, self.purses.gas = ledger, time, gas
        del court.events[events:]

    def _leaf(self, view: GameView) -> None:
        assert view.winner is self.honest
        last = next(name for name, _ in reversed(self.court.events) if name in ("TimedOut", "Stepped"))
        self.leaves[f"{last} in {view.phase.name}"] += 1
        account = ACCOUNTS[self.honest]
        with self._undone():
            claims = []
            if self.honest is Role.PROVER:
                self.court.advance(WINDOW + 1)
                claims = [self.claim_id]
            self.court.withdraw(account.address, claims, [self.game_id], account)
            self.purses.spend(account, "withdraw")
            assert self.purses.profit(account) > 0
            assert self.court.ledger.balance == self.court.liabilities()

    # What a liar may do

    def _lies(self, view: GameView) -> Iterator[Move]:
        match view.stage:
            case Stage.OPEN:
                for states in self._posts(view, Phase.TILE, self.truth.tiles):
                    final = self.false.tile_root(self.truth.tiles)
                    yield Open(self.truth.input_path(), final, self.truth.output_path(), states)
            case Stage.POST:
                for states in self._posts(view, view.phase, view.length, view.position):
                    yield Post(view.range, states)
            case Stage.ENTER:
                yield from self._entries(view)
            case Stage.STEP:
                run = self.truth.machine(view.tile)
                yield Step(view.hi, run.witness(view.position))
            case _:
                for j in range(parts(view.length, view.k)):
                    yield Choose(view.range, j, opening(view.states, j))

    def _entries(self, view: GameView) -> Iterator[Move]:
        run = self.truth.machine(view.tile)
        end = keccak256(view.hi + run.scratch_root) + run.encode(run.steps)[ROOT_BYTES:]
        for steps in range(1, run.steps + EXTRA_STEPS + 1):
            for states in self._posts(view, Phase.INSTRUCTION, steps):
                yield Enter(view.range, steps, end, run.scratch_root, states)

    def _posts(self, view: GameView, phase: Phase, length: int, position: int = 0) -> Iterator[tuple[bytes, ...]]:
        run: MachineTraceLike | None = None if phase is Phase.TILE else self.truth.machine(view.tile)
        places = [position + b for b in inner_boundaries(length, view.k)]
        true = [self.truth.tile_root(at) if run is None else run.hash(at) for at in places]
        for mixture in mixtures(len(true)):
            yield tuple(flip(s, 0) if false else s for s, false in zip(true, mixture, strict=True))
