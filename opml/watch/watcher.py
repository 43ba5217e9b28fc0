"""The watcher: a keeper that also looks at everybody's claims, and challenges those that are wrong."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from opml.chain.abi import artifact
from opml.chain.hexa import from_quantity
from opml.chain.outbox import DirectOutbox
from opml.chain.units import ETHER
from opml.dispute.errands import Emit, quiet
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.dispute.keeper import POLL_SECONDS, Keeper
from opml.dispute.thinker import CLAIMS
from opml.dispute.workshop import Failed, Job, Report
from opml.errors import ChainError, ImageError, OpmlError
from opml.watch.library import Library
from opml.watch.queue import Queue
from opml.watch.terms import TermsPolicy, least_clock
from opml.watch.traces import GIB, Traces

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient

# Claims that are handed to the worker at once; the most urgent are chosen again each time.
OFFERED = 8
ATTEMPTS = 3
# Folders are looked at once in so many looks while there are claims about models that we do not have.
SCANNED = 10
# Gas of all that a side does in one game, withdrawal included, with some room: docs/protocol.md has what was measured.
GAME_GAS = {Role.PROVER: 900_000, Role.CHALLENGER: 600_000}
# Prices may rise while games are played.
PRICE_RISE = 5
BONDS_LOST = 3


class Opinion(Enum):
    """What the watcher thinks of a claim."""

    RIGHT = "right"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Limits:
    """How much a watcher may do: games of its own at once, wei bonded at once, wei that stay in the account for gas.

    At least what all its games may cost stays for gas, whatever `reserve` is. `loss`: after so many wei of bonds lost
    in all, as the chain has it, no new games are begun; by default three bonds. `send`: without it, everything is
    checked and nothing is sent.
    """

    games: int = 1000
    stake: int = 10 * ETHER
    reserve: int = ETHER // 100
    loss: int | None = None
    send: bool = True


@dataclass(frozen=True)
class _Checked:
    claim_id: bytes
    right: bool
    seconds: float


class Watcher(Keeper):
    """A challenger's daemon on one contract. It plays all its games at once, as every keeper does.

    `library` are the models that it has; claims about others are told once and skipped, and so are those about models
    whose window or clock `terms` refuses. `memory` is the budget in bytes for traces of games. `defend` as in `Keeper`.
    Nothing survives it but the chain.
    """

    def __init__(
        self,
        client: "OpmlClient",
        account: Any,
        library: Library,
        *,
        limits: Limits | None = None,
        terms: TermsPolicy | None = None,
        memory: int = 4 * GIB,
        defend: bool = False,
        emit: Emit = quiet,
        poll: float = POLL_SECONDS,
        sleep: Callable[[float], None] | None = None,
        threads: int = 1,
        outbox: Any = None,
    ) -> None:
        self.traces = Traces(self._model, memory, emit)
        self.library = library
        self.limits = limits or Limits()
        self.terms = terms or TermsPolicy()
        if outbox is None and not self.limits.send:
            outbox = DirectOutbox(_nothing_is_sent)
        super().__init__(
            client,
            account,
            self.traces,
            defend=defend,
            emit=emit,
            poll=poll,
            sleep=sleep,
            threads=threads,
            outbox=outbox,
        )
        self.opinions: dict[bytes, Opinion] = {}
        self.wrong: set[bytes] = set()
        self._new: set[bytes] = set()
        self._queue = Queue()
        # Skipped for want of a good file, which may come.
        self._unknown: set[bytes] = set()
        self._found, self._scanned = False, 0.0
        # Wrong, but not worth a bond: it would be lost by the clock.
        self._hopeless: set[bytes] = set()
        self._trouble: dict[bytes, tuple[int, float]] = {}
        self._held_back: str | None = None
        self._active = True

    # What it thinks

    @property
    def standing(self) -> list[bytes]:
        """Wrong claims that have not been rejected."""
        claims = self.ledger.claims
        return [c for c in self.wrong if c in claims and claims[c].status is not ClaimStatus.REJECTED]

    @property
    def unchecked(self) -> int:
        """Claims that wait to be re-run."""
        return len(self._new)

    def tick(self) -> bool:
        """As every keeper's, with an eye on new claims."""
        self._active = super().tick()
        return self._active

    def caught_up(self) -> bool:
        """Whether, after a look, nothing was left that could be done at this time."""
        return self.idle and not self._active and not self._new

    def look(self) -> bool:
        """As every keeper's; and claims skipped for want of a model are judged again when one was found."""
        anything = super().look()
        if self._unknown and time.monotonic() >= self._scanned:
            self._scanned = time.monotonic() + SCANNED * self._poll
            self._scan()
        if not self._found:
            return anything
        for claim_id in list(self._unknown):
            claim = self.ledger.claims.get(claim_id)
            if claim is None or claim.status is not ClaimStatus.PENDING or self.now > claim.deadline:
                self._unknown.discard(claim_id)
            elif self._has(claim):
                self._unknown.discard(claim_id)
                self.opinions.pop(claim_id, None)
                self._trouble.pop(claim_id, None)
                self._admit(claim)
        self._found = False
        return True

    def meet(self, claim_id: bytes) -> None:
        """As every keeper's."""
        super().meet(claim_id)
        claim = self.ledger.claims.get(claim_id)
        if claim is None:
            self._new.discard(claim_id)
        elif claim_id not in self.opinions and claim_id not in self._new:
            self._judge(claim)
        elif claim_id in self.wrong and claim.status is ClaimStatus.FINAL:
            self.emit("claim-wrong-final", "error", claim=claim_id, model=claim.model_id)

    def _judge(self, claim: ClaimView) -> None:
        """A claim that was not seen before."""
        if claim.status is not ClaimStatus.PENDING or self.now > claim.deadline:
            return
        # First, since it may ask the node, which may fail: then the claim is met again.
        known = self._has(claim) or (self._scan() and self._has(claim))
        self.emit("claim", claim=claim.claim_id, model=claim.model_id, prover=claim.prover, deadline=claim.deadline)
        if claim.prover == self.address:
            self._skip(claim, "own")
        elif not claim.input_posted:
            self._skip(claim, "input-withheld", "warning", uri=claim.input_uri)
        elif not known:
            self._unknown.add(claim.claim_id)
            self._skip(claim, "unknown-model", "warning", uris=self.ledger.model_uris(claim.model_id))
        else:
            self._admit(claim)

    def _admit(self, claim: ClaimView) -> None:
        """A claim about a model that we have: it is to be checked, if it could be challenged without fear."""
        refusal = self._refusal(claim)
        if refusal is None:
            self._new.add(claim.claim_id)
        else:
            self._skip(claim, "terms-refused", "warning", **refusal)

    def _refusal(self, claim: ClaimView) -> dict[str, Any] | None:
        """What speaks against a bond, as far as it is known: the model's window or clock, and what they are."""
        header, seconds = self._header(claim), self.traces.seconds(claim.model_id)
        term = self.terms.refusal(header, self.library.headers, k=self.ledger.k, seconds=seconds, poll=self._poll)
        if term is None:
            return None
        return {"term": term, "window": header.window, "clock": header.clock, "seconds": round(seconds, 3)}

    def _scan(self) -> bool:
        found = self.library.scan()
        self._found |= found
        return found

    def _skip(self, claim: ClaimView, reason: str, level: str = "info", **fields: Any) -> None:
        self._new.discard(claim.claim_id)
        self.opinions[claim.claim_id] = Opinion.SKIPPED
        self.emit("claim-skipped", level, claim=claim.claim_id, model=claim.model_id, reason=reason, **fields)

    def _header(self, claim: ClaimView) -> Any:
        return self.ledger.headers.get(claim.model_id) or self.client.model(claim.model_id)

    def _has(self, claim: ClaimView) -> bool:
        return self.library.has(claim.model_id) or self.library.has(claim.model_id, self._header(claim))

    def _model(self, claim: ClaimView) -> Any:
        return self.library.get(claim.model_id, self._header(claim))

    # Re-runs

    def more_runs(self) -> Iterator[Job]:
        """The claims that are to be checked next."""
        now = time.monotonic()
        waiting = []
        for claim_id in list(self._new):
            claim = self.ledger.claims[claim_id]
            if claim.status is not ClaimStatus.PENDING:
                self._new.discard(claim_id)
            elif self.now > claim.deadline:
                self._new.discard(claim_id)
                self.emit("claim-missed", "error", claim=claim_id, model=claim.model_id)
            elif self._trouble.get(claim_id, (0, 0.0))[1] <= now:
                waiting.append(claim)
        ours = set(self.library.ids)
        for rank, claim in enumerate(self._queue.first(OFFERED, waiting, ours)):
            yield Job(("check", claim.claim_id), (CLAIMS, rank), self._check(claim))

    def _check(self, claim: ClaimView) -> Callable[[Report], None]:
        def work(report: Report) -> None:
            start = time.perf_counter()
            right = self.traces.answer(claim) == claim.output_root
            seconds = time.perf_counter() - start
            if not right:
                # Before money is put on it; and the trace will be needed.
                self.traces.check(claim)
            report(_Checked(claim.claim_id, right, seconds))

        return work

    def take(self, answer: Any) -> None:
        """What came of a re-run."""
        assert isinstance(answer, _Checked)
        claim = self.ledger.claims.get(answer.claim_id)
        self._new.discard(answer.claim_id)
        if claim is None or answer.claim_id in self.opinions:
            return
        self._queue.served(claim)
        names: dict[str, Any] = {"claim": claim.claim_id, "model": claim.model_id, "seconds": round(answer.seconds, 6)}
        if answer.right:
            self.opinions[claim.claim_id] = Opinion.RIGHT
            self.emit("claim-right", **names)
            return
        self.opinions[claim.claim_id] = Opinion.WRONG
        self.wrong.add(claim.claim_id)
        self.emit("claim-wrong", "warning", prover=claim.prover, deadline=claim.deadline, **names)
        # Now it is known how long a re-run takes.
        if refusal := self._refusal(claim):
            self._hopeless.add(claim.claim_id)
            names = {"claim": claim.claim_id, "model": claim.model_id, "reason": "terms-refused"}
            self.emit("claim-skipped", "error", **names, **refusal)

    def failed(self, failure: Failed) -> None:
        if not (isinstance(failure.key, tuple) and failure.key[0] == "check"):
            super().failed(failure)
            return
        claim_id, error = failure.key[1], failure.error
        claim = self.ledger.claims.get(claim_id)
        if claim is None:
            return
        self._queue.served(claim)
        times = self._trouble.get(claim_id, (0, 0.0))[0] + 1
        self._trouble[claim_id] = times, time.monotonic() + self._poll * 2**times
        code = error.code if isinstance(error, OpmlError) else "internal"
        # An input that does not fit will not do so the next time. A chain that lies, or memory that is short, may mend.
        final = times >= ATTEMPTS or (isinstance(error, OpmlError) and not isinstance(error, ChainError))
        self.emit("claim-failed", "error", claim=claim_id, code=code, reason=repr(error), times=times)
        if final:
            if isinstance(error, ImageError) or not self._has(claim):
                self._unknown.add(claim_id)
            self._skip(claim, code, "error")

    # Challenges

    @property
    def bonded(self) -> int:
        """Wei that are in games of ours as a challenger, open or not yet paid."""
        games = [*self.board.games(), *self.board.winnings()]
        return sum(game.challenger == self.address for game in games) * self.client.challenger_bond

    @property
    def lost(self) -> int:
        """Wei of bonds that were lost as a challenger, since the contract's beginning."""
        games = (self.ledger.games[game_id] for game_id in self.board.lost)
        return sum(game.challenger == self.address for game in games) * self.client.challenger_bond

    def act(self) -> bool:
        """As every keeper's, then new challenges. Raises ChainError."""
        if not self.limits.send:
            return False
        return super().act() | self._challenge()

    def _challenge(self) -> bool:
        waiting = [claim for claim in map(self.ledger.claims.get, self.wrong) if claim and self._open_to_us(claim)]
        if not waiting:
            return False
        sent, bond = 0, self.client.challenger_bond
        if self.lost >= (BONDS_LOST * bond if self.limits.loss is None else self.limits.loss):
            return self._hold_back("max-loss", len(waiting))
        flying = sum(self.errands.under_way(_key(claim_id)) for claim_id in self.wrong)
        ours = [game for game in self.board.games() if game.challenger == self.address]
        games, stake = len(ours) + flying, self.bonded + flying * bond
        balance = self.client.chain.balance(self.address)
        price = PRICE_RISE * from_quantity(self.client.chain.request("eth_gasPrice"))
        defence = (len(self.board.ours) - len(ours)) * GAME_GAS[Role.PROVER] * price
        late = 0
        for claim in sorted(waiting, key=lambda claim: claim.deadline):
            reserve = max(self.limits.reserve, defence + (games + 1) * GAME_GAS[Role.CHALLENGER] * price)
            if games >= self.limits.games:
                return self._hold_back("max-games", len(waiting) - sent) or bool(sent)
            if stake + bond > self.limits.stake:
                return self._hold_back("max-stake", len(waiting) - sent) or bool(sent)
            if balance < bond + reserve:
                return self._hold_back("balance", len(waiting) - sent) or bool(sent)
            if not self._in_time(claim, games):
                late += 1
                continue
            data = artifact("Opml").abi.encode_call("challenge", claim.claim, 0)
            names: dict[str, Any] = {"claim": claim.claim_id, "deadline": claim.deadline}
            if self.errands.send(_key(claim.claim_id), "challenge", data, bond, **names):
                sent, games, stake, balance = sent + 1, games + 1, stake + bond, balance - bond
        if late:
            return self._hold_back("clock", late) or bool(sent)
        self._held_back = None
        return bool(sent)

    def _in_time(self, claim: ClaimView, games: int) -> bool:
        """Whether the clock is long enough even if the traces of so many other games have to be made before its own."""
        seconds = self.traces.seconds(claim.model_id) * (games + 1)
        header = self._header(claim)
        return bool(least_clock(header, k=self.ledger.k, seconds=seconds, pause=self._poll) <= header.clock)

    def _open_to_us(self, claim: ClaimView) -> bool:
        """Whether a wrong claim can be challenged, and we have not done so. One game each: its salt is always 0."""
        if claim.claim_id in self._hopeless:
            return False
        if claim.status is not ClaimStatus.PENDING or self.now > claim.deadline:
            return False
        if not self.errands.free(_key(claim.claim_id)):
            return False
        return all(game.challenger != self.address for game in self.ledger.claim_games(claim.claim_id))

    def _hold_back(self, limit: str, claims: int) -> bool:
        """A limit keeps us from challenging; said once until it is another."""
        if self._held_back != limit:
            self._held_back = limit
            self.emit("limit-reached", "error", limit=limit, claims=claims)
        return False


def _nothing_is_sent(*_: object) -> Any:
    raise ChainError("nothing is sent")


def _key(claim_id: bytes) -> tuple[str, bytes]:
    return ("challenge", claim_id)
