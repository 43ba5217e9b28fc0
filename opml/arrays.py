"""What a user hands to a model as inputs, and numpy arrays of exactly the model's types.

Only exact conversions are done without being asked: integers of other widths, float64 arrays that hold float32 numbers,
lists. What would be rounded or cut off is refused. Python's own floats have no width: they become the nearest number.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from opml.errors import InputError
from opml.graph import Array, TensorType


def take_inputs(types: Mapping[str, TensorType], given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs by name: from one mapping or from values in the model's order, and from values by name.

    Raises InputError where one is missing, unknown, given twice, or does not fit.
    """
    values: dict[str, Any] = {}
    if len(given) == 1 and isinstance(given[0], Mapping):
        values = dict(given[0])
    elif any(isinstance(value, Mapping) for value in given):
        raise InputError("inputs by name are given as one mapping alone", "run(mapping, threads=…)")
    elif len(given) > len(types):
        raise InputError(f"{len(given)} inputs; the model takes {len(types)}: {', '.join(types) or 'none'}")
    else:
        values = dict(zip(types, given, strict=False))
    if twice := sorted(values.keys() & named.keys()):
        raise InputError(f"input {twice[0]!r} is given twice")
    values |= named
    if unknown := [name for name in values if name not in types]:
        raise InputError(f"the model has no input {unknown[0]!r}", f"it takes {_describe(types)}")
    if missing := [name for name in types if name not in values]:
        raise InputError(f"input {missing[0]!r} is missing", f"the model takes {_describe(types)}")
    return {name: fit(name, values[name], kind) for name, kind in types.items()}


def fit(name: str, value: Any, kind: TensorType) -> Array:
    """`value` as an array of the input's type, converted only if that is exact. Raises InputError."""
    wanted = kind.dtype.numpy
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"input {name!r} is no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf" and array.dtype != wanted:
        raise InputError(f"input {name!r} is no array of numbers but {array.dtype}", f"it must be {kind}")
    if array.shape != kind.shape:
        raise InputError(f"input {name!r} must be {kind}, not {array.dtype}{list(array.shape)}", _reshape(array, kind))
    if array.dtype == wanted:
        return array
    plain = not isinstance(value, np.ndarray | np.generic) and not hasattr(value, "__array__")
    if not _exact(array, wanted, round_floats=plain):
        raise InputError(
            f"input {name!r} must be {kind.dtype.value}: as such, values of this {array.dtype} array would change",
            f"convert them first, for example with numpy.asarray(…, {kind.dtype.value!r})",
        )
    return array.astype(wanted)


def _exact(array: Array, wanted: np.dtype[Any], round_floats: bool) -> bool:
    """Whether all elements stay what they are."""
    floats = array.dtype.kind == "f"
    if wanted.kind not in "iuf":
        return False
    if floats and wanted.kind == "f":
        with np.errstate(over="ignore"):
            same = (array.astype(wanted).astype(array.dtype) == array) | np.isnan(array)
        return round_floats or bool(np.all(same))
    # Between integers and floats, and between integers: within what the new type holds without a gap.
    if wanted.kind == "f":
        most = 2 ** (np.finfo(wanted).nmant + 1)
        least = -most
    else:
        least, most = int(np.iinfo(wanted).min), int(np.iinfo(wanted).max)
    if floats:
        whole = np.isfinite(array) & (np.trunc(array) == array) & (abs(array) < 2.0**53)
        return bool(np.all(whole)) and all(least <= int(end) <= most for end in _ends(array))
    return all(least <= int(end) <= most for end in _ends(array))


def _ends(array: Array) -> list[Any]:
    """The least and the greatest element, none of an array without any."""
    return [array.min(), array.max()] if array.size else []


def _reshape(array: Array, kind: TensorType) -> str | None:
    return f"numpy.reshape(…, {list(kind.shape)})" if array.size == kind.elements else None


def _describe(types: Mapping[str, TensorType]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in types.items()) or "none"
