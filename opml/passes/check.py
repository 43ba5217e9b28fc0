"""The legality check that every pass must leave in force, and what a `view` is.

A `view` node names the same bytes under another shape: it has no record and no tile. It is the only node that is not
a primitive of `opml.ops`.
"""

from opml.errors import ModelError, OpmlError
from opml.graph import Graph, Node, TensorType
from opml.ops import OPS

VIEW = "view"


def storage(graph: Graph) -> dict[str, str]:
    """For every tensor the name of the input, constant or node output whose bytes it is."""
    roots = {name: name for name in (*graph.inputs, *graph.constants)}
    for node in graph.nodes:
        roots[node.outputs[0]] = roots[node.inputs[0]] if node.op == VIEW else node.outputs[0]
    return roots


def infer(graph: Graph, node: Node) -> TensorType:
    """The type of a node's output, from its inputs' types in `graph` and its attributes alone.

    Raises UnsupportedError where the primitive does not have what is asked for, ModelError where it makes no sense.
    """
    types = [graph.types[name] if name else None for name in node.inputs]
    if node.op == VIEW:
        (source,) = types
        shape = node.attrs.get("shape")
        if source is None or set(node.attrs) != {"shape"} or not isinstance(shape, list):
            raise ModelError("a view needs an input and a shape, nothing else")
        if any(type(size) is not int or size < 0 for size in shape):
            raise ModelError(f"a view cannot have the shape {shape}")
        viewed = TensorType(source.dtype, tuple(int(size) for size in shape))
        if viewed.elements != source.elements:
            raise ModelError(f"a view of {source.elements} elements cannot have the shape {shape}")
        return viewed
    if node.op not in OPS:
        raise ModelError(f"there is no primitive {node.op!r}")
    return OPS[node.op].infer(types, node.attrs)


def check(graph: Graph) -> None:
    """Raises ModelError unless `graph` is a legal graph of primitives.

    Every tensor is defined once, before it is read, and has the type that its node gives; constants have the type
    they are said to have; every output has bytes of its own, written by a node.
    """
    known: set[str] = set()

    def define(name: str) -> None:
        if not name or name in known:
            raise ModelError(f"{name!r} is defined twice" if name else "a tensor without a name")
        known.add(name)

    for name in (*graph.inputs, *graph.constants):
        define(name)
        if name not in graph.types:
            raise ModelError(f"{name!r} has no type")
    for name, value in graph.constants.items():
        if (value.dtype.name, value.shape) != (graph.types[name].dtype.value, graph.types[name].shape):
            raise ModelError(f"the constant {name!r} is not of its type")
    for node in graph.nodes:
        label = f"{node.op} {node.name!r}"
        if len(node.outputs) != 1:
            raise ModelError(f"{label} must have one output")
        for name in filter(None, node.inputs):
            if name not in known:
                raise ModelError(f"{label} reads {name!r}, which is not computed before it")
        try:
            inferred = infer(graph, node)
        except OpmlError as error:
            raise error.within(label) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Shape rules may assume well-formed attributes; graphs that come from a file need not have them.
            raise ModelError(f"{label}: {error}") from error
        define(node.outputs[0])
        if graph.types.get(node.outputs[0]) != inferred:
            raise ModelError(f"{label}: {node.outputs[0]!r} is not of the type {inferred}")
    _check_outputs(graph, known)


def _check_outputs(graph: Graph, known: set[str]) -> None:
    if not graph.outputs:
        raise ModelError("a graph needs an output")
    if missing := [name for name in graph.outputs if name not in known]:
        raise ModelError(f"nothing computes the output {missing[0]!r}")
    roots = storage(graph)
    taken = {*graph.inputs, *graph.constants}
    for name in graph.outputs:
        if roots[name] in taken:
            raise ModelError(f"the output {name!r} has no bytes of its own")
        taken.add(roots[name])
    if extra := set(graph.types) - known:
        raise ModelError(f"a type is given for {min(extra)!r}, which does not exist")
