"""The prover's daemon among people who want its bonds: what it does not bond on, and what does not cost it anything."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from market_scene import PRICE, Scene, settle
from test_market_serving import Heard, status, window

from opml.chain.market import Status
from opml.dispute.game import ClaimStatus
from opml.dispute.moves import Timeout
from opml.staking import DEARER, DEFENCE_GAS, ServeLimits
from opml.watch.terms import TermsPolicy
from vm.merkle import subtree_root

NOBODY = "0x" + 40 * "0"


@pytest.fixture(scope="module")
def shared() -> Scene:
    return Scene()


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.chain.advance(10_000)
    return shared


def bonds(scene: Scene) -> int:
    return len(scene.opml.claims(prover=scene.prover.address))


def ask_variant(scene: Scene, touched: int, **terms: int) -> bytes:
    """A request of the liar's for the model of the server's, with other terms."""
    variant = replace(scene.model.header, **terms)
    scene.opml.register_model(variant, "", scene.liar)
    wanted = scene.terms(model_id=variant.model_id, registrant=NOBODY)
    return scene.market.request(wanted, scene.infer(3, touched).posted, PRICE, scene.liar)[0]


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"clock": 1}, "clock"),
        ({"clock": 599}, "clock"),
        ({"clock": 3600, "window": 2**32 - 1}, "window"),
        ({"clock": 3600, "window": 1}, "window"),
    ],
)
def test_no_bond_on_a_hostile_variant(scene: Scene, terms: dict[str, int], reason: str) -> None:
    before, request_id, heard = bonds(scene), ask_variant(scene, 20, **terms), Heard()
    server = scene.server(emit=heard)
    settle(server)
    assert heard.reasons[request_id] == reason
    assert bonds(scene) == before
    assert status(scene, request_id) is Status.OPEN
    assert request_id not in server.book.entries, "it costs nothing any more"


def test_a_sane_variant_and_one_that_the_operator_allows_are_served(scene: Scene) -> None:
    sane = ask_variant(scene, 21, clock=3600, window=700)
    settle(scene.server())
    assert status(scene, sane) is Status.ACCEPTED
    short = ask_variant(scene, 21, clock=100, window=50)
    settle(scene.server(terms=TermsPolicy(min_clock=100, min_window=50)))
    assert status(scene, short) is Status.ACCEPTED


def test_no_bond_where_the_computer_is_too_slow_for_the_clock(scene: Scene) -> None:
    request_id, heard = scene.request(4, touched=22), Heard()
    server = scene.server(emit=heard)
    inner = server.take

    def take(answer: Any) -> None:
        inner(replace(answer, run_seconds=200.0, hash_seconds=200.0))

    server.take = take  # type: ignore[method-assign]
    settle(server)
    assert heard.reasons[request_id] == "clock-short"
    assert status(scene, request_id) is Status.OPEN


def test_no_more_bonds_than_can_be_run_again_within_the_clock(scene: Scene) -> None:
    ids, server = [scene.request(4, touched=n) for n in range(30, 34)], scene.server()
    inner = server.take

    def take(answer: Any) -> None:
        inner(replace(answer, run_seconds=50.0, hash_seconds=30.0))

    server.take = take  # type: ignore[method-assign]
    settle(server)
    # 2 x (80 for each claim, and 80 for a run just begun, and the moves) <= 600
    assert 1 <= sum(status(scene, request_id) is Status.ACCEPTED for request_id in ids) <= 2
    scene.chain.advance(window(scene))
    settle(server)
    assert sum(status(scene, request_id) is Status.DELIVERED for request_id in ids) >= 1


def test_the_stake_has_a_limit() -> None:
    scene = Scene()
    bond = scene.opml.prover_bond
    ids, heard = [scene.request(5, touched=n) for n in range(40, 43)], Heard()
    server = scene.server(emit=heard, limits=ServeLimits(stake=2 * bond))
    settle(server)
    assert sum(status(scene, request_id) is Status.ACCEPTED for request_id in ids) == 2
    assert "limit-reached" in heard.events
    assert [heard.reasons[one] for one in ids if one in heard.reasons] == ["max-stake"]
    scene.chain.advance(window(scene))
    settle(server)
    server.tick()
    settle(server)
    assert status(scene, ids[2]) is Status.ACCEPTED, "two bonds are free again"


def test_gas_for_the_defence_stays_in_the_account() -> None:
    scene = Scene()
    chain, bond = scene.chain, scene.opml.prover_bond
    # Two bonds and some; the third is rounded up by a donor, with the gas of claiming and accepting.
    chain.transact(
        scene.prover, scene.owner.address, b"", chain.balance(scene.prover.address) - 2 * bond - 9 * bond // 10
    )
    server = scene.server()
    for touched in (50, 51):
        scene.request(6, touched=touched)
    settle(server)
    assert bonds(scene) == 2
    price = int(chain.request("eth_gasPrice"), 16)
    missing = bond - chain.balance(scene.prover.address)
    chain.transact(scene.liar, scene.prover.address, b"", missing + 300_000 * price)
    third, heard = scene.request(6, touched=52), Heard()
    server.emit = heard
    settle(server)
    assert bonds(scene) == 2
    assert heard.events.count("poor") == 1
    assert heard.reasons == {third: "balance"}
    chain.transact(scene.liar, scene.prover.address, b"", 4 * DEFENCE_GAS * DEARER * price)
    server.tick()
    settle(server)
    assert bonds(scene) == 3


def lose(scene: Scene, request_id: bytes) -> None:
    """The server is away for a game's clock."""
    game_id, _ = scene.opml.challenge(scene.market.state(request_id)["claimId"], 0, scene.liar)
    scene.chain.advance(scene.model.header.clock + 1)
    scene.opml.move(game_id, Timeout(), scene.liar)


