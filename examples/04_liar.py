"""A prover who lies, so that an operator sees his watcher win and his alerts fire. On a devnet: its key is everybody's.

opml devnet
opml watch --models examples/models --rpc http://127.0.0.1:8545        # with another key: OPML_KEY as the devnet prints
python examples/04_liar.py --rpc http://127.0.0.1:8545
"""

import argparse
from pathlib import Path

import numpy as np

import opml
from opml.chain import OpmlClient, connect, dev_contract
from opml.chain.accounts import dev_accounts
from opml.demo import lie
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import player
from opml.prover import defend_claim, register

MODEL = Path(__file__).parent / "models" / "cnn.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description="Post a false claim on a devnet, and defend it to the end.")
    parser.add_argument("--rpc", required=True, metavar="URL", help="the node, for example `opml devnet`")
    parser.add_argument("--contract", metavar="ADDRESS[@BLOCK]", help="found by itself on a devnet")
    parser.add_argument("--model", type=Path, default=MODEL, help="one that the watcher has; cnn.onnx by default")
    given = parser.parse_args()

    chain = connect(given.rpc)
    address, _, block = (given.contract or dev_contract(chain) or "").partition("@")
    if not address:
        parser.error("there is no contract where a devnet has it: name it with --contract")
    client = OpmlClient(chain, address, int(block or 0))
    # Not one of those that the devnet prints: a watcher says nothing of claims of its own account.
    liar = dev_accounts()[5]

    model = opml.load(given.model)
    chance = np.random.default_rng()
    scans = {name: chance.integers(0, 17, kind.shape).astype(kind.dtype.numpy) for name, kind in model.inputs.items()}
    inference = model.infer(scans)
    bluff = lie(inference, seed=int(chance.integers(2**32)))

    register(client, liar, model)
    claim_id, _ = client.claim(model.model_id, inference.posted, bluff.output_root, chain.nonce(liar.address), liar)
    print(f"claimed: 0x{claim_id.hex()}\n  output root 0x{bluff.output_root.hex()}", flush=True)
    print(f"    in truth: 0x{inference.output_root.hex()}\nwaiting for a challenger", flush=True)

    def show(view: GameView, move: Move) -> None:
        print(f"  {view.phase.name.lower():11} {view.position:6} + {view.length:6}  {move.method}", flush=True)

    status = defend_claim(client, liar, claim_id, model, who=player(bluff, Role.PROVER), progress=show, poll=0.2)
    if status is ClaimStatus.FINAL:
        raise SystemExit("nobody has challenged it in time: the false claim is final. Look at your watcher")
    print("the watcher wins, the claim is rejected")


if __name__ == "__main__":
    main()
