"""ONNX file → graph of ONNX operators.

The file is believed in nothing: what the format forbids is a ModelError, what opml does not have an UnsupportedError,
both with the name of what is meant. Nothing outside the given file is ever opened, and no more memory is asked for
than the file itself holds. `value_info` is not read: shapes are inferred again when the graph is lowered.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import (
    AttributeProto,
    FunctionProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)

from opml.errors import ModelError, UnsupportedError
from opml.graph import Array, Attribute, DType, Graph, Node, TensorType
from vm.constants import SCRATCH_BASE

MIN_OPSET = 6
MAX_OPSET: int = onnx.defs.onnx_opset_version()
MAX_FILE_BYTES = 1 << 31
MAX_NODES = 1 << 16
MAX_RANK = 16
# An image's manifest holds names of up to 4096 characters, and passes lengthen them.
MAX_NAME = 1024
_DOMAINS = ("", "ai.onnx")

_DTYPES = {
    int(TensorProto.FLOAT): DType.FLOAT32,
    TensorProto.INT64: DType.INT64,
    TensorProto.INT32: DType.INT32,
    TensorProto.INT8: DType.INT8,
    TensorProto.UINT8: DType.UINT8,
    TensorProto.BOOL: DType.BOOL,
    TensorProto.INT16: DType.INT16,
    TensorProto.UINT16: DType.UINT16,
    TensorProto.UINT32: DType.UINT32,
    TensorProto.UINT64: DType.UINT64,
    TensorProto.FLOAT16: DType.FLOAT16,
    TensorProto.BFLOAT16: DType.BFLOAT16,
    TensorProto.DOUBLE: DType.FLOAT64,
}
# Where a TensorProto keeps elements that are not in `raw_data`, and as what; the others in `int32_data`.
_FIELDS: dict[DType, tuple[str, type[np.generic]]] = {
    DType.FLOAT32: ("float_data", np.float32),
    DType.INT64: ("int64_data", np.int64),
    DType.FLOAT64: ("double_data", np.float64),
    DType.UINT32: ("uint64_data", np.uint64),
    DType.UINT64: ("uint64_data", np.uint64),
}
# Integers of fewer than eight bits have a byte each here; lowering packs constants again, where it matters.
_NARROW = {
    int(TensorProto.INT4): (DType.INT8, 4),
    TensorProto.UINT4: (DType.UINT8, 4),
    TensorProto.INT2: (DType.INT8, 2),
    TensorProto.UINT2: (DType.UINT8, 2),
}


@dataclass
class OnnxGraph(Graph):
    """A graph whose nodes bear ONNX names, with the domain before a dot where it is not ONNX's own.

    `types` knows inputs and constants only; `opset` fixes what a node means; `functions` are the model's own operators;
    `narrow` has the bits of inputs and constants whose elements are integers of fewer than eight.
    """

    opset: int = MAX_OPSET
    functions: dict[str, FunctionProto] = dataclass_field(default_factory=dict)
    narrow: dict[str, int] = dataclass_field(default_factory=dict)


def onnx_type(dtype: DType) -> int:
    """The ONNX type number of an element type."""
    return next(number for number, known in _DTYPES.items() if known is dtype)


def narrow_dtype(number: int, what: str) -> tuple[DType, int]:
    """As `onnx_dtype`, with int4 and the like as bytes, and the bits of their elements (0 for other dtypes)."""
    return _NARROW[number] if number in _NARROW else (onnx_dtype(number, what), 0)


def onnx_dtype(number: int, what: str) -> DType:
    """The element type of an ONNX type number; UnsupportedError naming `what` where opml does not have it."""
    if number in _DTYPES:
        return _DTYPES[number]
    name = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else str(number)
    known = ", ".join(dtype.value for dtype in DType)
    raise UnsupportedError(f"{what} has element type {name}", f"opml has {known}")


def read_onnx(
    source: str | os.PathLike[str] | bytes,
    dims: Mapping[str, int] | None = None,
    values: Mapping[str, Array] | None = None,
) -> OnnxGraph:
    """Reads a model from a file or from its bytes. `dims` pins dynamic dimensions of inputs by name.

    `values` makes inputs constants, part of the model: what a shape or a branch depends on cannot be an input.

    Raises ModelError where the file is not a sound model, UnsupportedError where opml does not have what it uses.
    """
    model = _parse(source if isinstance(source, bytes) else _read(Path(source)))
    opset = _opset(model.opset_import)
    proto = model.graph
    if len(proto.node) > MAX_NODES:
        raise UnsupportedError(f"{len(proto.node)} nodes; opml has room for {MAX_NODES}")
    if proto.sparse_initializer:
        raise UnsupportedError("sparse initialisers")

    _check_name(proto.name)
    graph = OnnxGraph(proto.name, [], [], [], {}, {}, opset=opset, functions=_functions(model))
    for tensor in proto.initializer:
        _define(graph, tensor.name, "initialiser")
        _add_constant(graph, tensor.name, read_tensor(tensor, f"initialiser {tensor.name!r}"))
        if tensor.data_type in _NARROW:
            graph.narrow[tensor.name] = _NARROW[tensor.data_type][1]
    _read_inputs(graph, proto.input, dims or {}, values or {})
    for index, node in enumerate(proto.node):
        _read_node(graph, node, f"{node.op_type} {node.name or f'number {index}'!r}")
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
    if len(function.node) > MAX_NODES:
        raise UnsupportedError(f"{what} has {len(function.node)} nodes; opml has room for {MAX_NODES}")
    graph = OnnxGraph(function.name, [], [], [], {}, {}, opset=_opset(function.opset_import, what), functions=functions)
    for name in function.input:
        _define(graph, name, f"input of {what}")
        graph.inputs.append(name)
        graph.types[name] = UNKNOWN
    for index, node in enumerate(function.node):
        _read_node(graph, _bind(node, attrs), f"{node.op_type} {node.name or f'number {index}'!r} of {what}")
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


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def _parse(data: bytes) -> ModelProto:
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"the model is larger than {MAX_FILE_BYTES} bytes")
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError:
        raise ModelError("the file is not an ONNX model, or it is corrupt") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError("the file is not an ONNX model: it has no graph or no operator set")
    _check_text(model)
    return model


def _check_text(message: Message) -> None:
    """Every text of the file is one: protobuf gives what is not UTF-8 as bytes."""
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, (Message, str, bytes)) else value:
            if isinstance(item, Message):
                _check_text(item)
            elif not isinstance(item, str):
                raise ModelError(f"the file is corrupt: its {field.name} is no UTF-8 text: {item[:40]!r}")


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
    graph: OnnxGraph, inputs: Iterable[ValueInfoProto], dims: Mapping[str, int], values: Mapping[str, Array]
) -> None:
    """Inputs that are initialisers too (all of them before IR 4, defaults since) are constants."""
    given = dict(values)
    dynamic: dict[str, None] = {}
    used: set[str] = set()
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
            _add_constant(graph, value.name, _given(tensor, dtype, given.pop(value.name), what))
            continue
        if not tensor.HasField("shape"):
            raise UnsupportedError(f"{what} has no shape", "export the model with static shapes")
        shape = []
        for axis, dim in enumerate(tensor.shape.dim):
            label = dim.dim_param or f"{value.name}:{axis}"
            if dim.WhichOneof("value") == "dim_value":
                shape.append(dim.dim_value)
            elif label in dims:
                used.add(label)
                shape.append(dims[label])
            else:
                dynamic[label] = None
        graph.types[value.name] = TensorType(dtype, _check_shape(shape, what))
        graph.inputs.append(value.name)
    if dynamic:
        pin = "pin each of them to a number, with --dim NAME=NUMBER or `dims` in Python"
        raise UnsupportedError(f"dynamic dimensions: {', '.join(dynamic)}", pin)
    if unknown := sorted(set(dims) - used):
        raise ModelError(f"the model has no dynamic dimension {', '.join(unknown)}")
    if given:
        raise ModelError(f"the model has no input {min(given)!r} to which a value could be given")


def _given(tensor: TypeProto.Tensor, dtype: DType, value: Array, what: str) -> Array:
    """A value given to an input, after a check that the model allows it."""
    value = np.asarray(value)
    if value.dtype != dtype.numpy:
        raise ModelError(f"{what} is {dtype.value}; the value given to it is {value.dtype}")
    dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else None for dim in tensor.shape.dim]
    fits = len(dims) == value.ndim and all(d in (None, size) for d, size in zip(dims, value.shape, strict=True))
    if tensor.HasField("shape") and not fits:
        raise ModelError(f"{what} does not have the shape {list(value.shape)} of the value given to it")
    return value


def _check_shape(shape: Iterable[int], what: str) -> tuple[int, ...]:
    result = tuple(int(size) for size in shape)
    if len(result) > MAX_RANK:
        raise UnsupportedError(f"{what} has {len(result)} dimensions; opml has at most {MAX_RANK}")
    if any(not 0 <= size < SCRATCH_BASE for size in result):
        raise ModelError(f"{what} has an impossible shape {list(result)}")
    return result


def read_tensor(tensor: TensorProto, what: str) -> Array:
    """The elements of a tensor, read-only where they lie in the file. `what` names it in errors."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise UnsupportedError(f"{what} lies in another file (external data)", "save the model as one file")
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{what} is stored in segments")
    dtype, bits = narrow_dtype(tensor.data_type, what)
    shape = _check_shape(tensor.dims, what)
    if bits:
        flat: Array = _unpack(tensor, bits, prod(shape), what).view(dtype.numpy)
    elif tensor.HasField("raw_data"):
        stored = np.uint8 if dtype is DType.BOOL else dtype.numpy
        if len(tensor.raw_data) != prod(shape) * dtype.size:
            raise ModelError(
                f"{what} holds {len(tensor.raw_data)} bytes, not the {prod(shape) * dtype.size} of its shape"
            )
        flat = np.frombuffer(tensor.raw_data, np.dtype(stored).newbyteorder("<"))
    else:
        # The lengths are compared before the elements are touched: a shape alone never costs memory.
        field, held = _FIELDS.get(dtype, ("int32_data", np.int32))
        values = getattr(tensor, field)
        if len(values) != prod(shape):
            raise ModelError(f"{what} holds {len(values)} elements, not the {prod(shape)} of its shape")
        flat = np.array(values, held)
        # Of a float of two bytes the field holds the bits.
        kept = np.dtype(np.uint16) if dtype in (DType.FLOAT16, DType.BFLOAT16) else dtype.numpy
        if kept.kind in "iu" and not np.array_equal(flat, flat.astype(kept)):
            raise ModelError(f"{what} holds values that are no {dtype.value}")
        flat = flat.astype(kept).view(dtype.numpy) if dtype.size == 2 else flat
    flat = flat != 0 if dtype is DType.BOOL else flat.astype(dtype.numpy, copy=False)
    try:
        return flat.reshape(shape)
    except ValueError:
        raise ModelError(f"{what} has an impossible shape {list(shape)}") from None