def test_after_a_loss_nothing_is_bonded_on_the_same_run_and_the_limit_ends_it() -> None:
    scene = Scene()
    bond = scene.opml.prover_bond
    request_id = scene.request(7, touched=60)
    settle(scene.server())
    lose(scene, request_id)
    careful, other = Heard(), scene.request(7, touched=61)
    server = scene.server(emit=careful)
    settle(server)
    assert careful.reasons == {request_id: "lost-before", other: "max-loss"}
    assert bonds(scene) == 1
    bold = Heard()
    settle(scene.server(emit=bold, limits=ServeLimits(loss=2 * bond)))
    assert bold.reasons == {request_id: "lost-before"}
    assert status(scene, other) is Status.ACCEPTED
    assert bonds(scene) == 2
    scene.chain.advance(window(scene))
    settle(server)
    assert status(scene, other) is Status.DELIVERED, "what it has accepted is delivered, whatever was lost"


@pytest.mark.parametrize("final", [True, False])
def test_no_bond_for_who_has_the_same_claim_already(scene: Scene, final: bool) -> None:
    inference, before = scene.infer(8, touched=70 + final), bonds(scene)
    claim_id, _ = scene.opml.claim(scene.model.model_id, inference.posted, inference.output_root, 1, scene.liar)
    if final:
        scene.chain.advance(window(scene))
        scene.opml.withdraw(scene.liar.address, [claim_id], [], scene.liar)
    request_id, heard = scene.request(8, touched=70 + final), Heard()
    server = scene.server(emit=heard)
    settle(server)
    assert heard.reasons[request_id] == "claimed"
    view = scene.market.view(request_id)
    assert view is not None
    scene.market.accept(view.request, scene.opml.claim_terms(claim_id), inference.output, scene.liar)
    settle(server)
    assert bonds(scene) == before


def test_who_has_claimed_something_else_keeps_nobody_from_answering(scene: Scene) -> None:
    inference = scene.infer(9, touched=80)
    scene.opml.claim(scene.model.model_id, inference.posted, bytes(32), 1, scene.liar)
    request_id = scene.request(9, touched=80)
    settle(scene.server())
    assert status(scene, request_id) is Status.ACCEPTED


def test_a_race_that_was_lost_costs_one_bond(scene: Scene) -> None:
    """Somebody accepts with a false claim after we have bonded; when it is rejected, ours answers, without another."""
    request_id, before, server = scene.request(2, touched=90), bonds(scene), scene.server()
    while bonds(scene) == before:
        server.tick()
    view = scene.market.view(request_id)
    assert view is not None
    assert view.input is not None
    false = np.zeros((1, 10), np.float32).tobytes()
    root = subtree_root(false, scene.model.header.output_level)
    claim_id, _ = scene.opml.claim(scene.model.model_id, view.input, root, 5, scene.liar)
    scene.market.accept(view.request, scene.opml.claim_terms(claim_id), false, scene.liar)
    watcher = scene.watch()
    settle(server, watcher)
    scene.chain.advance(scene.model.header.clock + 1)
    settle(watcher)
    assert scene.opml.claim_view(claim_id).status is ClaimStatus.REJECTED
    settle(server, watcher)
    assert status(scene, request_id) is Status.DELIVERED, "with the claim that is final by now"
    assert bonds(scene) == before + 1


def test_requests_that_never_pay_cost_no_calls(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    server, asked = scene.server(), []
    settle(server)
    for n in range(20):
        terms = scene.terms(registrant=NOBODY, min_price=0, deadline=2**40 - 1)
        scene.market.request_by_root(terms, bytes([n]) * 32, "", 0, scene.liar)
    settle(server)
    assert not server.book.entries
    inner = scene.chain.request
    monkeypatch.setattr(scene.chain, "request", lambda *a: asked.append(a[0]) or inner(*a))
    server.tick()
    assert "eth_call" not in asked
    assert "eth_getLogs" not in asked


def test_games_come_before_the_market(scene: Scene) -> None:
    """A market that cannot be read keeps no game from being played."""
    request_id, server = scene.request(1, touched=95), scene.server()
    settle(server)
    game_id, _ = scene.opml.challenge(scene.market.state(request_id)["claimId"], 0, scene.liar)

    def fails(head: int) -> bool:
        raise RuntimeError("the market's events")

    server.book.advance = fails  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(RuntimeError):
            server.tick()
    turn = scene.opml.game_view(game_id).turn
    assert turn is not None
    assert turn.value == "challenger", "it has opened"
