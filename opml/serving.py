"""A prover's daemon on a market: it answers requests about the models it has, and defends what it has claimed."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opml.chain.abi import artifact
from opml.chain.hexa import from_quantity
from opml.chain.market import MarketClient, Request, Status
from opml.checked import ensure_checked
from opml.dispute.errands import Emit, quiet
from opml.dispute.game import ClaimStatus, ClaimView
from opml.dispute.keeper import POLL_SECONDS, Keeper, Sleep
from opml.dispute.thinker import CLAIMS
from opml.dispute.workshop import Failed, Job, Report
from opml.errors import ChainError, OpmlError
from opml.requestbook import Entry, RequestBook
from opml.staking import Bonds, Run, ServeLimits
from opml.watch.library import Library
from opml.watch.terms import TermsPolicy, kind
from opml.watch.traces import GIB, Traces
from vm.keccak import keccak256
from vm.merkle import subtree_root

if TYPE_CHECKING:
    from opml.header import ModelHeader

# Gas of claim, acceptance, delivery and the share of the withdrawals, without what depends on sizes and the callback.
GAS = 500_000
# A zero byte costs less; EIP-7623's floor is 40 a byte, and the output is sent twice.
GAS_PER_BYTE = 40
# How much cheaper gas may become: a request that does not pay even then is not kept.
HOPE = 10
# Requests that are kept, and their bytes: those that pay best within the next day.
MOST_REQUESTS = 4_096
MOST_BYTES = 256 << 20
DAY = 24 * 3600

FindInput = Callable[[Request, str], bytes | None]


@dataclass(frozen=True)
class Answer:
    """What a model says about an input."""

    output: bytes
    output_root: bytes


@dataclass(frozen=True)
class _Answered:
    run: Run
    answer: Answer
    run_seconds: float
    hash_seconds: float


class Server(Keeper):
    """Takes open requests about models of `library` whose price pays: runs, claims, accepts, delivers, withdraws.

    A request pays if the prover's part of the price, less the gas at the present gas price, is at least `min_profit`
    wei. With less than `margin` seconds to its deadline it is left alone: an acceptance that comes too late tells the
    answer for nothing. `find_input` gets the bytes of an input that did not come with its request. As a keeper it
    plays the games against its claims and collects its bonds; nothing survives it but the chain.

    A bond is only put on what can be defended: on models with a clock and a window that `terms` allows and in which all
    claims that stand can be run again here, within `limits`, and never again on a run on which one was lost.
    """

    def __init__(
        self,
        market: MarketClient,
        account: Any,
        library: Library,
        *,
        min_profit: int = 0,
        margin: int = 30,
        terms: TermsPolicy | None = None,
        limits: ServeLimits | None = None,
        find_input: FindInput = lambda request, uri: None,
        memory: int = 4 * GIB,
        emit: Emit = quiet,
        poll: float = POLL_SECONDS,
        sleep: Sleep | None = None,
        threads: int | None = None,
        outbox: Any = None,
    ) -> None:
        self.traces = Traces(self._model_of, memory, emit)
        super().__init__(
            market.opml,
            account,
            self.traces,
            emit=emit,
            poll=poll,
            sleep=sleep,
            threads=threads,
            outbox=outbox,
        )
        self.market = market
        self.library = library
        self.bonds = Bonds(self, limits or ServeLimits(), terms or TermsPolicy(), poll)
        self._min_profit = min_profit
        self._margin = margin
        self._find_input = find_input
        self.book = RequestBook(market, self.address)
        self._answers: dict[Run, Answer] = {}
        self._trouble: dict[Run, tuple[int, float]] = {}
        self._told: dict[bytes, str] = {}
        self._headers: dict[bytes, Any] = {}
        self._scanned = False
        self._abi = artifact("InferenceMarket").abi
        self._gas_price = 0
        self._active = True

    # Observe

    def tick(self) -> bool:
        """As every keeper's."""
        self._active = super().tick()
        return self._active

    def caught_up(self) -> bool:
        """Whether, after a look, nothing was left that could be done at this time."""
        return self.idle and not self._active

    @property
    def open_requests(self) -> int:
        """Requests that are not closed, whoever has accepted them, and that we may yet have to do with."""
        return len(self.book.entries)

    @property
    def accepted(self) -> list[bytes]:
        """Requests that we have accepted and that are not delivered yet."""
        return [request_id for request_id, entry in self.book.entries.items() if self._is_ours(entry)]

    def meet(self, claim_id: bytes) -> None:
        """As every keeper's."""
        super().meet(claim_id)
        claim = self.ledger.claims.get(claim_id)
        if claim is not None:
            self.bonds.meet(claim)

    def survey(self) -> bool:
        """A look at the market; whether there was anything new. Raises ChainError."""
        head, news, self._scanned = self.follower.head, False, False
        self._gas_price = from_quantity(self.client.chain.request("eth_gasPrice"))
        while True:
            news |= self.book.advance(head)
            self._prune()
            if not self.book.behind(head):
                break
        runs = {entry.run for entry in self.book.entries.values()}
        self._answers = {run: answer for run, answer in self._answers.items() if run in runs}
        self._trouble = {run: trouble for run, trouble in self._trouble.items() if run in runs}
        self._told = {request_id: why for request_id, why in self._told.items() if request_id in self.book.entries}
        self.bonds.refresh(self._gas_price)
        return news

    def _prune(self) -> None:
        """Drops what we can never serve, and, of too many requests, those that pay least."""
        for request_id, entry in list(self.book.entries.items()):
            if self._is_ours(entry) or self.errands.under_way(("accept", request_id)):
                continue
            reason = self._hopeless(entry)
            if reason is not None:
                self._tell(request_id, entry, reason, "debug" if reason == "too-late" else "info")
                self.book.drop(request_id)
        dropped = self.book.drop_least(self._worth, MOST_REQUESTS, MOST_BYTES)
        if dropped:
            self.emit("requests-dropped", "warning", requests=len(dropped))

    def _hopeless(self, entry: Entry) -> str | None:
        """Why a request will never be one for us."""
        request, terms = entry.request, entry.request.terms
        if self.now + self._margin > terms.deadline:
            return "too-late"
        header = self.header(terms.model_id)
        if header is None or not self._has(terms.model_id, header):
            return "unknown-model"
        refusal = self.bonds.terms_against(header)
        if refusal is not None:
            return refusal
        best = request.max_price - request.royalty_of(request.max_price)
        return "price" if best - self._cost(request, header) // HOPE < self._min_profit else None

    def _worth(self, request_id: bytes, entry: Entry) -> float:
        if self._is_ours(entry) or self.errands.under_way(("accept", request_id)):
            return float("inf")
        return entry.request.price_at(self.now + DAY)

    def _has(self, model_id: bytes, header: "ModelHeader") -> bool:
        if self.library.has(model_id, header):
            return True
        # Once a look: a request costs its maker less than our disk.
        scan, self._scanned = not self._scanned, True
        return scan and self.library.scan() and self.library.has(model_id, header)

    # Decide

    def more_runs(self) -> Iterator[Job]:
        """The models that are to be run for requests."""
        now = time.monotonic()
        for _, entry in self._wanted():
            if entry.run not in self._answers and self._trouble.get(entry.run, (0, 0.0))[1] <= now:
                yield Job(("answer", *entry.run), (CLAIMS, entry.request.terms.deadline), self._work(entry))

    def _work(self, entry: Entry) -> Callable[[Report], None]:
        header = self.header(entry.run[0])

        def work(report: Report) -> None:
            model = self.library.get(entry.run[0], header)
            data = self._input_of(entry)
            if model is None or data is None or subtree_root(data, model.header.input_level) != entry.run[1]:
                raise ChainError("the input of the request is not the one that it was made for")
            start = time.perf_counter()
            inference = model.infer_posted(data)
            ensure_checked(inference)
            run = time.perf_counter() - start
            hashing = 0.0
            if kind(header) not in self.bonds.seconds:
                # What a game will need, and nobody knows how long it takes here before it was done once.
                start = time.perf_counter()
                inference.trace.tile_root(inference.trace.tiles)
                hashing = time.perf_counter() - start
            report(_Answered(entry.run, Answer(inference.output, inference.output_root), run, hashing))

        return work

    def take(self, answer: Any) -> None:
        """What came of a run."""
        assert isinstance(answer, _Answered)
        self._answers[answer.run] = answer.answer
        self._trouble.pop(answer.run, None)
        self.bonds.measured(self.header(answer.run[0]), answer.run_seconds, answer.hash_seconds)
        self.emit("answer", "debug", model=answer.run[0], seconds=round(answer.run_seconds, 6))

    def failed(self, failure: Failed) -> None:
        """A job that raised; one of ours is tried again later."""
        if not (isinstance(failure.key, tuple) and failure.key[0] == "answer"):
            super().failed(failure)
            return
        run = (failure.key[1], failure.key[2])
        times = self._trouble.get(run, (0, 0.0))[0] + 1
        self._trouble[run] = times, time.monotonic() + self._poll * 2 ** min(times, 10)
        code = failure.error.code if isinstance(failure.error, OpmlError) else "internal"
        self.emit("run-failed", "error", model=run[0], code=code, reason=repr(failure.error), times=times)

    def _wanted(self) -> Iterator[tuple[bytes, Entry]]:
        """Requests that nobody's claim stands for, and that we would answer now; the most urgent first."""
        for request_id, entry in sorted(self.book.entries.items(), key=lambda item: item[1].request.terms.deadline):
            if self._is_free(entry):
                reason = self._reason_against(entry)
                if reason is None:
                    yield request_id, entry
                else:
                    self._tell(request_id, entry, reason)

    def _tell(self, request_id: bytes, entry: Entry, reason: str, level: str = "info") -> None:
        if self._told.get(request_id) != reason:
            self._told[request_id] = reason
            self.emit("request-skipped", level, request=request_id, model=entry.run[0], reason=reason)

    def _is_free(self, entry: Entry) -> bool:
        if entry.status is not Status.ACCEPTED:
            return True
        claim = self.ledger.claims.get(entry.claim_id)
        return claim is not None and claim.status is ClaimStatus.REJECTED

    def _is_ours(self, entry: Entry) -> bool:
        return entry.status is Status.ACCEPTED and entry.prover == self.address and not self._is_free(entry)

    def _reason_against(self, entry: Entry) -> str | None:
        request, terms = entry.request, entry.request.terms
        if self.now + self._margin > terms.deadline:
            return "too-late"
        price = request.price_at(self.now)
        if price - request.royalty_of(price) - self._cost(request, self.header(terms.model_id)) < self._min_profit:
            return "price"
        if self._input_of(entry) is None:
            return "no-input"
        answer = self._answers.get(entry.run)
        root = answer.output_root if answer else None
        if self.bonds.own(entry.run, root) is not None or self.errands.under_way(("claim", *entry.run)):
            return None
        return self.bonds.reason_against(entry.run, self.header(terms.model_id), root, terms.accept_withheld)

    def _cost(self, request: Request, header: "ModelHeader") -> int:
        """Wei for the gas of an answer, at the node's present price."""
        calls = 1 + request.terms.optimistic
        size = header.input_bytes + 2 * header.output_bytes
        gas = GAS + GAS_PER_BYTE * size + calls * request.terms.callback_gas
        return gas * self._gas_price

    def _input_of(self, entry: Entry) -> bytes | None:
        return entry.input if entry.input is not None else self._find_input(entry.request, entry.input_uri)

    def header(self, model_id: bytes) -> Any:
        """The header of a registered model. Raises ChainError."""
        known = self.ledger.headers.get(model_id) or self._headers.get(model_id)
        if known is None:
            known = self._headers[model_id] = self.client.model(model_id)
        return known

    def _model_of(self, claim: ClaimView) -> Any:
        return self.library.get(claim.model_id, self.header(claim.model_id))

    # Act

    def act(self) -> bool:
        """As every keeper's, then what the market wants. Raises ChainError."""
        played = super().act()
        # Not before: whoever makes the market slow to read must not hold up the games.
        return self.survey() | self._accept() | self._deliver() | self._collect() | played

    def _accept(self) -> bool:
        """Claims what requests ask for, and accepts them with the claims."""
        sent = False
        for request_id, entry in self._wanted():
            answer = self._answers.get(entry.run)
            if answer is None:
                continue
            claim = self.bonds.own(entry.run, answer.output_root)
            names: dict[str, Any] = {"request": request_id, "model": entry.run[0]}
            if claim is None:
                sent |= self._claim(entry, answer, names)
                continue
            data = self._abi.encode_call("accept", entry.request, claim.claim, answer.output)
            sent |= self._send_market(("accept", request_id), "accept", data, claim=claim.claim_id, **names)
        return sent

    def _claim(self, entry: Entry, answer: Answer, names: Mapping[str, Any]) -> bool:
        data, bond = self._input_of(entry), self.client.prover_bond
        if data is None or not self.errands.free(("claim", *entry.run)):
            return False
        # Not random: who was stopped while his claim was under way, and does not see it yet, makes the same one again,
        # and is refused, instead of bonding twice.
        own = sum(claim.prover == self.address for claim in self.bonds.claims(entry.run))
        nonce = int.from_bytes(keccak256(b"".join(entry.run))[:8]) + own
        call = artifact("Opml").abi.encode_call("claim", entry.run[0], data, answer.output_root, nonce)
        sent = self.errands.send(("claim", *entry.run), "claim", call, bond, **names)
        if sent:
            self.bonds.sent(entry.run)
        return sent

    def _deliver(self) -> bool:
        """Delivers what is final; the purse makes it so."""
        sent = False
        for request_id in self.accepted:
            entry = self.book.entries[request_id]
            claim = self.ledger.claims[entry.claim_id]
            if claim.status is not ClaimStatus.FINAL or not self.errands.free(("deliver", request_id)):
                continue
            known = self._answers.get(entry.run)
            output = known.output if known else self.market.output(request_id)
            if output is not None:
                data = self._abi.encode_call("deliver", entry.request, output)
                sent |= self._send_market(("deliver", request_id), "deliver", data, request=request_id)
        return sent

    def _collect(self) -> bool:
        """Withdraws what the market owes us."""
        if not (self.book.paid and self.errands.free("market-withdraw")):
            return False
        credit = self.market.credit(self.address)
        if not credit:
            self.book.paid = False
            return False
        data = self._abi.encode_call("withdraw", self.address)
        return self._send_market("market-withdraw", "withdraw", data, credit_wei=credit)

    def _send_market(self, key: Any, kind: str, data: bytes, **fields: Any) -> bool:
        return self.errands.send(key, kind, data, to=self.market.address, **fields)
