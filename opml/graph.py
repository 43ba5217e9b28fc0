"""The graph between the reader and the program: named tensors of fixed type, nodes in execution order."""

from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attribute = int | float | str | list[int] | list[float] | list[str]


DTypeName = Literal[
    "float32", "int64", "int32", "int8", "uint8", "bool", "int16", "uint16", "uint32", "uint64", "float16", "bfloat16",
    "float64",
]  # fmt: skip


class DType(Enum):
    """Element types, named as in numpy (bfloat16 as in ml_dtypes). A bool is one byte, true when it is not zero.

    float16, bfloat16 and float64 are only stored, moved and converted: all float arithmetic is float32's.
    """

    FLOAT32 = "float32"
    INT64 = "int64"
    INT32 = "int32"
    INT8 = "int8"
    UINT8 = "uint8"
    BOOL = "bool"
    INT16 = "int16"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"

    @property
    def numpy(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if self is DType.BFLOAT16 else self.value)
        return dtype

    @property
    def is_float(self) -> bool:
        return self in (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64)

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.numpy.itemsize


@dataclass(frozen=True)
class TensorType:
    """Element type and static shape; `()` is a scalar, and a dimension may be 0."""

    dtype: DType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As in `float32[1, 64]`."""
        return f"{self.dtype.value}{list(self.shape)}"

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


@dataclass(frozen=True)
class Repeat:
    """The graph is a body that is run over and over, each time with a memory of what it computed before.

    count      how often it may run: 1 to 2**31 - 1
    length     the int32 [1] graph input that says how often it does; below 0 is 0, above `count` is `count`
    histories  name -> a tensor that the body computes: `name` is that tensor of all iterations, [count, *shape],
               of which an operator may read what has been written (`Op.histories`)
    """

    count: int
    length: str
    histories: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """How far a tensor is filled: along `axis`, as far as the only element of `tensor`, an int64 [1], says."""

    tensor: str
    axis: int


@dataclass
class Graph:
    """A directed acyclic graph in topological order. `types` knows every tensor, constants and histories included.

    An output of a graph with `repeat` is what its tensor was in every iteration.
    An output whose size is data has the shape of its capacity, and an entry in `counts` that names another output.
    """

    name: str
    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    types: dict[str, TensorType]
    repeat: Repeat | None = field(default=None, kw_only=True)
    counts: dict[str, Count] = field(default_factory=dict, kw_only=True)

    @property
    def histories(self) -> dict[str, str]:
        """The histories by name, with the tensors that they remember."""
        return self.repeat.histories if self.repeat else {}

    @property
    def kept(self) -> list[str]:
        """What is read after the last node: outputs, and tensors that are remembered."""
        return [*self.outputs, *self.histories.values()]
