"""An image sampled at places given by a grid of data (GridSample), over two or three axes."""

from math import prod

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import HALF, ONE, ZERO, floor, maximum, minimum, round_even
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    input_address,
    jit,
    out_address,
    param,
)
from opml.ops.checks import flag_attr, only, refuse, take_dtype, take_inputs
from opml.ops.sampling import BORDER, CUBIC, NEAREST, REFLECTION, tap_index, tap_weight, taps_of, to_index
from vm.guest.intrinsics import fma32, i64_f32, load_f32, store_f32, udiv, urem

NAME = "grid_sample"
MODES = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")

# Elements of the output; channels; places in the grid of an image; axes; how; sizes of the axes from the innermost out.
LENGTH, CHANNELS, PLACES, RANK, MODE, PADDING, CORNERS, SIZES = range(8)
LOWEST = np.float32(-0.5)


@jit
def reflect(x, low, high):  # type: ignore[no-untyped-def]
    """A coordinate reflected into [low, high]."""
    span = high - low
    if span <= ZERO:
        return low
    beyond = low - x if x < low else x - high
    folds = floor(beyond / span)
    rest = minimum(maximum(beyond - folds * span, ZERO), span)
    if (to_index(folds) & 1) != 0:
        rest = span - rest
    return low + rest if x < low else high - rest


@jit
def coordinate(r, grid, axis):  # type: ignore[no-untyped-def]
    """Where along an axis a place of the grid lies, in pixels, and after the padding's rule."""
    size = i64_f32(param(r, SIZES + axis))
    g, corners, padding = load_f32(grid + 4 * axis), param(r, CORNERS), param(r, PADDING)
    # One and the same operations as in ONNX Runtime.
    x = (g + ONE) * HALF * (size - ONE) if corners != 0 else ((g + ONE) * size - ONE) * HALF
    if param(r, MODE) == NEAREST:
        x = round_even(x)
    low, high = (ZERO, size - ONE) if corners != 0 else (LOWEST, size - HALF)
    if x < low or x > high:
        if padding == BORDER and param(r, MODE) != CUBIC:  # as in PyTorch, whose cubic weights go on outside
            x = minimum(maximum(x, ZERO), size - ONE)
        elif padding == REFLECTION:
            x = reflect(x, low, high)
    return x


@jit
def sample(r, x, grid):  # type: ignore[no-untyped-def]
    """The weighted sum of the pixels around a place, in the order in which they lie."""
    mode, padding, corners, three = param(r, MODE), param(r, PADDING), param(r, CORNERS), param(r, RANK) == 3
    width, height, depth = param(r, SIZES), param(r, SIZES + 1), param(r, SIZES + 2)
    cx, cy, cz = coordinate(r, grid, 0), coordinate(r, grid, 1), ZERO
    if three:
        cz = coordinate(r, grid, 2)
    fx, fy, fz = floor(cx), floor(cy), floor(cz)
    taps, before = taps_of(mode), 1 if mode == CUBIC else 0
    ix, iy, iz = to_index(fx) - before, to_index(fy) - before, to_index(fz) - before if three else 0
    total = ZERO
    for tz in range(taps if three else 1):
        k = tap_index(iz + tz, depth, padding, corners)
        wz = tap_weight(mode, cz - fz, tz) if three else ONE
        for ty in range(taps if k >= 0 else 0):
            j = tap_index(iy + ty, height, padding, corners)
            wy = wz * tap_weight(mode, cy - fy, ty)
            for tx in range(taps if j >= 0 else 0):
                i = tap_index(ix + tx, width, padding, corners)
                if i >= 0:
                    weight = wy * tap_weight(mode, cx - fx, tx)
                    total = fma32(weight, load_f32(x + 4 * ((k * height + j) * width + i)), total)
    return total


@jit
def grid_sample_tile(r, t):  # type: ignore[no-untyped-def]
    y, channels, places, rank = out_address(r), param(r, CHANNELS), param(r, PLACES), param(r, RANK)
    plane = 4 * param(r, SIZES) * param(r, SIZES + 1) * param(r, SIZES + 2)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        place, channel = urem(e, places), udiv(e, places)
        grid = input_address(r, 1) + 4 * rank * (udiv(channel, channels) * places + place)
        store_f32(y + 4 * e, sample(r, input_address(r, 0) + channel * plane, grid))
    clear(y + 4 * stop, y + 32 * (t + 1))


# The fast kernel finds each place once and reads it of all channels, tap by tap, in the definition's order.


@jit
def add_tap(x, y, plane, places, channels, weight):  # type: ignore[no-untyped-def]
    """One tap more in the sums of some channels, whose pixels lie `plane` bytes apart, the sums `places` bytes."""
    for c in range(channels):
        store_f32(y + c * places, fma32(weight, load_f32(x + c * plane), load_f32(y + c * places)))


