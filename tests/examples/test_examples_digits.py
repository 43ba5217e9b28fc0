"""The example models on all 1,797 scans: opml's answers are ONNX Runtime's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.datasets import load_digits

from opml.compiler import compile_onnx
from opml.engine import Engine
from opml.errors import InputError
from opml.image import Image

MODELS = Path(__file__).parents[2] / "examples" / "models"
NAMES = ("mlp", "cnn")
HELD_OUT_CORRECT = {"mlp": 357, "cnn": 359}
CORRECT = {"mlp": 1794, "cnn": 1796}
# Of the largest logit; ONNX Runtime adds in another order.
TOLERANCE = 1e-5

Logits = NDArray[np.float32]


@pytest.fixture(scope="module")
def scans() -> NDArray[np.uint8]:
    return load_digits().images.astype(np.uint8)[:, None, None]


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return load_digits().target


@pytest.fixture(scope="module")
def samples() -> dict[str, NDArray[np.generic]]:
    with np.load(MODELS / "digits.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    return {name: compile_onnx(MODELS / f"{name}.onnx") for name in NAMES}


@pytest.fixture(scope="module")
def opml_logits(images: dict[str, Image], scans: NDArray[np.uint8]) -> Callable[[str], Logits]:
    known: dict[str, Logits] = {}

    def logits(name: str) -> Logits:
        if name not in known:
            engine = Engine(images[name].program, threads=1)
            known[name] = np.concatenate([engine.run({"image": scan})["logits"] for scan in scans])
        return known[name]

    return logits


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_onnxruntime(
    name: str,
    opml_logits: Callable[[str], Logits],
    scans: NDArray[np.uint8],
    labels: NDArray[np.int64],
    samples: dict[str, NDArray[np.generic]],
    record_property: Callable[[str, object], None],
) -> None:
    session = onnxruntime.InferenceSession(MODELS / f"{name}.onnx", providers=["CPUExecutionProvider"])
    reference = np.concatenate([session.run(["logits"], {"image": scan})[0] for scan in scans])
    found = opml_logits(name)

    answers = found.argmax(axis=1)
    assert np.array_equal(answers, reference.argmax(axis=1))
    assert np.count_nonzero(answers == labels) == CORRECT[name]
    held_out = samples["test_index"]
    assert np.count_nonzero(answers[held_out] == labels[held_out]) == HELD_OUT_CORRECT[name]

    difference = float((np.abs(found - reference).max(axis=1) / np.abs(reference).max(axis=1)).max())
    record_property("largest relative difference", difference)
    assert difference < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_sample_images(name: str, images: dict[str, Image], samples: dict[str, NDArray[np.generic]]) -> None:
    """The ten scans beside the models: the right answers, and the definition's bits are the native kernels'."""
    native = Engine(images[name].program, threads=2)
    definition = Engine(images[name].program, definition_only=True)
    for image, label in zip(samples["images"], samples["labels"], strict=True):
        logits = native.run({"image": image})["logits"]
        assert logits.argmax() == label
        assert logits.tobytes() == definition.run({"image": image})["logits"].tobytes()


def test_samples_are_held_out_scans(samples: dict[str, NDArray[np.generic]], scans: NDArray[np.uint8]) -> None:
    held_out = {scans[index].tobytes() for index in samples["test_index"]}
    assert len(samples["test_index"]) == len(set(samples["test_index"].tolist())) == 360
    assert all(image.tobytes() in held_out for image in samples["images"])
    assert samples["labels"].tolist() == list(range(10))


@pytest.mark.parametrize("name", NAMES)
def test_one_bit_of_a_weight_is_another_model(name: str, images: dict[str, Image]) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    assert compile_onnx(model.SerializeToString()).model_id == images[name].model_id
    weight = next(tensor for tensor in model.graph.initializer if "weight" in tensor.name)
    values = numpy_helper.to_array(weight).copy()
    values.view(np.uint32).reshape(-1)[values.size // 2] ^= 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    flipped = compile_onnx(model.SerializeToString())
    assert flipped.model_id != images[name].model_id
    assert flipped.header.guest_root == images[name].header.guest_root


def test_other_inputs_are_refused(images: dict[str, Image], scans: NDArray[np.uint8]) -> None:
    engine = Engine(images["cnn"].program)
    for wrong in (scans[0].astype(np.float32), scans[0][0], np.concatenate([scans[0]] * 2)):
        with pytest.raises(InputError, match="image"):
            engine.run({"image": wrong})


def test_small_enough_to_commit() -> None:
    for name in NAMES:
        assert (MODELS / f"{name}.onnx").stat().st_size < 300_000
