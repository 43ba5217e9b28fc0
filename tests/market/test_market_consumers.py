"""Requesters that are contracts: called with all their gas, at the right time, and unable to harm anybody."""

from typing import Any

import pytest
from contracts_evm import Reverted
from market_world import (
    ACCEPTED,
    DELIVERED,
    FALSE,
    INPUT,
    OUTPUT,
    PATIENCE,
    PENDING,
    PRICE,
    World,
    event,
    events,
    words,
)

from vm.keccak import keccak256

GAS = 300_000
LISTEN, REVERT, BURN_GAS, BOMB, REENTER = range(5)
REFUSE, REENTER_OR_FAIL, SNEAK, BURN_ALL = range(1, 5)


def ask(world: World, consumer: bytes, **changes: Any) -> Any:
    return world.request(through=consumer, **({"callbackGas": GAS} | changes))


def answers(world: World, consumer: bytes) -> Any:
    return world.evm.call(consumer, "answers")


def set_mood(world: World, consumer: bytes, mood: int) -> None:
    world.evm.transact(world.stranger, consumer, world.evm.abi.encode("setMood", (mood,)))


def selector(error: str) -> bytes:
    return keccak256(f"{error}()".encode())[:4]


# K4, K5: when it is called


def test_a_consumer_is_called_once_the_claim_is_final(world: World, consumer: bytes) -> None:
    request, claim = ask(world, consumer), world.claim()
    assert request["requester"] == "0x" + consumer.hex()
    assert "ConsumerCalled" not in events(world.accept(request, claim))
    assert answers(world, consumer) == ()
    world.pass_window()
    receipt = world.deliver(request)
    assert event(receipt, "ConsumerCalled") == {"requestId": world.id_of(request), "isFinal": True, "succeeded": True}
    ((request_id, model_id, output, is_final, gas),) = answers(world, consumer)
    assert (request_id, model_id, output, is_final) == (world.id_of(request), world.model_id, OUTPUT, True)
    assert GAS - 500 < gas <= GAS


def test_an_optimistic_consumer_is_called_twice(world: World, consumer: bytes) -> None:
    request, claim = ask(world, consumer, optimistic=True), world.claim()
    assert event(world.accept(request, claim), "ConsumerCalled")["isFinal"] is False
    assert world.claim_status(claim) == PENDING
    world.pass_window()
    assert event(world.deliver(request), "ConsumerCalled")["isFinal"] is True
    assert [answer[3] for answer in answers(world, consumer)] == [False, True]


def test_an_optimistic_consumer_may_be_lied_to_but_never_finally(world: World, consumer: bytes) -> None:
    request = ask(world, consumer, optimistic=True)
    false = world.claim(FALSE, world.rival)
    world.accept(request, false, FALSE)
    world.reject(false)
    world.accept(request, world.claim())
    world.pass_window()
    world.deliver(request)
    assert [answer[2:4] for answer in answers(world, consumer)] == [(FALSE, False), (OUTPUT, False), (OUTPUT, True)]


def test_a_final_claim_needs_no_early_call(world: World, consumer: bytes) -> None:
    claim = world.claim()
    world.pass_window()
    world.opml_send(world.stranger, "finalise", world.claim_id(claim))
    request = ask(world, consumer, optimistic=True)
    assert "ConsumerCalled" not in events(world.accept(request, claim))
    world.deliver(request)
    assert [answer[3] for answer in answers(world, consumer)] == [True]


def test_a_consumer_that_wants_no_call_reads_the_answer(world: World, consumer: bytes) -> None:
    request, claim = ask(world, consumer, callbackGas=0, optimistic=True), world.claim()
    assert "ConsumerCalled" not in events(world.accept(request, claim))
    assert world.status(request) == ACCEPTED, "the hash is there, and says nothing yet"
    world.pass_window()
    assert "ConsumerCalled" not in events(world.deliver(request))
    assert world.state(request)["outputHash"] == keccak256(OUTPUT)
    assert world.status(request) == DELIVERED
    assert answers(world, consumer) == ()


def test_a_person_may_ask_to_be_called(world: World) -> None:
    request = world.request(callbackGas=GAS)
    world.accept(request, world.claim())
    world.pass_window()
    assert event(world.deliver(request), "ConsumerCalled")["succeeded"] is True


# K5: what it does