def _unpack(tensor: TensorProto, bits: int, count: int, what: str) -> Array:
    """The elements of a tensor of int4 or the like, the first one in a byte's lowest bits, each made a byte."""
    packed = tensor.raw_data if tensor.HasField("raw_data") else tensor.int32_data
    if len(packed) != -(-count * bits // 8):
        raise ModelError(f"{what} holds {len(packed)} bytes, not the {-(-count * bits // 8)} of its shape")
    if not isinstance(packed, bytes) and not all(0 <= value < 256 for value in packed):
        raise ModelError(f"{what} holds values that are no bytes")
    codes = np.frombuffer(bytes(packed), np.uint8)[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)
    codes = codes.reshape(-1)[:count] << np.uint8(8 - bits)
    if tensor.data_type in (TensorProto.INT4, TensorProto.INT2):
        return (codes.view(np.int8) >> np.int8(8 - bits)).view(np.uint8)
    return codes >> np.uint8(8 - bits)


def _read_node(graph: OnnxGraph, node: onnx.NodeProto, what: str) -> None:
    for name in node.input:
        if name and name not in graph.types:
            raise ModelError(f"{what} reads {name!r}, which no earlier node computes")
    _check_name(node.name)
    inputs = list(node.input)
    attrs: dict[str, Attribute] = {}
    tensors: dict[str, Array] = {}
    for attribute in node.attribute:
        label = f"attribute {attribute.name!r} of {what}"
        if attribute.name in attrs or attribute.name in tensors:
            raise ModelError(f"{label} is given twice")
        value = _read_attribute(attribute, label)
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
    graph.nodes.append(Node(operator, tuple(inputs), tuple(node.output), attrs, node.name))


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
    graph: OnnxGraph, node: onnx.NodeProto, attrs: dict[str, Attribute], tensors: dict[str, Array], what: str
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


def _read_attribute(attribute: AttributeProto, label: str) -> Attribute | Array:
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
            return read_tensor(attribute.t, label)
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
    for name in outputs:
        if name not in graph.types:
            raise ModelError(f"nothing computes the output {name!r}")
        if name in graph.outputs:
            raise ModelError(f"the output {name!r} is listed twice")
        if name in graph.inputs:
            raise UnsupportedError(f"{name!r} is both an input and an output", "put an Identity between them")
        graph.outputs.append(name)
    computed = {name for node in graph.nodes for name in node.outputs}
    graph.types = {name: kind for name, kind in graph.types.items() if name not in computed}
