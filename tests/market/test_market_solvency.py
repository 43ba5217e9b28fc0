"""Any parties doing anything in any order: K1 to K3 and K7 hold after every transaction, and all money can leave."""

from typing import Any

import pytest
from contracts_evm import ETHER, Reverted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from market_world import (
    ACCEPTED,
    CLOCK,
    DELIVERED,
    FALSE,
    FINAL,
    MODEL,
    OPEN,
    OUTPUT,
    PATIENCE,
    REFUNDED,
    REJECTED,
    WINDOW,
    World,
    words,
)

WORLD: list[World] = []
PARTY = st.integers(0, 4)
OUTPUTS = st.sampled_from([OUTPUT, FALSE])


class Market(RuleBasedStateMachine):
    """A model of the market beside it: what each request and each account should come to."""

    def __init__(self) -> None:
        super().__init__()
        WORLD[:] = WORLD or [World()]
        self.world = WORLD[0]
        self.undo = self.world.undone()
        self.undo.__enter__()
        self.requests: list[Any] = []
        self.claims: list[tuple[tuple[Any, ...], bytes]] = []
        self.accepted: dict[bytes, tuple[tuple[Any, ...], bytes]] = {}
        self.expected: dict[bytes, int] = {}
        self.closed: dict[bytes, int] = {}

    def teardown(self) -> None:
        self.empty()
        self.undo.__exit__(None, None, None)

    # What parties do. A refused transaction is as good as one that goes through: the books decide.

    def try_(self, sender: bytes, name: str, *args: Any, value: int = 0) -> str | None:
        try:
            self.world.send(sender, name, *args, value=value)
        except Reverted as error:
            return error.name
        return None

    @initialize(bps=st.integers(0, 5000))
    def publish(self, bps: int) -> None:
        self.world.send(self.world.rival, "publish", words(MODEL), "", bps)

    @rule(who=PARTY, low=st.integers(0, ETHER), more=st.integers(0, ETHER), royal=st.booleans(), to=PARTY)
    def request(self, who: int, low: int, more: int, royal: bool, to: int) -> None:
        world = self.world
        registrant = world.rival if royal else bytes(20)
        world.requester = world.parties[who]
        refund_to = world.parties[to]
        self.requests.append(world.request(low + more, minPrice=low, registrant=registrant, refundTo=refund_to))

    @rule(who=PARTY, output=OUTPUTS)
    def claim(self, who: int, output: bytes) -> None:
        self.claims.append((self.world.claim(output, self.world.parties[who]), output))

    @rule(which=st.randoms(use_true_random=False))
    def accept(self, which: Any) -> None:
        if not self.requests or not self.claims:
            return
        request, (claim, output) = which.choice(self.requests), which.choice(self.claims)
        world, request_id = self.world, self.world.id_of(request)
        live = request_id in self.accepted and world.claim_status(self.accepted[request_id][0]) != REJECTED
        good = (
            request_id not in self.closed
            and not live
            and world.evm.now <= request["terms"]["deadline"]
            and world.claim_status(claim) != REJECTED
        )
        refusal = self.try_(claim[3], "accept", words(request), claim, output)
        assert (refusal is None) is good, refusal
        if good:
            self.accepted[request_id] = (claim, output)

    @rule(which=st.randoms(use_true_random=False), who=PARTY)
    def deliver(self, which: Any, who: int) -> None:
        if not self.requests:
            return
        request = which.choice(self.requests)
        request_id = self.world.id_of(request)
        claim, output = self.accepted.get(request_id, (None, OUTPUT))
        before = self.world.state(request)
        if self.try_(self.world.parties[who], "deliver", words(request), output) is None:
            assert before["status"] == ACCEPTED
            assert claim is not None
            assert self.world.claim_status(claim) == FINAL, "K3"
            share = before["price"] * request["royaltyBps"] // 10_000
            self.owe(claim[3], before["price"] - share)
            self.owe(request["terms"]["registrant"], share)
            self.owe(request["terms"]["refundTo"], request["maxPrice"] - before["price"])
            assert request_id not in self.closed, "K2"
            self.closed[request_id] = DELIVERED

    @rule(which=st.randoms(use_true_random=False), who=PARTY)
    def refund(self, which: Any, who: int) -> None:
        if not self.requests:
            return
        request = which.choice(self.requests)
        request_id = self.world.id_of(request)
        if self.try_(self.world.parties[who], "refund", words(request)) is None:
            if request_id in self.accepted:
                assert self.world.claim_status(self.accepted[request_id][0]) == REJECTED, "K7"
            assert request_id not in self.closed, "K2"
            self.owe(request["terms"]["refundTo"], request["maxPrice"])
            self.closed[request_id] = REFUNDED

    @rule(which=st.randoms(use_true_random=False))
    def reject(self, which: Any) -> None:
        if self.claims:
            claim, _ = which.choice(self.claims)
            state = self.world.evm.call(self.world.opml, "claims", self.world.claim_id(claim))
            if state["status"] == 1 and self.world.evm.now <= state["deadline"]:
                self.world.reject(claim)

    @rule(seconds=st.sampled_from([1, CLOCK, PATIENCE // 2, PATIENCE, WINDOW]))
    def wait(self, seconds: int) -> None:
        self.world.evm.now += seconds

    @rule(who=PARTY, to=PARTY)
    def withdraw(self, who: int, to: int) -> None:
        account = self.world.parties[who]
        owed = self.expected.pop(account, 0)
        refusal = self.try_(account, "withdraw", self.world.parties[to])
        assert refusal == (None if owed else "NothingToWithdraw")

    def owe(self, account: bytes | str, amount: int) -> None:
        address = bytes.fromhex(account[2:]) if isinstance(account, str) else account
        self.expected[address] = self.expected.get(address, 0) + amount

    @invariant()
    def credits_are_what_was_earned(self) -> None:
        for account in self.world.parties:
            assert self.world.credit(account) == self.expected.get(account, 0)
        for request in self.requests:
            request_id, status = self.world.id_of(request), self.world.status(request)
            assert status == self.closed.get(request_id, ACCEPTED if request_id in self.accepted else OPEN)

    def empty(self) -> None:
        """K7: in the end anyone can close every request, and not a wei stays behind."""
        world = self.world
        world.evm.now += 10 * WINDOW
        for request in self.requests:
            request_id = world.id_of(request)
            if request_id in self.closed:
                continue
            _, output = self.accepted.get(request_id, (None, b""))
            if self.try_(world.stranger, "deliver", words(request), output) is not None:
                world.send(world.stranger, "refund", words(request))
        for account in world.accounts:
            if world.credit(account):
                world.send(account, "withdraw", account)
        assert world.evm.balance(world.market) == 0


class TestMarket(Market.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@pytest.mark.slow
class TestMarketAtLength(Market.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
