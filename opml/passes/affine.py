"""Folds per-channel `mul` and `add` by constants into the convolution or matmul before them.

This is how BatchNormalization disappears: lowered to one `mul` and one `add`, it becomes other weights and another
bias. An `add` after a matmul keeps every bit, since a bias is added last anyway; a `mul` moves roundings, and is left
alone where a weight would overflow.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from opml.graph import Array, Graph, Node
from opml.ops import evaluate, type_of
from opml.passes.check import VIEW


def fold_affine(graph: Graph) -> Graph:
    """Merges every `mul`/`add` whose other operand is used by nobody else."""
    return _Folder(graph).run()


class _Folder:
    def __init__(self, graph: Graph) -> None:
        self.graph = replace(graph, nodes=[], constants=dict(graph.constants), types=dict(graph.types))
        self.source = graph.nodes
        self.uses = Counter(name for node in graph.nodes for name in node.inputs) + Counter(graph.kept)
        self.producer: dict[str, int] = {}

    def run(self) -> Graph:
        for node in self.source:
            if not (node.op in ("mul", "add") and self.merge(node)):
                self.producer[node.outputs[0]] = len(self.graph.nodes)
                self.graph.nodes.append(node)
        return self.graph

    def merge(self, node: Node) -> bool:
        """Puts `node` into its producer; False where that is not possible."""
        constants, types = self.graph.constants, self.graph.types
        factors = [name for name in node.inputs if name in constants]
        others = [name for name in node.inputs if name not in constants]
        if len(factors) != 1 or len(others) != 1 or types[others[0]] != types[node.outputs[0]]:
            return False
        producer = self.find(others[0])
        if producer is None:
            return False
        source = self.graph.nodes[producer]
        vector = self.channel_vector(source, others[0], constants[factors[0]])
        if vector is None:
            return False
        merged = self.scale(source, vector) if node.op == "mul" else self.shift(source, vector)
        if merged is None:
            return False
        self.graph.nodes[producer] = merged
        self.rename(others[0], node.outputs[0])
        return True

    def find(self, name: str) -> int | None:
        """The conv or matmul that computes `name`, through views, if nobody else reads anything on the way."""
        while self.uses[name] == 1 and name in self.producer:
            node = self.graph.nodes[self.producer[name]]
            if node.op in ("conv", "matmul"):
                return self.producer[name]
            if node.op != VIEW:
                return None
            name = node.inputs[0]
        return None

    def channel_vector(self, source: Node, name: str, factor: Array) -> Array | None:
        """`factor` as one value per channel of `source`, of which `name` is a view; None if it is anything else."""
        computed, viewed = self.graph.types[source.outputs[0]].shape, self.graph.types[name].shape
        if factor.dtype != np.float32 or factor.ndim > len(viewed):
            return None
        if source.op == "conv":
            # Axis 1, which a view keeps if it keeps what is before it.
            if len(viewed) < 2 or viewed[:2] != computed[:2]:
                return None
            axis, channels = 1, computed[1]
        else:
            if not viewed or viewed[-1] != computed[-1]:
                return None
            axis, channels = len(viewed) - 1, computed[-1]
        shape = (1,) * (len(viewed) - factor.ndim) + factor.shape
        if any(size != 1 for i, size in enumerate(shape) if i != axis):
            return None
        return np.ascontiguousarray(np.broadcast_to(factor.reshape(-1), (channels,)))

    def scale(self, node: Node, vector: Array) -> Node | None:
        weight = self.graph.constants.get(node.inputs[1])
        bias = self.graph.constants.get(node.inputs[2]) if self.has_bias(node) else None
        if weight is None or (self.has_bias(node) and bias is None):
            return None
        if node.op == "conv":
            shape: tuple[int, ...] = (-1, *(1,) * (weight.ndim - 1))
        else:
            shape = (-1, 1) if node.attrs["trans_b"] else (-1,)
        scaled = [evaluate("mul", [weight, vector.reshape(shape)], {}, fast=True)]
        if bias is not None:
            scaled.append(evaluate("mul", [bias, vector], {}, fast=True))
        if not all(np.isfinite(value).all() for value in (vector, *scaled)):
            return None
        names = [self.constant(f"{node.inputs[1 + i]}.scaled", value) for i, value in enumerate(scaled)]
        return replace(node, inputs=(node.inputs[0], *names))

    def shift(self, node: Node, vector: Array) -> Node | None:
        bias = vector
        if self.has_bias(node):
            old = self.graph.constants.get(node.inputs[2])
            if old is None or (node.op == "matmul" and old.ndim == 2 and old.shape[0] != 1):
                return None
            bias = evaluate("add", [old.reshape(-1), vector], {})
            if not np.isfinite(bias).all():
                return None
        return replace(node, inputs=(*node.inputs[:2], self.constant(f"{node.inputs[1]}.bias", bias)))

    def has_bias(self, node: Node) -> bool:
        return len(node.inputs) > 2 and node.inputs[2] != ""

    def constant(self, name: str, value: Array) -> str:
        while name in self.graph.types:
            name += "'"
        self.graph.constants[name] = value
        self.graph.types[name] = type_of(value)
        return name

    def rename(self, old: str, new: str) -> None:
        """`old` was read by one node only, which is gone: its producer now writes `new`."""
        index = self.producer.pop(old)
        self.graph.nodes[index] = replace(self.graph.nodes[index], outputs=(new,))
        self.producer[new] = index
        self.graph.types[new] = self.graph.types.pop(old)
