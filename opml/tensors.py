"""Tensors as the ONNX format has them: element types, and elements in whichever field or file they lie."""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from opml.errors import ModelError, UnsupportedError
from opml.external import ExternalFiles
from opml.graph import Array, DType
from vm.constants import SCRATCH_BASE

MAX_RANK = 16
_DTYPES = {
    int(TensorProto.FLOAT): DType.FLOAT32,
    TensorProto.INT64: DType.INT64,
    TensorProto.INT32: DType.INT32,
    TensorProto.INT8: DType.INT8,
    TensorProto.UINT8: DType.UINT8,
    TensorProto.BOOL: DType.BOOL,
    TensorProto.INT16: DType.INT16,
    TensorProto.UINT16: DType.UINT16,
    TensorProto.UINT32: DType.UINT32,
    TensorProto.UINT64: DType.UINT64,
    TensorProto.FLOAT16: DType.FLOAT16,
    TensorProto.BFLOAT16: DType.BFLOAT16,
    TensorProto.DOUBLE: DType.FLOAT64,
}
# Where a TensorProto keeps elements that are not in `raw_data`, and as what; the others in `int32_data`.
_FIELDS: dict[DType, tuple[str, type[np.generic]]] = {
    DType.FLOAT32: ("float_data", np.float32),
    DType.INT64: ("int64_data", np.int64),
    DType.FLOAT64: ("double_data", np.float64),
    DType.UINT32: ("uint64_data", np.uint64),
    DType.UINT64: ("uint64_data", np.uint64),
}
# Integers of fewer than eight bits have a byte each here; lowering packs constants again, where it matters.
NARROW = {
    int(TensorProto.INT4): (DType.INT8, 4),
    TensorProto.UINT4: (DType.UINT8, 4),
    TensorProto.INT2: (DType.INT8, 2),
    TensorProto.UINT2: (DType.UINT8, 2),
}


def onnx_type(dtype: DType) -> int:
    """The ONNX type number of an element type."""
    return next(number for number, known in _DTYPES.items() if known is dtype)


def narrow_dtype(number: int, what: str) -> tuple[DType, int]:
    """As `onnx_dtype`, with int4 and the like as bytes, and the bits of their elements (0 for other dtypes)."""
    return NARROW[number] if number in NARROW else (onnx_dtype(number, what), 0)


def onnx_dtype(number: int, what: str) -> DType:
    """The element type of an ONNX type number; UnsupportedError naming `what` where opml does not have it."""
    if number in _DTYPES:
        return _DTYPES[number]
    name = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else str(number)
    known = ", ".join(dtype.value for dtype in DType)
    raise UnsupportedError(f"{what} has element type {name}", f"opml has {known}")


def check_shape(shape: Iterable[int], what: str) -> tuple[int, ...]:
    result = tuple(int(size) for size in shape)
    if len(result) > MAX_RANK:
        raise UnsupportedError(f"{what} has {len(result)} dimensions; opml has at most {MAX_RANK}")
    if any(not 0 <= size < SCRATCH_BASE for size in result):
        raise ModelError(f"{what} has an impossible shape {list(result)}")
    return result


def read_tensor(tensor: TensorProto, what: str, files: ExternalFiles | None = None) -> Array:
    """The elements of a tensor, read-only where they lie in the file. `what` names it in errors."""
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{what} is stored in segments")
    dtype, bits = narrow_dtype(tensor.data_type, what)
    shape = check_shape(tensor.dims, what)
    stored = np.dtype(np.uint8 if dtype is DType.BOOL else dtype.numpy).newbyteorder("<")
    external = tensor.data_location == TensorProto.EXTERNAL or tensor.external_data
    if bits:
        count = prod(shape)
        packed = (files or ExternalFiles()).read(tensor, -(-count * bits // 8), what) if external else None
        flat: Array = _unpack(tensor, packed, bits, count, what).view(dtype.numpy)
    elif external:
        mapped = (files or ExternalFiles()).read(tensor, prod(shape) * dtype.size, what)
        # A kernel reads elements only where their type may lie.
        flat = (mapped if mapped.ctypes.data % dtype.size == 0 else mapped.copy()).view(stored)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != prod(shape) * dtype.size:
            raise ModelError(
                f"{what} holds {len(tensor.raw_data)} bytes, not the {prod(shape) * dtype.size} of its shape"
            )
        flat = np.frombuffer(tensor.raw_data, stored)
    else:
        # The lengths are compared before the elements are touched: a shape alone never costs memory.
        field, held = _FIELDS.get(dtype, ("int32_data", np.int32))
        values = getattr(tensor, field)
        if len(values) != prod(shape):
            raise ModelError(f"{what} holds {len(values)} elements, not the {prod(shape)} of its shape")
        flat = np.array(values, held)
        # Of a float of two bytes the field holds the bits.
        kept = np.dtype(np.uint16) if dtype in (DType.FLOAT16, DType.BFLOAT16) else dtype.numpy
        if kept.kind in "iu" and not np.array_equal(flat, flat.astype(kept)):
            raise ModelError(f"{what} holds values that are no {dtype.value}")
        flat = flat.astype(kept).view(dtype.numpy) if dtype.size == 2 else flat
    flat = flat != 0 if dtype is DType.BOOL else flat.astype(dtype.numpy, copy=False)
    try:
        return flat.reshape(shape)
    except ValueError:
        raise ModelError(f"{what} has an impossible shape {list(shape)}") from None


def _unpack(tensor: TensorProto, external: Array | None, bits: int, count: int, what: str) -> Array:
    """The elements of a tensor of int4 or the like, the first one in a byte's lowest bits, each made a byte."""
    packed: Any = tensor.raw_data if tensor.HasField("raw_data") else tensor.int32_data
    packed = packed if external is None else external.tobytes()
    if len(packed) != -(-count * bits // 8):
        raise ModelError(f"{what} holds {len(packed)} bytes, not the {-(-count * bits // 8)} of its shape")
    if not isinstance(packed, bytes) and not all(0 <= value < 256 for value in packed):
        raise ModelError(f"{what} holds values that are no bytes")
    codes = np.frombuffer(bytes(packed), np.uint8)[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)
    codes = codes.reshape(-1)[:count] << np.uint8(8 - bits)
    if tensor.data_type in (TensorProto.INT4, TensorProto.INT2):
        return (codes.view(np.int8) >> np.int8(8 - bits)).view(np.uint8)
    return codes >> np.uint8(8 - bits)
