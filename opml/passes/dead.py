"""Removes what no output needs: nodes and constants. Inputs stay, whether they are read or not."""

from dataclasses import replace

from opml.graph import Graph


def remove_dead(graph: Graph) -> Graph:
    """The same graph without nodes and constants that no output depends on."""
    needed = set(graph.outputs)
    if graph.repeat:
        needed.add(graph.repeat.length)
    # What is remembered may be needed by a node that comes before the one that computes it.
    while True:
        known = len(needed)
        for node in reversed(graph.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
        needed.update(source for name, source in graph.histories.items() if name in needed)
        if len(needed) == known:
            break
    nodes = [node for node in graph.nodes if needed.intersection(node.outputs)]
    histories = {name: source for name, source in graph.histories.items() if name in needed}
    repeat = replace(graph.repeat, histories=histories) if graph.repeat else None
    constants = {name: value for name, value in graph.constants.items() if name in needed}
    kept = {*graph.inputs, *constants, *histories, *(name for node in nodes for name in node.outputs)}
    types = {name: kind for name, kind in graph.types.items() if name in kept}
    return replace(graph, nodes=nodes, constants=constants, types=types, repeat=repeat)