@pytest.mark.parametrize("mood", [REVERT, BURN_GAS, BOMB])
def test_a_bad_consumer_keeps_nobody_from_the_money(world: World, consumer: bytes, mood: int) -> None:
    set_mood(world, consumer, mood)
    request, claim = ask(world, consumer, optimistic=True), world.claim()
    assert event(world.accept(request, claim), "ConsumerCalled")["succeeded"] is False
    world.pass_window()
    receipt = world.deliver(request)
    assert event(receipt, "ConsumerCalled")["succeeded"] is False
    assert receipt.gas < GAS + 250_000, "the bomb's bytes are not copied at the deliverer's expense"
    assert world.credit(world.prover) == PRICE * 9 // 10
    set_mood(world, consumer, LISTEN)
    world.refuses("RequestClosed", world.prover, "deliver", words(request), OUTPUT)
    assert answers(world, consumer) == (), "it had its chance"


def never_starved(world: World, consumer: bytes, mood: int, method: str, *args: Any) -> None:
    """However much gas a caller gives: the consumer has what it asked for, or nothing has happened."""
    data = world.evm.abi.encode(method, args)

    def attempt(gas: int) -> bool:
        with world.evm.rollback():
            try:
                receipt = world.evm.transact(world.prover, world.market, data, gas=gas)
            except Reverted as error:
                if error.name != "NotEnoughGas" and "OutOfGas" not in error.name:
                    raise
                return False
            assert event(receipt, "ConsumerCalled")["succeeded"] is (mood == LISTEN)
            if mood == LISTEN:
                ((*_, given),) = answers(world, consumer)
                assert GAS - 500 < given <= GAS
            return True

    enough, too_little = 2_000_000, 60_000
    assert attempt(enough)
    assert not attempt(too_little)
    while enough - too_little > 1:
        middle = (enough + too_little) // 2
        if attempt(middle):
            enough = middle
        else:
            too_little = middle
    for gas in range(too_little - 12_000, enough + 12_000, 499):
        assert attempt(gas) is (gas >= enough)


@pytest.mark.parametrize("mood", [LISTEN, BURN_GAS])
@pytest.mark.parametrize("method", ["accept", "deliver"])
def test_nobody_starves_a_consumer(world: World, consumer: bytes, method: str, mood: int) -> None:
    set_mood(world, consumer, mood)
    request, claim = ask(world, consumer, optimistic=method == "accept"), world.claim()
    if method == "accept":
        never_starved(world, consumer, mood, "accept", words(request), claim, OUTPUT)
        return
    world.accept(request, claim)
    world.pass_window()
    never_starved(world, consumer, mood, "deliver", words(request), OUTPUT)


def test_nobody_starves_an_account_that_delegates_to_a_contract(harness: Any) -> None:
    """EIP-7702: calling it costs more, for two accounts are looked at, neither of which was before."""
    world = World()  # one of its own: within what will be undone, accounts stay looked at
    world.evm.learn(harness("MoodyConsumer"))
    consumer = world.evm.deploy(world.stranger, harness("MoodyConsumer"))
    world.evm.state.set_code(world.requester, b"\xef\x01\x00" + consumer)
    request, _ = world.answered(callbackGas=GAS)
    world.pass_window()
    never_starved(world, world.requester, LISTEN, "deliver", words(request), OUTPUT)


def test_a_delivery_with_the_most_gas_fits_a_transaction(world: World, consumer: bytes) -> None:
    set_mood(world, consumer, BURN_GAS)
    request, claim = ask(world, consumer, callbackGas=5_000_000, optimistic=True), world.claim()
    assert world.accept(request, claim).gas > 5_000_000
    world.pass_window()
    assert world.deliver(request).gas < 1 << 23


# K8: re-entering


def test_a_consumer_that_reenters_gains_nothing(world: World, consumer: bytes) -> None:
    """From within its final call it tries every function of the market, in the name of its own request."""
    request, claim = ask(world, consumer, callbackGas=3_000_000), world.claim()
    world.accept(request, claim)
    world.pass_window()
    encode = world.evm.abi.encode
    attempts = {
        "deliver": (words(request), OUTPUT),
        "accept": (words(request), claim, OUTPUT),
        "refund": (words(request),),
        "withdraw": (consumer,),
        "request": (world.terms(), INPUT),
    }
    calls = [encode(name, args) for name, args in attempts.items()]
    world.evm.transact(world.stranger, consumer, encode("reenter", (world.market, calls)))
    assert event(world.deliver(request), "ConsumerCalled")["succeeded"] is True
    refused = dict(zip(attempts, world.evm.call(consumer, "refusals"), strict=True))
    assert refused == {
        "deliver": selector("RequestClosed"),
        "accept": selector("RequestClosed"),
        "refund": selector("RequestClosed"),
        "withdraw": selector("NothingToWithdraw"),
        "request": selector("BadTerms"),  # it brought no ether
    }
    assert len(answers(world, consumer)) == 1
    assert world.credit(world.prover) == PRICE * 9 // 10


