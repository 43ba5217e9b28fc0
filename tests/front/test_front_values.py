"""Inputs that become constants of the model: `values`."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from front_models import make_model
from onnx import helper

import opml
from opml.cli import main
from opml.compiler import compile_graph, compile_program
from opml.engine import Engine
from opml.errors import ConstantNeededError, ModelError

X = np.arange(6, dtype=np.float32).reshape(2, 3)
SHAPE = np.array([3, 2])
MODEL = make_model(
    [helper.make_node("Identity", ["shape"], ["same"]), helper.make_node("Reshape", ["x", "same"], ["y"])],
    {"x": X, "shape": SHAPE},
    ["y"],
).SerializeToString()


def test_a_shape_that_is_an_input_is_named_with_what_to_do() -> None:
    with pytest.raises(ConstantNeededError, match="'shape'") as caught:
        compile_graph(MODEL)
    assert caught.value.inputs == ("shape",)
    assert "--value shape=" in str(caught.value.hint)


def test_a_value_makes_it_a_constant() -> None:
    program = compile_program(MODEL, values={"shape": SHAPE})
    assert [port.name for port in program.inputs] == ["x"]
    np.testing.assert_array_equal(Engine(program).run({"x": X})["y"], X.reshape(3, 2))


def test_a_value_is_converted_where_that_is_exact() -> None:
    for same in (SHAPE.astype(np.int32), SHAPE.astype(np.float64)):
        assert compile_graph(MODEL, values={"shape": same}).inputs == ["x"]
        assert compile_graph(MODEL, dims={"shape": same}).inputs == ["x"]


def test_values_from_python_and_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(MODEL)
    model = opml.load(file, values={"shape": [3, 2]})
    assert model.run(X)["y"].shape == (3, 2)
    np.save(tmp_path / "shape.npy", SHAPE)
    np.save(tmp_path / "x.npy", X)
    images = []
    for text in ("3,2", str(tmp_path / "shape.npy")):
        arguments = ["compile", str(file), "-o", str(tmp_path / "model.opml"), "--value", f"shape={text}"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        images.append(result.stdout.strip())
    assert images == ["0x" + model.model_id.hex()] * 2
    run = CliRunner().invoke(main, ["run", str(file), "--value", "shape=6,1", "-i", str(tmp_path / "x.npy")])
    assert "float32[6, 1]" in run.stdout
    for wrong in ("shape", "shape=", "shape=a", "shape=[3,2", f"shape={tmp_path / 'none.npy'}", "other=3"):
        assert CliRunner().invoke(main, ["run", str(file), "--value", wrong]).exit_code in (2, 3), wrong


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": SHAPE}, "no input 'size'"),
        ({"shape": SHAPE + 0.5}, "is int64; the value given to it is float64"),
        ({"shape": np.array([3, 2, 1])}, r"does not have the shape \[3\]"),
        ({"shape": np.array(6)}, r"does not have the shape \[1\]"),
    ],
)
def test_a_value_that_does_not_fit(values: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        compile_graph(MODEL, values=values)


def test_a_value_for_an_input_of_very_many_dimensions_is_refused() -> None:
    hostile = make_model([helper.make_node("Identity", ["x"], ["y"])], {"x": X}, ["y"])
    dims = hostile.graph.input[0].type.tensor_type.shape.dim
    for _ in range(100):
        dims.add().dim_value = 1
    with pytest.raises(ModelError):
        compile_graph(hostile.SerializeToString(), values={"x": np.array(1, np.float32)})
