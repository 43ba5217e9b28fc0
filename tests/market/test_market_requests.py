"""Publishing, asking, and what it costs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_world import (
    ACCEPTED,
    ETHER,
    FINAL,
    INPUT,
    MODEL,
    NOBODY,
    OPEN,
    OUTPUT,
    PATIENCE,
    PRICE,
    World,
    event,
    events,
    model_id,
    words,
)

from vm.merkle import subtree_root

OTHER = MODEL | {"window": 77}


# ---------------------------------------------------------------------------------------------------- publishing


def test_a_model_is_registered_and_its_royalty_recorded(world: World) -> None:
    receipt = world.send(world.rival, "publish", words(OTHER), "ipfs://other", 250)
    assert event(receipt, "Published") == {
        "modelId": model_id(OTHER),
        "registrant": "0x" + world.rival.hex(),
        "royaltyBps": 250,
    }
    assert event(receipt, "ModelRegistered")["uri"] == "ipfs://other"
    assert receipt.output == model_id(OTHER)
    assert world.view("royalty", model_id(OTHER), world.rival) == (True, 250)
    assert world.view("royalty", model_id(OTHER), world.author) == (False, 0)


def test_a_royalty_is_for_good(world: World) -> None:
    world.refuses("AlreadyPublished", world.author, "publish", words(MODEL), "", 0)
    world.send(world.rival, "publish", words(MODEL), "", 0)
    world.refuses("AlreadyPublished", world.rival, "publish", words(MODEL), "", 1), "also one of zero"


def test_a_royalty_is_at_most_half(world: World) -> None:
    world.send(world.rival, "publish", words(MODEL), "", world.view("MAX_ROYALTY_BPS"))
    assert world.view("royalty", world.model_id, world.rival) == (True, 5000)
    world.refuses("BadRoyalty", world.stranger, "publish", words(MODEL), "", 5001)


def test_who_publishes_first_keeps_nobody_out(world: World) -> None:
    """A front-runner publishes the author's model; requests go on paying whom they name."""
    world.send(world.rival, "publish", words(OTHER), "", 5000)
    world.send(world.author, "publish", words(OTHER), "", 100)
    for registrant, royalty in ((world.author, 100), (world.rival, 5000), (NOBODY, 0)):
        assert world.request(modelId=model_id(OTHER), registrant=registrant)["royaltyBps"] == royalty


def test_a_model_that_opml_refuses_is_not_published(world: World) -> None:
    world.refuses("BadModel", world.author, "publish", words(MODEL | {"tiles": 0}), "", 0)


# -------------------------------------------------------------------------------------------------------- asking


def test_a_request_holds_its_highest_price(world: World) -> None:
    receipt = world.send(world.requester, "request", world.terms(minPrice=1), INPUT, value=ETHER)
    requested = event(receipt, "Requested")
    assert requested["requestId"] == receipt.output == world.id_of(requested["request"])
    assert requested["requester"] == "0x" + world.requester.hex()
    assert requested["request"]["inputRoot"] == subtree_root(INPUT, 1)
    assert requested["request"]["maxPrice"] == world.evm.balance(world.market) == ETHER
    assert requested["request"]["start"] == world.evm.now
    assert requested["request"]["royaltyBps"] == 1000
    assert event(receipt, "RequestInput") == {"requestId": receipt.output, "input": INPUT}
    assert world.state(requested["request"]) == {
        "status": OPEN,
        "price": 0,
        "claimId": bytes(32),
        "outputHash": bytes(32),
    }


def test_equal_requests_are_two(world: World) -> None:
    first, second = world.request(), world.request()
    assert world.id_of(first) != world.id_of(second)
    assert {**first, "nonce": 0} == {**second, "nonce": 0}


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("BadTerms", {"deadline": "now"}),
        ("BadTerms", {"deadline": 0}),
        ("BadTerms", {"minPrice": PRICE + 1}),
        ("BadTerms", {"refundTo": NOBODY}),
        ("BadTerms", {"callbackGas": 5_000_001}),
        ("NotPublished", {"registrant": b"x" * 20}),
        ("UnknownModel", {"modelId": bytes(32)}),
    ],
)
def test_bad_terms_are_refused(world: World, reason: str, changes: dict[str, Any]) -> None:
    if changes.get("deadline") == "now":
        changes = {"deadline": world.evm.now}
    world.refuses(reason, world.requester, "request", world.terms(**changes), INPUT, value=PRICE)
    root = subtree_root(INPUT, 1)
    world.refuses(reason, world.requester, "requestByRoot", world.terms(**changes), root, "", value=PRICE)


