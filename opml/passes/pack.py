"""Lays constant matmul weights out as the kernels stream them: panels of PANEL columns, each row by row.

A weight [K, N] becomes [ceil(N / PANEL), K, PANEL], zero padded. One panel width serves all CPUs, so that an image is
mapped and used as it is; the zeros of the last panel are never multiplied.
"""

from dataclasses import replace

from opml.graph import Graph, Node
from opml.ops import type_of
from opml.ops.matmul import pack


def pack_weights(graph: Graph) -> Graph:
    """Packs the second operand of every matmul where it is a constant matrix."""
    constants, types = dict(graph.constants), dict(graph.types)
    nodes: list[Node] = []
    packed: dict[tuple[str, bool], tuple[str, int]] = {}
    for node in graph.nodes:
        weight = constants.get(node.inputs[1]) if node.op == "matmul" else None
        if weight is None or weight.ndim != 2 or node.attrs.get("packed"):
            nodes.append(node)
            continue
        key = (node.inputs[1], bool(node.attrs["trans_b"]))
        if key not in packed:
            matrix = weight.T if key[1] else weight
            name = f"{key[0]}.panels{'T' if key[1] else ''}"
            while name in types:
                name += "'"
            constants[name] = pack(matrix)
            types[name] = type_of(constants[name])
            packed[key] = name, matrix.shape[1]
        name, columns = packed[key]
        attrs = {**node.attrs, "trans_b": 0, "packed": 1, "n": columns}
        nodes.append(replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]), attrs=attrs))
    return replace(graph, nodes=nodes, constants=constants, types=types)
