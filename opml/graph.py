"""The graph between the reader and the program: named tensors of fixed type, nodes in execution order."""

from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attribute = int | float | str | list[int] | list[float] | list[str]


class DType(Enum):
    """Element types, named as in numpy. A bool is one byte, true when it is not zero."""

    FLOAT32 = "float32"
    INT64 = "int64"
    INT32 = "int32"
    INT8 = "int8"
    UINT8 = "uint8"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.value)

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.numpy.itemsize


@dataclass(frozen=True)
class TensorType:
    """Element type and static shape; `()` is a scalar, and a dimension may be 0."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.size


@dataclass(frozen=True)
class Node:
    """One operator: `op` is an ONNX name before lowering, a primitive's after it. An absent optional input is ""."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Attribute] = field(default_factory=dict)
    name: str = ""


@dataclass
class Graph:
    """A directed acyclic graph in topological order. `types` knows every tensor, constants included."""

    name: str
    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    types: dict[str, TensorType]
