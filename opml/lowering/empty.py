"""Tensors without elements. There is nothing to compute in one: it is a constant, whatever it is made of.

Primitives have no tensors without elements, so a node that reads one is not lowered by its rule where its results have
no elements either. An input or an output of the model without elements stays one (`visible`).
"""

from typing import Any

import numpy as np
import onnx
from onnx import TypeProto

from opml.errors import UnsupportedError
from opml.graph import Count
from opml.lowering.builder import Builder
from opml.lowering.call import Call
from opml.tensors import onnx_dtype, onnx_type


def empty_results(c: Call) -> list[str] | None:
    """The results of a node that reads a tensor without elements, if they have none either; else None.

    Their shapes are those that ONNX itself infers.
    """
    names = [name for name in c.inputs if name]
    if "." in c.op or all(c.build.type(name).elements for name in names):
        return None
    inferred = _infer(c, names)
    results = []
    for output in c.node.outputs:
        kind = inferred.get(output, TypeProto()).tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        if output and (0 not in shape or min(shape) < 0):
            return None
        dtype = onnx_dtype(kind.elem_type, f"output {output!r}").numpy if output else np.uint8
        results.append(c.build.constant(np.zeros(shape, dtype)) if output else "")
    return results


def _infer(c: Call, names: list[str]) -> dict[str, TypeProto]:
    attrs: dict[str, Any] = dict(c.node.attrs)
    made = onnx.helper.make_node(c.op, list(c.inputs), list(c.node.outputs), **attrs)
    types, values = {}, {}
    for name in names:
        kind, value = c.build.type(name), c.build.value(name)
        types[name] = onnx.helper.make_tensor_type_proto(onnx_type(kind.dtype), kind.shape)
        if value is not None and value.ndim <= 1:
            values[name] = onnx.numpy_helper.from_array(value, name)
    try:
        schema = onnx.defs.get_schema(c.op, c.opset, "")
        opsets = [onnx.helper.make_opsetid("", c.opset)]
        return dict(onnx.shape_inference.infer_node_outputs(schema, made, types, values, opset_imports=opsets))
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError, TypeError, ValueError):
        return {}


def visible(build: Builder, name: str) -> str:
    """An output without elements as what a program can write: one zero, of which a count says that it is none."""
    kind = build.type(name)
    if kind.elements:
        return name
    if kind.shape.count(0) != 1:
        raise UnsupportedError(f"an output of shape {list(kind.shape)}")
    shape = [size or 1 for size in kind.shape]
    tensor = build.copy(build.constant(np.zeros(shape, kind.dtype.numpy)))
    build.counts[tensor] = Count(build.constant(np.zeros(1, np.int64)), kind.shape.index(0))
    return tensor
