"""The requests that are kept, event by event: as the contract has them, whatever the chain takes back."""

from collections.abc import Callable
from typing import Any

import pytest
from market_scene import ETHER, PRICE, Scene, settle

from opml.chain.market import Status
from opml.requestbook import RequestBook
from opml.serving import Server


@pytest.fixture
def scene() -> Scene:
    return Scene()


def book(scene: Scene) -> RequestBook:
    return RequestBook(scene.market, scene.prover.address)


def head(scene: Scene) -> int:
    return scene.chain.block_number()


def test_it_says_what_the_contract_says(scene: Scene) -> None:
    kept = book(scene)
    ids = [scene.request(3, touched=n) for n in range(3)]
    assert kept.advance(head(scene))
    assert list(kept.entries) == ids
    view = scene.market.view(ids[0])
    assert view is not None
    assert kept.entries[ids[0]].request == view.request
    assert kept.entries[ids[0]].input == view.input
    settle(scene.server())
    kept.advance(head(scene))
    for request_id in ids:
        state = scene.market.state(request_id)
        entry = kept.entries[request_id]
        assert (entry.status, entry.claim_id) == (state["status"], state["claimId"])
        assert (entry.status, entry.prover) == (Status.ACCEPTED, scene.prover.address)
    scene.chain.advance(601)
    settle(scene.server())
    kept.paid = False
    kept.advance(head(scene))
    assert not kept.entries
    assert kept.paid
    assert not kept.advance(head(scene)), "nothing new"


def test_what_was_dropped_comes_back_if_we_have_accepted_it(scene: Scene) -> None:
    kept, request_id = book(scene), scene.request(3)
    kept.advance(head(scene))
    kept.drop(request_id)
    settle(scene.server())
    kept.advance(head(scene))
    assert kept.entries[request_id].status is Status.ACCEPTED
    assert kept.entries[request_id].input is not None
    stranger = RequestBook(scene.market, scene.liar.address)
    stranger.advance(head(scene))
    stranger.drop(request_id)
    stranger.advance(head(scene))
    assert not stranger.entries


def taken_back(scene: Scene, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """From now on the chain ends with `block`, with another one of that number if it is the newest."""
    inner: Callable[..., Any] = scene.chain.request

    def request(method: str, *words: Any) -> Any:
        found = inner(method, *words)
        if method == "eth_getLogs":
            return [log for log in found if int(log["blockNumber"], 16) <= block]
        if method == "eth_getBlockByNumber" and int(found["number"], 16) > block:
            return found | {"hash": "0x" + 64 * "9"}
        return found

    monkeypatch.setattr(scene.chain, "request", request)


@pytest.mark.parametrize("shorter", [True, False])
def test_what_the_chain_takes_back_is_undone(scene: Scene, monkeypatch: pytest.MonkeyPatch, shorter: bool) -> None:
    kept, request_id = book(scene), scene.request(3)
    block = head(scene)
    settle(scene.server())
    scene.request(4)
    for number in (block, head(scene)):
        kept.advance(number)
    assert len(kept.entries) == 2
    taken_back(scene, monkeypatch, block)
    kept.advance(block if shorter else head(scene))
    assert list(kept.entries) == [request_id]
    assert kept.entries[request_id].status is Status.OPEN
    monkeypatch.undo()
    kept.advance(head(scene))
    assert len(kept.entries) == 2
    assert kept.entries[request_id].status is Status.ACCEPTED


def test_long_histories_are_read_in_pieces(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [scene.request(3, touched=n) for n in range(7)]
    monkeypatch.setattr("opml.requestbook.SPAN", 3)
    kept, rounds = book(scene), 0
    while kept.behind(head(scene)):
        kept.advance(head(scene))
        rounds += 1
    assert rounds > 3
    assert list(kept.entries) == ids


def test_no_more_is_kept_than_so_much(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many requests those stay that pay best within a day; what a rich deadline promises later is nothing."""
    late = scene.market.now() + 1000 * 24 * 3600
    for n in range(4):
        scene.request(3, 10 * ETHER, touched=n, min_price=PRICE // 100, deadline=late)
    good = [scene.request(3, PRICE, touched=10 + n) for n in range(3)]
    monkeypatch.setattr("opml.serving.MOST_REQUESTS", 3)
    server: Server = scene.server(min_profit=ETHER)
    server.tick()
    assert len(server.book.entries) <= 3
    kept = book(scene)
    kept.advance(head(scene))
    now = scene.market.now()
    dropped = kept.drop_least(lambda _, entry: entry.request.price_at(now + 3600), 3, 1 << 30)
    assert list(kept.entries) == good
    assert len(dropped) == 4
    kept.drop_least(lambda _, entry: entry.request.max_price, 3, 5_000)
    assert len(kept.entries) == 2
