"""Claim the result of an inference on a chain, and use it once it is final.

python examples/02_claim.py

The chain is embedded in this process; `opml.connect("http://...")` would give another one, and `account` your own key.
"""

from pathlib import Path

import numpy as np

import opml

MODELS = Path(__file__).parent / "models"


def main() -> None:
    model = opml.load(MODELS / "mlp.onnx", window=600, clock=600)
    with np.load(MODELS / "digits.npz") as file:
        claim = model.prove(opml.connect(), image=file["images"][3])
    print(claim)

    # Nobody else is on this chain, so that waiting is nothing but letting its time pass.
    status = claim.settle()
    print(f"after its window the claim is {status.name.lower()}")

    # A consumer who trusts the model's id needs the outputs and the claim, nothing else.
    view = claim.view()
    assert view.status is opml.ClaimStatus.FINAL
    assert view.model_id == model.model_id
    assert view.output_root == model.output_root(claim.outputs)
    print(f"so the digit is a {claim.outputs['logits'].argmax()}")


if __name__ == "__main__":
    main()
