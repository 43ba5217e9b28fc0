"""Train the example models on scikit-learn's handwritten digits and export them to ONNX.

Writes `mlp.onnx`, `cnn.onnx` and `digits.npz` beside this file. PyTorch is needed here and nowhere else:

    python -m pip install torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 scikit-learn==1.9.1 onnxruntime==1.32.0
    python examples/models/train.py

Seeds are fixed, but PyTorch promises the same bits only for the same version on the same kind of CPU: a new run
gives models of the same accuracy, and perhaps other weights. The committed files are the reference.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

HERE = Path(__file__).parent
SEED = 7
TEST_IMAGES = 360
EPOCHS = 120
BATCH = 64


class Mlp(nn.Module):
    """64-128-64-10 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image.float() / 16.0)


class Cnn(nn.Module):
    """LeNet's shape at 8x8. As in LeNet-5, the second convolution sees only a part of the first one's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 40, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(40, 64, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image.float() / 16.0))


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by -1, 0 or 1 pixels up and sideways; what comes in is background."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2), generator=generator)
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, moves.tolist(), strict=True)])


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Adam with a cosine schedule; one image in two is shifted by up to a pixel."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            x = images[batch]
            half = len(x) // 2
            x = torch.cat([x[:half], shifted(x[half:], generator)])
            loss = nn.functional.cross_entropy(model(x), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    model.eval()


def export(model: nn.Module, path: Path, dynamo: bool) -> None:
    """Batch 1, `image` uint8 [1, 1, 8, 8] with values 0..16 to `logits` float32 [1, 10].

    Both of PyTorch's exporters are used, one for each model. What they note about the source files is dropped.
    """
    image = torch.zeros((1, 1, 8, 8), dtype=torch.uint8)
    torch.onnx.export(
        model, (image,), str(path), input_names=["image"], output_names=["logits"],
        opset_version=18 if dynamo else 17, dynamo=dynamo, external_data=False,
    )  # fmt: skip
    proto = onnx.load(path)
    proto.doc_string = ""
    for holder in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer,
                   *proto.graph.input, *proto.graph.output):  # fmt: skip
        del holder.metadata_props[:]
        holder.doc_string = ""
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit in ONNX Runtime is the label's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [int(session.run(None, {"image": image[None]})[0].argmax()) for image in images]
    return float(np.mean(found == labels))


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]
    labels = digits.target
    train_index, test_index = train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, random_state=SEED, stratify=labels
    )
    test_index = np.sort(test_index)

    first_of_each = [int(test_index[np.flatnonzero(labels[test_index] == digit)[0]]) for digit in range(10)]
    np.savez_compressed(
        HERE / "digits.npz",
        images=images[first_of_each][:, None],
        labels=labels[first_of_each].astype(np.int64),
        test_index=test_index.astype(np.int64),
    )
    for name, model, dynamo in (("mlp", Mlp(), False), ("cnn", Cnn(), True)):
        train(model, torch.from_numpy(images[train_index]), torch.from_numpy(labels[train_index]))
        path = HERE / f"{name}.onnx"
        export(model, path, dynamo)
        parameters = sum(p.numel() for p in model.parameters())
        held_out = accuracy(path, images[test_index], labels[test_index])
        everything = accuracy(path, images, labels)
        print(f"{name}: {parameters} parameters, {path.stat().st_size} bytes, "
              f"accuracy held out {held_out:.4f}, all {everything:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
