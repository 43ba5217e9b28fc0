"""ONNX operators → primitives, one rule per operator; the files of this folder are the list of what opml reads.

A rule gets a `Call` (one ONNX node) and returns the names of the primitive tensors that are its results. Views are
resolved, constants folded and types inferred while the rules run, so that a computed constant can be a shape.
"""

from opml.errors import ModelError, OpmlError, UnsupportedError
from opml.graph import Graph
from opml.lowering import elementwise, linear, normalisation, reduction, shapes, windows  # noqa: F401  (register rules)
from opml.lowering.builder import Builder
from opml.lowering.call import RULES, Call
from opml.passes.check import storage
from opml.passes.fold import FREE_BYTES
from opml.reader import OnnxGraph

OPERATORS = tuple(sorted([*RULES, "Constant"]))


def lower(source: OnnxGraph) -> Graph:
    """The graph of primitives that computes the same as `source`, under the same input and output names.

    Raises UnsupportedError, before anything is computed where the operator itself is the reason.
    """
    if unknown := sorted({node.op for node in source.nodes} - set(RULES)):
        raise UnsupportedError(f"operator {', '.join(unknown)}", f"opml has {', '.join(OPERATORS)}")
    if not source.inputs:
        raise UnsupportedError("a model without inputs")
    names = {*source.types, *(name for node in source.nodes for name in node.outputs)}
    build = Builder(source.name, names)
    build.budget.bytes = FREE_BYTES + 4 * sum(value.nbytes for value in source.constants.values())
    for name, value in source.constants.items():
        build.constant(value, name)
    for name in source.inputs:
        build.graph.inputs.append(name)
        build.graph.types[name] = source.types[name]

    result = {name: name for name in (*source.constants, *source.inputs)}
    for node in source.nodes:
        inputs = list(node.inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        label = f"{node.op} {node.name or node.outputs[0]!r}"
        missing = [name for name in inputs if name and name not in result]
        if missing:
            raise UnsupportedError(f"{label} reads {missing[0]!r}, a further output of a node that opml does not have")
        call = Call(build, node, source.opset, tuple(result[name] if name else "" for name in inputs))
        build.label = node.name or next(filter(None, node.outputs))
        try:
            results = RULES[node.op](call)
            _refuse_rest(call)
        except OpmlError as error:
            raise type(error)(f"{label}: {error.message}", error.hint) from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Rules assume what the ONNX standard says of attributes and shapes; a corrupt file need not obey it.
            raise ModelError(f"{label} makes no sense: {error}") from error
        outputs = [results] if isinstance(results, str) else results
        result.update({name: tensor for name, tensor in zip(node.outputs, outputs, strict=False) if name and tensor})
    return _name_tensors(source, build, result)


def _refuse_rest(call: Call) -> None:
    """What a rule did not look at would have meant something."""
    if unread := sorted(set(call.node.attrs) - call.attrs_read):
        raise UnsupportedError(f"attribute {unread[0]!r}")
    if len(call.inputs) > call.inputs_read:
        raise UnsupportedError(f"{len(call.inputs)} inputs; opml has {call.inputs_read}")


def _name_tensors(source: OnnxGraph, build: Builder, result: dict[str, str]) -> Graph:
    """Gives tensors their ONNX names, outputs first, and every output bytes of its own."""
    roots = storage(build.graph)
    # An initialiser that is an output too makes way for the copy that takes its name.
    names = {name: build.fresh() for name in source.outputs if name in build.graph.constants}
    taken = {*build.graph.inputs, *build.graph.constants}
    for output in source.outputs:
        if output not in result:
            raise UnsupportedError(f"output {output!r} is a further output of a node that opml does not have")
        tensor = result[output]
        root = roots[tensor]
        if root in taken:
            build.label = output
            tensor = root = build.copy(tensor)
        taken.add(root)
        names[tensor] = output
    used = set(names.values())
    for name, tensor in result.items():
        if name not in used and name not in build.graph.types and tensor not in {*names, *build.graph.inputs}:
            names[tensor] = name
            used.add(name)

    def renamed(name: str) -> str:
        return names.get(name, name)

    graph = build.graph
    for index, node in enumerate(graph.nodes):
        inputs, outputs = tuple(map(renamed, node.inputs)), tuple(map(renamed, node.outputs))
        graph.nodes[index] = type(node)(node.op, inputs, outputs, node.attrs, node.name)
    graph.constants = {renamed(name): value for name, value in graph.constants.items()}
    graph.types = {renamed(name): kind for name, kind in graph.types.items()}
    graph.outputs = list(source.outputs)
    return graph


__all__ = ["OPERATORS", "lower"]
