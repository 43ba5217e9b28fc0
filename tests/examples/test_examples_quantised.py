"""The example models quantised by ONNX Runtime's tools: its answers on every scan, a smaller image, a dispute."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from sklearn.datasets import load_digits

from opml.compiler import compile_program
from opml.engine import Engine

MODELS = Path(__file__).parents[2] / "examples" / "models"
KINDS = ("QDQ", "QDQ-channels", "QOperator", "QOperator-channels", "dynamic")
Scans = NDArray[np.uint8]


@pytest.fixture(scope="module")
def scans() -> Scans:
    return load_digits().images.astype(np.uint8)[:, None, None]


class Calibration(CalibrationDataReader):
    """Every ninth scan."""

    def __init__(self, scans: Scans) -> None:
        self.rest: Iterator[Any] = iter(scans[::9])

    def get_next(self) -> dict[str, Scans] | None:
        scan = next(self.rest, None)
        return None if scan is None else {"image": scan}


@pytest.fixture(scope="module")
def quantised(scans: Scans, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("quantised")
    made = {}
    for name in ("mlp", "cnn"):
        for kind in KINDS:
            source, target = MODELS / f"{name}.onnx", folder / f"{name}-{kind}.onnx"
            if kind == "dynamic":
                quantize_dynamic(source, target)
            else:
                form = QuantFormat.QDQ if kind.startswith("QDQ") else QuantFormat.QOperator
                channels = kind.endswith("channels")
                quantize_static(
                    source, target, Calibration(scans), quant_format=form, per_channel=channels,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                )  # fmt: skip
            made[name, kind] = target
    return made


def compare(path: Path, scans: Scans) -> None:
    """The same answer for every scan; logits, which are multiples of a step, are hardly ever one step apart."""
    engine, session = Engine(compile_program(path)), onnxruntime.InferenceSession(path)
    ours = np.concatenate([engine.run({"image": scan})["logits"] for scan in scans])
    theirs = np.concatenate([session.run(None, {"image": scan})[0] for scan in scans])
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    close = np.abs(ours - theirs).max(1) <= 1e-5 * np.abs(theirs).max(1)
    assert close.mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_tenth_of_all_scans(quantised: dict[tuple[str, str], Path], scans: Scans, name: str, kind: str) -> None:
    compare(quantised[name, kind], scans[::10])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_all_scans(quantised: dict[tuple[str, str], Path], scans: Scans, name: str, kind: str) -> None:
    compare(quantised[name, kind], scans)


def size(path: Path) -> int:
    return sum(value.nbytes for value in compile_program(path).constants.values())


def test_constants_are_about_a_quarter(quantised: dict[tuple[str, str], Path]) -> None:
    for name, least in (("mlp", 3.0), ("cnn", 3.3)):
        for kind in KINDS:
            assert size(MODELS / f"{name}.onnx") > least * size(quantised[name, kind]), (name, kind)
