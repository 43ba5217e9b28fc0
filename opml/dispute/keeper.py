"""The one loop of all players: follow the chain, decide, act, look again.

A keeper plays every game of its account at once. A look costs the new blocks and the games whose turn it is. Nothing
that it keeps matters: killed at any moment and started again, it reads the chain and goes on. Deciding, which may mean
to run a model again, happens beside the loop; sending does not wait for the block.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from opml.chain.ledger import Ledger
from opml.dispute.board import Board, names
from opml.dispute.errands import DOUBTFUL, Emit, Errands, quiet
from opml.dispute.follow import Follower
from opml.dispute.game import GameView, Role, Stage
from opml.dispute.moves import Move, Timeout
from opml.dispute.purse import Purse
from opml.dispute.thinker import LONGEST_WAIT, Decided, Players, Thinker, Turn
from opml.dispute.workshop import Failed, Job
from opml.errors import ChainError, DisputeError, UnreachableError

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient

POLL_SECONDS = 1.0
# How often in a row the chain may fail to answer; the waits grow to a minute, so that is about 25 minutes.
PATIENCE = 30
# Moves that are sent before the chain is looked at again.
SENT_PER_LOOK = 64

Progress = Callable[[GameView, Move], None]
Sleep = Callable[[float], None]


def _ignore(view: GameView, move: Move) -> None:
    pass


class Keeper:
    """Plays the games of `account`, or of the `party` whose delegate it is, on the contract of `client`.

    `scope` are the claims it cares about, all by default. `defend` says whether it answers challenges of claims that
    the account made; without it, it still executes the last step of their games and ends those that are out of time.
    `threads`: one for moves and one for re-runs beside the loop, or 0 for none at all. `sleep` waits while there is
    nothing to do; with one of the caller's, time may be the caller's too, so there are then no threads by default.
    `progress` is told each move that was sent.
    """

    def __init__(
        self,
        client: "OpmlClient",
        account: Any,
        players: Players,
        *,
        party: str | None = None,
        scope: Collection[bytes] | None = None,
        defend: bool = True,
        emit: Emit = quiet,
        progress: Progress = _ignore,
        poll: float = POLL_SECONDS,
        sleep: Sleep | None = None,
        threads: int | None = None,
        outbox: Any = None,
    ) -> None:
        self.client = client
        self.account = account
        self.address: str = party or account.address
        self.players = players
        self.follower = Follower(client, scope)
        self.errands = Errands(outbox or client.chain.outbox(account), client.address, emit=emit, poll=poll)
        self.now = 0
        self.emit = emit
        self._defend = defend
        self._poll = poll
        self._wake = threading.Event()
        self._sleep = sleep
        self._progress = progress
        self._stopping = False
        threads = (1 if sleep is None else 0) if threads is None else threads
        self.thinker = Thinker(players, threads, self._wake.set, emit, poll)
        self.board = Board(lambda: self.follower.ledger, self.address, scope, emit)
        self.purse = Purse(self)

    @property
    def ledger(self) -> Ledger:
        """What the chain says."""
        return self.follower.ledger

    # The loop

    def run(self, finished: Callable[[], bool] = lambda: False, *, patience: int | None = PATIENCE) -> None:
        """Plays until `finished`, or until `stop`.

        A chain that does not answer is asked again, `patience` times in a row, or for ever if that is None; then its
        ChainError goes through. Likewise what the trouble is, where there is trouble with every game that we play.
        """
        failures = 0
        while not self._stopping:
            try:
                active = self.tick()
                if finished():
                    return
                failures = 0
            except ChainError as error:
                failures += 1
                self.emit("chain-lost", "error", reason=str(error), times=failures)
                if patience is not None and failures > patience:
                    raise
                self.pause(min(self._poll * 2**failures, max(self._poll, LONGEST_WAIT)))
                continue
            if patience is not None:
                self.thinker.complain(self.board.ours, patience)
            if not active:
                self.pause(self._poll)

    def stop(self) -> None:
        """Ends `run` after the present look; may be called from a signal's handler."""
        # Not the event: its lock may be held by the thread that the handler has interrupted.
        self._stopping = True

    def finish(self, seconds: float) -> None:
        """Waits until what was sent is mined, for at most so many seconds. Nothing new is sent."""
        end = time.monotonic() + seconds
        while self.errands.unknown() and time.monotonic() < end:
            self.errands.settle()
            time.sleep(min(self._poll, 0.2))

    def pause(self, seconds: float) -> None:
        """Waits, but not when there is a result."""
        if self._sleep is not None:
            self._sleep(seconds)
            return
        # In pieces: what a signal's handler sets is seen only in between.
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            if self._wake.wait(min(left, 1.0)):
                self._wake.clear()
                return

    def close(self) -> None:
        """Ends the threads."""
        self.thinker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tick(self) -> bool:
        """One look at the chain and what follows from it; whether anything came of it. Raises ChainError."""
        news = self.look()
        thought = self.think()
        return self.act() or thought or news

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing is left to be done at this time."""
        return not (len(self.errands) or self.errands.waiting() or self.thinker.busy)

    # Observe

    def look(self) -> bool:
        """Reads what is new on the chain, and what became of our transactions; whether there was anything new.

        Raises ChainError.
        """
        self.errands.settle()
        self.follower.advance()
        self.now = self.client.now()
        news = self.follower.news
        anything = bool(news)
        if news.rewound is not None:
            self.emit("reorg", "warning", block=news.rewound)
            self.errands.rewind(news.rewound)
            self.board.open_by_claim.clear()
            news.rewound = None
        for game_id in list(news.games):
            self.board.sort(game_id)
            self.thinker.forget(game_id, self.ledger.games.get(game_id))
            news.games.discard(game_id)
        for claim_id in list(news.claims):
            self.meet(claim_id)
            news.claims.discard(claim_id)
        self.errands.arrive(self.follower.head)
        return anything

    def meet(self, claim_id: bytes) -> None:
        """A claim is new, has changed, or has vanished. Raises ChainError: then it is met again at the next look."""
        self.purse.meet(claim_id)

    # Decide

    def think(self) -> bool:
        """Offers the games on turn to the players; whether any of them has answered."""
        self.thinker.offer(self._turns(), self.now, self.more_runs())
        answers = self.thinker.answers()
        for answer in answers:
            match answer:
                case Decided():
                    # Not if the game has changed meanwhile.
                    if self.ledger.games.get(answer.view.game_id) == answer.view:
                        self.thinker.decided[answer.view.game_id] = answer
                case Failed():
                    self.failed(answer)
                case _:
                    self.take(answer)
        return bool(answers)

    def more_runs(self) -> Iterable[Job]:
        """Further jobs that take long; for whoever builds on this."""
        return ()

    def take(self, answer: Any) -> None:
        """A result of `more_runs`."""

    def failed(self, failure: Failed) -> None:
        """A job that raised."""
        self.thinker.failed(failure)

    def _turns(self) -> Iterator[Turn]:
        """Our games that wait for a decision."""
        for view in self.board.games():
            left = view.time_left(self.now)
            if view.game_id in self.thinker.decided or left < 0 or self.thinker.in_trouble(view.game_id):
                continue
            for role in self.board.roles(view):
                if (view.turn is role and (self._defend or role is Role.CHALLENGER)) or view.stage is Stage.STEP:
                    yield Turn(view, role, self.ledger.claims[view.claim_id], left)
                    break

    # Act

    def act(self) -> bool:
        """Sends what has been decided, most urgent first; whether anything was sent. Raises ChainError."""
        sent = 0
        for left, view, move, seconds in self._moves():
            if sent >= SENT_PER_LOOK:
                return True
            try:
                sent += self._send(view, move, left, seconds)
            except UnreachableError:
                raise
            except Exception as error:  # one game must not hold up the others
                self.thinker.failed(Failed(view.game_id, error))
        return self.purse.act() or bool(sent)

    def _moves(self) -> list[tuple[int, GameView, Move, float]]:
        """What is to be sent: (seconds left to us, the game, the move, seconds of thought), most urgent first."""
        moves: list[tuple[int, GameView, Move, float]] = []
        for view in self.board.games():
            if self.thinker.in_trouble(view.game_id):
                continue
            left, decided = view.time_left(self.now), self.thinker.decided.get(view.game_id)
            if left < 0:
                if view.turn is not None and view.turn.other in self.board.roles(view):
                    moves.append((left, view, Timeout(), 0.0))
            elif decided and decided.move is not None:
                moves.append((left, view, decided.move, decided.seconds))
        # Others' games that keep a claim from being settled.
        for claim_id in self.purse.waiting_for:
            for view in self.board.open_games(claim_id):
                if view.game_id not in self.board.ours and view.time_left(self.now) < 0:
                    moves.append((0, view, Timeout(), 0.0))
        return sorted((move for move in moves if self.errands.free(_mark(move[1], move[2]))), key=lambda move: move[0])

    def _send(self, view: GameView, move: Move, left: int, seconds: float) -> bool:
        mark = _mark(view, move)
        data = self.client.move_data(view.key, self.ledger.claims[view.claim_id].claim, move)
        role = next(iter(self.board.roles(view)), None)
        fields = names(view, role) | {"time_left": left, "thought": round(seconds, 6)}
        hurry = left / 8 if left >= 0 else math.inf
        sent = self.errands.send(mark, move.method, data, hurry=hurry, **fields)
        if sent:
            self.thinker.well(view.game_id)
            self._progress(view, move)
        elif refusals := self.errands.refusals(mark):
            if refusals % DOUBTFUL == 0:
                self.follower.doubt()
            trouble = f"the contract refuses our move `{move.method}`: {self.errands.reason(mark)}"
            self.thinker.refused(view.game_id, refusals, DisputeError(trouble))
        return sent


def _mark(view: GameView, move: Move) -> tuple[Any, ...]:
    """What makes two moves the same one."""
    return (move.method, view.game_id, view.stage, view.phase, view.range, view.states)
