"""Inputs that become constants of the model: `values`."""

import numpy as np
import pytest
from front_models import make_model
from onnx import helper

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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": SHAPE}, "no input 'size'"),
        ({"shape": SHAPE.astype(np.int32)}, "is int64; the value given to it is int32"),
        ({"shape": np.array([3, 2, 1])}, r"does not have the shape \[3\]"),
        ({"shape": np.array(6)}, r"does not have the shape \[\]"),
    ],
)
def test_a_value_that_does_not_fit(values: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        compile_graph(MODEL, values=values)
