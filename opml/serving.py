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
from opml.watch.library import Library
from opml.watch.traces import GIB, Traces
from vm.keccak import keccak256
from vm.merkle import subtree_root

if TYPE_CHECKING:
    from opml.header import ModelHeader

# Blocks of requests that are read again at each look, for nodes that differ and chains that take blocks back.
RECHECKED = 64
# Gas of claim, acceptance, delivery and the share of the withdrawals, without what depends on sizes and the callback.
GAS = 500_000
# A zero byte costs less; EIP-7623's floor is 40 a byte, and the output is sent twice.
GAS_PER_BYTE = 40

# Model and root of the input: what is run.
Run = tuple[bytes, bytes]
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


@dataclass(frozen=True)
class _Open:
    """A request that is not closed, as its events have it."""

    request: Request
    input: bytes | None
    input_uri: str

    @property
    def run(self) -> Run:
        return self.request.terms.model_id, self.request.input_root


class Server(Keeper):
    """Takes open requests about models of `library` whose price pays: runs, claims, accepts, delivers, withdraws.

    A request pays if the prover's part of the price, less the gas at the present gas price, is at least `min_profit`
    wei. With less than `margin` seconds to its deadline it is left alone: an acceptance that comes too late tells the
    answer for nothing. `find_input` gets the bytes of an input that did not come with its request. As a keeper it
    plays the games against its claims and collects its bonds; nothing survives it but the chain.
    """

    def __init__(
        self,
        market: MarketClient,
        account: Any,
        library: Library,
        *,
        min_profit: int = 0,
        margin: int = 30,
        find_input: FindInput = lambda request, uri: None,
        memory: int = 4 * GIB,
        emit: Emit = quiet,
        poll: float = POLL_SECONDS,
        sleep: Sleep | None = None,
        threads: int | None = None,
        outbox: Any = None,
    ) -> None:
        super().__init__(
            market.opml,
            account,
            Traces(self._model_of, memory, emit),
            emit=emit,
            poll=poll,
            sleep=sleep,
            threads=threads,
            outbox=outbox,
        )
        self.market = market
        self.library = library
        self._min_profit = min_profit
        self._margin = margin
        self._find_input = find_input
        self._open: dict[bytes, _Open] = {}
        self._states: dict[bytes, Mapping[str, Any]] = {}
        # The block at which a request was seen to be closed: until that is old, the chain may take it back.
        self._closed: dict[bytes, int] = {}
        self._cursor = 0
        self._answers: dict[Run, Answer] = {}
        self._trouble: dict[Run, tuple[int, float]] = {}
        self._told: dict[bytes, str] = {}
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
        """Requests that are not closed, whoever has accepted them."""
        return len(self._open) - len(self._closed)

    @property
    def accepted(self) -> list[bytes]:
        """Requests that we have accepted and that are not delivered yet."""
        return [request_id for request_id in self._open if self._live_claim_is_ours(request_id)]

    def look(self) -> bool:
        """As every keeper's, and at the market."""
        anything = super().look()
        head, known = self.follower.head, len(self._open)
        for request_id, request, given in self.market.posted(self._cursor):
            self._open.setdefault(request_id, _Open(request, given.get("input"), given.get("uri", "")))
        self._cursor = max(head - RECHECKED, 0)
        self._states = {request_id: self.market.state(request_id) for request_id in self._open}
        for request_id, state in self._states.items():
            if state["status"] in (Status.OPEN, Status.ACCEPTED):
                self._closed.pop(request_id, None)
            elif head - self._closed.setdefault(request_id, head) > RECHECKED:
                del self._open[request_id], self._closed[request_id]
        runs = {found.run for found in self._open.values()}
        self._answers = {run: answer for run, answer in self._answers.items() if run in runs}
        self._gas_price = from_quantity(self.client.chain.request("eth_gasPrice")) if self._open else 0
        return anything or len(self._open) > known

    # Decide

    def more_runs(self) -> Iterator[Job]:
        """The models that are to be run for requests."""
        now = time.monotonic()
        for _, found in self._wanted():
            if found.run not in self._answers and self._trouble.get(found.run, (0, 0.0))[1] <= now:
                yield Job(("answer", *found.run), (CLAIMS, found.request.terms.deadline), self._work(found))

    def _work(self, found: _Open) -> Callable[[Report], None]:
        def work(report: Report) -> None:
            model = self.library.get(found.run[0], self._header(found.run[0]))
            data = self._input_of(found)
            if model is None or data is None or subtree_root(data, model.header.input_level) != found.run[1]:
                raise ChainError("the input of the request is not the one that it was made for")
            inference = model.infer_posted(data)
            ensure_checked(inference)
            report(_Answered(found.run, Answer(inference.output, inference.output_root)))

        return work

    def take(self, answer: Any) -> None:
        """What came of a run."""
        assert isinstance(answer, _Answered)
        self._answers[answer.run] = answer.answer
        self._trouble.pop(answer.run, None)

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

    def _wanted(self) -> Iterator[tuple[bytes, _Open]]:
        """Requests that nobody's claim stands for, and that we would answer now; the most urgent first."""
        for request_id, found in sorted(self._open.items(), key=lambda item: item[1].request.terms.deadline):
            if self._is_free(request_id):
                reason = self._reason_against(found)
                if reason is None:
                    yield request_id, found
                elif self._told.get(request_id) != reason:
                    self._told[request_id] = reason
                    self.emit("request-skipped", request=request_id, model=found.run[0], reason=reason)

    def _is_free(self, request_id: bytes) -> bool:
        state = self._states[request_id]
        if state["status"] != Status.ACCEPTED:
            return bool(state["status"] == Status.OPEN)
        claim = self.ledger.claims.get(state["claimId"])
        return claim is not None and claim.status is ClaimStatus.REJECTED

    def _live_claim_is_ours(self, request_id: bytes) -> bool:
        state = self._states.get(request_id)
        if state is None or state["status"] != Status.ACCEPTED:
            return False
        claim = self.ledger.claims.get(state["claimId"])
        return claim is not None and claim.prover == self.address and claim.status is not ClaimStatus.REJECTED

    def _reason_against(self, found: _Open) -> str | None:
        request, terms = found.request, found.request.terms
        if self.now + self._margin > terms.deadline:
            return "too-late"
        header = self._header(terms.model_id)
        if not self.library.has(terms.model_id, header) and not (
            self.library.scan() and self.library.has(terms.model_id, header)
        ):
            return "unknown-model"
        if self._input_of(found) is None:
            return "no-input"
        price = request.price_at(self.now)
        if price - request.royalty_of(price) - self._cost(request, header) < self._min_profit:
            return "price"
        return None

    def _cost(self, request: Request, header: "ModelHeader") -> int:
        """Wei for the gas of an answer, at the node's present price."""
        calls = 1 + request.terms.optimistic
        size = header.input_bytes + 2 * header.output_bytes
        gas = GAS + GAS_PER_BYTE * size + calls * request.terms.callback_gas
        return gas * self._gas_price

    def _input_of(self, found: _Open) -> bytes | None:
        return found.input if found.input is not None else self._find_input(found.request, found.input_uri)

    def _header(self, model_id: bytes) -> Any:
        return self.ledger.headers.get(model_id) or self.client.model(model_id)

    def _model_of(self, claim: ClaimView) -> Any:
        return self.library.get(claim.model_id, self._header(claim.model_id))

    # Act

    def act(self) -> bool:
        """As every keeper's, then what the market wants. Raises ChainError."""
        return super().act() | self._accept() | self._deliver() | self._collect()

    def _accept(self) -> bool:
        """Claims what requests ask for, and accepts them with the claims."""
        sent = False
        for request_id, found in self._wanted():
            answer = self._answers.get(found.run)
            if answer is None:
                continue
            claim = self._own_claim(found.run, answer)
            names: dict[str, Any] = {"request": request_id, "model": found.run[0]}
            if claim is None:
                sent |= self._claim(found, answer, names)
                continue
            data = self._abi.encode_call("accept", found.request, claim.claim, answer.output)
            sent |= self._send_market(("accept", request_id), "accept", data, claim=claim.claim_id, **names)
        return sent

    def _claim(self, found: _Open, answer: Answer, names: Mapping[str, Any]) -> bool:
        data, bond = self._input_of(found), self.client.prover_bond
        if data is None or not self.errands.free(("claim", *found.run)):
            return False
        if self.client.chain.balance(self.address) < bond:
            self.emit("poor", "error", bond_wei=bond, **names)
            return False
        # Not random: who was stopped while his claim was under way, and does not see it yet, makes the same one again,
        # and is refused, instead of bonding twice.
        nonce = int.from_bytes(keccak256(b"".join(found.run))[:8]) + len(list(self._own_claims(found.run)))
        call = artifact("Opml").abi.encode_call("claim", found.run[0], data, answer.output_root, nonce)
        return self.errands.send(("claim", *found.run), "claim", call, bond, **names)

    def _own_claims(self, run: Run) -> Iterator[ClaimView]:
        for claim in self.ledger.claims.values():
            if claim.prover == self.address and (claim.model_id, claim.input_root) == run:
                yield claim

    def _own_claim(self, run: Run, answer: Answer) -> ClaimView | None:
        """A claim of ours that answers it, posted before by us or by who we were before we were started again."""
        standing = (ClaimStatus.PENDING, ClaimStatus.FINAL)
        for claim in self._own_claims(run):
            if claim.output_root == answer.output_root and claim.input_posted and claim.status in standing:
                return claim
        return None

    def _deliver(self) -> bool:
        """Delivers what is final; the purse makes it so."""
        sent = False
        for request_id in self.accepted:
            claim = self.ledger.claims[self._states[request_id]["claimId"]]
            if claim.status is not ClaimStatus.FINAL or not self.errands.free(("deliver", request_id)):
                continue
            found = self._open[request_id]
            known = self._answers.get(found.run)
            output = known.output if known else self.market.output(request_id)
            if output is not None:
                data = self._abi.encode_call("deliver", found.request, output)
                sent |= self._send_market(("deliver", request_id), "deliver", data, request=request_id)
        return sent

    def _collect(self) -> bool:
        """Withdraws what the market owes us."""
        if not self.errands.free("market-withdraw"):
            return False
        credit = self.market.credit(self.address)
        if not credit:
            return False
        data = self._abi.encode_call("withdraw", self.address)
        return self._send_market("market-withdraw", "withdraw", data, credit_wei=credit)

    def _send_market(self, key: Any, kind: str, data: bytes, **fields: Any) -> bool:
        return self.errands.send(key, kind, data, to=self.market.address, **fields)
