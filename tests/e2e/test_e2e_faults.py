"""A fault at every level of a real model, on a real EVM: the honest party wins, and the money adds up."""

from pathlib import Path

import numpy as np
import pytest

from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_PROVER_BOND, deploy
from opml.chain.embedded import EmbeddedChain
from opml.dispute.driver import withdraw
from opml.dispute.faults import Bluff, with_fault
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.liars import LIARS, Spot
from opml.dispute.player import Player, player, should_challenge
from opml.dispute.trace import ModelTrace
from opml.errors import RevertError
from opml.model import Inference, Model, load
from opml.program import Kind
from opml.prover import register

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
with np.load(EXAMPLES / "digits.npz") as scans:
    DIGIT = scans["images"][7]


class World:
    """The contract on an embedded chain, two parties, and the true inferences of both example models."""

    def __init__(self) -> None:
        self.chain = EmbeddedChain()
        owner, prover, challenger = dev_accounts()[:3]
        self.client = OpmlClient(self.chain, deploy(self.chain, owner).address)
        self.accounts = {Role.PROVER: prover, Role.CHALLENGER: challenger}
        self.nonce = 0
        self.inferences: dict[tuple[str, bool], Inference] = {}

    def inference(self, name: str, one_phase: bool = False) -> Inference:
        key = (name, one_phase)
        if key not in self.inferences:
            model: Model = load(EXAMPLES / f"{name}.onnx", one_phase=one_phase)
            register(self.client, self.accounts[Role.PROVER], model)
            self.inferences[key] = model.infer({"image": DIGIT})
        return self.inferences[key]

    def claim(self, inference: Inference, output_root: bytes) -> bytes:
        self.nonce += 1
        model, account = inference.model, self.accounts[Role.PROVER]
        return self.client.claim(model.model_id, inference.posted, output_root, self.nonce, account)[0]

    def match(self, inference: Inference, lying: Role, claimed: bytes, liar: Player) -> GameView:
        """Claim, challenge, play to the verdict, withdraw: the honest side must gain, and the books must balance."""
        honest = lying.other
        before = {role: self.chain.balance(a.address) for role, a in self.accounts.items()}
        burnt = self.client.burnt()
        claim_id = self.claim(inference, claimed)
        if honest is Role.CHALLENGER:
            assert should_challenge(self.client.claim_view(claim_id), inference.trace, self.client.now())
        game_id, _ = self.client.challenge(claim_id, 0, self.accounts[Role.CHALLENGER])
        players = {lying: liar, honest: player(inference.trace, honest)}
        view = self.play(game_id, players)
        assert view.winner is honest
        claim = self.client.claim_view(claim_id)
        if honest is Role.PROVER:
            self.chain.advance(max(claim.deadline - self.client.now(), 0) + 1)
        withdraw(self.client, self.accounts[honest], claim_id)
        status = self.client.claim_view(claim_id).status
        assert status is (ClaimStatus.FINAL if honest is Role.PROVER else ClaimStatus.REJECTED)
        # Gas costs less than a thousandth of the smallest gain here.
        won = {role: self.chain.balance(a.address) - before[role] for role, a in self.accounts.items()}
        gain = DEFAULT_CHALLENGER_BOND if honest is Role.PROVER else DEFAULT_PROVER_BOND // 2
        loss = DEFAULT_CHALLENGER_BOND if honest is Role.PROVER else DEFAULT_PROVER_BOND
        assert 0.9 * gain < won[honest] <= gain
        assert -1.1 * loss < won[lying] <= -loss
        assert self.client.burnt() - burnt == loss - gain
        assert self.client.balance() == self.client.burnt()
        return view

    def play(self, game_id: bytes, players: dict[Role, Player]) -> GameView:
        """Who has no move that the contract accepts runs out of time."""
        while (view := self.client.game_view(game_id)).winner is None:
            for role, who in players.items():
                move = who(view, self.client.now())
                if move is None:
                    continue
                try:
                    self.client.move(game_id, move, self.accounts[role])
                    break
                except RevertError:
                    assert self.client.game_view(game_id) == view
            else:
                self.chain.advance(view.time_left(self.client.now()) + 1)
        return view


