"""Re-runs of claims: their outputs, and for games the whole computation, as many of these as memory may hold."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opml.dispute.errands import Emit, quiet
from opml.dispute.game import ClaimView, GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import Player, decide
from opml.dispute.selfcheck import self_check
from opml.errors import ChainError, DisputeError
from vm.merkle import subtree_root

GIB = 1 << 30
ANSWERS_KEPT = 100_000

# Model and input: what a computation is.
Run = tuple[bytes, bytes]


@dataclass
class _Held:
    trace: Any
    nbytes: int
    # A trace is not for several threads at once.
    lock: threading.Lock = field(default_factory=threading.Lock)


class Traces:
    """The players of the honest side, on traces that are re-run when they are needed (`opml.dispute.keeper.Players`).

    `find` gives the model of a claim, opened, or None. Traces are kept for all games about the same model and input,
    the least recently used ones dropped where they would take more than `budget` bytes; the last one always stays.
    `posted` are the input region's bytes for claims whose input is not on chain.
    """

    def __init__(
        self,
        find: Callable[[ClaimView], Any],
        budget: int = 4 * GIB,
        emit: Emit = quiet,
        *,
        posted: bytes | None = None,
    ) -> None:
        self._find = find
        self._posted = posted
        self._budget = budget
        self._emit = emit
        self._lock = threading.Lock()
        self._held: OrderedDict[Run, _Held] = OrderedDict()
        self._answers: OrderedDict[Run, bytes] = OrderedDict()
        self._seconds: dict[bytes, float] = {}
        self._short = False

    @property
    def nbytes(self) -> int:
        """Bytes that the traces take, about."""
        with self._lock:
            return sum(held.nbytes for held in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def seconds(self, model_id: bytes) -> float:
        """The longest time that getting a trace of this model ready has taken here; 0 if none was."""
        return self._seconds.get(model_id, 0.0)

    def ready(self, claim: ClaimView, role: Role) -> Player | None:
        """The player, if the claim's trace is there."""
        with self._lock:
            held = self._held.get(_run(claim))
            if held is None:
                return None
            self._held.move_to_end(_run(claim))
        return self._player(held, role)

    def prepare(self, claim: ClaimView, role: Role) -> Player:
        """Runs the claim's model again and hashes all that it computed. Raises OpmlError."""
        player = self.ready(claim, role)
        return player or self._player(self._hold(claim), role)

    def answer(self, claim: ClaimView) -> bytes:
        """The output root that the claim should have. Raises OpmlError: InputError where its input is none."""
        with self._lock:
            known = self._answers.get(_run(claim))
        if known is not None:
            return known
        start = time.perf_counter()
        root: bytes = self._infer(claim).output_root
        self._emit("rerun", "debug", claim=claim.claim_id, model=claim.model_id, seconds=time.perf_counter() - start)
        self._keep_answer(claim, root)
        return root

    def check(self, claim: ClaimView) -> None:
        """Runs a few random tiles of the claim's computation in the machine. Raises SelfCheckError, OpmlError."""
        held = self._held.get(_run(claim)) or self._hold(claim)
        with held.lock:
            self_check(held.trace.header, held.trace.memory)

    def _infer(self, claim: ClaimView) -> Any:
        model = self._find(claim)
        if model is None:
            raise DisputeError(f"there is no model 0x{claim.model_id.hex()} here")
        data = claim.input if claim.input_posted or self._posted is None else self._posted
        if subtree_root(data, model.header.input_level) != claim.input_root:
            raise ChainError(f"the input of claim 0x{claim.claim_id.hex()} is not the one that was claimed on")
        return model.infer_posted(data)

    def hold(self, claim: ClaimView, inference: Any = None) -> None:
        """Gets the claim's trace ready, from its inference if that is there already. Raises OpmlError."""
        self._hold(claim, inference)

    def _hold(self, claim: ClaimView, inference: Any = None) -> _Held:
        start = time.perf_counter()
        trace = (inference or self._infer(claim)).trace
        # The hash pass, which the first question would otherwise cost.
        trace.tile_root(trace.tiles)
        seconds = time.perf_counter() - start
        self._seconds[claim.model_id] = max(seconds, self.seconds(claim.model_id))
        self._keep_answer(claim, trace.output_root)
        held = _Held(trace, _nbytes(trace))
        with self._lock:
            self._held[_run(claim)] = held
        self._emit("trace", "debug", claim=claim.claim_id, model=claim.model_id, seconds=seconds, bytes=held.nbytes)
        self._evict()
        return held

    def _player(self, held: _Held, role: Role) -> Player:
        def play(view: GameView, now: int) -> Move | None:
            with held.lock:
                move = decide(view, held.trace, role, now)
                # The machine's states that it keeps make it grow.
                held.nbytes = _nbytes(held.trace)
            self._evict()
            return move

        return play

    def _evict(self) -> None:
        with self._lock:
            total = sum(held.nbytes for held in self._held.values())
            while total > self._budget and len(self._held) > 1:
                _, dropped = self._held.popitem(last=False)
                total -= dropped.nbytes
                self._emit("trace-dropped", "debug", bytes=dropped.nbytes)
            if total > self._budget and not self._short:
                self._emit("memory-short", "warning", bytes=total, budget=self._budget)
            self._short = total > self._budget

    def _keep_answer(self, claim: ClaimView, root: bytes) -> None:
        with self._lock:
            self._answers[_run(claim)] = root
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)


class OnePlayer:
    """One player for all games, ready at once."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def ready(self, claim: ClaimView, role: Role) -> Player:
        """The player."""
        return self._player

    def prepare(self, claim: ClaimView, role: Role) -> Player:
        """The player."""
        return self._player


def _run(claim: ClaimView) -> Run:
    return claim.model_id, claim.input_root


def _nbytes(trace: Any) -> int:
    return int(getattr(trace, "nbytes", 0))
