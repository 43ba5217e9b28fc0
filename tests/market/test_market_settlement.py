"""Accepting, delivering, refunding: who is paid, when, and how little a liar can do about it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_world import (
    ACCEPTED,
    CLOCK,
    DELIVERED,
    FALSE,
    FINAL,
    INPUT,
    MODEL,
    NOBODY,
    OPEN,
    OUTPUT,
    PATIENCE,
    PENDING,
    PRICE,
    REFUNDED,
    REJECTED,
    WINDOW,
    World,
    event,
    events,
    model_id,
    words,
)

from vm.keccak import keccak256
from vm.merkle import subtree_root


def test_from_the_request_to_the_money(world: World) -> None:
    request, claim = world.request(), world.claim()
    accepted = event(world.accept(request, claim), "Accepted")
    assert accepted["output"] == OUTPUT
    assert accepted["claimId"] == world.claim_id(claim)
    assert world.state(request) == {
        "status": ACCEPTED,
        "price": PRICE,
        "claimId": world.claim_id(claim),
        "outputHash": keccak256(OUTPUT),
    }
    world.pass_window()
    delivered = event(world.deliver(request), "Delivered")
    assert (delivered["payment"], delivered["royalty"], delivered["rest"]) == (PRICE * 9 // 10, PRICE // 10, 0)
    assert world.status(request) == DELIVERED
    assert world.claim_status(claim) == FINAL
    for account, amount in ((world.prover, PRICE * 9 // 10), (world.author, PRICE // 10)):
        before = world.evm.balance(account)
        world.send(account, "withdraw", account)
        assert world.evm.balance(account) - before == amount
        world.refuses("NothingToWithdraw", account, "withdraw", account)
    assert world.evm.balance(world.market) == 0


def test_a_claim_already_final_is_delivered_at_once(world: World) -> None:
    """An inference that somebody has claimed before costs nobody a window."""
    claim = world.claim()
    world.pass_window()
    world.opml_send(world.stranger, "finalise", world.claim_id(claim))
    for _ in range(2):  # and serves any number of requests
        request = world.request()
        world.accept(request, claim)
        assert "ClaimFinalised" not in events(world.deliver(request))


# K3


def test_nothing_is_delivered_before_the_claim_is_final(world: World) -> None:
    request, claim = world.answered()
    for wait in (0, WINDOW):
        world.evm.now += wait
        world.refuses("WindowOpen", world.prover, "deliver", words(request), OUTPUT)
    world.challenge(claim)
    world.evm.now += 1
    world.refuses("GamesOpen", world.prover, "deliver", words(request), OUTPUT)
    world.evm.now += CLOCK
    world.opml_send(world.stranger, "timeout", (world.claim_id(claim), world.challenger, 0))
    world.refuses("ClaimLost", world.prover, "deliver", words(request), OUTPUT)
    assert world.credit(world.prover) == 0


def test_a_request_without_a_claim_is_not_delivered(world: World) -> None:
    request = world.request()
    world.refuses("NotAccepted", world.prover, "deliver", words(request), OUTPUT)
    world.claim()
    world.pass_window()
    world.refuses("NotAccepted", world.prover, "deliver", words(request), OUTPUT)


@pytest.mark.parametrize("output", [b"", FALSE, OUTPUT[:-1], OUTPUT + b"\0", INPUT])
def test_only_the_accepted_output_is_delivered(world: World, output: bytes) -> None:
    request, _ = world.answered()
    world.pass_window()
    world.refuses("WrongOutput", world.prover, "deliver", words(request), output)


@pytest.mark.parametrize("output", [b"", FALSE, OUTPUT[:-1], OUTPUT + b"\0", OUTPUT + bytes(24), INPUT])
def test_only_the_claimed_output_is_accepted(world: World, output: bytes) -> None:
    """Also none with zeros after its end, though its root is the same."""
    request, claim = world.request(), world.claim()
    world.refuses("WrongOutput", world.prover, "accept", words(request), claim, output)


# Wrong claims


@pytest.mark.parametrize("field", range(6))
def test_every_field_of_a_claim_counts(world: World, field: int) -> None:
    request, claim = words(world.request(acceptWithheld=True)), world.claim()
    others = (bytes(32), bytes(32), bytes(32), world.rival, 99, False)
    spoilt = (*claim[:field], others[field], *claim[field + 1 :])
    reason = "NotTheProver" if field == 3 else "WrongClaim"
    world.refuses(reason, world.prover, "accept", request, spoilt, OUTPUT)


def test_a_claim_about_another_model_or_input_is_refused(world: World) -> None:
    world.send(world.author, "publish", words(MODEL | {"window": 7}), "", 0)
    request = words(world.request())
    other_model = world.claim(modelId=model_id(MODEL | {"window": 7}))
    world.refuses("WrongClaim", world.prover, "accept", request, other_model, OUTPUT)
    receipt = world.send(world.requester, "requestByRoot", world.terms(), bytes(32), "", value=PRICE)
    elsewhere = words(event(receipt, "Requested")["request"])
    world.refuses("WrongClaim", world.prover, "accept", elsewhere, world.claim(), OUTPUT)


def test_a_claim_that_was_never_made_is_refused(world: World) -> None:
    claim = world.claim()
    world.refuses("WrongClaim", world.prover, "accept", words(world.request()), (*claim[:4], 10**6, True), OUTPUT)


def test_a_rejected_claim_is_refused(world: World) -> None:
    request, claim = world.request(), world.claim(FALSE)
    world.reject(claim)
    world.refuses("WrongClaim", world.prover, "accept", words(request), claim, FALSE)


def test_nobody_accepts_with_the_claim_of_another(world: World) -> None:
    """Not even at the highest price, where it would do him no harm: when to accept is the prover's choice."""
    request, claim = words(world.request()), world.claim()
    for other in (world.rival, world.requester, world.author):
        world.refuses("NotTheProver", other, "accept", request, claim, OUTPUT)


