"""Lowers the nodes of a graph, each by its rule or by the function body that defines it.

An operator without a rule may be one of the model's own functions, or one that the ONNX standard itself defines by a
function of others; the body is then lowered in place of the node, with the node's inputs and attributes.
"""

from collections.abc import Iterable, MutableMapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, OperatorSetIdProto, TypeProto

from opml.errors import ModelError, OpmlError, UnsupportedError
from opml.graph import Node
from opml.lowering.before7 import modernise
from opml.lowering.builder import Builder
from opml.lowering.call import RULES, Call
from opml.lowering.counts import carry_counts
from opml.lowering.empty import empty_results
from opml.lowering.floats import narrowed, widened
from opml.onnx_nodes import OnnxGraph, operator_name
from opml.reader import read_function
from opml.tensors import onnx_type

MAX_DEPTH = 16
# A program draws nothing. Bernoulli has a function body, of another one of these.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# What rules and the onnx package's own inference raise for attributes, types and shapes that the standard forbids.
NONSENSE = (
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)
Names = MutableMapping[str, str]


def lower_nodes(build: Builder, graph: OnnxGraph, names: Names, depth: int = 0) -> None:
    """Lowers the nodes of a graph. `names` has the tensor of every ONNX name so far, and gains what they compute."""
    for node in graph.nodes:
        inputs = list(node.inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        label = f"{node.op} {node.name or next(filter(None, node.outputs), '')!r}"
        missing = [name for name in inputs if name and name not in names]
        if missing:
            raise UnsupportedError(f"{label} reads {missing[0]!r}, a further output of a node that opml does not have")
        build.count()
        given = tuple(names[name] if name else "" for name in inputs)
        if not depth:
            build.label = node.name or next(filter(None, node.outputs))
        try:
            if node.op in graph.functions:
                outputs = _expand(Call(build, node, graph.opset, given), graph, depth)
            else:
                call = Call(build, node, graph.opset, widened(build, node.op, given), names=names, depth=depth)
                call = call if graph.opset >= 7 else modernise(call)
                results = _by_rule(call) if node.op in RULES else _expand(call, graph, depth)
                outputs = narrowed(build, node.op, graph.opset, given, results)
        except OpmlError as error:
            raise error.within(label) from None
        except NONSENSE as error:
            # Rules assume what the ONNX standard says of attributes and shapes; a corrupt file need not obey it.
            raise ModelError(f"{label} makes no sense: {error}") from error
        names.update({name: tensor for name, tensor in zip(node.outputs, outputs, strict=False) if name and tensor})


def unknown_operators(graph: OnnxGraph) -> set[str]:
    """The operators that a graph uses, itself or in the model's own functions, and that nothing here defines."""
    used, waiting = set(), {node.op for node in graph.nodes}
    while waiting:
        used |= waiting
        bodies = [graph.functions[op] for op in waiting & set(graph.functions)]
        waiting = {operator for body in bodies for operator in _operators(body)} - used
    known = {*RULES, *graph.functions}
    return {op for op in used if op not in known and (op in RANDOM or not _has_body(op, graph.opset))}


def _operators(body: FunctionProto) -> Iterable[str]:
    return (name for node in body.node if (name := operator_name(node.domain, node.op_type)) != "Constant")


def _by_rule(call: Call) -> Sequence[str]:
    if (nothing := empty_results(call)) is not None:
        return nothing
    rule = RULES[call.op](call)
    _refuse_rest(call)
    results = [rule] if isinstance(rule, str) else rule
    carry_counts(call, results)
    return results


def apply(call: Call, op: str, inputs: Sequence[str]) -> str:
    """The result of another ONNX operator, without attributes, as part of the lowering of a node."""
    if op not in RULES:
        raise UnsupportedError(f"operator {op}")
    given = tuple(inputs)
    other = Call(call.build, Node(op, given, ("",)), call.opset, widened(call.build, op, given))
    return narrowed(call.build, op, call.opset, given, _by_rule(other))[0]


def _refuse_rest(call: Call) -> None:
    """What a rule did not look at would have meant something."""
    if unread := sorted({*call.node.attrs, *getattr(call.node, "graphs", {})} - call.attrs_read):
        raise UnsupportedError(f"attribute {unread[0]!r}")
    if len(call.inputs) > call.inputs_read:
        raise UnsupportedError(f"{len(call.inputs)} inputs; opml has {call.inputs_read}")


def _expand(call: Call, graph: OnnxGraph, depth: int) -> list[str]:
    """Lowers the function body of a node in its place; "" for an output that is not named."""
    if depth == MAX_DEPTH:
        raise UnsupportedError(f"functions call each other more than {MAX_DEPTH} deep")
    node, function, attrs = call.node, graph.functions.get(call.op), _attributes(call.node)
    if function is not None:
        attrs = {attribute.name: attribute for attribute in function.attribute_proto} | attrs
        declared = {*function.attribute, *(attribute.name for attribute in function.attribute_proto)}
    else:
        schema = _schema(call.op, graph.opset)
        if schema is None:
            raise UnsupportedError(f"operator {call.op}")
        function = _body(schema, call, attrs)
        defaults = {name: given.default_value for name, given in schema.attributes.items()}
        attrs = {name: value for name, value in defaults.items() if value.name} | attrs
        declared = set(schema.attributes)
    if unknown := sorted(set(node.attrs) - declared):
        raise UnsupportedError(f"attribute {unknown[0]!r}")
    if len(call.inputs) > len(function.input):
        raise UnsupportedError(f"{len(call.inputs)} inputs; the function has {len(function.input)}")
    body = read_function(function, attrs, graph.functions)
    given = [*call.inputs, *[""] * (len(body.inputs) - len(call.inputs))]
    names = dict(zip(body.inputs, given, strict=True)) | {
        name: call.build.constant(value) for name, value in body.constants.items()
    }
    lower_nodes(call.build, body, names, depth + 1)
    return [names.get(name, "") for name in body.outputs]


@cache
def _schema(op: str, opset: int) -> Any:
    """The `onnx.defs.OpSchema` of one of ONNX's own operators, as of a version of the operator set; None for others."""
    try:
        return onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None


def _has_body(op: str, opset: int) -> bool:
    schema = _schema(op, opset)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _body(schema: Any, call: Call, attrs: dict[str, AttributeProto]) -> FunctionProto:
    """The function by which the standard defines an operator, in the operator set nearest to the model's."""
    if schema.has_function:
        data = schema.get_function_with_opset_version(_nearest(schema.function_opset_versions, call.opset))
        function = data if isinstance(data, FunctionProto) else FunctionProto.FromString(data)
    elif schema.has_context_dependent_function:
        proto = onnx.helper.make_node(
            call.op, [f"i{i}" if x else "" for i, x in enumerate(call.inputs)], call.node.outputs
        )
        proto.attribute.extend(attrs.values())
        version = _nearest(schema.context_dependent_function_opset_versions, call.opset)
        kinds = [_type(call, name).SerializeToString() for name in call.inputs]
        data = schema.get_context_dependent_function_with_opset_version(version, proto.SerializeToString(), kinds)
        function = FunctionProto.FromString(data)
    else:
        raise UnsupportedError(f"operator {call.op}")
    if not any(entry.domain == "" for entry in function.opset_import):
        function.opset_import.append(OperatorSetIdProto(domain="", version=call.opset))
    return function


def _nearest(versions: list[int], opset: int) -> int:
    return max((version for version in versions if version <= opset), default=min(versions))


def _type(call: Call, name: str) -> TypeProto:
    if not name:
        return TypeProto()
    kind = call.build.type(name)
    proto: TypeProto = onnx.helper.make_tensor_type_proto(onnx_type(kind.dtype), kind.shape)
    return proto


def _attributes(node: Node) -> dict[str, AttributeProto]:
    """The attributes of a node as the format has them."""
    kinds: dict[type, int] = {int: AttributeProto.INT, float: AttributeProto.FLOAT, str: AttributeProto.STRING}
    lists: dict[type, int] = {int: AttributeProto.INTS, float: AttributeProto.FLOATS, str: AttributeProto.STRINGS}
    made = {}
    for name, value in node.attrs.items():
        if isinstance(value, list):
            kind = lists[type(value[0])] if value else AttributeProto.INTS
        else:
            kind = kinds[type(value)]
        made[name] = onnx.helper.make_attribute(name, value, attr_type=kind)
    return made
