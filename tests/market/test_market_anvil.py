"""The market on somebody else's node: anvil, as a process of its own, over JSON-RPC."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from market_scene import Scene, settle
from test_market_serving import lie, status, window

from opml.chain import Chain, connect
from opml.chain.market import Status
from opml.dispute.game import ClaimStatus


@pytest.fixture
def chain(anvil: str) -> Iterator[Chain]:
    # EIP-7825's limit of a transaction's gas is part of osaka.
    process = subprocess.Popen([anvil, "--port", "0", "--hardfork", "osaka"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        place = next(found for line in process.stdout if (found := re.search(r"Listening on (\S+)", line)))
        with connect(f"http://{place[1]}") as chain:
            yield chain
    finally:
        process.kill()
        process.communicate()


def test_a_liar_is_caught_and_the_honest_prover_paid(chain: Chain) -> None:
    scene = Scene(chain=chain)
    request_id = scene.request(7, callback_gas=100_000, optimistic=True)
    claim_id = lie(scene, request_id)
    server, watcher = scene.server(), scene.watch()
    settle(server, watcher)
    chain.advance(scene.model.header.clock + 1)
    settle(server, watcher)
    assert scene.opml.claim_view(claim_id).status is ClaimStatus.REJECTED
    assert server.accepted == [request_id]
    chain.advance(window(scene))
    settle(server, watcher)
    assert status(scene, request_id) is Status.DELIVERED
    assert scene.market.output(request_id) == scene.infer(7).output
    assert scene.market.called(request_id), "the gas that the node estimates is enough for the call"
    assert scene.market.earned(scene.prover.address) > 0
