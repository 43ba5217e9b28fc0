"""What the operators' shape rules share: every refusal names the operator and what it does not have."""

from collections.abc import Iterable

from opml.errors import UnsupportedError
from opml.graph import DType, TensorType
from opml.ops.base import Attrs, Types

Shape = tuple[int, ...]

SIGNED = (DType.INT8, DType.INT16, DType.INT32, DType.INT64)
INTEGERS = (*SIGNED, DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64)
NUMBERS = (DType.FLOAT32, *INTEGERS)
ANY = tuple(DType)


def refuse(op: str, reason: str) -> UnsupportedError:
    """The error for an operator that is asked for something it does not have."""
    return UnsupportedError(f"{op}: {reason}")


def take_inputs(op: str, types: Types, least: int, most: int | None = None) -> list[TensorType]:
    """The required inputs, after a check of their number; a tensor without elements is refused."""
    if not least <= len(types) <= (most or least):
        raise refuse(op, f"takes {least} to {most or least} inputs, not {len(types)}")
    present = list(types[:least])
    for position, kind in enumerate(types):
        if kind is None and position < least:
            raise refuse(op, f"input {position} is missing")
        if kind is not None and (kind.elements == 0 or min(kind.shape, default=1) < 0):
            raise refuse(op, f"input {position} has shape {list(kind.shape)}, which has no elements")
    return [kind for kind in present if kind is not None]


def take_dtype(op: str, kind: TensorType, allowed: Iterable[DType]) -> None:
    """Refuses a tensor whose dtype is not among `allowed`."""
    allowed = tuple(allowed)
    if kind.dtype not in allowed:
        raise refuse(op, f"dtype {kind.dtype.value} is not among {', '.join(d.value for d in allowed)}")


def take_rank(op: str, kind: TensorType, rank: int, what: str = "input") -> Shape:
    """The shape of a tensor that must have `rank` dimensions."""
    if len(kind.shape) != rank:
        raise refuse(op, f"{what} must have {rank} dimensions, not {len(kind.shape)} {list(kind.shape)}")
    return kind.shape


def only(op: str, attrs: Attrs, *names: str) -> None:
    """Refuses attributes other than `names`."""
    unknown = sorted(set(attrs) - set(names))
    if unknown:
        raise refuse(op, f"attribute {unknown[0]!r} is not supported")


def int_attr(op: str, attrs: Attrs, name: str, default: int | None = None) -> int:
    """An integer attribute; without a default it is required."""
    value = attrs.get(name, default)
    if value is None or isinstance(value, bool) or not isinstance(value, int):
        raise refuse(op, f"attribute {name!r} must be an integer, not {value!r}")
    return value


def flag_attr(op: str, attrs: Attrs, name: str, default: int = 0) -> int:
    """An attribute that is 0 or 1."""
    value = int_attr(op, attrs, name, default)
    if value not in (0, 1):
        raise refuse(op, f"attribute {name!r} must be 0 or 1, not {value}")
    return value


def float_attr(op: str, attrs: Attrs, name: str, default: float | None = None) -> float:
    """A number attribute; without a default it is required; NaN is refused."""
    value = attrs.get(name, default)
    if value is None or not isinstance(value, int | float) or value != value:
        raise refuse(op, f"attribute {name!r} must be a number, not {value!r}")
    return float(value)


def ints_attr(
    op: str, attrs: Attrs, name: str, default: list[int] | None = None, length: int | None = None
) -> list[int]:
    """A list of integers of a given length; without a default it is required."""
    value = attrs.get(name, default)
    if not isinstance(value, list) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise refuse(op, f"attribute {name!r} must be a list of integers, not {value!r}")
    if length is not None and len(value) != length:
        raise refuse(op, f"attribute {name!r} must have {length} entries, not {len(value)}")
    return [int(v) for v in value]


def axis_attr(op: str, attrs: Attrs, rank: int, default: int | None = None, name: str = "axis") -> int:
    """An axis of a tensor of `rank` dimensions, counted from 0; negative ones count from the end."""
    axis = int_attr(op, attrs, name, default)
    if not -rank <= axis < rank:
        raise refuse(op, f"{name} {axis} is out of range for {rank} dimensions")
    return axis % rank


def strides_of(shape: Shape) -> list[int]:
    """Distances, in elements, between neighbours along each dimension of a dense tensor."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return strides
