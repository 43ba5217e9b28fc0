"""A bit wrong in a random tile of a whole program: who goes on from there and lies loses, on either side."""

from pathlib import Path

import numpy as np
import pytest

import opml
from opml.demo import Arena, random_lie
from opml.dispute.faults import with_fault
from opml.dispute.game import ClaimStatus, Role
from vm.constants import LEAF_BYTES

MODELS = Path(__file__).parents[2] / "examples" / "models"


@pytest.fixture(scope="module")
def model() -> opml.Model:
    return opml.load(MODELS / "cnn.onnx")


@pytest.fixture(scope="module")
def image() -> dict[str, np.ndarray]:
    with np.load(MODELS / "digits.npz") as file:
        return {"image": file["images"][7]}


@pytest.mark.parametrize("liar", [Role.PROVER, Role.CHALLENGER])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_liar_loses(model: opml.Model, image: dict[str, np.ndarray], liar: Role, seed: int) -> None:
    scene = Arena(k=16).dispute(model, image, liar, seed, random_lie)
    assert scene.winner is liar.other
    assert scene.status is (ClaimStatus.REJECTED if liar is Role.PROVER else ClaimStatus.FINAL)


@pytest.mark.parametrize("seed", range(4))
def test_native_kernels_go_on_as_the_machine_would(model: opml.Model, image: dict[str, np.ndarray], seed: int) -> None:
    inference = model.infer(image, keep_tensors=True)
    faulty = random_lie(inference, seed)
    truth, program = inference.trace, model.image.program
    # The first root that differs is that after the tile with the flipped bit.
    low, high = 0, program.tiles
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if faulty.tile_root(middle) == truth.tile_root(middle) else (low, middle)
    node = next(node for node in program.nodes if low < node.first_tile + node.tiles)
    start = (low - node.first_tile) * LEAF_BYTES
    tensors = inference.tensors[node.output]
    base = program.tensors[node.output].address
    roots = {
        with_fault(truth, base + offset, bit).output_root
        for offset in range(start + 3, min(start + LEAF_BYTES, len(tensors)), 4)
        for bit in range(8)
    }
    assert faulty.output_root in roots
    assert faulty.output_root != truth.output_root
