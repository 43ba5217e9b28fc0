"""float16, bfloat16 and float64 around ONNX's operators: computed in float32, each result rounded once.

An operator's inputs of these types become float32; its outputs become again what the standard says they are: the type
of the inputs with which they share a type variable. Operators that only move elements keep their bits. A float64 that
was computed is read as the float32 that it was.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from opml.graph import DType
from opml.lowering.builder import Builder

STORED = (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64)

# What needs no arithmetic on its tensors' elements, or does it on each node of a body.
MOVING = {
    "BitCast", "Cast", "CastLike", "CenterCropPad", "Compress", "Concat", "ConstantOfShape", "DepthToSpace",
    "Dropout", "Expand", "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "If", "Loop",
    "NonZero", "OneHot", "Optional", "Pad", "Reshape", "ReverseSequence", "Scan", "Shape", "Size", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "TensorScatter", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
}  # fmt: skip


def widened(build: Builder, op: str, inputs: Sequence[str]) -> tuple[str, ...]:
    """The inputs of an operator with float32 in place of the stored floats."""
    if op in MOVING:
        return tuple(inputs)
    return tuple(as_float32(build, name) if name else "" for name in inputs)


def as_float32(build: Builder, name: str) -> str:
    """A tensor as float32 where it is a stored float, else itself."""
    if build.type(name).dtype not in STORED:
        return name
    if not build.type(name).elements:
        return build.constant(np.zeros(build.shape(name), np.float32))
    if name not in build.float32:
        build.float32[name] = build.emit("cast", [name], to=DType.FLOAT32.value)
    return build.float32[name]


def narrowed(build: Builder, op: str, opset: int, inputs: Sequence[str], results: Sequence[str]) -> list[str]:
    """The results of an operator in the types that belong to its inputs, which are here as they were before."""
    stored = {build.type(name).dtype for name in inputs if name} & set(STORED)
    if op in MOVING or not stored:
        return list(results)
    wanted = _outputs(op, opset, [build.type(name).dtype if name else None for name in inputs], len(results))
    return [
        _store(build, name, dtype) if name and dtype in STORED else name
        for name, dtype in zip(results, wanted, strict=True)
    ]


def _store(build: Builder, name: str, dtype: DType) -> str:
    if build.type(name).dtype is not DType.FLOAT32:
        return name
    if not build.type(name).elements:
        return build.constant(np.zeros(build.shape(name), dtype.numpy))
    result = build.emit("cast", [name], to=dtype.value)
    if dtype is DType.FLOAT64:
        build.float32[result] = name
    return result


def _outputs(op: str, opset: int, inputs: Sequence[DType | None], count: int) -> list[DType | None]:
    """The dtype of each output; the first float's where ONNX does not define it or its input is absent."""
    schema = _schema(op, opset)
    first = next(dtype for dtype in inputs if dtype is not None and dtype.is_float)
    if schema is None:
        return [first] * count
    bound: dict[str, DType] = {}
    for position, dtype in enumerate(inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if dtype is not None:
            bound.setdefault(formal.type_str, dtype)
    formals = [schema.outputs[min(i, len(schema.outputs) - 1)] for i in range(count)] if schema.outputs else []
    return [bound.get(formal.type_str, None if "(" in formal.type_str else first) for formal in formals]


@cache
def _schema(op: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
