"""Load an ONNX model and run it: numpy arrays in, numpy arrays out.

python examples/01_run.py
"""

from pathlib import Path

import numpy as np

import opml

MODELS = Path(__file__).parent / "models"


def main() -> None:
    model = opml.load(MODELS / "cnn.onnx")
    print(model)
    with np.load(MODELS / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    for image, label in zip(images, labels, strict=True):
        logits = model.run({"image": image})["logits"]
        print(f"a {label} looks like a {logits.argmax()} (logit {logits.max():.2f})")


if __name__ == "__main__":
    main()
