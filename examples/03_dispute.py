"""A prover whose computer has flipped one bit of a weight, and a challenger who takes its bond.

python examples/03_dispute.py
"""

from pathlib import Path

import numpy as np

import opml
from opml.chain import OpmlClient, connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.challenger import challenge_claim
from opml.dispute.driver import turn
from opml.dispute.faults import Bluff, with_fault
from opml.dispute.game import GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import player
from opml.prover import register

MODELS = Path(__file__).parent / "models"


def main() -> None:
    chain = connect()
    client = OpmlClient(chain, ensure_dev_contract(chain))
    prover, challenger = dev_accounts()[:2]

    model = opml.load(MODELS / "cnn.onnx")
    with np.load(MODELS / "digits.npz") as file:
        inference = model.infer({"image": file["images"][7]})

    program = model.image.program
    convolution = next(node for node in program.nodes if node.op == "conv")
    weight = program.tensors[convolution.inputs[1]]
    faulty = Bluff(with_fault(inference.trace, weight.address + 3, bit=6, hidden=True), step=1000)

    register(client, prover, model)
    claim_id, _ = client.claim(model.model_id, inference.posted, faulty.output_root, 0, prover)
    print(f"claimed: output root 0x{faulty.output_root.hex()}")
    print(f"  truth: output root 0x{inference.output_root.hex()}")

    def show(view: GameView, move: Move) -> None:
        print(f"  {view.phase.name.lower():11} {view.position:6} + {view.length:6}  {move.method}")

    # Both sides play in this process: while the challenger waits, it is the prover's turn.
    def prover_moves(_: float) -> None:
        (game_id,) = client.claim_games(claim_id)
        turn(client, prover, game_id, player(faulty, Role.PROVER), show)

    verdict = challenge_claim(client, challenger, claim_id, model, progress=show, sleep=prover_moves)
    assert verdict.winner is Role.CHALLENGER
    print(f"the {verdict.winner.value} wins, the claim is {verdict.status.name.lower()}")


if __name__ == "__main__":
    main()
