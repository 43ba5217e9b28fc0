"""ONNX file → graph of ONNX operators.

The file is believed in nothing: what the format forbids is a ModelError, what opml does not have an UnsupportedError,
both with the name of what is meant. Nothing outside the given file and its folder is ever opened, and no more memory is
asked for than the files themselves hold. `value_info` is not read: shapes are inferred again when the graph is lowered.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    ValueInfoProto,
)

from opml.errors import ModelError, UnsupportedError
from opml.external import ExternalFiles
from opml.graph import Array, Attribute, DType, Graph, Node, TensorType
from opml.onnx_file import MAX_NODES, parse_model, read_file
from opml.pins import Pins, given_value, pin_inputs, split_values
from opml.tensors import NARROW, check_shape, narrow_dtype, read_tensor

MIN_OPSET = 6
MAX_OPSET: int = onnx.defs.onnx_opset_version()
MAX_PORTS = 1 << 12
# Graphs within attributes of nodes within graphs.
MAX_DEPTH = 16
# An image's manifest holds names of up to 4096 characters, and passes lengthen them.
MAX_NAME = 1024
_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxNode(Node):
    """A node. `graphs` are its attributes that are graphs, which may read names of the graphs around them."""

    graphs: "dict[str, OnnxGraph]" = dataclass_field(default_factory=dict)


@dataclass
class OnnxGraph(Graph):
    """A graph whose nodes bear ONNX names, with the domain before a dot where it is not ONNX's own.

    `types` knows inputs and constants only; `opset` fixes what a node means; `functions` are the model's own operators;
    `narrow` has the bits of inputs and constants whose elements are integers of fewer than eight.
    """

    opset: int = MAX_OPSET
    functions: dict[str, FunctionProto] = dataclass_field(default_factory=dict)
    narrow: dict[str, int] = dataclass_field(default_factory=dict)
    files: ExternalFiles = dataclass_field(default_factory=ExternalFiles, repr=False, compare=False)
    outer: "OnnxGraph | None" = dataclass_field(default=None, repr=False, compare=False)
    depth: int = 0

    def knows(self, name: str) -> bool:
        """Whether a name has been defined so far, here or in a graph around this one."""
        return name in self.types or (self.outer is not None and self.outer.knows(name))


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
    _read_initialisers(graph, proto)
    pins, given = split_values(dims or {})
    _read_inputs(graph, proto.input, pins, {**given, **(values or {})})
    _read_nodes(graph, proto.node, None)
    _read_outputs(graph, [output.name for output in proto.output])
    return graph


def _read_body(proto: GraphProto, outer: OnnxGraph, attrs: Mapping[str, AttributeProto] | None, what: str) -> OnnxGraph:
    """A graph in an attribute. Its inputs have no types: they are what the node around it makes of them."""
    depth = outer.depth + 1
    if depth > MAX_DEPTH:
        raise UnsupportedError(f"{what}: graphs lie within each other more than {MAX_DEPTH} deep")
    graph = OnnxGraph(
        proto.name,
        [],
        [],
        [],
        {},
        {},
        opset=outer.opset,
        functions=outer.functions,
        files=outer.files,
        outer=outer,
        depth=depth,
    )
    _read_initialisers(graph, proto)
    for value in proto.input:
        _define(graph, value.name, f"input of {what}")
        graph.types[value.name] = UNKNOWN
        graph.inputs.append(value.name)
    _read_nodes(graph, proto.node, attrs)
    for output in proto.output:
        if not graph.knows(output.name):
            raise ModelError(f"{what}: nothing computes the output {output.name!r}")
        graph.outputs.append(output.name)
    return graph


def _read_initialisers(graph: OnnxGraph, proto: GraphProto) -> None:
    _check_name(proto.name)
    if proto.sparse_initializer:
        raise UnsupportedError("sparse initialisers")
    for tensor in proto.initializer:
        _define(graph, tensor.name, "initialiser")
        _add_constant(graph, tensor.name, read_tensor(tensor, f"initialiser {tensor.name!r}", graph.files))
        if tensor.data_type in NARROW:
            graph.narrow[tensor.name] = NARROW[tensor.data_type][1]


def _read_nodes(
    graph: OnnxGraph, nodes: Sequence[NodeProto], attrs: Mapping[str, AttributeProto] | None, of: str = ""
) -> None:
    if len(nodes) > MAX_NODES:
        raise UnsupportedError(f"{len(nodes)} nodes{of}; opml has room for {MAX_NODES}")
    for index, node in enumerate(nodes):
        _read_node(
            graph,
            node if attrs is None else _bind(node, attrs),
            f"{node.op_type} {node.name or f'number {index}'!r}{of}",
            attrs,
        )


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


def operator_name(domain: str, op: str) -> str:
    """How a node of `OnnxGraph` calls an operator."""
    return op if domain in _DOMAINS else f"{domain}.{op}"


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
        _define(graph, name, f"input of {what}")
        graph.inputs.append(name)
        graph.types[name] = UNKNOWN
    _read_nodes(graph, function.node, attrs, f" of {what}")
    graph.outputs = list(function.output)
    return graph


def _bind(node: NodeProto, attrs: Mapping[str, AttributeProto]) -> NodeProto:
    """The node with the caller's attributes in place of references to them, or without what the caller leaves out."""
    if not any(attribute.ref_attr_name for attribute in node.attribute):
        return node
    bound = NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for attribute in node.attribute:
        given = attrs.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if given is not None:
            bound.attribute.add().CopyFrom(given)
            bound.attribute[-1].name = attribute.name
    return bound