@pytest.fixture(scope="module")
def world() -> World:
    return World()


# name: (kind of tensor, whether the bit is back in its place at the end)
BITS: dict[str, tuple[Kind, bool]] = {
    "a weight": (Kind.CONSTANT, False),
    "a weight that he does not admit": (Kind.CONSTANT, True),
    "the input": (Kind.INPUT, False),
    "an intermediate tensor": (Kind.VALUE, False),
    "the output": (Kind.OUTPUT, False),
}


def flipped(inference: Inference, name: str) -> ModelTrace:
    """A trace with one bit flipped in the largest tensor of the kind: the first bit there that changes the output."""
    kind, hidden = BITS[name]
    tensors = [t for t in inference.model.image.program.tensors.values() if t.kind is kind]
    tensor = max(tensors, key=lambda t: t.type.nbytes)
    for offset in range(3, tensor.type.nbytes, 36):
        faulty = with_fault(inference.trace, tensor.address + offset, 6 if kind is not Kind.INPUT else 0, hidden)
        if faulty.output_root != inference.output_root:
            return faulty
    raise AssertionError("no bit there changes the output")


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("bit", BITS)
def test_one_flipped_bit_is_caught(world: World, bit: str, lying: Role) -> None:
    inference = world.inference("mlp")
    faulty = flipped(inference, bit)
    world.match(inference, lying, (faulty if lying is Role.PROVER else inference).output_root, player(faulty, lying))


@pytest.mark.parametrize("one_phase", [False, True], ids=["two-phase", "one-phase"])
@pytest.mark.parametrize("lying", Role)
def test_a_flipped_bit_defended_to_the_last_instruction(world: World, lying: Role, one_phase: bool) -> None:
    inference = world.inference("mlp", one_phase)
    bluff = Bluff(flipped(inference, "an intermediate tensor"), step=333)
    claimed = bluff.output_root if lying is Role.PROVER else inference.output_root
    view = world.match(inference, lying, claimed, player(bluff, lying))
    assert (view.position, view.length) == (333, 1)


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize(
    "name",
    [
        "register", "memory", "pc", "status", "start-register", "start-tile", "start-memory", "other-tile",
        "one-step-few", "few-steps", "no-steps", "many-steps", "max-steps", "wrong-output", "wrong-once",
    ],
)  # fmt: skip
def test_every_lie_about_the_machine_is_caught(world: World, name: str, lying: Role) -> None:
    inference = world.inference("cnn")
    spot, liar = Spot(tile=500, step=1234), LIARS[name]
    claimed = liar.trace(inference.trace, spot).output_root if lying is Role.PROVER else inference.output_root
    world.match(inference, lying, claimed, liar.player(inference.trace, lying, spot))


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("turn", range(9))
def test_silence_loses_at_every_turn(world: World, turn: int, lying: Role) -> None:
    inference = world.inference("mlp")
    spot, liar = Spot(tile=12, step=77), LIARS[f"silent-{turn}"]
    claimed = liar.trace(inference.trace, spot).output_root if lying is Role.PROVER else inference.output_root
    world.match(inference, lying, claimed, liar.player(inference.trace, lying, spot))


def test_a_true_claim_is_not_challenged_and_becomes_final(world: World) -> None:
    inference = world.inference("cnn")
    claim_id = world.claim(inference, inference.output_root)
    assert not should_challenge(world.client.claim_view(claim_id), inference.trace, world.client.now())
    account = world.accounts[Role.PROVER]
    with pytest.raises(RevertError, match="WindowOpen"):
        world.client.finalise(claim_id, account)
    world.chain.advance(inference.model.header.window + 1)
    world.client.finalise(claim_id, account)
    withdraw(world.client, account, claim_id)
    assert world.client.claim_view(claim_id).status is ClaimStatus.FINAL
    assert world.client.balance() == world.client.burnt()


def test_who_challenges_a_true_claim_without_another_result_loses(world: World) -> None:
    """He follows the very same trace: there is nothing to point at, and the last step is the prover's."""
    inference = world.inference("mlp")
    world.match(inference, Role.CHALLENGER, inference.output_root, player(inference.trace, Role.CHALLENGER))
