"""Resize and Upsample → one map along each axis that changes its size, with tables made when the model is compiled.

Interpolation is separable. Coordinates are computed in binary32, as ONNX Runtime does, so that both choose the same
neighbours; what is between them is weighted in binary64 and rounded once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opml.errors import UnsupportedError
from opml.graph import Array, DType
from opml.lowering.call import Call, lowers

F = np.float32
Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

TRANSFORMS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")
MODES = ("nearest", "linear", "cubic")
NEARLY = 1e-5


@dataclass(frozen=True)
class Axis:
    """What happens along one axis: from `size` to `out` elements, by a factor, reading the part [start, end]."""

    index: int
    size: int
    out: int
    scale: np.float32
    start: np.float32
    end: np.float32

    @property
    def width(self) -> np.float32:
        """The output's length before rounding down; after it where only the factor's own rounding lies between."""
        width = F(self.scale * F(self.size))
        return F(self.out) if abs(width - self.out) <= NEARLY * self.out else width

    @property
    def unchanged(self) -> bool:
        return self.scale == 1 and self.out == self.size and self.start == 0 and self.end == 1


@dataclass(frozen=True)
class Way:
    """How to interpolate: the attributes of Resize."""

    mode: str
    transform: str
    rounding: str
    antialias: bool
    exclude_outside: bool
    cubic: float
    extrapolation: float


def coordinates(axis: Axis, transform: str) -> Floats:
    """Where each output lies along the input."""
    x = np.arange(axis.out).astype(F)
    size, width = F(axis.size), axis.width
    match transform:
        case "align_corners":
            return x * F(size - F(1)) / F(width - F(1)) if width != 1 else np.zeros_like(x)
        case "asymmetric":
            return x / axis.scale
        case "tf_half_pixel_for_nn":
            return (x + F(0.5)) / axis.scale
        case "tf_crop_and_resize":
            if width == 1:
                return np.full_like(x, F(0.5) * (axis.start + axis.end) * (size - F(1)))
            return axis.start * (size - F(1)) + x * (axis.end - axis.start) * (size - F(1)) / (width - F(1))
        case "pytorch_half_pixel" if axis.out == 1:
            return np.zeros_like(x)
        case "half_pixel_symmetric":
            offset = size / F(2) * (F(1) - F(axis.out) / width)
            return F(offset) + (x + F(0.5)) / axis.scale - F(0.5)
    return (x + F(0.5)) / axis.scale - F(0.5)


def nearest(x: Floats, axis: Axis, rounding: str) -> NDArray[np.int64]:
    """The element that is nearest to each coordinate, within the axis."""
    match rounding:
        case "round_prefer_floor":
            near = np.ceil(x - F(0.5))
        case "round_prefer_ceil":
            near = np.floor(x + F(0.5))
        case "ceil":
            near = np.ceil(x)
        case "simple" if axis.scale < 1:  # operator sets before 11
            near = np.ceil(x)
        case _:
            near = np.floor(x)
    return np.asarray(np.clip(near, 0, axis.size - 1)).astype(np.int64)


def tables(x: Floats, axis: Axis, way: Way) -> tuple[NDArray[np.int64], Floats]:
    """Indices and weights of the elements around each coordinate; beyond an end its last element stands."""
    reach, stretch, before = _support(axis, way)
    base = np.ceil(x.astype(np.float64)) - 1  # what lies on an element is between the one before and itself
    places = base[:, None] + np.arange(before, 2 - before)
    distance = np.abs((places - x[:, None]) * stretch)
    weights = np.clip(1 - distance, 0, None) if reach == 1 else _keys(distance, way.cubic)
    if way.antialias:
        weights = weights / _sums(weights)
    if way.exclude_outside:
        weights = np.where((places < 0) | (places >= axis.size), 0.0, weights)
        total = _sums(weights)
        weights = weights / np.where(total == 0, 1.0, total)
    used = np.flatnonzero((weights != 0).any(axis=0))
    used = used if len(used) else np.array([0])
    index = np.clip(places, 0, axis.size - 1).astype(np.int64)
    return index[:, used], weights[:, used].astype(F)


def _support(axis: Axis, way: Way) -> tuple[int, float, int]:
    """How far a kernel reaches, by how much it is compressed, and where its first element lies."""
    reach = 1 if way.mode == "linear" else 2
    stretch = min(float(axis.scale), 1.0) if way.antialias else 1.0
    return reach, stretch, int(np.floor(-reach / stretch) + 1)


def _sums(weights: Reals) -> Reals:
    """Sums of rows, each from the left: numpy's own order is not the same everywhere."""
    total: Reals = np.zeros((len(weights), 1))
    for column in weights.T:
        total = total + column[:, None]
    return total