def _opset(imports: Iterable[OperatorSetIdProto], what: str = "the model") -> int:
    imports = list(imports)
    versions = {entry.version for entry in imports if entry.domain in _DOMAINS}
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


def _define(graph: OnnxGraph, name: str, what: str) -> None:
    if not name:
        raise ModelError(f"an {what} without a name")
    _check_name(name)
    if name in graph.types:
        raise ModelError(f"{name!r} is defined twice")


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise UnsupportedError(f"the name {name[:40]}… has {len(name)} characters; opml has room for {MAX_NAME}")


def _add_constant(graph: OnnxGraph, name: str, value: Array) -> None:
    graph.constants[name] = value
    graph.types[name] = TensorType(DType(value.dtype.name), value.shape)


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
        _define(graph, value.name, "input")
        what = f"input {value.name!r}"
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise UnsupportedError(f"{what} is no tensor but {kind or 'untyped'}")
        tensor = value.type.tensor_type
        dtype, bits = narrow_dtype(tensor.elem_type, what)
        if bits:
            graph.narrow[value.name] = bits
        if value.name in given:
            _add_constant(graph, value.name, given_value(tensor, dtype, given.pop(value.name), what))
            continue
        graph.types[value.name] = TensorType(dtype, ())
        open_.append(value)
    for name, shape in pin_inputs(open_, pins).items():
        graph.types[name] = TensorType(graph.types[name].dtype, check_shape(shape, f"input {name!r}"))
        graph.inputs.append(name)
    if given:
        raise ModelError(f"the model has no input {min(given)!r} to which a value could be given")


def _read_node(graph: OnnxGraph, node: NodeProto, what: str, outer: Mapping[str, AttributeProto] | None) -> None:
    """`outer` are the attributes of the function call that the node belongs to, for graphs within it."""
    if max(len(node.input), len(node.output)) > MAX_PORTS:
        raise UnsupportedError(f"{what[:80]} has {len(node.input)} inputs and {len(node.output)} outputs")
    for name in node.input:
        if name and not graph.knows(name):
            raise ModelError(f"{what} reads {name!r}, which no earlier node computes")
    _check_name(node.name)
    inputs = list(node.input)
    attrs: dict[str, Attribute] = {}
    tensors: dict[str, Array] = {}
    graphs: dict[str, OnnxGraph] = {}
    for attribute in node.attribute:
        label = f"attribute {attribute.name!r} of {what}"
        if attribute.name in attrs or attribute.name in tensors or attribute.name in graphs:
            raise ModelError(f"{label} is given twice")
        if attribute.type == AttributeProto.GRAPH and not attribute.ref_attr_name:
            graphs[attribute.name] = _read_body(attribute.g, graph, outer, f"{attribute.name!r} of {what}")
            continue
        value = _read_attribute(attribute, label, graph.files)
        if isinstance(value, np.ndarray):
            tensors[attribute.name] = value
        else:
            attrs[attribute.name] = value

    operator = operator_name(node.domain, node.op_type)
    if operator == "Constant":
        _read_constant(graph, node, attrs, tensors, what)
        return
    if operator == "ConstantOfShape" and "value" in tensors:
        inputs.append(_hidden_constant(graph, tensors.pop("value")))
    if tensors:
        raise UnsupportedError(f"attribute {min(tensors)!r} of {what} is a tensor")
    if not any(node.output):
        raise ModelError(f"{what} has no output")
    for name in filter(None, node.output):
        _define(graph, name, f"output of {what}")
        graph.types[name] = UNKNOWN
    graph.nodes.append(OnnxNode(operator, tuple(inputs), tuple(node.output), attrs, node.name, graphs))


# Stands in for the type of a computed tensor while names are collected; removed at the end.
UNKNOWN = TensorType(DType.UINT8, ())


def _hidden_constant(graph: OnnxGraph, value: Array) -> str:
    """The `value` of a ConstantOfShape becomes its second input: attributes of a `Node` are no tensors."""
    name = f"%value{len(graph.types)}"
    while name in graph.types:
        name += "'"
    _add_constant(graph, name, value)
    return name


def _read_constant(
    graph: OnnxGraph, node: NodeProto, attrs: dict[str, Attribute], tensors: dict[str, Array], what: str
) -> None:
    if len(attrs) + len(tensors) != 1 or len(node.output) != 1 or node.input:
        raise ModelError(f"{what} needs exactly one value and one output")
    (label, value), *_ = (attrs | tensors).items()
    if label not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise UnsupportedError(f"attribute {label!r} of {what}")
    _define(graph, node.output[0], f"output of {what}")
    dtype = DType.FLOAT32 if label.startswith("value_float") else DType.INT64
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype.numpy)
    _add_constant(graph, node.output[0], array)


def _read_attribute(attribute: AttributeProto, label: str, files: ExternalFiles) -> Attribute | Array:
    if attribute.ref_attr_name:
        raise ModelError(f"{label} refers to a function's attribute outside of a function")
    match attribute.type:
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.STRING:
            return _text(attribute.s, label)
        case AttributeProto.INTS:
            return [int(value) for value in attribute.ints]
        case AttributeProto.FLOATS:
            return [float(value) for value in attribute.floats]
        case AttributeProto.STRINGS:
            return [_text(value, label) for value in attribute.strings]
        case AttributeProto.TENSOR:
            return read_tensor(attribute.t, label, files)
        case other:
            known = AttributeProto.AttributeType
            raise UnsupportedError(f"{label} is of kind {known.Name(other) if other in known.values() else other}")


def _text(value: bytes, label: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ModelError(f"{label} is no text") from None


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
