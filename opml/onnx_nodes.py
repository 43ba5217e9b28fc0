"""Nodes of a file, one after the other, into a graph of ONNX operators; graphs within nodes likewise.

A name is defined once, before it is read. What the format forbids is a ModelError, what opml does not have an
UnsupportedError, both with the name of what is meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from opml.errors import ModelError, UnsupportedError
from opml.external import ExternalFiles
from opml.graph import Array, Attribute, DType, Graph, Node, TensorType
from opml.onnx_file import MAX_NODES
from opml.tensors import NARROW, read_tensor

MAX_OPSET: int = onnx.defs.onnx_opset_version()
MAX_PORTS = 1 << 12
# Graphs within attributes of nodes within graphs.
MAX_DEPTH = 16
# An image's manifest holds names of up to 4096 characters, and passes lengthen them.
MAX_NAME = 1024
ONNX_DOMAINS = ("", "ai.onnx")
# Stands in for the type of a computed tensor while names are collected; removed at the end.
UNKNOWN = TensorType(DType.UINT8, ())


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


def operator_name(domain: str, op: str) -> str:
    """How a node of `OnnxGraph` calls an operator."""
    return op if domain in ONNX_DOMAINS else f"{domain}.{op}"


def define(graph: OnnxGraph, name: str, what: str) -> None:
    """Checks a name that is about to be defined."""
    if not name:
        raise ModelError(f"an {what} without a name")
    check_name(name)
    if name in graph.types:
        raise ModelError(f"{name!r} is defined twice")


def check_name(name: str) -> None:
    """Raises UnsupportedError for a name that would not fit into an image."""
    if len(name) > MAX_NAME:
        raise UnsupportedError(f"the name {name[:40]}… has {len(name)} characters; opml has room for {MAX_NAME}")


def add_constant(graph: OnnxGraph, name: str, value: Array) -> None:
    """Adds a constant whose name has been checked."""
    graph.constants[name] = value
    graph.types[name] = TensorType(DType(value.dtype.name), value.shape)


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
    read_initialisers(graph, proto)
    for value in proto.input:
        define(graph, value.name, f"input of {what}")
        graph.types[value.name] = UNKNOWN
        graph.inputs.append(value.name)
    read_nodes(graph, proto.node, attrs)
    for output in proto.output:
        if not graph.knows(output.name):
            raise ModelError(f"{what}: nothing computes the output {output.name!r}")
        graph.outputs.append(output.name)
    return graph


def read_initialisers(graph: OnnxGraph, proto: GraphProto) -> None:
    """Adds the initialisers of a graph in the file, and checks its name."""
    check_name(proto.name)
    if proto.sparse_initializer:
        raise UnsupportedError("sparse initialisers")
    for tensor in proto.initializer:
        define(graph, tensor.name, "initialiser")
        add_constant(graph, tensor.name, read_tensor(tensor, f"initialiser {tensor.name!r}", graph.files))
        if tensor.data_type in NARROW:
            graph.narrow[tensor.name] = NARROW[tensor.data_type][1]


def read_nodes(
    graph: OnnxGraph, nodes: Sequence[NodeProto], attrs: Mapping[str, AttributeProto] | None, of: str = ""
) -> None:
    """Adds nodes in order. `attrs` are those of the call, where the nodes are a function's; `of` names it in errors."""
    if len(nodes) > MAX_NODES:
        raise UnsupportedError(f"{len(nodes)} nodes{of}; opml has room for {MAX_NODES}")
    for index, node in enumerate(nodes):
        _read_node(
            graph,
            node if attrs is None else _bind(node, attrs),
            f"{node.op_type} {node.name or f'number {index}'!r}{of}",
            attrs,
        )


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


def _read_node(graph: OnnxGraph, node: NodeProto, what: str, outer: Mapping[str, AttributeProto] | None) -> None:
    """`outer` are the attributes of the function call that the node belongs to, for graphs within it."""
    if max(len(node.input), len(node.output)) > MAX_PORTS:
        raise UnsupportedError(f"{what[:80]} has {len(node.input)} inputs and {len(node.output)} outputs")
    for name in node.input:
        if name and not graph.knows(name):
            raise ModelError(f"{what} reads {name!r}, which no earlier node computes")
    check_name(node.name)
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
        define(graph, name, f"output of {what}")
        graph.types[name] = UNKNOWN
    graph.nodes.append(OnnxNode(operator, tuple(inputs), tuple(node.output), attrs, node.name, graphs))


def _hidden_constant(graph: OnnxGraph, value: Array) -> str:
    """The `value` of a ConstantOfShape becomes its second input: attributes of a `Node` are no tensors."""
    name = f"%value{len(graph.types)}"
    while name in graph.types:
        name += "'"
    add_constant(graph, name, value)
    return name


def _read_constant(
    graph: OnnxGraph, node: NodeProto, attrs: dict[str, Attribute], tensors: dict[str, Array], what: str
) -> None:
    if len(attrs) + len(tensors) != 1 or len(node.output) != 1 or node.input:
        raise ModelError(f"{what} needs exactly one value and one output")
    (label, value), *_ = (attrs | tensors).items()
    if label not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise UnsupportedError(f"attribute {label!r} of {what}")
    define(graph, node.output[0], f"output of {what}")
    dtype = DType.FLOAT32 if label.startswith("value_float") else DType.INT64
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype.numpy)
    add_constant(graph, node.output[0], array)


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
