"""One ONNX operator in opml beside ONNX Runtime; an input that is None is left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from opml import onnx_backend

Array = NDArray[Any]
Inputs = Sequence[Array | None]


def node(op: str, inputs: Inputs, outputs: int, attrs: dict[str, Any]) -> onnx.NodeProto:
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    return helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attrs)


def run_opml(op: str, inputs: Inputs, opset: int = 19, outputs: int = 1, **attrs: Any) -> list[Array]:
    """All outputs of one operator."""
    given = [array for array in inputs if array is not None]
    return list(onnx_backend.run_node(node(op, inputs, outputs, attrs), given, opset_version=opset))


def run_runtime(op: str, inputs: Inputs, opset: int = 19, outputs: int = 1, **attrs: Any) -> list[Array]:
    """The same by ONNX Runtime."""
    feeds = {f"x{i}": array for i, array in enumerate(inputs) if array is not None}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    results = [helper.make_empty_tensor_value_info(f"y{i}") for i in range(outputs)]
    graph = helper.make_graph([node(op, inputs, outputs, attrs)], "g", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(value) for value in session.run(None, feeds)]


def beside_runtime(
    op: str,
    inputs: Inputs,
    opset: int = 19,
    outputs: int = 1,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    **attrs: Any,
) -> Array:
    """opml's first output, after ONNX Runtime has given the same outputs within a tolerance."""
    mine = run_opml(op, inputs, opset, outputs, **attrs)
    for a, b in zip(mine, run_runtime(op, inputs, opset, outputs, **attrs), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    return mine[0]
