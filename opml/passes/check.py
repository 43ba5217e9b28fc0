"""The legality check that every pass must leave in force, and what a `view` is.

A `view` node names the same bytes under another shape: it has no record and no tile. It is the only node that is not
a primitive of `opml.ops`.
"""

from opml.errors import ModelError, OpmlError
from opml.graph import DType, Graph, Node, Repeat, TensorType
from opml.ops import OPS

VIEW = "view"


def storage(graph: Graph) -> dict[str, str]:
    """For every tensor the name of the input, constant or node output whose bytes it is.

    A history's are those of the tensor that it remembers.
    """
    roots = {name: name for name in (*graph.inputs, *graph.constants)}
    for node in graph.nodes:
        roots[node.outputs[0]] = roots[node.inputs[0]] if node.op == VIEW else node.outputs[0]
    return roots | {name: roots[source] for name, source in graph.histories.items()}


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
    they are said to have; every output has bytes of its own, written by a node. A history is read by operators that
    take histories, and of what it remembers in an iteration only what has been computed by then.
    """
    known: set[str] = set()

    def define(name: str) -> None:
        if not name or name in known:
            raise ModelError(f"{name!r} is defined twice" if name else "a tensor without a name")
        known.add(name)

    for name in (*graph.inputs, *graph.constants, *graph.histories):
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
        _check_reads(graph, node, known, label)
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
    if graph.repeat:
        _check_repeat(graph, graph.repeat)
    _check_outputs(graph, known)


def _check_reads(graph: Graph, node: Node, known: set[str], label: str) -> None:
    """A history is where one is taken, and nowhere else; and a node sees nothing that is not yet written."""
    taken = OPS[node.op].histories if node.op in OPS else {}
    for position, name in enumerate(node.inputs):
        if not name:
            continue
        source = graph.histories.get(name)
        if (source is None) == (position in taken):
            raise ModelError(f"{label}: input {position} must {'not ' if source else ''}be a history")
        if source is not None and taken[position] and source not in known:
            raise ModelError(f"{label} reads {source!r} of the same iteration, which is not computed before it")
    if graph.repeat is None and node.op in OPS and OPS[node.op].iterates:
        raise ModelError(f"{label}: the program is not repeated")


def _check_repeat(graph: Graph, repeat: Repeat) -> None:
    if not 1 <= repeat.count < 1 << 31:
        raise ModelError(f"a program cannot be repeated {repeat.count} times")
    if graph.counts:
        raise ModelError("an output of a program that is repeated cannot have a count")
    if repeat.length not in graph.inputs or graph.types[repeat.length] != TensorType(DType.INT32, (1,)):
        raise ModelError(f"{repeat.length!r}, how often the program is run, is no input int32 [1]")
    computed = {node.outputs[0] for node in graph.nodes}
    roots = storage(graph) if computed.issuperset(repeat.histories.values()) else {}
    for name, source in repeat.histories.items():
        if source not in computed or roots[source] not in computed:
            raise ModelError(f"the history {name!r} remembers {source!r}, which no node computes")
        kind = graph.types[source]
        if graph.types[name] != TensorType(kind.dtype, (repeat.count, *kind.shape)):
            raise ModelError(f"the history {name!r} is not of the type of {repeat.count} times {source!r}")


def _check_outputs(graph: Graph, known: set[str]) -> None:
    if not graph.outputs:
        raise ModelError("a graph needs an output")
    if missing := [name for name in graph.outputs if name not in known or name in graph.histories]:
        raise ModelError(f"nothing computes the output {missing[0]!r}")
    roots = storage(graph)
    taken = {*graph.inputs, *graph.constants}
    for name in graph.outputs:
        if roots[name] in taken:
            raise ModelError(f"the output {name!r} has no bytes of its own")
        taken.add(roots[name])
    _check_counts(graph)
    if extra := set(graph.types) - known:
        raise ModelError(f"a type is given for {min(extra)!r}, which does not exist")


def _check_counts(graph: Graph) -> None:
    for name, count in graph.counts.items():
        if name not in graph.outputs or count.tensor not in graph.outputs:
            raise ModelError(f"{count.tensor!r} counts {name!r}, and both are not outputs")
        if graph.types[count.tensor] != TensorType(DType.INT64, (1,)):
            raise ModelError(f"the count {count.tensor!r} is no int64 [1]")
        if count.tensor in graph.counts:
            raise ModelError(f"the count {count.tensor!r} is counted itself")  # it would hide what it counts
        if not 0 <= count.axis < len(graph.types[name].shape):
            raise ModelError(f"the output {name!r} has no axis {count.axis} to be counted")
