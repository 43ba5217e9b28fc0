"""The whole protocol on every chain: claims, games to each verdict, silence, and the money, over JSON-RPC or not."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from dispute_tiny import INPUTS, tiny_trace

from opml.chain import Chain, OpmlClient, deploy
from opml.chain.accounts import dev_accounts
from opml.chain.records import TRANSACTION_GAS
from opml.dispute.driver import withdraw
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.liars import LIARS, Spot
from opml.dispute.player import Player, player, should_challenge
from opml.dispute.trace import Trace
from opml.errors import RevertError
from opml.model import load

K = 4
SPOT = Spot(4, 9)
EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
PHASES = pytest.mark.parametrize("one_phase", [False, True], ids=["two-phase", "one-phase"])


@dataclass
class World:
    """A deployment, its two parties, and what their transactions used of gas."""

    chain: Chain
    client: OpmlClient
    nonces: Iterator[int] = field(default_factory=count)

    @property
    def accounts(self) -> dict[Role, object]:
        return dict(zip(Role, dev_accounts()[1:3], strict=True))

    def claim(self, trace: Trace, data: bytes) -> bytes:
        prover = dev_accounts()[1]
        self.client.register_model(trace.header, "", prover)
        return self.client.claim(trace.header.model_id, data, trace.output_root, next(self.nonces), prover)[0]

    def match(self, traces: dict[Role, Trace], data: bytes, silent: Role | None = None) -> tuple[bytes, GameView]:
        """A claim, a challenge and a game to its verdict. Who is silent, or has no move, runs out of time."""
        claim_id = self.claim(traces[Role.PROVER], data)
        game_id, _ = self.client.challenge(claim_id, 0, dev_accounts()[2])
        players: dict[Role, Player] = {role: player(trace, role) for role, trace in traces.items()}
        while (view := self.client.game_view(game_id)).winner is None:
            moves = {role: who(view, self.client.now()) for role, who in players.items() if role is not silent}
            role, move = next(((role, move) for role, move in moves.items() if move is not None), (None, None))
            if role is None or move is None:
                self.chain.advance(max(1, view.time_left(self.client.now()) + 1))
                continue
            receipt = self.client.move(game_id, move, self.accounts[role])
            assert receipt.gas_used < TRANSACTION_GAS
        return claim_id, view

    def settle(self, claim_id: bytes, winner: Role) -> int:
        """The winner collects; returns what that brings, without gas."""
        account = self.accounts[winner]
        claim = self.client.claim_view(claim_id)
        if claim.status is ClaimStatus.PENDING:
            self.chain.advance(max(claim.deadline - self.client.now(), 0) + 1)
        before = self.client.balance()
        withdraw(self.client, account, claim_id)
        return before - self.client.balance()


@pytest.fixture(scope="module")
def world(chain: Chain) -> World:
    return World(chain, OpmlClient(chain, deploy(chain, dev_accounts()[0], k=K).address))


def traces(liar: Role, one_phase: bool) -> dict[Role, Trace]:
    honest = tiny_trace(one_phase)
    spot = replace(SPOT, tile=0) if one_phase else SPOT
    return {liar: LIARS["register"].trace(tiny_trace(one_phase), spot), liar.other: honest}


def test_a_right_claim_becomes_final(world: World) -> None:
    trace = tiny_trace()
    claim_id = world.claim(trace, INPUTS.tobytes())
    assert not should_challenge(world.client.claim_view(claim_id), trace, world.client.now())
    with pytest.raises(RevertError, match="WindowOpen"):
        world.client.finalise(claim_id, dev_accounts()[1])
    assert world.settle(claim_id, Role.PROVER) == world.client.prover_bond
    assert world.client.claim_view(claim_id).status is ClaimStatus.FINAL


@PHASES
@pytest.mark.parametrize("liar", Role)
def test_who_lies_loses(world: World, liar: Role, one_phase: bool) -> None:
    claim_id, view = world.match(traces(liar, one_phase), INPUTS.tobytes())
    assert view.winner is liar.other
    gain = world.settle(claim_id, liar.other)
    bonds = world.client.prover_bond, world.client.challenger_bond
    assert gain == (bonds[0] // 2 + bonds[1] if liar is Role.PROVER else bonds[0] + bonds[1])
    status = world.client.claim_view(claim_id).status
    assert status is (ClaimStatus.REJECTED if liar is Role.PROVER else ClaimStatus.FINAL)


@PHASES
@pytest.mark.parametrize("silent", Role)
def test_who_is_silent_loses(world: World, silent: Role, one_phase: bool) -> None:
    claim_id, view = world.match(traces(silent, one_phase), INPUTS.tobytes(), silent)
    assert view.winner is silent.other
    assert world.settle(claim_id, silent.other) > 0


@pytest.mark.parametrize("lying", Role)
def test_a_real_network(world: World, lying: Role) -> None:
    """A bluff about one instruction of the example network, defended to the last."""
    with np.load(EXAMPLES / "digits.npz") as scans:
        inference = load(EXAMPLES / "mlp.onnx").infer({"image": scans["images"][7]})
    spot = Spot(tile=12, step=77)
    false = LIARS["register"].trace(inference.trace, spot)
    claim_id, view = world.match({lying: false, lying.other: inference.trace}, inference.posted)
    assert view.winner is lying.other
    assert world.settle(claim_id, lying.other) > 0


def test_refusals_have_their_names(world: World) -> None:
    with pytest.raises(RevertError) as caught:
        world.client.finalise(bytes(32), dev_accounts()[1])
    assert caught.value.reason == "UnknownClaim"
    claim_id = world.claim(tiny_trace(), INPUTS.tobytes())
    world.client.challenge(claim_id, 7, dev_accounts()[2])
    with pytest.raises(RevertError) as caught:
        world.client.challenge(claim_id, 7, dev_accounts()[2])
    assert caught.value.reason == "GameExists"
