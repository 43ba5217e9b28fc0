"""Example inputs made from what a user says of them, and the errors that say what else is wanted."""

from collections.abc import Mapping, Sequence

import numpy as np

from opml.convert.wanted import Wanted
from opml.errors import InputError
from opml.graph import Array

# Of integers that nothing is known about: small enough for any table of words.
_LEAST, _MOST = 0, 9


def example(name: str, shape: Sequence[int], dtype: str) -> Array:
    """An array of the shape; its integers show the range of random ones. InputError where there is no such dtype."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise InputError(f"input {name!r}: {dtype} is no numpy dtype", "for example float32 or int64") from None
    array = np.zeros(tuple(shape), kind)
    if np.issubdtype(kind, np.integer) and array.size:
        array.flat[:] = np.arange(array.size) % (_MOST + 1) + _LEAST
        array.flat[-1] = _MOST
    return array


def refuse_unknown(wanted: Wanted, names: Sequence[str]) -> None:
    """Raises InputError where a shape or dtype is given for an input that there is not."""
    if unknown := sorted({*wanted.shapes, *wanted.dtypes} - {*names}):
        raise InputError(f"the model has no input {unknown[0]!r}", f"its inputs are {', '.join(names) or 'none'}")


def missing(shapes: Mapping[str, Sequence[int | None]]) -> InputError:
    """What to say where shapes are not known, or some of their dimensions."""
    examples = {name: ",".join("N" if size is None else str(size) for size in s) for name, s in shapes.items()}
    hint = " ".join(f"--shape {name}={text or '1,3,224,224'}" for name, text in examples.items())
    return InputError(f"the shape of {', '.join(shapes)} is open", f"for example {hint}")
