"""The one loop of all players: follow the chain, decide, act, look again.

A keeper plays every game of its account at once. A look costs the new blocks and the games whose turn it is. Nothing
that it keeps matters: killed at any moment and started again, it reads the chain and goes on. Deciding, which may mean
to run a model again, happens beside the loop; sending does not wait for the block.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from opml.chain.ledger import Ledger
from opml.dispute.errands import Emit, Errands, quiet
from opml.dispute.follow import Follower
from opml.dispute.game import ClaimView, GameView, Role, Stage
from opml.dispute.moves import Move, Timeout
from opml.dispute.player import Player
from opml.dispute.purse import Purse
from opml.dispute.workshop import Failed, Job, Report, Workshop
from opml.errors import ChainError, DisputeError, OpmlError, UnreachableError

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient

POLL_SECONDS = 1.0
# How often in a row the chain may fail to answer; the waits grow to a minute, so that is about 25 minutes.
PATIENCE = 30
LONGEST_WAIT = 60.0
# Moves that are sent before the chain is looked at again.
SENT_PER_LOOK = 64
# A refusal that repeats means that the node has shown us something else than it knows now.
DOUBTFUL = 3
GAMES, CLAIMS = 0, 1
"""What comes first: the clocks of our games, then the deadlines of claims."""


Progress = Callable[[GameView, Move], None]
Sleep = Callable[[float], None]


def _ignore(view: GameView, move: Move) -> None:
    pass


class Players(Protocol):
    """Where the keeper gets its players. Both methods are for claims whose games it plays."""

    def ready(self, claim: ClaimView, role: Role) -> Player | None:
        """The player, if it can decide without long preparation."""

    def prepare(self, claim: ClaimView, role: Role) -> Player:
        """The player, made ready; may take long, and is called beside the loop. Raises OpmlError."""


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
    mends: bool = False


@dataclass
class Tables:
    """The games that matter to one account, kept up to date from what has changed."""

    ours: set[bytes] = field(default_factory=set)
    won: set[bytes] = field(default_factory=set)
    open_by_claim: dict[bytes, set[bytes]] = field(default_factory=dict)


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
        self._scope = scope
        self._defend = defend
        self._poll = poll
        self._wake = threading.Event()
        self._sleep = sleep
        self._progress = progress
        self._stopping = False
        threads = (1 if sleep is None else 0) if threads is None else threads
        self.thinking = Workshop(threads, self._wake.set)
        self.running = Workshop(threads, self._wake.set)
        self.tables = Tables()
        self.purse = Purse(self)
        self._decided: dict[bytes, Decided] = {}
        self._stuck: dict[bytes, _Trouble] = {}

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
                failures = 0
            except ChainError as error:
                failures += 1
                self.emit("chain-lost", "error", reason=str(error), times=failures)
                if patience is not None and failures > patience:
                    raise
                self.pause(min(self._poll * 2**failures, max(self._poll, LONGEST_WAIT)))
                continue
            if finished():
                return
            if patience is not None:
                self._complain(patience)
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
        self.thinking.close()
        self.running.close()

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
        return not (len(self.errands) or self.errands.waiting() or self.thinking.busy or self.running.busy)

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
            self.tables.open_by_claim.clear()
            news.rewound = None
        for game_id in list(news.games):
            self._sort(game_id)
            news.games.discard(game_id)
        for claim_id in list(news.claims):
            self.meet(claim_id)
            news.claims.discard(claim_id)
        self.errands.arrive(self.follower.head)
        return anything

    def meet(self, claim_id: bytes) -> None:
        """A claim is new, has changed, or has vanished. Raises ChainError: then it is met again at the next look."""
        self.purse.meet(claim_id)

    def in_scope(self, claim_id: bytes) -> bool:
        """Whether the keeper cares about a claim."""
        return self._scope is None or claim_id in self._scope

    def roles(self, view: GameView) -> Iterator[Role]:
        """The sides of a game that are ours."""
        if self.in_scope(view.claim_id):
            for role in Role:
                if view.party(role) == self.address:
                    yield role

    def games_of(self, claim_id: bytes) -> Iterator[GameView]:
        """Open games against a claim, whoever plays them."""
        return (self.ledger.games[game_id] for game_id in self.tables.open_by_claim.get(claim_id, ()))

    def _sort(self, game_id: bytes) -> None:
        """Puts a game that has changed where it belongs."""
        view, tables = self.ledger.games.get(game_id), self.tables
        decided = self._decided.get(game_id)
        if decided is not None and decided.view != view:
            del self._decided[game_id]
            self._stuck.pop(game_id, None)
        was_ours = game_id in tables.ours
        tables.ours.discard(game_id)
        tables.won.discard(game_id)
        if view is None:
            return
        open_games = tables.open_by_claim.setdefault(view.claim_id, set())
        open_games.discard(game_id)
        roles = list(self.roles(view))
        if view.turn is not None:
            open_games.add(game_id)
            if roles:
                tables.ours.add(game_id)
                if not was_ours:
                    self.emit("game-open", game=game_id, claim=view.claim_id, role=roles[0].value)
            return
        if not open_games:
            del tables.open_by_claim[view.claim_id]
        if view.winner in roles and not view.collected:
            tables.won.add(game_id)
        if roles and was_ours:
            won = view.winner in roles
            self.emit("game-won" if won else "game-lost", "info" if won else "error", **_names(view, roles[0]))

    # Decide

    def think(self) -> bool:
        """Offers the games on turn to the players; whether any of them has answered."""
        waiting = [
            (view.time_left(self.now), view, role) for view, role in self._on_turn() if not self._is_stuck(view.game_id)
        ]
        quick: list[Job] = []
        slow: dict[tuple[bytes, bytes, Role], list[tuple[int, GameView, ClaimView]]] = {}
        for left, view, role in waiting:
            claim = self.ledger.claims[view.claim_id]
            who = self.players.ready(claim, role)
            if who is not None:
                quick.append(Job(view.game_id, (GAMES, left), self._decision(who, view)))
            else:
                slow.setdefault((claim.model_id, claim.input_root, role), []).append((left, view, claim))
        self.thinking.offer(quick)
        self.running.offer([*(self._preparation(key, games) for key, games in slow.items()), *self.more_runs()])
        answers = self.thinking.results() + self.running.results()
        for answer in answers:
            match answer:
                case Decided():
                    self._decided[answer.view.game_id] = answer
                case Failed():
                    self._failed(answer)
                case _:
                    self.take(answer)
        return bool(answers)

    def more_runs(self) -> Iterable[Job]:
        """Further jobs that take long; for whoever builds on this."""
        return ()

    def take(self, answer: Any) -> None:
        """A result of `more_runs`."""

    def _on_turn(self) -> Iterator[tuple[GameView, Role]]:
        """Our games that wait for a decision."""
        for game_id in self.tables.ours:
            view = self.ledger.games[game_id]
            if game_id in self._decided or view.time_left(self.now) < 0:
                continue
            for role in self.roles(view):
                if (view.turn is role and (self._defend or role is Role.CHALLENGER)) or view.stage is Stage.STEP:
                    yield view, role
                    break

    def _decision(self, who: Player, view: GameView) -> Callable[[Report], None]:
        now = self.now

        def work(report: Report) -> None:
            start = time.perf_counter()
            move = who(view, now)
            report(Decided(view, move, time.perf_counter() - start))

        return work

    def _preparation(self, key: tuple[bytes, bytes, Role], games: list[tuple[int, GameView, ClaimView]]) -> Job:
        """Gets a player ready, and has it decide at once in all games that wait for it: so there is progress even where
        memory does not hold two of them."""
        games = sorted(games, key=lambda game: game[0])

        def work(report: Report) -> None:
            who = self.players.prepare(games[0][2], key[2])
            for _, view, _ in games:
                self._decision(who, view)(report)

        return Job((key, tuple(view.game_id for _, view, _ in games)), (GAMES, games[0][0]), work)

    def _is_stuck(self, game_id: bytes) -> bool:
        return game_id in self._stuck and self._stuck[game_id].until > time.monotonic()

    def _complain(self, patience: int) -> None:
        """Raises what the trouble is where there is nothing but trouble."""
        troubles = [self._stuck.get(game_id) for game_id in self.tables.ours]
        if troubles and all(
            trouble and trouble.times > (patience if trouble.mends else DOUBTFUL) for trouble in troubles
        ):
            raise next(trouble.error for trouble in troubles if trouble)

    def _failed(self, failure: Failed) -> None:
        """A player that cannot decide: its games are tried again later, the others go on."""
        code = failure.error.code if isinstance(failure.error, OpmlError) else "internal"
        games = (failure.key,) if isinstance(failure.key, bytes) else cast(Any, failure.key)[1]
        for game_id in games:
            times = self._stuck[game_id].times + 1 if game_id in self._stuck else 1
            until = time.monotonic() + min(self._poll * 2**times, LONGEST_WAIT)
            self._stuck[game_id] = _Trouble(times, until, failure.error, isinstance(failure.error, ChainError))
            self.emit("game-stuck", "error", game=game_id, code=code, reason=repr(failure.error), times=times)

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
                self._failed(Failed(view.game_id, error))
        return self.purse.act() or bool(sent)

    def _moves(self) -> list[tuple[int, GameView, Move, float]]:
        moves: list[tuple[int, GameView, Move, float]] = []
        for game_id in self.tables.ours:
            if self._is_stuck(game_id):
                continue
            view = self.ledger.games[game_id]
            left = view.time_left(self.now)
            decided = self._decided.get(game_id)
            if left < 0:
                if view.turn is not None and view.turn.other in self.roles(view):
                    moves.append((left, view, Timeout(), 0.0))
            elif decided and decided.move is not None and decided.view == view:
                moves.append((left, view, decided.move, decided.seconds))
        # Others' games that keep a claim from being settled.
        for claim_id in self.purse.waiting_for:
            for view in self.games_of(claim_id):
                if view.game_id not in self.tables.ours and view.time_left(self.now) < 0:
                    moves.append((0, view, Timeout(), 0.0))
        return sorted((move for move in moves if self.errands.free(_mark(move[1], move[2]))), key=lambda move: move[0])

    def _send(self, view: GameView, move: Move, left: int, seconds: float) -> bool:
        mark = _mark(view, move)
        data = self.client.move_data(view.key, self.ledger.claims[view.claim_id].claim, move)
        roles = list(self.roles(view))
        names = _names(view, roles[0] if roles else None)
        hurry = left / 8 if left >= 0 else 12.0
        sent = self.errands.send(
            mark, move.method, data, hurry=hurry, **names, time_left=left, thought=round(seconds, 6)
        )
        if sent:
            self._stuck.pop(view.game_id, None)
            self._progress(view, move)
        elif refusals := self.errands.refusals(mark):
            if refusals % DOUBTFUL == 0:
                self.follower.doubt()
            why = self.errands.reason(mark)
            trouble = DisputeError(f"the contract refuses our move `{move.method}`: {why}")
            self._stuck[view.game_id] = _Trouble(refusals, 0.0, trouble, mends=True)
        return sent


def _names(view: GameView, role: Role | None) -> dict[str, Any]:
    """What an event says of a game."""
    return {
        "game": view.game_id,
        "claim": view.claim_id,
        "role": role.value if role else "nobody",
        "phase": view.phase.name.lower(),
        "position": view.position,
        "length": view.length,
    }


def _mark(view: GameView, move: Move) -> tuple[Any, ...]:
    """What makes two moves the same one."""
    return (move.method, view.game_id, view.stage, view.phase, view.range, view.states)