def test_a_consumer_that_reenters_when_called_early(world: World, consumer: bytes) -> None:
    request, claim = ask(world, consumer, callbackGas=3_000_000, optimistic=True), world.claim()
    encode = world.evm.abi.encode
    attempts = {
        "deliver": (words(request), OUTPUT),
        "accept": (words(request), claim, OUTPUT),
        "refund": (words(request),),
        "withdraw": (consumer,),
    }
    calls = [encode(name, args) for name, args in attempts.items()]
    world.evm.transact(world.stranger, consumer, encode("reenter", (world.market, calls)))
    world.accept(request, claim)
    assert world.evm.call(consumer, "refusals") == (
        selector("WindowOpen"),
        selector("RequestTaken"),
        selector("TooEarly"),
        selector("NothingToWithdraw"),
    )


def test_a_consumer_cannot_be_told_finally_within_its_early_call(world: World, consumer: bytes) -> None:
    """Accepted when the window is over already, so that it could deliver to itself: it has not the gas for that."""
    claim = world.claim()
    world.pass_window()
    request = ask(world, consumer, callbackGas=3_000_000, optimistic=True)
    calls = [world.evm.abi.encode("deliver", (words(request), OUTPUT))]
    world.evm.transact(world.stranger, consumer, world.evm.abi.encode("reenter", (world.market, calls)))
    assert event(world.accept(request, claim), "ConsumerCalled")["isFinal"] is False
    assert world.evm.call(consumer, "refusals") == (selector("NotEnoughGas"),)
    world.deliver(request)
    assert [answer[3] for answer in answers(world, consumer)] == [False, True]
    assert world.credit(world.prover) == PRICE * 9 // 10


# Requesters that take no ether


def test_a_consumer_that_takes_no_ether_harms_nobody(world: World, consumer: bytes) -> None:
    request, claim = ask(world, consumer, value=3 * PRICE, refundTo=consumer), world.claim()
    world.accept(request, claim)
    world.pass_window()
    world.deliver(request)
    assert world.credit(world.prover) == PRICE * 9 // 10
    assert world.credit(consumer) == 2 * PRICE
    encode = world.evm.abi.encode
    call = encode("forward", (world.market, encode("withdraw", (consumer,))))
    with world.evm.rollback(), pytest.raises(Reverted, match="PaymentFailed"):
        world.evm.transact(world.stranger, consumer, call)
    before = world.evm.balance(world.stranger)
    world.send(world.stranger, "withdraw", world.stranger, through=consumer)
    assert world.evm.balance(world.stranger) - before == 2 * PRICE


def test_a_consumer_is_refunded_though_it_takes_no_ether(world: World, consumer: bytes) -> None:
    request = ask(world, consumer, refundTo=consumer)
    world.evm.now += PATIENCE + 1
    world.send(world.stranger, "refund", words(request))
    assert world.credit(consumer) == PRICE


def recipient_of_credit(world: World, harness: Any, mood: int) -> bytes:
    """A contract to which the market owes PRICE."""
    world.evm.learn(harness("MoodyRecipient"))
    recipient = world.evm.deploy(world.stranger, harness("MoodyRecipient"))
    set_mood(world, recipient, mood)
    for other in (False, True):  # and the market has more than that
        request, _ = world.answered(value=2 * PRICE, refundTo=world.rival if other else recipient)
        world.pass_window()
        world.deliver(request)
    return recipient


@pytest.mark.parametrize("mood", [REFUSE, REENTER_OR_FAIL, BURN_ALL])
def test_a_recipient_that_misbehaves_harms_only_itself(world: World, harness: Any, mood: int) -> None:
    recipient = recipient_of_credit(world, harness, mood)
    world.refuses("PaymentFailed", world.rival, "withdraw", recipient)
    call = world.evm.abi.encode("withdraw", (world.market,))
    with world.evm.rollback(), pytest.raises(Reverted, match="PaymentFailed"):
        world.evm.transact(world.stranger, recipient, call)
    assert world.credit(recipient) == world.credit(world.rival) == PRICE
    world.send(world.rival, "withdraw", world.rival)


def test_a_recipient_that_reenters_is_paid_once(world: World, harness: Any) -> None:
    recipient = recipient_of_credit(world, harness, SNEAK)
    world.evm.transact(world.stranger, recipient, world.evm.abi.encode("withdraw", (world.market,)))
    assert world.evm.balance(recipient) == PRICE
    assert world.credit(recipient) == 0
    world.check_books()


# K6


def test_only_who_asked_is_called(world: World, consumer: bytes) -> None:
    """There is no field in which a stranger could be named: the call goes to the sender of the request."""
    request = world.request(callbackGas=GAS, refundTo=consumer, registrant=world.author)
    world.accept(request, world.claim())
    world.pass_window()
    world.deliver(request)
    assert answers(world, consumer) == ()
