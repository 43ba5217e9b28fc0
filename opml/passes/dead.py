"""Removes what no output needs: nodes and constants. Inputs stay, whether they are read or not."""

from dataclasses import replace

from opml.graph import Graph


def remove_dead(graph: Graph) -> Graph:
    """The same graph without nodes and constants that no output depends on."""
    needed = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    nodes.reverse()
    constants = {name: value for name, value in graph.constants.items() if name in needed}
    kept = {*graph.inputs, *constants, *(name for node in nodes for name in node.outputs)}
    types = {name: kind for name, kind in graph.types.items() if name in kept}
    return replace(graph, nodes=nodes, constants=constants, types=types)
