"""Claim the result of an inference on a chain, and use it once it is final.

python examples/02_claim.py

The chain is embedded in this process; `connect("http://...")` would give another one, and `load_account` your own key.
"""

from pathlib import Path

import numpy as np

import opml
from opml.chain import OpmlClient, connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.dispute.game import ClaimStatus
from opml.prover import defend_claim, post_claim

MODELS = Path(__file__).parent / "models"


def main() -> None:
    chain = connect()
    client = OpmlClient(chain, ensure_dev_contract(chain))
    prover = dev_accounts()[0]

    model = opml.load(MODELS / "mlp.onnx", window=600, clock=600)
    with np.load(MODELS / "digits.npz") as file:
        inference = model.infer({"image": file["images"][3]})
    posted = post_claim(client, prover, inference)
    print(f"claim 0x{posted.claim_id.hex()}: output root 0x{inference.output_root.hex()}")

    # Nobody else is on this chain, so that waiting is nothing but letting its time pass.
    status = defend_claim(client, prover, posted.claim_id, model, poll=60, sleep=lambda time: chain.advance(int(time)))
    print(f"after its window the claim is {status.name.lower()}")

    # A consumer who trusts the model's id needs the outputs' bytes and the claim, nothing else.
    claim = client.claim_view(posted.claim_id)
    assert claim.status is ClaimStatus.FINAL
    assert claim.model_id == model.model_id
    assert claim.output_root == inference.output_root
    print(f"so the digit is a {inference.outputs['logits'].argmax()}")


if __name__ == "__main__":
    main()
