"""What a user pins of a model's dynamic inputs: single dimensions by name, or an input's whole shape.

A dimension has a name in the model, or none (or "?"); then it is called INPUT:AXIS. A name stands for one number
everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import index

import numpy as np
from onnx import TypeProto, ValueInfoProto

from opml.arrays import fit
from opml.errors import InputError, ModelError, UnsupportedError
from opml.graph import Array, DType, TensorType
from opml.tensors import MAX_RANK

Pins = Mapping[str, int | Sequence[int] | Array]
"""Numbers for dimensions, lists of numbers for shapes; an array is an input's value, which makes it a constant."""


def split_values(pins: Pins) -> tuple[dict[str, int | Sequence[int]], dict[str, Array]]:
    """What pins dimensions and shapes, and what gives values."""
    values = {name: pin for name, pin in pins.items() if isinstance(pin, np.ndarray)}
    return {name: pin for name, pin in pins.items() if not isinstance(pin, np.ndarray)}, values


def given_value(tensor: TypeProto.Tensor, dtype: DType, value: Array, what: str) -> Array:
    """A value given to an input, after a check that the model allows it; ModelError where it does not."""
    value = np.asarray(value)
    if value.size == 1 and tensor.HasField("shape") and len(tensor.shape.dim) <= MAX_RANK:
        value = value.reshape([1] * len(tensor.shape.dim))
    try:
        value = fit(what, value, TensorType(dtype, value.shape))
    except InputError:
        raise ModelError(f"{what} is {dtype.value}; the value given to it is {value.dtype}") from None
    dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else None for dim in tensor.shape.dim]
    fits = len(dims) == value.ndim and all(d in (None, size) for d, size in zip(dims, value.shape, strict=True))
    if tensor.HasField("shape") and not fits:
        raise ModelError(f"{what} does not have the shape {list(value.shape)} of the value given to it")
    return value


def pin_inputs(inputs: Iterable[ValueInfoProto], pins: Mapping[str, int | Sequence[int]]) -> dict[str, list[int]]:
    """The shape of every input. A pin is a number for a dimension, or for an input a list of numbers: its shape.

    Raises UnsupportedError naming what is still to be pinned, ModelError for pins that do not fit the model.
    """
    return _Pinning({value.name: value.type.tensor_type for value in inputs}, pins).shapes()


class _Pinning:
    def __init__(self, inputs: dict[str, TypeProto.Tensor], pins: Mapping[str, int | Sequence[int]]) -> None:
        self.labels = {name: _labels(name, tensor) for name, tensor in inputs.items()}
        known = {label for labels in self.labels.values() for label in labels or [] if isinstance(label, str)}
        self.sizes: dict[str, int] = {}
        self.whole: dict[str, list[int]] = {}
        unknown = []
        for name, given in pins.items():
            pin = _numbers(name, given)
            if isinstance(pin, int) and name in known:
                self.sizes[name] = pin
            elif name in inputs:
                # One number is the shape of a vector.
                self.whole[name] = [pin] if isinstance(pin, int) else pin
            else:
                unknown.append(name)
        if unknown:
            raise ModelError(
                f"the model has no dynamic dimension or input {', '.join(sorted(unknown))}",
                f"it has {', '.join(_show(name, labels) for name, labels in self.labels.items())}",
            )
        for name, shape in self.whole.items():
            self._bind(name, shape)

    def _bind(self, name: str, shape: list[int]) -> None:
        """Takes the dimensions' numbers from a whole shape."""
        labels = self.labels[name]
        if labels is None:
            return
        if len(labels) != len(shape):
            raise ModelError(f"input {_show(name, labels)} cannot have the shape {shape}")
        for label, size in zip(labels, shape, strict=True):
            # A negative number stands for a dynamic dimension in what some exporters write.
            if isinstance(label, int) and label >= 0 and label != size:
                raise ModelError(f"input {_show(name, labels)} cannot have the shape {shape}")
            if isinstance(label, str) and self.sizes.setdefault(label, size) != size:
                raise ModelError(
                    f"{shape} for input {_show(name, labels)} makes {label} {size}, but it is {self.sizes[label]}"
                )

    def shapes(self) -> dict[str, list[int]]:
        """All shapes; UnsupportedError where a dimension has no number."""
        shapes: dict[str, list[int]] = {}
        missing: list[str] = []
        for name, labels in self.labels.items():
            if name in self.whole:
                shapes[name] = self.whole[name]
            elif labels is None or any(isinstance(label, str) and label not in self.sizes for label in labels):
                missing.append(name)
            else:
                shapes[name] = [self.sizes[label] if isinstance(label, str) else label for label in labels]
        if missing:
            raise self._refusal(missing)
        return shapes

    def _refusal(self, missing: list[str]) -> UnsupportedError:
        """What is missing, with options that can be copied: 1 stands for each size."""

        def size(label: str | int) -> str:
            return str(self.sizes.get(label, 1) if isinstance(label, str) else label)

        def option(name: str, text: str) -> str:
            return f"{name} '{text}'" if set(text) & set(' $&|;<>()*?`"\\!#~[]{}') else f"{name} {text}"

        def pin(name: str) -> str:
            labels = self.labels[name]
            return option("--shape", f"{name}={'SIZE,SIZE' if labels is None else ','.join(map(size, labels))}")

        shown = ", ".join(_show(name, self.labels[name]) for name in missing)
        free = dict.fromkeys(
            label
            for name in missing
            for label in self.labels[name] or []
            if isinstance(label, str) and label not in self.sizes
        )
        shapes = " ".join(map(pin, missing))
        hint = f"give the shape: {shapes}; in Python, `shapes`"
        if free:
            dims = " ".join(option("--dim", f"{label}=1") for label in free)
            hint = f"give each a size, for example 1: {dims}; or whole shapes: {shapes}; in Python, `dims` and `shapes`"
        parts = [f"dynamic dimensions: {', '.join(free)}"] if free else []
        parts += [f"input {name!r} has no shape" for name in missing if self.labels[name] is None]
        return UnsupportedError(f"{'; '.join(parts)} (inputs: {shown})", hint)


def _numbers(name: str, pin: int | Sequence[int]) -> int | list[int]:
    """A pin as plain integers; numpy's will do."""
    try:
        return [index(size) for size in pin] if isinstance(pin, Sequence) else index(pin)
    except TypeError:
        raise ModelError(f"{name}={pin!r} is neither a whole number nor a list of them") from None


def _labels(name: str, tensor: TypeProto.Tensor) -> list[str | int] | None:
    """The dimensions of an input: numbers, or names of dynamic ones; None where it has no shape."""
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.WhichOneof("value") == "dim_value" else dim.dim_param.strip("?") or f"{name}:{axis}"
        for axis, dim in enumerate(tensor.shape.dim)
    ]


def _show(name: str, labels: list[str | int] | None) -> str:
    return f"{name} of any shape" if labels is None else f"{name} [{', '.join(map(str, labels))}]"
