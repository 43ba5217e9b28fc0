"""What a prover's daemon puts bonds on: what keeps others from having it bond where it might not get the bond back."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from opml.chain.units import ETHER
from opml.dispute.game import ClaimStatus, ClaimView
from opml.header import ModelHeader
from opml.watch.terms import TermsPolicy, kind

if TYPE_CHECKING:
    from opml.serving import Server

# What one side can be made to spend in a game (docs/protocol.md: 844,005), and then to deliver and to be paid.
DEFENCE_GAS: Final = 1_100_000
# Prices rise while a claim stands, and whoever attacks a claim chooses when.
DEARER: Final = 5
STANDING: Final = (ClaimStatus.PENDING, ClaimStatus.FINAL)

# Model and root of the input: what is run.
Run = tuple[bytes, bytes]


@dataclass(frozen=True)
class ServeLimits:
    """Wei in bonds at once; wei in bonds lost on this contract, in all, after which none is made (None: one bond)."""

    stake: int = 10 * ETHER
    loss: int | None = None


class Bonds:
    """The bonds of a daemon: those that stand, those that were lost, and whether there may be another."""

    def __init__(self, server: "Server", limits: ServeLimits, terms: TermsPolicy, poll: float) -> None:
        self._server = server
        self._limits = limits
        self._terms = terms
        self._poll = poll
        self._claims: dict[Run, set[bytes]] = {}
        self._mine: set[bytes] = set()
        # Runs on which a claim is under way.
        self._flying: set[Run] = set()
        # Seconds to run a model again and to hash what it computed, by kind.
        self.seconds: dict[ModelHeader, tuple[float, float]] = {}
        self._held_back: str | None = None
        self.refresh(0)

    def meet(self, claim: ClaimView) -> None:
        """Takes note of a claim, whoever's."""
        self._claims.setdefault((claim.model_id, claim.input_root), set()).add(claim.claim_id)
        if claim.prover == self._server.address:
            self._mine.add(claim.claim_id)

    def refresh(self, gas_price: int) -> None:
        """A new look: what is asked of the chain is asked anew, once, when it is needed."""
        server = self._server
        self._gas_price = gas_price
        self._flying = {run for run in self._flying if server.errands.under_way(("claim", *run))}
        # What is sent after this has to fit into it, too.
        self._balance = cache(lambda: server.client.chain.balance(server.address))
        if self._held_back is not None and self._limit() is None:
            self._held_back = None

    def sent(self, run: Run) -> None:
        """A claim was sent."""
        self._flying.add(run)

    def measured(self, header: ModelHeader, run: float, hashing: float) -> None:
        """How long a model's run and hash pass have taken here."""
        before = self.seconds.get(kind(header), (0.0, 0.0))
        self.seconds[kind(header)] = max(before[0], run), max(before[1], hashing)

    # Claims

    def claims(self, run: Run) -> Iterator[ClaimView]:
        """Everybody's claims on a run."""
        found = map(self._server.ledger.claims.get, self._claims.get(run, ()))
        yield from (claim for claim in found if claim is not None)

    def own(self, run: Run, output_root: bytes | None) -> ClaimView | None:
        """A claim of ours that answers it, posted before by us or by who we were before we were started again; before
        the answer is known, one that may."""
        for claim in self.claims(run):
            fits = output_root in (None, claim.output_root) and claim.input_posted
            if fits and claim.prover == self._server.address and claim.status in STANDING:
                return claim
        return None

    @property
    def out(self) -> int:
        """Bonds that stand or are under way."""
        return len(self._server.purse.ours) + len(self._flying)

    @property
    def lost(self) -> int:
        """Bonds that we have lost, ever."""
        found = map(self._server.ledger.claims.get, self._mine)
        return sum(claim is not None and claim.status is ClaimStatus.REJECTED for claim in found)

    @property
    def reserve(self) -> int:
        """What stays for gas: the whole defence of each claim that stands and of a new one, at a much higher price."""
        return (self.out + 1) * DEFENCE_GAS * DEARER * self._gas_price

    # Refusals

    def terms_against(self, header: ModelHeader, seconds: float = 0.0) -> str | None:
        """What is wrong with a model's clock or window, `seconds` being what a game needs before it can be played."""
        server = self._server
        return self._terms.refusal(header, server.library.headers, k=server.client.k, seconds=seconds, poll=self._poll)

    def reason_against(self, run: Run, header: ModelHeader, output_root: bytes | None, withheld: bool) -> str | None:
        """Why there is to be no new bond on a run. `withheld`: claims without the input on chain are accepted, too."""
        for claim in self.claims(run):
            same = claim.output_root == output_root
            if claim.prover == self._server.address:
                if claim.status is ClaimStatus.REJECTED or not (same or output_root is None):
                    return "lost-before"
            # Its prover can accept at any moment, for nothing; then our bond would be locked for nothing.
            elif same and claim.status in STANDING and (claim.input_posted or withheld):
                return "claimed"
        if self.terms_against(header, self._work_ahead(header)) is not None:
            return "clock-short"
        limit = self._limit()
        if limit is not None:
            self._hold_back(limit)
        return limit

    def _work_ahead(self, header: ModelHeader) -> float:
        """Seconds until we could play a game about a new claim, if all that stand are challenged in the same block, and
        the longest run has just begun."""
        server = self._server
        longest = max(map(sum, self.seconds.values()), default=0.0)

        def needed(model_id: bytes) -> float:
            known = self.seconds.get(kind(server.header(model_id)))
            return max(sum(known) if known else longest, server.traces.seconds(model_id))

        others = [server.ledger.claims[claim_id].model_id for claim_id in server.purse.ours]
        others += [model_id for model_id, _ in self._flying]
        return needed(header.model_id) + sum(map(needed, others)) + (longest if others else 0.0)

    def _limit(self) -> str | None:
        """Which limit keeps us from one more bond."""
        bond = self._server.client.prover_bond
        if self.lost * bond >= (bond if self._limits.loss is None else self._limits.loss):
            return "max-loss"
        if (self.out + 1) * bond > self._limits.stake:
            return "max-stake"
        return "balance" if self._balance() < (len(self._flying) + 1) * bond + self.reserve else None

    def _hold_back(self, limit: str) -> None:
        """A limit keeps us from bonding; said once until it is another."""
        if self._held_back == limit:
            return
        self._held_back = limit
        if limit == "balance":
            bond = self._server.client.prover_bond
            self._server.emit("poor", "error", bond_wei=bond, reserve_wei=self.reserve)
        else:
            self._server.emit("limit-reached", "error", limit=limit)
