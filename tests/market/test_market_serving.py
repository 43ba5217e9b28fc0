"""The prover's daemon on a real model: paid for what is right, whatever liars, rivals and crashes do."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from market_scene import PRICE, ROYALTY, Scene, settle

from opml.chain.abi import artifact
from opml.chain.market import Status
from opml.dispute.game import ClaimStatus
from opml.errors import ChainError, RevertError
from opml.serving import Server
from vm.merkle import subtree_root

FALSE = np.zeros((1, 10), np.float32).tobytes()


@pytest.fixture(scope="module")
def shared() -> Scene:
    return Scene()


@pytest.fixture
def scene(shared: Scene) -> Scene:
    """The same chain for all; what earlier tests left open is too late by now."""
    shared.chain.advance(10_000)
    return shared


def window(scene: Scene) -> int:
    return scene.model.header.window + 1


def lie(scene: Scene, request_id: bytes, account: Any = None) -> bytes:
    """A liar claims and accepts first."""
    view, liar = scene.market.view(request_id), account or scene.liar
    assert view is not None
    assert view.input is not None
    root = subtree_root(FALSE, scene.model.header.output_level)
    claim_id, _ = scene.opml.claim(scene.model.model_id, view.input, root, int.from_bytes(request_id), liar)
    scene.market.accept(view.request, scene.opml.claim_terms(claim_id), FALSE, liar)
    return claim_id


def status(scene: Scene, request_id: bytes) -> Status:
    return Status(scene.market.state(request_id)["status"])


def test_from_a_request_to_the_provers_money(scene: Scene) -> None:
    earned, credit = scene.market.earned(scene.prover.address), scene.market.credit(scene.author.address)
    request_id, server = scene.request(7, touched=2), scene.server()
    settle(server)
    assert status(scene, request_id) is Status.ACCEPTED
    assert server.accepted == [request_id]
    ((run, hashing),) = server.bonds.seconds.values()
    assert run > 0, "how long a game's preparation takes was measured before the bond"
    assert hashing > 0
    assert scene.market.output(request_id) == scene.infer(7, 2).output
    scene.chain.advance(window(scene))
    settle(server)
    assert status(scene, request_id) is Status.DELIVERED
    view = scene.market.view(request_id)
    assert view is not None
    royalty = view.price * ROYALTY // 10_000
    assert scene.market.earned(scene.prover.address) - earned == view.price - royalty
    assert scene.market.credit(scene.author.address) - credit == royalty
    assert scene.market.credit(scene.prover.address) == 0, "withdrawn"
    assert not server.accepted


def test_a_liar_is_caught_and_the_honest_prover_paid(scene: Scene) -> None:
    request_id = scene.request(4, touched=2)
    claim_id = lie(scene, request_id)
    server, watcher = scene.server(), scene.watch()
    settle(server, watcher)
    assert status(scene, request_id) is Status.ACCEPTED
    assert not server.accepted, "it is the liar's as long as his claim stands"
    scene.chain.advance(scene.model.header.clock + 1)
    settle(watcher)
    assert scene.opml.claim_view(claim_id).status is ClaimStatus.REJECTED
    settle(server, watcher)
    assert server.accepted == [request_id]
    scene.chain.advance(window(scene))
    settle(server, watcher)
    assert status(scene, request_id) is Status.DELIVERED
    assert scene.market.output(request_id) == scene.infer(4, 2).output
    assert scene.market.credit(scene.liar.address) == 0


def test_its_claim_is_defended(scene: Scene) -> None:
    """Somebody challenges a true claim: the daemon plays, and wins his bond."""
    request_id, server = scene.request(5, touched=2), scene.server()
    settle(server)
    claim_id = scene.market.state(request_id)["claimId"]
    game_id, _ = scene.opml.challenge(claim_id, 0, scene.liar)
    settle(server)
    assert scene.opml.game_view(game_id).turn is not None
    assert scene.opml.game_view(game_id).turn.value == "challenger", "it has opened"
    scene.chain.advance(scene.model.header.clock + 1)
    settle(server)
    scene.chain.advance(window(scene))
    settle(server)
    assert status(scene, request_id) is Status.DELIVERED
    assert scene.opml.game_view(game_id).collected


@pytest.mark.parametrize("looks", range(1, 9))
def test_killed_after_any_look_it_goes_on(scene: Scene, looks: int) -> None:
    request_id = scene.request(looks % 10, touched=3)
    server = scene.server()
    for _ in range(looks):
        server.tick()
    settle(scene.server())
    scene.chain.advance(window(scene))
    server = scene.server()
    for _ in range(looks):
        server.tick()
    settle(scene.server())
    assert status(scene, request_id) is Status.DELIVERED
    mine = [c for c in scene.opml.claims(prover=scene.prover.address) if c.status is ClaimStatus.PENDING]
    assert not mine, "no second claim was bonded"


def test_stopped_while_its_claim_is_under_way_it_does_not_bond_twice(scene: Scene) -> None:
    """Started again it does not see the claim yet: what it sends is the same claim, which the contract refuses."""
    sent: list[bytes] = []
    selector = artifact("Opml").abi.encode_call("claim", bytes(32), b"", bytes(32), 0)[:4]
    request_id = scene.request(5, touched=7)
    for _ in range(2):
        server = scene.server()
        server.errands.send = lambda key, kind, data, *_, **__: bool(sent.append(data))  # type: ignore[method-assign, func-returns-value]
        for _ in range(3):
            server.tick()
    assert len({data for data in sent if data[:4] == selector}) == 1
    assert status(scene, request_id) is Status.OPEN


def test_one_claim_serves_all_who_ask_the_same(scene: Scene) -> None:
    before = len(scene.opml.claims(prover=scene.prover.address))
    ids = [scene.request(8, touched=1) for _ in range(3)]
    server = scene.server()
    settle(server)
    assert sorted(server.accepted) == sorted(ids)
    scene.chain.advance(window(scene))
    settle(server)
    assert {status(scene, request_id) for request_id in ids} == {Status.DELIVERED}
    # Later, the same answer is final at once.
    again = scene.request(8, touched=1)
    settle(scene.server())
    assert status(scene, again) is Status.DELIVERED
    assert len(scene.opml.claims(prover=scene.prover.address)) == before + 1


class Heard:
    """The reasons for which a daemon left requests alone, by request."""

    def __init__(self) -> None:
        self.reasons: dict[bytes, str] = {}
        self.events: list[str] = []

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None:
        self.events.append(event)
        if event == "request-skipped":
            self.reasons[fields["request"]] = fields["reason"]


def skipped(scene: Scene, request_id: bytes, **options: Any) -> str | None:
    heard = Heard()
    settle(scene.server(emit=heard, **options))
    assert status(scene, request_id) is Status.OPEN
    return heard.reasons.get(request_id)


def test_what_does_not_pay_is_left_alone(scene: Scene) -> None:
    dear = {"max_price": PRICE, "min_price": PRICE, "registrant": "0x" + 40 * "0"}
    assert skipped(scene, scene.request(1, **dear), min_profit=PRICE) == "price", "the gas is not free"
    cheap = scene.request(2, max_price=10**9, min_price=1)
    assert skipped(scene, cheap) == "price"
    hungry = scene.request(2, max_price=10**15, min_price=10**15, callback_gas=5_000_000)
    assert skipped(scene, hungry) == "price", "a callback's gas is the deliverer's expense"


def test_a_price_that_rises_is_taken_when_it_pays(scene: Scene) -> None:
    request_id = scene.request(1, PRICE, touched=4, min_price=0)
    assert skipped(scene, request_id, min_profit=PRICE // 4) == "price"
    scene.chain.advance(1000)
    server = scene.server(min_profit=PRICE // 4)
    settle(server)
    assert server.accepted == [request_id]


def test_what_is_nearly_too_late_is_left_alone(scene: Scene) -> None:
    request_id = scene.request(1, deadline=scene.market.now() + 100)
    assert skipped(scene, request_id, margin=101) == "too-late"


def test_a_model_that_it_has_not_is_told_once(scene: Scene) -> None:
    other = scene.model.header.__class__(**{**vars(scene.model.header), "stride": 7, "tiles": 3})
    scene.market.publish(other, "", 0, scene.author)
    posted = scene.infer(1).posted
    terms = scene.terms(model_id=other.model_id)
    request_id, _ = scene.market.request(terms, posted, PRICE, scene.requester)
    heard = Heard()
    server = scene.server(emit=heard)
    settle(server)
    server.tick()
    assert heard.reasons[request_id] == "unknown-model"
    assert heard.events.count("request-skipped") == len(heard.reasons)


def test_an_input_that_is_not_on_chain_is_looked_for(scene: Scene, tmp_path: Path) -> None:
    inference = scene.infer(9, touched=2)
    request_id, _ = scene.market.request_by_root(
        scene.terms(), inference.input_root, "ipfs://scan", PRICE, scene.requester
    )
    assert skipped(scene, request_id) == "no-input"
    heard = Heard()
    settle(scene.server(emit=heard, find_input=lambda request, uri: inference.posted[:-1] + b"\xff"), rounds=400)
    assert "run-failed" in heard.events, "somebody keeps other bytes under that name"
    server = scene.server(find_input=lambda request, uri: inference.posted if uri == "ipfs://scan" else None)
    settle(server)
    assert server.accepted == [request_id]


def test_without_ether_for_the_bond_nothing_is_claimed(scene: Scene) -> None:
    from eth_account import Account

    request_id = scene.request(1, touched=5)
    poor = Account.from_key(b"\x07" * 32)
    scene.chain.transact(scene.owner, poor.address, value=10**17)
    heard = Heard()
    server = scene.server(poor, emit=heard)
    server.tick()
    server.tick()
    assert "poor" in heard.events
    assert status(scene, request_id) is Status.OPEN


def test_two_provers_do_not_pay_for_one_request_twice(scene: Scene) -> None:
    request_id = scene.request(6, touched=2)
    first, second = scene.server(), scene.server(scene.owner)
    settle(first, second)
    assert len(first.accepted) + len(second.accepted) == 1
    scene.chain.advance(window(scene))
    settle(first, second)
    assert status(scene, request_id) is Status.DELIVERED


def test_the_client_refuses_what_is_no_market(scene: Scene) -> None:
    from opml.chain.market import MarketClient

    with pytest.raises(ChainError, match="no market"):
        MarketClient(scene.chain, scene.opml.address)
    with pytest.raises(ChainError, match="no contract"):
        MarketClient(scene.chain, "0x" + "11" * 20)


def test_views_and_refusals_of_the_client(scene: Scene) -> None:
    request_id = scene.request(3)
    view = scene.market.view(request_id)
    assert view is not None
    assert view.request.id_at(scene.chain.chain_id, scene.market.address) == request_id
    assert view == scene.market.requests(requester=scene.requester.address)[-1]
    assert scene.market.requests(requester=scene.liar.address) == []
    assert scene.market.requests(model_id=bytes(32)) == []
    assert scene.market.view(bytes(32)) is None
    assert scene.market.output(request_id) is None
    assert scene.market.royalty(scene.model.model_id, scene.author.address) == ROYALTY
    assert scene.market.royalty(scene.model.model_id, scene.liar.address) is None
    now = scene.market.now()
    assert view.request.price_at(now) == scene.market.contract.read("priceOf", view.request)
    with pytest.raises(RevertError, match="TooEarly"):
        scene.market.refund(view.request, scene.requester)
    scene.chain.advance(3601)
    scene.market.refund(view.request, scene.requester)
    assert scene.market.credit(scene.requester.address) >= PRICE
    before = scene.chain.balance(scene.liar.address)
    scene.market.withdraw(scene.liar.address, scene.requester)
    assert scene.chain.balance(scene.liar.address) >= before + PRICE


def test_a_server_is_a_keeper_that_rests(scene: Scene) -> None:
    server = scene.server()
    assert isinstance(server, Server)
    settle(server)
    server.tick()
    assert server.caught_up()


def test_the_gas_in_the_documentation() -> None:
    scene = Scene()  # where only those have credit who are meant to
    text = (Path(__file__).parents[2] / "docs" / "consumer.md").read_text()
    table = text[text.index("## What it costs") : text.index("## Answering")]
    stated = [int(number) for number in re.findall(r"\| (\d+) \|$", table, re.MULTILINE)]
    for nonce in (1, 2):  # the second time, nobody's credit is new
        inference = scene.infer(3, 10 + nonce)
        terms = scene.terms(min_price=PRICE)
        request_id, requested = scene.market.request(terms, inference.posted, PRICE, scene.requester)
        claim_id, claimed = scene.opml.claim(
            scene.model.model_id, inference.posted, inference.output_root, nonce, scene.prover
        )
        view = scene.market.view(request_id)
        assert view is not None
        claim = scene.opml.claim_terms(claim_id)
        accepted = scene.market.accept(view.request, claim, inference.output, scene.prover)
        scene.chain.advance(window(scene))
        collected = scene.opml.withdraw(scene.prover.address, [claim_id], [], scene.prover)
        delivered = scene.market.deliver(view.request, inference.output, scene.prover)
    withdrawn = scene.market.withdraw(scene.prover.address, scene.prover)
    request_id, _ = scene.market.request(scene.terms(), inference.posted, PRICE, scene.requester)
    scene.chain.advance(3601)
    view = scene.market.view(request_id)
    assert view is not None
    refunded = scene.market.refund(view.request, scene.requester)
    receipts = (requested, claimed, accepted, collected, delivered, withdrawn, refunded)
    assert len(stated) == len(receipts)
    for receipt, thousands in zip(receipts, stated, strict=True):
        assert receipt.gas_used == pytest.approx(1000 * thousands, rel=0.03)
