"""Small ONNX models, and graphs of primitives run by the operators' definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from opml.compiler import compile_graph
from opml.graph import Array, Graph
from opml.ops import evaluate
from opml.passes.check import VIEW

OPSET = 18


def value_info(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model whose inputs have the types of the given arrays; outputs bear no type, so nobody can rely on it."""
    initialisers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [value_info(name, array) for name, array in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        initialisers,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def one_node(
    op: str, inputs: Mapping[str, Array], constants: Mapping[str, Array] | None = None, opset: int = OPSET, **attrs: Any
) -> onnx.ModelProto:
    """A model of one node that reads the inputs, then the constants, and writes `y`."""
    names = [*inputs, *(constants or {})]
    return make_model([helper.make_node(op, names, ["y"], **attrs)], inputs, ["y"], constants, opset)


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All tensors of a graph of primitives, by the operators' definitions."""
    values: dict[str, Array] = {**graph.constants, **feeds}
    for node in graph.nodes:
        inputs = [values[name] if name else None for name in node.inputs]
        if node.op == VIEW:
            (name,) = node.inputs
            values[node.outputs[0]] = values[name].reshape(graph.types[node.outputs[0]].shape)
        else:
            values[node.outputs[0]] = evaluate(node.op, inputs, node.attrs)
    return values


def run_opml(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs of a compiled model."""
    graph = compile_graph(model.SerializeToString())
    values = run_graph(graph, feeds)
    return [values[name] for name in graph.outputs]


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs of ONNX Runtime with its graph optimisations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, dict(feeds))]


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Reproducible elements: standard normal floats, or integers of -9..9 (0..9 where unsigned)."""
    rng = np.random.default_rng([seed, *shape])
    if dtype is np.float32:
        return rng.standard_normal(shape).astype(np.float32)
    if dtype is np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.integers(0 if dtype is np.uint8 else -9, 10, shape).astype(dtype)


__all__ = [
    "OPSET",
    "TensorProto",
    "helper",
    "make_model",
    "numbers",
    "one_node",
    "run_graph",
    "run_onnxruntime",
    "run_opml",
]