def _keys(d: Reals, a: float) -> Reals:
    """Keys' cubic convolution at distances."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@lowers("Resize")
@np.errstate(all="ignore")  # factors may be any; what comes of them is looked at
def resize(c: Call) -> str:
    way = _way(c)
    if c.opset < 11:
        return _resized(c, _scaled_axes(c, _floats(c, 1, "scales"), None, list(range(c.rank()))), way)
    given = c.integers("axes") if c.opset >= 18 else None
    axes = list(range(c.rank())) if given is None else [c.axis(axis, c.rank()) for axis in given]
    if len(set(axes)) != len(axes):
        raise UnsupportedError(f"axes {given} name one axis twice")
    roi = _floats(c, 1, "roi") if c.optional(1) and way.transform == "tf_crop_and_resize" else None
    if way.transform == "tf_crop_and_resize" and (roi is None or len(roi) != 2 * len(axes)):
        raise UnsupportedError(f"input 'roi' has not two numbers for each of {len(axes)} axes")
    policy = c.text("keep_aspect_ratio_policy", "stretch") if c.opset >= 18 else "stretch"
    scales = _floats(c, 2, "scales") if c.optional(2) and c.build.type(c.input(2)).elements else None
    if scales is not None:
        return _resized(c, _scaled_axes(c, scales, roi, axes), way)
    return _resized(c, _sized_axes(c, c.constant_ints(3, "sizes"), roi, axes, policy), way)


@lowers("Upsample")
@np.errstate(all="ignore")
def upsample(c: Call) -> str:
    """What Resize was before operator set 10."""
    mode = c.text("mode", "nearest")
    way = Way("linear" if mode == "bilinear" else mode, "asymmetric", "simple", False, False, 0.0, 0.0)
    if way.mode not in ("nearest", "linear"):
        raise UnsupportedError(f"attribute 'mode' is {mode!r}")
    scales = np.array(c.numbers("scales") or [], F) if c.opset < 9 else _floats(c, 1, "scales")
    return _resized(c, _scaled_axes(c, scales, None, list(range(c.rank()))), way)


def _way(c: Call) -> Way:
    mode = c.text("mode", "nearest")
    if c.opset < 11:
        transform, rounding, extrapolation = "asymmetric", "simple", 0.0
        exclude, cubic = 0, -0.75
    else:
        transform = c.text("coordinate_transformation_mode", "half_pixel")
        rounding, extrapolation = c.text("nearest_mode", "round_prefer_floor"), c.number("extrapolation_value", 0.0)
        exclude, cubic = c.flag("exclude_outside"), c.number("cubic_coeff_a", -0.75)
    antialias = c.flag("antialias") if c.opset >= 18 else 0
    if mode not in MODES or transform not in TRANSFORMS or rounding not in ROUNDINGS:
        raise UnsupportedError(f"mode {mode!r}, coordinates {transform!r}, nearest_mode {rounding!r}")
    if antialias and mode == "nearest":
        raise UnsupportedError("antialias in mode 'nearest'")
    return Way(mode, transform, rounding, bool(antialias), bool(exclude), cubic, extrapolation)


def _floats(c: Call, index: int, what: str) -> Floats:
    value = c.constant(index, what)
    if value.dtype.kind != "f" or value.ndim != 1:
        raise UnsupportedError(f"input {what!r} is no vector of floats")
    return np.asarray(value).astype(F)


def _bounds(roi: Floats | None, position: int, count: int) -> tuple[np.float32, np.float32]:
    return (F(0), F(1)) if roi is None else (roi[position], roi[count + position])


def _scaled_axes(c: Call, scales: Floats, roi: Floats | None, axes: list[int]) -> list[Axis]:
    """Output sizes are rounded down."""
    if len(scales) != len(axes) or not np.all((scales > 0) & np.isfinite(scales)):
        raise UnsupportedError(f"scales {scales.tolist()} for {len(axes)} axes")
    result = []
    for position, (axis, scale) in enumerate(zip(axes, scales, strict=True)):
        size, (start, end) = c.shape()[axis], _bounds(roi, position, len(axes))
        out = int(np.floor(F(size) * (end - start) * scale)) if roi is not None else int(np.floor(F(size) * scale))
        result.append(Axis(axis, size, out, scale, start, end))
    return result


def _sized_axes(c: Call, sizes: list[int], roi: Floats | None, axes: list[int], policy: str) -> list[Axis]:
    if len(sizes) != len(axes) or policy not in ("stretch", "not_larger", "not_smaller"):
        raise UnsupportedError(f"sizes {sizes} for {len(axes)} axes, keep_aspect_ratio_policy {policy!r}")
    inputs = [c.shape()[axis] for axis in axes]
    scales: list[Any] = [F(out) / F(size) for out, size in zip(sizes, inputs, strict=True)]
    if policy != "stretch" and axes:
        choose = min if policy == "not_larger" else max
        # The sizes are exact integers: the factor that all share is one of these quotients.
        ratio = choose(zip(sizes, inputs, strict=True), key=lambda pair: pair[0] / pair[1])
        sizes = [(2 * size * ratio[0] + ratio[1]) // (2 * ratio[1]) for size in inputs]
        scales = [F(ratio[0]) / F(ratio[1])] * len(axes)
    return [
        Axis(axis, size, out, scale, *_bounds(roi, position, len(axes)))
        for position, (axis, size, out, scale) in enumerate(zip(axes, inputs, sizes, scales, strict=True))
    ]


def _resized(c: Call, axes: list[Axis], way: Way) -> str:
    """What shrinks comes first; where nothing else decides, the inner axes do."""
    x, dtype = c.input(0), c.build.type(c.input(0)).dtype
    for axis in axes:
        taps = 2 - 2 * _support(axis, way)[2]
        if not 1 <= axis.out < 1 << 24 or axis.size < 1 or not c.build.budget.take(12 * taps * axis.out):
            raise UnsupportedError(f"axis {axis.index} from {axis.size} to {axis.out} elements")
    # Only a crop can change an axis without changing its size.
    if way.transform != "tf_crop_and_resize":
        axes = [axis for axis in axes if axis.scale != 1 or axis.out != axis.size]
    axes = [axis for axis in axes if not axis.unchanged]
    real = way.mode == "nearest" or dtype is DType.FLOAT32
    if not real:
        x = c.emit("cast", [x], to="float32")
    rank = c.rank()
    before, after = [0] * rank, [0] * rank
    for axis in sorted(axes, key=lambda axis: (axis.out / axis.size, -axis.index)):
        place = coordinates(axis, way.transform)
        if way.transform == "tf_crop_and_resize":
            inside = np.flatnonzero((place >= 0) & (place <= axis.size - 1))
            if not len(inside):
                return _filled(c, axes, way, dtype)
            before[axis.index], after[axis.index] = int(inside[0]), axis.out - 1 - int(inside[-1])
            place = place[inside]
        if way.mode == "nearest":
            index = c.build.constant(nearest(place, axis, way.rounding))
            x = c.emit("gather", [x, index], axis=axis.index)
        else:
            places, weights = tables(place, axis, way)
            x = c.emit("resample", [x, c.build.constant(places), c.build.constant(weights)], axis=axis.index)
    if not real:
        x = c.emit("cast", [c.emit("floor", [c.emit("add", [x, c.build.scalar(0.5)])])], to=dtype.value)
    if any(before) or any(after):
        value = way.extrapolation if dtype is DType.FLOAT32 else int(way.extrapolation)
        x = c.emit("pad", [x], pads=[*before, *after], value=value)
    return x


def _filled(c: Call, axes: list[Axis], way: Way, dtype: DType) -> str:
    """Nothing of the input is seen."""
    shape = list(c.shape())
    for axis in axes:
        shape[axis.index] = axis.out
    value: Array = np.array(way.extrapolation).astype(dtype.numpy)
    one = c.build.constant(value.reshape([1] * len(shape)))
    return c.emit("expand", [one], shape=shape)