def test_terms_at_their_limits_are_good(world: World) -> None:
    world.request(value=0, minPrice=0, deadline=world.evm.now + 1, callbackGas=5_000_000, registrant=NOBODY)
    world.request(deadline=2**40 - 1)


@pytest.mark.parametrize("data", [b"", INPUT[:-1], INPUT + b"\0"])
def test_an_input_of_another_length_is_refused(world: World, data: bytes) -> None:
    world.refuses("WrongLength", world.requester, "request", world.terms(), data, value=PRICE)


def test_no_ether_comes_in_without_a_request(world: World) -> None:
    for data in (b"", b"\1\2\3\4"):
        with world.evm.rollback(), pytest.raises(Exception, match="empty"):
            world.evm.transact(world.stranger, world.market, data, 1)


def test_a_request_by_root_brings_no_bytes(world: World) -> None:
    root = subtree_root(INPUT, 1)
    receipt = world.send(world.requester, "requestByRoot", world.terms(), root, "ipfs://scan", value=PRICE)
    assert event(receipt, "RequestInputAt") == {"requestId": receipt.output, "uri": "ipfs://scan"}
    request = event(receipt, "Requested")["request"]
    assert request["inputRoot"] == root
    with world.undone():
        world.accept(request, world.claim())
        assert world.status(request) == ACCEPTED
    claim = world.claim(inputPosted=False)
    world.refuses("WrongClaim", world.prover, "accept", words(request), claim, OUTPUT)


@pytest.mark.parametrize("by_root", [False, True])
def test_a_claim_without_its_input_needs_leave(world: World, by_root: bool) -> None:
    terms, claim = world.terms(acceptWithheld=True), world.claim(inputPosted=False)
    if by_root:
        receipt = world.send(world.requester, "requestByRoot", terms, subtree_root(INPUT, 1), "", value=PRICE)
    else:
        receipt = world.send(world.requester, "request", terms, INPUT, value=PRICE)
    assert "Accepted" in events(world.accept(event(receipt, "Requested")["request"], claim))
    world.refuses("WrongClaim", world.prover, "accept", words(world.request()), claim, OUTPUT)


# ------------------------------------------------------------------------------------------------------ the price


def test_the_price_rises_evenly_to_the_deadline(world: World) -> None:
    request = words(world.request(value=11 * PRICE, minPrice=PRICE))
    for part in range(5):
        assert world.view("priceOf", request) == PRICE + 10 * PRICE * part // 4
        world.evm.now += PATIENCE // 4
    assert world.view("priceOf", request) == 11 * PRICE, "after the deadline it stays"


@given(
    low=st.integers(0, 2**90), more=st.integers(0, 2**90), patience=st.integers(1, 2**32), after=st.integers(0, 2**32)
)
def test_the_price_is_within_its_bounds_and_never_falls(
    deployed: World, low: int, more: int, patience: int, after: int
) -> None:
    with deployed.undone():
        deployed.evm.state.set_balance(deployed.requester, 2**92)
        deadline = deployed.evm.now + patience
        request = words(deployed.request(value=low + more, minPrice=low, deadline=deadline))
        deployed.evm.now += after
        price = deployed.view("priceOf", request)
        assert price == low + more * min(after, patience) // patience
        deployed.evm.now += 1
        assert price <= deployed.view("priceOf", request) <= low + more


def test_acceptance_fixes_the_price(world: World) -> None:
    request, claim = world.request(value=3 * PRICE, minPrice=PRICE), world.claim()
    world.evm.now += PATIENCE // 2
    assert event(world.accept(request, claim), "Accepted")["price"] == 2 * PRICE
    world.pass_window()
    world.deliver(request)
    assert world.claim_status(claim) == FINAL
    assert world.credit(world.prover) == 2 * PRICE * 9 // 10
    assert world.credit(world.author) == 2 * PRICE // 10
    assert world.credit(world.requester) == PRICE