def test_a_delegate_accepts_for_the_prover_who_is_paid(world: World) -> None:
    request, claim = world.request(), world.claim()
    world.opml_send(world.prover, "setDelegate", world.stranger, True)
    world.send(world.stranger, "accept", words(request), claim, OUTPUT)
    world.pass_window()
    world.deliver(request)
    assert world.credit(world.prover) == PRICE * 9 // 10
    assert world.credit(world.stranger) == 0


# K7: liars, rivals, and conflicting claims


def test_a_liar_is_rejected_and_the_honest_prover_paid(world: World) -> None:
    request = world.request(value=3 * PRICE)
    false, true = world.claim(FALSE, world.rival), world.claim()
    world.accept(request, false, FALSE)
    world.refuses("RequestTaken", world.prover, "accept", words(request), true, OUTPUT)
    world.reject(false)
    world.refuses("ClaimLost", world.rival, "deliver", words(request), FALSE)
    price = world.view("priceOf", words(request))
    world.accept(request, true)
    assert world.state(request)["price"] == price > PRICE, "the price has risen meanwhile"
    world.refuses("RequestTaken", world.rival, "accept", words(request), world.claim(OUTPUT, world.rival), OUTPUT)
    world.pass_window()
    world.refuses("WrongOutput", world.rival, "deliver", words(request), FALSE)
    world.deliver(request)
    assert world.credit(world.prover) == price - price // 10
    assert world.credit(world.rival) == 0


def test_an_honest_claim_may_become_final_while_a_liars_is_disputed(world: World) -> None:
    patience = 10 * WINDOW
    request = world.request(deadline=world.evm.now + patience)
    false, true = world.claim(FALSE, world.rival), world.claim()
    world.accept(request, false, FALSE)
    world.evm.now += WINDOW
    key = world.challenge(false)
    world.evm.now += CLOCK + 1
    world.opml_send(world.challenger, "timeout", key)
    world.opml_send(world.stranger, "finalise", world.claim_id(true))
    world.accept(request, true)
    world.deliver(request)
    assert world.credit(world.prover)


