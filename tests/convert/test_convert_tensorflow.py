"""TensorFlow models, converted by tf2onnx: Keras files and code, SavedModels, TensorFlow Lite, and what is refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import opml
from opml.cli import main

pytestmark = pytest.mark.convert

SOURCE = """
import keras


def make():
    keras.utils.set_random_seed(1)
    image, extra = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="extra")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="gelu")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Concatenate()([x, extra])
    return keras.Model([image, extra], [keras.layers.Dense(5, activation="softmax")(x), keras.layers.Dense(2)(x)])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments), "-o", "out.onnx"])


def test_keras_code_file_and_saved_model(folder: Path) -> None:
    space: dict[str, Any] = {}
    exec(SOURCE, space)
    model = space["make"]()
    model.save("net.keras")
    model.export("saved", verbose=False)
    chance = np.random.default_rng(0)
    given = [chance.standard_normal(shape).astype(np.float32) for shape in ((1, 8, 8, 3), (1, 4))]
    expected = [np.asarray(value) for value in model(given, training=False)]
    for source in ("net.py:make", "net.keras", "saved"):
        result = run(source)
        assert result.exit_code == 0, result.output
        converted = opml.load("out.onnx")
        order = sorted(converted.inputs, key=lambda name: -len(converted.inputs[name].shape))
        found = converted.run(dict(zip(order, given, strict=True)))
        for mine, theirs in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert run("net.keras", "--shape", "image=2,8,8,3", "--shape", "extra=2,4").exit_code == 0
    assert opml.load("out.onnx").inputs


def test_a_recurrent_layer_is_a_loop_that_is_unrolled(folder: Path) -> None:
    import keras

    keras.Sequential([keras.Input((None, 8), name="words"), keras.layers.LSTM(4)]).save("lstm.keras")
    assert run("lstm.keras").exit_code == 2
    (name,) = [tensor.name for tensor in keras.saving.load_model("lstm.keras").inputs]
    result = run("lstm.keras", "--shape", f"{name}=1,5,8")
    assert result.exit_code == 0, result.output


def test_lite(folder: Path) -> None:
    import keras
    import tensorflow as tf

    net = keras.Sequential([keras.Input((7,)), keras.layers.Dense(4, activation="relu")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Path("net.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(net).convert())
    result = run("net.tflite")
    assert result.exit_code == 0, result.output
    assert "from TensorFlow Lite" in result.stderr


def test_what_is_refused(folder: Path) -> None:
    import keras

    keras.Sequential([keras.Input((None, 8)), keras.layers.Dense(4)]).save("open.keras")
    result = run("open.keras")
    assert result.exit_code == 2
    assert "=1,N,8" in result.stderr
    keras.Sequential([keras.Input((7,)), keras.layers.Lambda(lambda x: x * 2)]).save("code.keras")
    result = run("code.keras")
    assert result.exit_code == 3
    assert "Lambda" in result.stderr
    Path("junk.keras").write_bytes(b"junk")
    assert run("junk.keras").exit_code == 3
    Path("junk").mkdir()
    Path("junk/saved_model.pb").write_bytes(b"junk")
    assert run("junk").exit_code == 3
    assert not Path("out.onnx").exists()
