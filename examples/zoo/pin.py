"""Shapes that a model leaves open are written into its file, so that every runtime is given the same model."""

from collections.abc import Mapping

import numpy as np
import onnx


def pinned(data: bytes, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, int]) -> bytes:
    """The model with these inputs' shapes fixed, and these inputs made constants."""
    model = onnx.ModelProto.FromString(data)
    for value in list(model.graph.input):
        dims = value.type.tensor_type.shape.dim
        if value.name in constants:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.array(constants[value.name], dtype), value.name)
            )
            model.graph.input.remove(value)
        for dim, size in zip(dims, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    return model.SerializeToString()
