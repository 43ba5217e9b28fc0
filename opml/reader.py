"""ONNX file → graph of ONNX operators.

The file is believed in nothing: what the format forbids is a ModelError, what opml does not have an UnsupportedError,
both with the name of what is meant. Nothing outside the given file and its folder is ever opened, and no more memory is
asked for than the files themselves hold. `value_info` is not read: shapes are inferred again when the graph is lowered.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import AttributeProto, FunctionProto, ModelProto, OperatorSetIdProto, ValueInfoProto

from opml.errors import ModelError, UnsupportedError
from opml.external import ExternalFiles
from opml.graph import Array, TensorType
from opml.onnx_file import parse_model, read_file
from opml.onnx_nodes import (
    MAX_OPSET,
    ONNX_DOMAINS,
    UNKNOWN,
    OnnxGraph,
    add_constant,
    define,
    operator_name,
    read_initialisers,
    read_nodes,
)
from opml.pins import Pins, given_value, pin_inputs, split_values
from opml.tensors import check_shape, narrow_dtype

MIN_OPSET = 6


def read_onnx(
    source: str | os.PathLike[str] | bytes,
    dims: Pins | None = None,
    values: Mapping[str, Array] | None = None,
) -> OnnxGraph:
    """Reads a model from a file or from its bytes. `dims` pins dynamic dimensions, or inputs' whole shapes, by name.

    `values` makes inputs constants, part of the model: what a shape or a branch depends on cannot be an input. An array
    among `dims` does so, too.

    Raises ModelError where the file is not a sound model, UnsupportedError where opml does not have what it uses.
    """
    model = parse_model(source if isinstance(source, bytes) else read_file(Path(source)))
    files = ExternalFiles(None if isinstance(source, bytes) else Path(source).parent)
    proto = model.graph
    functions = _functions(model)
    graph = OnnxGraph(
        proto.name, [], [], [], {}, {}, opset=_opset(model.opset_import), functions=functions, files=files
    )
    read_initialisers(graph, proto)
    pins, given = split_values(dims or {})
    _read_inputs(graph, proto.input, pins, {**given, **(values or {})})
    read_nodes(graph, proto.node, None)
    _read_outputs(graph, [output.name for output in proto.output])
    return graph


def _functions(model: ModelProto) -> dict[str, FunctionProto]:
    functions: dict[str, FunctionProto] = {}
    for function in model.functions:
        if function.overload:
            raise UnsupportedError(f"the function {function.name!r} with the overload {function.overload!r}")
        name = operator_name(function.domain, function.name)
        if name in functions:
            raise ModelError(f"the function {name} is defined twice")
        functions[name] = function
    return functions


def read_function(
    function: FunctionProto, attrs: Mapping[str, AttributeProto], functions: dict[str, FunctionProto]
) -> OnnxGraph:
    """The body of a function (the model's own, or of an operator's schema) as a graph for a call with `attrs`.

    Its inputs and outputs are the function's formal ones; inputs have no types, and an output may be one that nothing
    computes: bodies in schemas leave out what the call does not ask for. Raises as `read_onnx`.
    """
    what = f"the function {function.name!r}"
    graph = OnnxGraph(function.name, [], [], [], {}, {}, opset=_opset(function.opset_import, what), functions=functions)
    for name in function.input:
        define(graph, name, f"input of {what}")
        graph.inputs.append(name)
        graph.types[name] = UNKNOWN
    read_nodes(graph, function.node, attrs, f" of {what}")
    graph.outputs = list(function.output)
    return graph


def _opset(imports: Iterable[OperatorSetIdProto], what: str = "the model") -> int:
    imports = list(imports)
    versions = {entry.version for entry in imports if entry.domain in ONNX_DOMAINS}
    if imports and not versions:
        domains = ", ".join(sorted({entry.domain for entry in imports}))
        raise UnsupportedError(f"{what} uses {domains} alone", "opml reads models of the operator set ai.onnx")
    if len(versions) != 1:
        raise ModelError(f"{what} must import exactly one version of the operator set ai.onnx")
    (version,) = versions
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise UnsupportedError(
            f"operator set {version}", f"opml reads {MIN_OPSET} to {MAX_OPSET}; see onnx.version_converter"
        )
    return int(version)


def _read_inputs(
    graph: OnnxGraph,
    inputs: Iterable[ValueInfoProto],
    pins: Mapping[str, int | Sequence[int]],
    values: Mapping[str, Array],
) -> None:
    """Inputs that are initialisers too (all of them before IR 4, defaults since) are constants."""
    given = dict(values)
    open_: list[ValueInfoProto] = []
    for value in inputs:
        if value.name in graph.constants:
            continue
        define(graph, value.name, "input")
        what = f"input {value.name!r}"
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise UnsupportedError(f"{what} is no tensor but {kind or 'untyped'}")
        tensor = value.type.tensor_type
        dtype, bits = narrow_dtype(tensor.elem_type, what)
        if bits:
            graph.narrow[value.name] = bits
        if value.name in given:
            add_constant(graph, value.name, given_value(tensor, dtype, given.pop(value.name), what))
            continue
        graph.types[value.name] = TensorType(dtype, ())
        open_.append(value)
    for name, shape in pin_inputs(open_, pins).items():
        graph.types[name] = TensorType(graph.types[name].dtype, check_shape(shape, f"input {name!r}"))
        graph.inputs.append(name)
    if given:
        raise ModelError(f"the model has no input {min(given)!r} to which a value could be given")


def _read_outputs(graph: OnnxGraph, outputs: list[str]) -> None:
    if not outputs:
        raise ModelError("the model has no outputs")
    listed, inputs = set[str](), set(graph.inputs)
    for name in outputs:
        if name not in graph.types:
            raise ModelError(f"nothing computes the output {name!r}")
        if name in listed:
            raise ModelError(f"the output {name!r} is listed twice")
        if name in inputs:
            raise UnsupportedError(f"{name!r} is both an input and an output", "put an Identity between them")
        graph.outputs.append(name)
        listed.add(name)
    computed = {name for node in graph.nodes for name in node.outputs}
    graph.types = {name: kind for name, kind in graph.types.items() if name not in computed}


@dataclass(frozen=True)
class Ports:
    """What a model says of itself: inputs with their dimensions (numbers, or names of dynamic ones), outputs, notes."""

    inputs: dict[str, list[int | str]]
    outputs: list[str]
    metadata: dict[str, str]


def read_ports(source: str | os.PathLike[str] | bytes) -> Ports:
    """The inputs that are no initialisers, the outputs and the metadata of a model; nothing else of it is checked."""
    model = parse_model(source if isinstance(source, bytes) else read_file(Path(source)))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs: dict[str, list[int | str]] = {
        value.name: [
            dim.dim_value if dim.WhichOneof("value") == "dim_value" else dim.dim_param or f"{value.name}:{axis}"
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        ]
        for value in model.graph.input
        if value.name not in constants
    }
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Ports(inputs, [output.name for output in model.graph.output], metadata)