def test_what_a_liar_delays_and_what_it_costs_him(world: World) -> None:
    """Accepted in the last second and challenged in the last: the refund waits for window and clock; a bond is lost."""
    request = world.request()
    world.evm.now += PATIENCE
    false = world.claim(FALSE, world.rival)
    world.accept(request, false, FALSE)
    start, before = world.evm.now, world.evm.balance(world.rival)
    world.evm.now += WINDOW
    world.refuses("RequestTaken", world.requester, "refund", words(request))
    world.reject(false)
    world.send(world.stranger, "refund", words(request))
    assert world.evm.now - start == WINDOW + CLOCK + 1
    assert world.credit(world.requester) == PRICE
    assert world.evm.balance(world.rival) == before, "his bond is gone"


def test_two_true_claims_only_one_is_paid(world: World) -> None:
    request, first, second = world.request(), world.claim(), world.claim(sender=world.rival)
    world.accept(request, second)
    world.refuses("RequestTaken", world.prover, "accept", words(request), first, OUTPUT)
    world.refuses("RequestTaken", world.rival, "accept", words(request), second, OUTPUT)
    world.pass_window()
    world.deliver(request)
    world.refuses("RequestClosed", world.prover, "accept", words(request), first, OUTPUT)
    assert world.credit(world.prover) == 0


# Deadlines and refunds


def test_the_last_second_is_the_provers_and_the_next_the_requesters(world: World) -> None:
    request, claim = world.request(), world.claim()
    world.evm.now += PATIENCE
    world.refuses("TooEarly", world.requester, "refund", words(request))
    with world.undone():
        world.accept(request, claim)
    world.evm.now += 1
    world.refuses("TooLate", world.prover, "accept", words(request), claim, OUTPUT)
    world.send(world.requester, "refund", words(request))
    assert world.status(request) == REFUNDED


@pytest.mark.parametrize("sender", ["requester", "stranger", "prover"])
def test_a_refund_goes_where_the_terms_say_whoever_asks(world: World, sender: str) -> None:
    request = world.request(refundTo=world.rival)
    world.evm.now += PATIENCE + 1
    receipt = world.send(getattr(world, sender), "refund", words(request))
    assert event(receipt, "Refunded")["to"] == "0x" + world.rival.hex()
    assert world.credit(world.rival) == PRICE


def test_there_is_no_refund_while_a_claim_stands(world: World) -> None:
    request, claim = world.answered()
    world.pass_window()
    world.refuses("RequestTaken", world.requester, "refund", words(request)), "pending"
    world.opml_send(world.stranger, "finalise", world.claim_id(claim))
    world.refuses("RequestTaken", world.requester, "refund", words(request)), "final, and not delivered"
    world.deliver(request)
    world.refuses("RequestClosed", world.requester, "refund", words(request))


def test_a_closed_request_stays_closed(world: World) -> None:
    """K2: whatever comes after a delivery or a refund."""
    delivered, claim = world.answered()
    refunded = world.request()
    world.pass_window()
    world.deliver(delivered)
    world.send(world.stranger, "refund", words(refunded))
    for request in (words(delivered), words(refunded)):
        world.refuses("RequestClosed", world.prover, "accept", request, claim, OUTPUT)
        world.refuses("RequestClosed", world.prover, "deliver", request, OUTPUT)
        world.refuses("RequestClosed", world.requester, "refund", request)


CHANGES: dict[str, Any] = {
    "requester": b"x" * 20,
    "nonce": 10**6,
    "inputRoot": bytes(32),
    "maxPrice": 10**30,
    "start": 1,
    "royaltyBps": 9999,
}
TERMS: dict[str, Any] = {
    "modelId": bytes(32),
    "registrant": b"x" * 20,
    "refundTo": b"x" * 20,
    "minPrice": 0,
    "deadline": 2**40 - 1,
    "callbackGas": 77,
    "optimistic": True,
    "acceptWithheld": True,
}


