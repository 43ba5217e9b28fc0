"""Deciding on moves beside the loop: by players that are ready, or whose model has to be run again first."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from opml.dispute.errands import DOUBTFUL, Emit
from opml.dispute.game import ClaimView, GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import Player
from opml.dispute.workshop import Failed, Job, Report, Workshop
from opml.errors import ChainError, OpmlError

GAMES, CLAIMS = 0, 1
"""What comes first: the clocks of our games, then the deadlines of claims."""
LONGEST_WAIT = 60.0


class Players(Protocol):
    """Where the loop gets its players. Both methods are for claims whose games it plays."""

    def ready(self, claim: ClaimView, role: Role) -> Player | None:
        """The player, if it can decide without long preparation."""

    def prepare(self, claim: ClaimView, role: Role) -> Player:
        """The player, made ready; may take long, and is called beside the loop. Raises OpmlError."""


@dataclass(frozen=True)
class Turn:
    """A game that waits for a decision of ours: in which `role`, on which claim, with how many seconds left."""

    view: GameView
    role: Role
    claim: ClaimView
    left: int


@dataclass(frozen=True)
class Decided:
    """What a player wants in a game as it was in `view`: a move, or None to wait for the other side."""

    view: GameView
    move: Move | None
    seconds: float


@dataclass(frozen=True)
class _Trouble:
    """Why a game cannot be played now: how often in a row, when it is tried again, and whether it may well mend."""

    times: int
    until: float
    error: Exception
    mends: bool


class Thinker:
    """What has been decided, and who cannot. With `threads`, two workshops: one for moves, one for what takes long."""

    def __init__(self, players: Players, threads: int, done: Callable[[], None], emit: Emit, poll: float) -> None:
        self._players = players
        self._emit = emit
        self._poll = poll
        self.moves = Workshop(threads, done)
        self.runs = Workshop(threads, done)
        self.decided: dict[bytes, Decided] = {}
        self._troubles: dict[bytes, _Trouble] = {}

    @property
    def busy(self) -> bool:
        """Whether anybody thinks."""
        return self.moves.busy or self.runs.busy

    def close(self) -> None:
        """Ends the threads."""
        self.moves.close()
        self.runs.close()

    def offer(self, turns: Iterable[Turn], now: int, more: Iterable[Job]) -> None:
        """Hands out what is to be decided, and `more` that takes long."""
        quick: list[Job] = []
        slow: dict[tuple[bytes, bytes, Role], list[Turn]] = {}
        for turn in turns:
            who = self._players.ready(turn.claim, turn.role)
            if who is not None:
                quick.append(Job(turn.view.game_id, (GAMES, turn.left), _decision(who, turn.view, now)))
            else:
                slow.setdefault((turn.claim.model_id, turn.claim.input_root, turn.role), []).append(turn)
        self.moves.offer(quick)
        self.runs.offer([*(self._preparation(group, now) for group in slow.values()), *more])

    def answers(self) -> list[Decided | Any]:
        """What came of it since the last call: decisions, failures, and results of what was offered as `more`."""
        return self.moves.results() + self.runs.results()

    def forget(self, game_id: bytes, view: GameView | None) -> None:
        """A game has changed: what was decided in another view of it does not hold any more."""
        decided = self.decided.get(game_id)
        if decided is not None and decided.view != view:
            del self.decided[game_id]
            self._troubles.pop(game_id, None)

    def _preparation(self, turns: list[Turn], now: int) -> Job:
        """Gets a player ready, and has it decide at once in all games that wait for it: so there is progress even where
        memory does not hold two of them."""
        turns = sorted(turns, key=lambda turn: turn.left)
        first, games = turns[0], tuple(turn.view.game_id for turn in turns)

        def work(report: Report) -> None:
            who = self._players.prepare(first.claim, first.role)
            for turn in turns:
                _decision(who, turn.view, now)(report)

        return Job(("games", games), (GAMES, first.left), work)

    # Trouble

    def in_trouble(self, game_id: bytes) -> bool:
        """Whether a game waits because something has gone wrong with it."""
        return game_id in self._troubles and self._troubles[game_id].until > time.monotonic()

    def failed(self, failure: Failed) -> None:
        """A game that cannot be played is tried again later; the others go on."""
        error, code = failure.error, failure.error.code if isinstance(failure.error, OpmlError) else "internal"
        games = (failure.key,) if isinstance(failure.key, bytes) else cast(Any, failure.key)[1]
        for game_id in games:
            times = self._troubles[game_id].times + 1 if game_id in self._troubles else 1
            until = time.monotonic() + min(self._poll * 2**times, LONGEST_WAIT)
            self._troubles[game_id] = _Trouble(times, until, error, isinstance(error, ChainError))
            self._emit("game-stuck", "error", game=game_id, code=code, reason=repr(error), times=times)

    def refused(self, game_id: bytes, times: int, error: OpmlError) -> None:
        """The contract refuses our move: whoever sends it knows when to try again."""
        self._troubles[game_id] = _Trouble(times, 0.0, error, mends=True)

    def well(self, game_id: bytes) -> None:
        """There is no trouble any more."""
        self._troubles.pop(game_id, None)

    def complain(self, games: Iterable[bytes], patience: int) -> None:
        """Raises what the trouble is where, in these games, there has been nothing but trouble for long."""
        troubles = [self._troubles.get(game_id) for game_id in games]
        long = [t for t in troubles if t and t.times > (patience if t.mends else DOUBTFUL)]
        if long and len(long) == len(troubles):
            raise long[0].error


def _decision(who: Player, view: GameView, now: int) -> Callable[[Report], None]:
    def work(report: Report) -> None:
        start = time.perf_counter()
        move = who(view, now)
        report(Decided(view, move, time.perf_counter() - start))

    return work
