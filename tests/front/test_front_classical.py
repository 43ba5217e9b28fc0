"""scikit-learn's operators (ai.onnx.ml) beside ONNX Runtime, and what of them is refused by name."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from front_models import make_model
from onnx import helper

from opml.compiler import compile_graph, compile_program
from opml.engine import Engine
from opml.errors import UnsupportedError
from opml.graph import Array

X = np.concatenate([np.random.default_rng(3).normal(size=(4, 3)), [[0, 0, 0], [-1, -2, -3]]]).astype(np.float32)
LINEAR = {"coefficients": [0.5, -1.0, 2.0, 1.5, 0.25, -0.75], "intercepts": [0.1, -0.2]}


def model(op: str, inputs: dict[str, Array], outputs: int = 1, **attrs: Any) -> onnx.ModelProto:
    names = [f"y{index}" for index in range(outputs)]
    made = make_model([helper.make_node(op, list(inputs), names, domain="ai.onnx.ml", **attrs)], inputs, names)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made


CASES = {
    "scaler": model("Scaler", {"x": X}, offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, -1.0]),
    "scaler, one for all": model("Scaler", {"x": X}, offset=[1.0], scale=[0.5]),
    "scaler of integers": model("Scaler", {"x": X.astype(np.int64)}, offset=[1.0], scale=[0.5]),
    "normalizer L1": model("Normalizer", {"x": X}, norm="L1"),
    "normalizer L2": model("Normalizer", {"x": X}, norm="L2"),
    "normalizer MAX": model("Normalizer", {"x": X}, norm="MAX"),
    "regressor": model("LinearRegressor", {"x": X}, targets=2, **LINEAR),
    "columns": model("ArrayFeatureExtractor", {"x": X, "columns": np.array([[2, 0]])}),
    "columns of a vector": model("ArrayFeatureExtractor", {"x": np.array([7, 8, 9]), "columns": np.array([[2], [0]])}),
} | {
    f"classifier {after}": model(
        "LinearClassifier", {"x": X}, 2, classlabels_ints=[7, 3], post_transform=after, multi_class=0, **LINEAR
    )
    for after in ("NONE", "LOGISTIC", "SOFTMAX")
}


@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_it_computes_what_onnxruntime_computes(made: onnx.ModelProto) -> None:
    given = {"x": X, "columns": np.array([[2, 0]])}
    feeds = {}
    for value in made.graph.input:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        array = (
            given[value.name] if given[value.name].shape == shape else np.arange(np.prod(shape))[::-1].reshape(shape)
        )
        feeds[value.name] = array.astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    mine = Engine(compile_program(made.SerializeToString())).run(feeds)
    theirs = onnxruntime.InferenceSession(made.SerializeToString()).run(None, feeds)
    for array, other in zip(mine.values(), theirs, strict=True):
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-6)


REFUSED = {
    "strings": (model("LinearClassifier", {"x": X}, 2, classlabels_strings=["a", "b"], **LINEAR), "no strings"),
    "one row for two classes": (
        model("LinearClassifier", {"x": X}, 2, classlabels_ints=[0, 1], coefficients=[1.0] * 3, intercepts=[0.0]),
        "2 classes with scores for 1",
    ),
    "probit": (
        model("LinearClassifier", {"x": X}, 2, classlabels_ints=[0, 1], post_transform="PROBIT", **LINEAR),
        "PROBIT",
    ),
    "coefficients": (model("LinearRegressor", {"x": X}, targets=3, **LINEAR), "6 coefficients for 3 functions"),
    "no functions": (model("LinearRegressor", {"x": X}, targets=-1, **LINEAR), "-1 functions"),
    "features": (model("Scaler", {"x": X}, offset=[1.0, 2.0]), "2 numbers for 3 features"),
    "norm": (model("Normalizer", {"x": X}, norm="L3"), "'L3'"),
    "a vector": (model("Normalizer", {"x": X[0]}), "rows of features"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_its_neighbour_is_refused(case: tuple[onnx.ModelProto, str]) -> None:
    with pytest.raises(UnsupportedError, match=case[1]):
        compile_graph(case[0].SerializeToString())


def test_an_operator_that_is_not_there_has_a_way_out() -> None:
    def hint(op: str) -> str:
        with pytest.raises(UnsupportedError, match=f"operator ai.onnx.ml.{op}") as caught:
            compile_graph(model(op, {"x": X}).SerializeToString())
        return str(caught.value.hint)

    assert "'zipmap': False" in hint("ZipMap")
    assert "docs/operators.md" in hint("SVMClassifier")
    assert "nearest to it: ai.onnx.ml.Normalizer" in hint("Normaliser")
    assert len(hint("SVMClassifier")) < 200