@pytest.mark.parametrize("field", [*CHANGES, *TERMS])
def test_every_field_of_a_request_is_part_of_its_id(world: World, field: str) -> None:
    """Nobody is paid by terms that were not made."""
    request, claim = world.request(), world.claim()
    if field in CHANGES:
        forged = words(request | {field: CHANGES[field]})
    else:
        forged = words(request | {"terms": request["terms"] | {field: TERMS[field]}})
    world.refuses("UnknownRequest", world.prover, "accept", forged, claim, OUTPUT)
    world.accept(request, claim)
    world.pass_window()
    world.refuses("UnknownRequest", world.prover, "deliver", forged, OUTPUT)
    world.refuses("UnknownRequest", world.requester, "refund", forged)
    assert world.status(request) == ACCEPTED


# Money


@settings(max_examples=40)
@given(price=st.integers(0, 2**90), bps=st.integers(0, 5000), rest=st.integers(0, 2**90))
def test_the_price_is_divided_whole(deployed: World, price: int, bps: int, rest: int) -> None:
    """K2: what the royalty is rounded off by is the prover's; nothing stays in the market."""
    world = deployed
    with world.undone():
        world.evm.state.set_balance(world.requester, 2**92)
        world.send(world.rival, "publish", words(MODEL), "", bps)
        request = world.request(price + rest, minPrice=price, registrant=world.rival, refundTo=world.stranger)
        world.accept(request, world.claim())
        world.pass_window()
        world.deliver(request)
        assert world.credit(world.rival) == price * bps // 10_000
        assert world.credit(world.prover) == price - price * bps // 10_000
        assert world.credit(world.stranger) == rest


def test_without_a_registrant_all_is_the_provers(world: World) -> None:
    request, _ = world.answered(registrant=NOBODY)
    world.pass_window()
    world.deliver(request)
    assert world.credit(world.prover) == PRICE
    assert world.credit(NOBODY) == 0


def test_one_party_in_every_role(world: World) -> None:
    """Requester, prover and registrant in one: the money comes back whole."""
    world.send(world.requester, "publish", words(MODEL), "", 3333)
    request = world.request(3 * PRICE, registrant=world.requester)
    world.accept(request, world.claim(sender=world.requester))
    world.pass_window()
    world.deliver(request)
    assert world.credit(world.requester) == 3 * PRICE


def test_credit_goes_where_its_owner_says_and_nowhere_else(world: World) -> None:
    request, _ = world.answered()
    world.pass_window()
    world.deliver(request)
    world.refuses("NothingToWithdraw", world.stranger, "withdraw", world.prover)
    before = world.evm.balance(world.rival)
    receipt = world.send(world.prover, "withdraw", world.rival)
    assert event(receipt, "Withdrawn")["to"] == "0x" + world.rival.hex()
    assert world.evm.balance(world.rival) - before == PRICE * 9 // 10


def test_forced_ether_changes_nothing(world: World) -> None:
    request, _ = world.answered()
    world.evm.state.set_balance(world.market, world.evm.balance(world.market) + 5)
    world.pass_window()
    world.evm.transact(world.stranger, world.market, world.evm.abi.encode("deliver", (words(request), OUTPUT)))
    assert world.credit(world.prover) + world.credit(world.author) == PRICE


def test_the_constants_of_the_tests_are_what_they_say(world: World) -> None:
    assert len(INPUT) == len(OUTPUT) == len(FALSE) == MODEL["inputBytes"]
    assert subtree_root(OUTPUT, 1) == subtree_root(OUTPUT + bytes(24), 1)
    claim = world.claim()
    assert world.claim_status(claim) == PENDING
    world.reject(claim)
    assert world.claim_status(claim) == REJECTED
    assert world.status(world.request()) == OPEN
