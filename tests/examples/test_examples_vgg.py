"""The generated net for timings."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

from opml.compiler import compile_onnx
from opml.engine import Engine


@pytest.fixture(scope="module")
def vgg() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "models" / "vgg.py"
    spec = importlib.util.spec_from_file_location("vgg", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_computes_what_onnxruntime_computes(vgg: ModuleType) -> None:
    model = vgg.make_vgg(size=16).SerializeToString()
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probabilities"], {"image": image})
    program = compile_onnx(model).program
    found = Engine(program, threads=2).run({"image": image})["probabilities"]
    assert np.abs(found - expected).max() < 1e-5 * expected.max()
    defined = Engine(program, definition_only=True).run({"image": image})["probabilities"]
    assert found.tobytes() == defined.tobytes()


def test_is_made_of_its_seed_alone(vgg: ModuleType) -> None:
    first, again, other = (compile_onnx(vgg.make_vgg(8, seed).SerializeToString()).model_id for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("size", [0, -8, 12])
def test_sizes_that_do_not_halve_three_times(vgg: ModuleType, size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        vgg.make_vgg(size)
