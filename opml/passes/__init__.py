"""Passes over a graph of primitives. Each is a function from graph to graph, and each result is checked."""

from collections.abc import Callable

from opml.graph import Graph
from opml.passes.affine import fold_affine
from opml.passes.check import check
from opml.passes.dead import remove_dead
from opml.passes.pack import pack_weights

PASSES: tuple[Callable[[Graph], Graph], ...] = (remove_dead, fold_affine, pack_weights, remove_dead)


def run_passes(graph: Graph) -> Graph:
    """All passes in order. A pass that leaves an illegal graph behind raises ModelError."""
    check(graph)
    for apply in PASSES:
        graph = apply(graph)
        check(graph)
    return graph


__all__ = ["PASSES", "run_passes"]