@jit
def sample_channels(r, x, grid, y, channels):  # type: ignore[no-untyped-def]
    """A place of the grid in some channels, of which the first one is at x, and its result at y."""
    mode, padding, corners, three = param(r, MODE), param(r, PADDING), param(r, CORNERS), param(r, RANK) == 3
    width, height, depth = param(r, SIZES), param(r, SIZES + 1), param(r, SIZES + 2)
    plane, places = 4 * width * height * depth, 4 * param(r, PLACES)
    cx, cy, cz = coordinate(r, grid, 0), coordinate(r, grid, 1), ZERO
    if three:
        cz = coordinate(r, grid, 2)
    fx, fy, fz = floor(cx), floor(cy), floor(cz)
    taps, before = taps_of(mode), 1 if mode == CUBIC else 0
    ix, iy, iz = to_index(fx) - before, to_index(fy) - before, to_index(fz) - before if three else 0
    for c in range(channels):
        store_f32(y + c * places, ZERO)
    for tz in range(taps if three else 1):
        k = tap_index(iz + tz, depth, padding, corners)
        wz = tap_weight(mode, cz - fz, tz) if three else ONE
        for ty in range(taps if k >= 0 else 0):
            j = tap_index(iy + ty, height, padding, corners)
            wy = wz * tap_weight(mode, cy - fy, ty)
            for tx in range(taps if j >= 0 else 0):
                i = tap_index(ix + tx, width, padding, corners)
                if i >= 0:
                    weight = wy * tap_weight(mode, cx - fx, tx)
                    add_tap(x + 4 * ((k * height + j) * width + i), y, plane, places, channels, weight)


@jit
def grid_sample_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, grids, y = input_address(r, 0), input_address(r, 1), out_address(r)
    channels, places, rank = param(r, CHANNELS), param(r, PLACES), param(r, RANK)
    plane = 4 * param(r, SIZES) * param(r, SIZES + 1) * param(r, SIZES + 2)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(y + 4 * stop, y + 32 * (first + count))
    image_size = channels * places
    for image in range(udiv(e, image_size), udiv(stop + image_size - 1, image_size)):
        start = image * image_size
        begin, end = max(e - start, 0), min(stop - start, image_size)
        for place in range(places):
            # The channels c with begin <= c * places + place < end.
            low = udiv(max(begin - place, 0) + places - 1, places)
            high = udiv(max(end - place, 0) + places - 1, places)
            if low < high:
                channel = image * channels + low
                target = y + 4 * (channel * places + place)
                grid = grids + 4 * rank * (image * places + place)
                sample_channels(r, x + channel * plane, grid, target, high - low)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, *spatial] at grid [N, *places, rank], whose last axis has the innermost coordinate first."""
    x, grid = take_inputs(NAME, types, 2)
    only(NAME, attrs, "mode", "padding", "align_corners")
    for kind in (x, grid):
        take_dtype(NAME, kind, (DType.FLOAT32,))
    rank = len(x.shape) - 2
    if rank not in (2, 3) or len(grid.shape) != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise refuse(NAME, f"{list(x.shape)} at a grid {list(grid.shape)}; it has two or three spatial axes")
    _ways(attrs, rank)
    if max(x.shape) >= 1 << 24:
        raise refuse(NAME, f"{list(x.shape)}: an axis is too long for binary32 coordinates")
    return TensorType(DType.FLOAT32, (*x.shape[:2], *grid.shape[1:-1]))


def _ways(attrs: Attrs, rank: int) -> list[int]:
    mode, padding = attrs.get("mode", "linear"), attrs.get("padding", "zeros")
    if mode not in MODES or padding not in PADDINGS:
        raise refuse(NAME, f"mode {mode!r} with padding {padding!r}")
    return [rank, MODES.index(str(mode)), PADDINGS.index(str(padding)), flag_attr(NAME, attrs, "align_corners")]


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, grid = take_inputs(NAME, types, 2)
    sizes = [*reversed(x.shape[2:]), 1]
    return [out.elements, x.shape[1], prod(grid.shape[1:-1]), *_ways(attrs, len(x.shape) - 2), *sizes[:3]]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    rank, mode, _, _ = _ways(attrs, len(out.shape) - 2)
    taps = (1, 2, 4)[mode]
    weight = (0, 1, 10)[mode]
    pixels: int = taps**rank * (128 + (weight + 2) * COST_FLOAT) + rank * taps * (64 + (weight + 1) * COST_FLOAT) * taps
    return COST_TILE + LEAF_FLOATS * (512 + rank * (256 + 40 * COST_FLOAT + COST_DIVIDE) + pixels)


OPS = [Op(NAME, 354, infer, params, grid_sample_tile, cost, grid_sample_tiles)]
