"""A model means the same in every operator set that it can be written in.

Every attribute that an operator's schema has, in each of its versions, is read by its rule or refused by name; what an
attribute is by default is what the rule takes it for; and models that `onnx.version_converter` rewrites give the same
bits as before.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import onnx
import onnx.version_converter
import pytest
from conformance_suite import cases
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from onnx import AttributeProto, defs, helper
from parity_builder import Array
from parity_operators import models

from opml.compiler import compile_graph, compile_program
from opml.engine import Engine
from opml.errors import ConstantNeededError, ModelError, OpmlError
from opml.lowering import OPERATORS

Case = tuple[onnx.ModelProto, dict[str, Array], set[str]]
FIRST, NEWEST = 7, defs.onnx_opset_version()
# Why no value of an attribute changes any sample: it means nothing at inference, or what it is about is not there.
UNSEEN = {
    ("Attention", "softmax_precision"): "all arithmetic is float32's",
    ("BatchNormalization", "momentum"): "of training",
    ("Cast", "round_mode"): "of float8",
    ("Cast", "saturate"): "of float8",
    ("CastLike", "round_mode"): "of float8",
    ("CastLike", "saturate"): "of float8",
    ("Dropout", "ratio"): "of training",
    ("Dropout", "seed"): "of training",
    ("GRU", "activation_alpha"): "of other activations; tested beside ONNX Runtime",
    ("GRU", "activation_beta"): "of other activations; tested beside ONNX Runtime",
    ("LSTM", "activation_alpha"): "of other activations; tested beside ONNX Runtime",
    ("LSTM", "activation_beta"): "of other activations; tested beside ONNX Runtime",
    ("LinearAttention", "chunk_size"): "how to compute, not what",
    ("QuantizeLinear", "saturate"): "of float8",
    ("RNN", "activation_alpha"): "of other activations; tested beside ONNX Runtime",
    ("RNN", "activation_beta"): "of other activations; tested beside ONNX Runtime",
    ("TfIdfVectorizer", "max_gram_length"): "longer n-grams than the pool has",
    ("TfIdfVectorizer", "weights"): "of other modes; tested beside ONNX Runtime",
}


@cache
def versions() -> dict[str, list[Any]]:
    """The schemas that hold from operator set 7 on, of each operator that has a rule."""
    found: dict[str, set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.name in OPERATORS:
            found.setdefault(schema.name, set()).add(max(schema.since_version, FIRST))
    return {op: [defs.get_schema(op, v, "") for v in sorted(numbers)] for op, numbers in sorted(found.items())}


@cache
def samples() -> dict[str, list[onnx.ModelProto]]:
    """Models of one node out of ONNX's own cases, of each operator a few that are made differently."""
    found: dict[str, dict[Any, onnx.ModelProto]] = {}
    for case in cases():
        if case.suite != "node" or case.kind != "plain" or len(case.model.graph.node) != 1:
            continue
        (node,) = case.model.graph.node
        modes = [(each.name, each.s) for each in node.attribute]
        ranks = [len(value.type.tensor_type.shape.dim) for value in case.model.graph.input]
        unlike = found.setdefault(node.op_type, {})
        key = str((sorted(modes), ranks))
        if key not in unlike and len(unlike) < 20:
            unlike[key] = fixed(case.model, next(case.data_sets())[0])
    return {op: list(unlike.values()) for op, unlike in found.items()}


def fixed(model: onnx.ModelProto, inputs: list[Array]) -> onnx.ModelProto:
    """The model with those of its inputs as constants that opml needs as such."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    given = {value.name: array for value, array in zip(model.graph.input, inputs, strict=False)}
    while True:
        try:
            compile_graph(made.SerializeToString())
        except ConstantNeededError as error:
            for name in error.inputs:
                made.graph.initializer.append(onnx.numpy_helper.from_array(given[name], name))
        except OpmlError:
            return made
        else:
            return made


def of_version(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.opset_import[0].version = version
    return made


def accepted(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def compiled(model: onnx.ModelProto) -> Any:
    """What a model becomes, for comparison; None where it is refused."""
    try:
        graph = compile_graph(model.SerializeToString())
    except ModelError:
        return None
    constants = {name: (value.dtype.name, value.shape, value.tobytes()) for name, value in graph.constants.items()}
    return [(n.op, n.inputs, n.outputs, n.attrs) for n in graph.nodes], constants, graph.outputs, graph.types


def with_attribute(model: onnx.ModelProto, attribute: AttributeProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    (node,) = made.graph.node
    kept = [other for other in node.attribute if other.name != attribute.name]
    del node.attribute[:]
    node.attribute.extend([*kept, attribute])
    return made


WILD: dict[int, Any] = {
    AttributeProto.INT: 12345, AttributeProto.FLOAT: 0.123, AttributeProto.STRING: "wild", AttributeProto.INTS: [12345],
    AttributeProto.FLOATS: [0.123], AttributeProto.STRINGS: ["wild"],
}  # fmt: skip


def attributes(op: str) -> Iterator[tuple[int, onnx.ModelProto, Any]]:
    """Samples in each version of an operator that allows them, with each attribute that the version has."""
    for schema in versions()[op]:
        version = max(schema.since_version, FIRST)
        for model in samples().get(op, []):
            if accepted(written := of_version(model, version)) and compiled(written) is not None:
                for given in schema.attributes.values():
                    yield version, written, given


@pytest.mark.parametrize("op", versions())
def test_each_attribute_of_each_version_means_what_the_schema_says(op: str) -> None:
    """A default that is written down changes nothing; a wild value changes some model, or is refused."""
    read: dict[tuple[int, str], bool] = {}
    for version, model, attribute in attributes(op):
        before, name = compiled(model), attribute.name
        absent = all(other.name != name for other in model.graph.node[0].attribute)
        if absent and attribute.default_value.name:
            written = with_attribute(model, attribute.default_value)
            assert compiled(written) == before, f"{op} {version}: default of {name}"
        kind = attribute.default_value.type or int(getattr(attribute.type, "value", attribute.type))
        if kind in WILD and not read.get((version, name)):
            wild = with_attribute(model, helper.make_attribute(name, WILD[kind]))
            read[version, name] = compiled(wild) != before
    unread = {name for (_, name), was in read.items() if not was}
    assert unread == {name for other, name in UNSEEN if other == op} & {name for _, name in read}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=models(), opset=st.integers(FIRST, NEWEST))
def test_a_model_in_another_operator_set_gives_the_same_bits(case: Case, opset: int) -> None:
    model, feeds, _ = case
    try:
        other = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(other, full_check=True)
    except (RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        reject()  # what the converter cannot write
    ours, theirs = (Engine(compile_program(each.SerializeToString())).run(feeds) for each in (model, other))
    for output in model.graph.output:
        assert ours[output.name].tobytes() == theirs[output.name].tobytes(), f"{output.name} in operator set {opset}"
