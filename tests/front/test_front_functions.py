"""Operators that are functions: the model's own, and those that the standard defines by other operators."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from front_models import make_model, one_node, run_opml
from onnx import helper

from opml.compiler import compile_graph
from opml.errors import ModelError, OpmlError, UnsupportedError

X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
IMPORTS = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]


def node(op: str, inputs: list[str], outputs: list[str], domain: str = "mine", **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, domain=domain, **attrs)


def referring(op: str, inputs: list[str], output: str, name: str, to: str, kind: int) -> onnx.NodeProto:
    """A node whose attribute `name` is the calling node's attribute `to`."""
    made = helper.make_node(op, inputs, [output])
    made.attribute.add(name=name, ref_attr_name=to, type=kind)
    return made


def model_of(call: onnx.NodeProto, *functions: onnx.FunctionProto) -> onnx.ModelProto:
    model = make_model([call], {"x": X}, ["y"])
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def leaky(default: float | None = None) -> onnx.FunctionProto:
    body = [referring("LeakyRelu", ["a"], "b", "alpha", "slope", onnx.AttributeProto.FLOAT)]
    defaults = [] if default is None else [helper.make_attribute("slope", default)]
    return helper.make_function(
        "mine", "Leaky", ["a"], ["b"], body, IMPORTS, [] if defaults else ["slope"], attribute_protos=defaults
    )


def twice(op: str = "Leaky") -> onnx.FunctionProto:
    body = [node(op, ["a"], ["m"], slope=0.5), helper.make_node("Constant", [], ["two"], value_float=2.0)]
    body += [helper.make_node("Mul", ["m", "two"], ["b"])]
    return helper.make_function("mine", "Twice", ["a"], ["b"], body, IMPORTS)


def agrees(model: onnx.ModelProto, x: np.ndarray = X) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for ours, theirs in zip(run_opml(model, {"x": x}), session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def refused(model: onnx.ModelProto, error: type[OpmlError], *words: str) -> None:
    with pytest.raises(error) as caught:
        compile_graph(model.SerializeToString())
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("attrs", [{"slope": 0.25}, {}])
def test_an_attribute_of_the_call_or_its_default(attrs: dict[str, float]) -> None:
    agrees(model_of(node("Leaky", ["x"], ["y"], **attrs), leaky(0.125)))


def test_an_attribute_that_is_given_nowhere_has_the_inner_default() -> None:
    agrees(model_of(node("Leaky", ["x"], ["y"]), leaky()))


def test_functions_that_call_functions() -> None:
    agrees(model_of(node("Twice", ["x"], ["y"]), twice(), leaky(0.5)))


def test_a_function_goes_before_an_operator_of_the_same_name() -> None:
    body = [helper.make_node("Neg", ["a"], ["b"])]
    function = helper.make_function("com.microsoft", "Gelu", ["a"], ["b"], body, IMPORTS)
    model = model_of(node("Gelu", ["x"], ["y"], "com.microsoft"), function)
    (y,) = run_opml(model, {"x": X})
    assert y.tobytes() == (-X).tobytes()


def test_a_function_that_hands_its_input_on() -> None:
    function = helper.make_function("mine", "Same", ["a"], ["a"], [helper.make_node("Neg", ["a"], ["unused"])], IMPORTS)
    (y,) = run_opml(model_of(node("Same", ["x"], ["y"]), function), {"x": X})
    assert y.tobytes() == X.tobytes()


def test_what_a_function_cannot_be() -> None:
    call = node("Twice", ["x"], ["y"])
    refused(model_of(call, twice("Nothing")), UnsupportedError, "mine.Nothing")
    endless = helper.make_function("mine", "Endless", ["a"], ["b"], [node("Endless", ["a"], ["b"])], IMPORTS)
    refused(model_of(node("Endless", ["x"], ["y"]), endless), UnsupportedError, "deep")
    refused(model_of(node("Leaky", ["x"], ["y"], slant=1.0), leaky(0.5)), UnsupportedError, "'slant'")
    refused(model_of(node("Leaky", ["x", "x"], ["y"]), leaky(0.5)), UnsupportedError, "2 inputs")
    lost = helper.make_function("mine", "Lost", ["a"], ["b"], [helper.make_node("Neg", ["c"], ["b"])], IMPORTS)
    refused(model_of(node("Lost", ["x"], ["y"]), lost), ModelError, "'c'")
    silent = helper.make_function("mine", "Silent", ["a"], ["b"], [], IMPORTS)
    refused(model_of(node("Silent", ["x"], ["y"]), silent), UnsupportedError, "'y'")


def test_an_operator_that_the_standard_defines_by_others() -> None:
    agrees(one_node("MeanVarianceNormalization", {"x": X[None]}, axes=[0, 2, 3]), X[None])
    refused(one_node("MeanVarianceNormalization", {"x": X[None]}, axis=[0]), UnsupportedError, "'axis'")
