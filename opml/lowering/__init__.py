"""ONNX operators → primitives, one rule per operator; the files of this folder are the list of what opml reads.

A rule gets a `Call` (one ONNX node) and returns the names of the primitive tensors that are its results. Views are
resolved, constants folded and types inferred while the rules run, so that a computed constant can be a shape.
"""

from difflib import get_close_matches

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Count, Graph
from opml.lowering import (  # noqa: F401  (register rules)
    activation,
    attention,
    classical,
    contrib_attention,
    control,
    einsum,
    elementwise,
    indexing,
    layer_norm,
    linear,
    linear_attention,
    ngrams,
    normalisation,
    qlinear,
    quantised,
    recurrent,
    reduction,
    rotary,
    shapes,
    sorting,
    spatial,
    windows,
)
from opml.lowering.builder import Builder
from opml.lowering.call import RULES
from opml.lowering.empty import visible
from opml.lowering.scope import RANDOM, lower_nodes, unknown_operators
from opml.onnx_nodes import OnnxGraph
from opml.passes.check import storage
from opml.passes.fold import FREE_BYTES

OPERATORS = tuple(sorted([*RULES, "Constant"]))


def lower(source: OnnxGraph) -> Graph:
    """The graph of primitives that computes the same as `source`, under the same input and output names.

    Raises UnsupportedError, before anything is computed where the operator itself is the reason.
    """
    unknown = sorted(unknown_operators(source))
    if drawn := [op for op in unknown if op in RANDOM]:
        raise UnsupportedError(f"operator {', '.join(drawn)}", "a program draws nothing: make what is random an input")
    if unknown:
        raise UnsupportedError(f"operator {', '.join(unknown)}", _way_out(unknown))
    names = {*source.types, *(name for node in source.nodes for name in node.outputs)}
    build = Builder(source.name, names)
    build.budget.bytes = FREE_BYTES + 4 * sum(value.nbytes for value in source.constants.values())
    build.narrow = dict(source.narrow)
    for name, value in source.constants.items():
        build.constant(value, name)
    for name in source.inputs:
        build.graph.inputs.append(name)
        build.graph.types[name] = source.types[name]

    result = {name: name for name in (*source.constants, *source.inputs)}
    for name in source.inputs:
        if not source.types[name].elements:
            result[name] = build.constant(np.zeros(source.types[name].shape, source.types[name].dtype.numpy))
            if name in source.narrow:
                build.narrow[result[name]] = source.narrow[name]
    lower_nodes(build, source, result)
    return _name_tensors(source, build, result)


def _way_out(unknown: list[str]) -> str:
    """What to do without an operator: its nearest namesake, the option that leaves it out, or the list of all."""
    if "ai.onnx.ml.ZipMap" in unknown:
        return "convert with `to_onnx(model, x, options={'zipmap': False})`: opml has tensors, no maps"
    near = dict.fromkeys(name for op in unknown for name in get_close_matches(op, OPERATORS, 1, 0.8))
    meant = f"; nearest to it: {', '.join(near)}" if near else ""
    return f"opml has {len(OPERATORS)} operators and the standard's functions of them (docs/operators.md){meant}"


def _name_tensors(source: OnnxGraph, build: Builder, result: dict[str, str]) -> Graph:
    """Gives tensors their ONNX names, outputs first, and every output bytes of its own."""
    roots = storage(build.graph)
    # An initialiser that is an output too makes way for the copy that takes its name.
    names = {name: build.fresh() for name in source.outputs if name in build.graph.constants}
    taken = {*build.graph.inputs, *build.graph.constants}
    counted: dict[str, Count] = {}
    for output in source.outputs:
        if output not in result:
            raise UnsupportedError(f"output {output!r} is a further output of a node that opml does not have")
        given = tensor = visible(build, result[output])
        root = roots.get(tensor, tensor)
        if root in taken:
            build.label = output
            tensor = root = build.copy(tensor)
        taken.add(root)
        names[tensor] = output
        if given in build.counts:
            counted[output] = build.counts[given]
    shown = [*source.outputs, *_name_counts(build, counted, names)]
    used, fixed = set(names.values()), set(build.graph.inputs)
    for name, tensor in result.items():
        if name not in used and name not in build.graph.types and tensor not in names and tensor not in fixed:
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
    graph.outputs = shown
    graph.counts = {output: Count(renamed(count.tensor), count.axis) for output, count in counted.items()}
    return graph


def _name_counts(build: Builder, counted: dict[str, Count], names: dict[str, str]) -> list[str]:
    """Makes each count an output, called after the first output that it counts; `counted` then names these."""
    made: dict[str, str] = {}
    for output, count in counted.items():
        if count.tensor not in made:
            name = f"{output}.count"
            while name in build.graph.types or name in names.values():
                name += "'"
            build.label = name
            made[count.tensor] = build.copy(count.tensor)
            names[made[count.tensor]] = name
        counted[output] = Count(made[count.tensor], count.axis)
    return [names[tensor] for tensor in made.values()]


__all__ = ["OPERATORS", "lower"]
