"""Any order of sendings, blocks, faults, other processes and vanishing blocks: everything arrives, and arrives once."""

from typing import Any

import hypothesis.strategies as st
from chain_pool import Pool
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from opml.chain.accounts import dev_accounts
from opml.chain.units import GWEI
from opml.errors import ChainError

DEPTH = 2
FAULTS = ("lose_request", "lose_answer", "hide_receipts", "away", "pool_full")


class OutboxMachine(RuleBasedStateMachine):
    """The value of a transaction is its name."""

    def __init__(self) -> None:
        super().__init__()
        self.me, self.other = dev_accounts()[:2]
        self.pool = Pool(confirmations=DEPTH + 1)
        self.outbox = self.pool.client(self.me)
        self.second: Any = None
        self.sent = 0
        self.told: dict[tuple[int, int], Any] = {}

    @rule(count=st.integers(1, 3), second=st.booleans())
    def send(self, count: int, second: bool) -> None:
        if second and self.second is None:
            self.second = self.pool.client(self.me)
        for _ in range(count):
            try:
                (self.second if second else self.outbox).send(self.other.address, value=self.sent + 1)
                self.sent += 1
            except ChainError:
                assert self.pool.faults.away

    @rule(only=st.none() | st.integers(0, 2))
    def mine(self, only: int | None) -> None:
        self.pool.mine(only)

    @rule()
    def look(self) -> None:
        for number, outbox in enumerate((self.outbox, self.second)):
            for outcome in outbox.poll() if outbox else ():
                assert outcome.error is None
                assert (number, outcome.ticket) not in self.told, "told twice"
                self.told[number, outcome.ticket] = outcome.receipt

    @rule(gwei=st.integers(1, 60))
    def base_fee(self, gwei: int) -> None:
        self.pool.base_fee = gwei * GWEI

    @rule(fault=st.sampled_from(FAULTS), on=st.booleans())
    def fault(self, fault: str, on: bool) -> None:
        setattr(self.pool.faults, fault, on)

    @rule(lag=st.integers(0, 2))
    def lag(self, lag: int) -> None:
        self.pool.faults.lag = lag

    @rule()
    def drop(self) -> None:
        self.pool.drop()

    @precondition(lambda self: self.pool.faults.lag == 0)
    @rule(depth=st.integers(1, DEPTH), lose=st.booleans())
    def reorganise(self, depth: int, lose: bool) -> None:
        self.look()
        self.pool.reorganise(depth, lose=lose)

    @invariant()
    def nothing_arrives_twice(self) -> None:
        values = [tx.value for tx in self.pool.mined() if tx.value]
        assert len(values) == len(set(values))

    def teardown(self) -> None:
        self.pool.faults = type(self.pool.faults)()
        self.pool.base_fee = GWEI
        for _ in range(60):
            self.look()
            self.pool.mine()
            self.pool.now += 30
        self.look()
        assert self.outbox.pending == 0
        assert self.second is None or self.second.pending == 0
        self.nothing_arrives_twice()
        assert {tx.value for tx in self.pool.mined() if tx.value} == set(range(1, self.sent + 1))
        assert len(self.told) == self.sent
        assert all(receipt is not None for receipt in self.told.values())


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
