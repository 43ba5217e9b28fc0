"""Regions of an image, given by data, pooled to one size: RoiAlign and MaxRoiPool."""

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import HALF, INFINITY, ONE, ZERO, ceil, floor, maximum
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    LEAF_FLOATS,
    Attrs,
    Op,
    Types,
    clear,
    float_word,
    input_address,
    jit,
    out_address,
    param,
    param_f32,
)
from opml.ops.checks import flag_attr, float_attr, int_attr, ints_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.sampling import to_index
from vm.guest.intrinsics import fma32, i64_f32, load_f32, load_i64, store_f32, udiv, urem

MOST_SAMPLES = 1 << 10

# Sizes of input and output; the factor from a region's coordinates to pixels. For roi_align then: samples of a bin
# along each axis (0: as many as pixels that it spans), the most that there may be, half a pixel off, the maximum.
LENGTH, IMAGES, CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, SCALE = range(8)
SAMPLES, MOST_H, MOST_W, HALF_PIXEL, MAXIMUM = range(8, 13)
MINUS_ONE = np.float32(-1)


@jit
def image_of(r, index):  # type: ignore[no-untyped-def]
    """The image that an index names, clamped to those that there are."""
    return min(max(index, 0), param(r, IMAGES) - 1)


@jit
def samples_of(r, span, most):  # type: ignore[no-untyped-def]
    """Samples of a bin of `span` pixels along an axis."""
    if param(r, SAMPLES) > 0:
        return param(r, SAMPLES)
    return min(max(to_index(ceil(span)), 0), most)


@jit
def corner(x, height, width, i, j, weight, largest, total):  # type: ignore[no-untyped-def]
    """A sum with one weighted corner more, or the greater of both."""
    value = load_f32(x + 4 * (i * width + j))
    return maximum(total, weight * value) if largest else fma32(weight, value, total)


@jit
def sample(x, height, width, row, column, largest):  # type: ignore[no-untyped-def]
    """The plane at (row, column), by four neighbours: their weighted sum, or the greatest weighted one."""
    high, wide = i64_f32(height), i64_f32(width)
    if not (row >= MINUS_ONE and row <= high and column >= MINUS_ONE and column <= wide):
        return ZERO
    row, column = maximum(row, ZERO), maximum(column, ZERO)
    i, j = min(to_index(row), height - 1), min(to_index(column), width - 1)
    down, right = row - i64_f32(i), column - i64_f32(j)
    # On and beyond the last pixel there is nothing to interpolate with.
    down, right = down if i < height - 1 else ZERO, right if j < width - 1 else ZERO
    below, beside = min(i + 1, height - 1), min(j + 1, width - 1)
    up, left = ONE - down, ONE - right
    total = -INFINITY if largest else ZERO
    total = corner(x, height, width, i, j, up * left, largest, total)
    total = corner(x, height, width, i, beside, up * right, largest, total)
    total = corner(x, height, width, below, j, down * left, largest, total)
    return corner(x, height, width, below, beside, down * right, largest, total)


@jit
def bin_of(r, roi, line, column):  # type: ignore[no-untyped-def]
    """Top, left, height and width of a bin of a region, in pixels."""
    scale, off = param_f32(r, SCALE), HALF if param(r, HALF_PIXEL) != 0 else ZERO
    left, top = load_f32(roi) * scale - off, load_f32(roi + 4) * scale - off
    wide, high = load_f32(roi + 8) * scale - off - left, load_f32(roi + 12) * scale - off - top
    if param(r, HALF_PIXEL) == 0:
        wide, high = maximum(wide, ONE), maximum(high, ONE)
    wide, high = wide / i64_f32(param(r, OUT_WIDTH)), high / i64_f32(param(r, OUT_HEIGHT))
    return fma32(i64_f32(line), high, top), fma32(i64_f32(column), wide, left), high, wide


@jit
def align_bin(r, x, roi, line, column):  # type: ignore[no-untyped-def]
    """Mean or maximum of the samples of one bin."""
    height, width, largest = param(r, HEIGHT), param(r, WIDTH), param(r, MAXIMUM) != 0
    top, left, high, wide = bin_of(r, roi, line, column)
    lines, columns = samples_of(r, high, param(r, MOST_H)), samples_of(r, wide, param(r, MOST_W))
    total = ZERO
    for i in range(lines):
        row = top + (i64_f32(i) + HALF) * high / i64_f32(lines)
        for j in range(columns):
            value = sample(x, height, width, row, left + (i64_f32(j) + HALF) * wide / i64_f32(columns), largest)
            if largest:
                total = value if i == 0 and j == 0 else maximum(total, value)
            else:
                total += value
    return total if largest else total / i64_f32(max(lines * columns, 1))


@jit
def roi_align_tile(r, t):  # type: ignore[no-untyped-def]
    y, channels, plane = out_address(r), param(r, CHANNELS), 4 * param(r, HEIGHT) * param(r, WIDTH)
    out_height, out_width = param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, rest = urem(rest, out_height), udiv(rest, out_height)
        c, region = urem(rest, channels), udiv(rest, channels)
        image = image_of(r, load_i64(input_address(r, 2) + 8 * region))
        x = input_address(r, 0) + (image * channels + c) * plane
        store_f32(y + 4 * e, align_bin(r, x, input_address(r, 1) + 16 * region, line, column))
    clear(y + 4 * stop, y + 32 * (t + 1))


# The fast kernel finds each sample once and reads it of all channels, in the definition's order.


@jit
def align_channels(r, x, roi, line, column, y, channels):  # type: ignore[no-untyped-def]
    """One bin of some channels, of which the first one is at x, and its result at y."""
    height, width, largest = param(r, HEIGHT), param(r, WIDTH), param(r, MAXIMUM) != 0
    plane, places = 4 * height * width, 4 * param(r, OUT_HEIGHT) * param(r, OUT_WIDTH)
    top, left, high, wide = bin_of(r, roi, line, column)
    lines, columns = samples_of(r, high, param(r, MOST_H)), samples_of(r, wide, param(r, MOST_W))
    for c in range(channels):
        store_f32(y + c * places, ZERO)
    for i in range(lines):
        row = top + (i64_f32(i) + HALF) * high / i64_f32(lines)
        for j in range(columns):
            place = left + (i64_f32(j) + HALF) * wide / i64_f32(columns)
            for c in range(channels):
                value, at = sample(x + c * plane, height, width, row, place, largest), y + c * places
                if largest:
                    store_f32(at, value if i == 0 and j == 0 else maximum(load_f32(at), value))
                else:
                    store_f32(at, load_f32(at) + value)
    if not largest:
        samples = i64_f32(max(lines * columns, 1))
        for c in range(channels):
            store_f32(y + c * places, load_f32(y + c * places) / samples)


@jit
def roi_align_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, channels, plane = out_address(r), param(r, CHANNELS), 4 * param(r, HEIGHT) * param(r, WIDTH)
    out_width, places = param(r, OUT_WIDTH), param(r, OUT_HEIGHT) * param(r, OUT_WIDTH)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(y + 4 * stop, y + 32 * (first + count))
    size = channels * places
    for region in range(udiv(e, size), udiv(stop + size - 1, size)):
        begin, end = max(e - region * size, 0), min(stop - region * size, size)
        image = image_of(r, load_i64(input_address(r, 2) + 8 * region))
        for place in range(places):
            # The channels c with begin <= c * places + place < end.
            low = udiv(max(begin - place, 0) + places - 1, places)
            high = udiv(max(end - place, 0) + places - 1, places)
            if low < high:
                x = input_address(r, 0) + (image * channels + low) * plane
                target = y + 4 * (region * size + low * places + place)
                line, column = udiv(place, out_width), urem(place, out_width)
                align_channels(r, x, input_address(r, 1) + 16 * region, line, column, target, high - low)


@jit
def nearest_pixel(x):  # type: ignore[no-untyped-def]
    """x rounded to an integer, halves away from zero."""
    return to_index(floor(x + HALF) if x >= ZERO else ceil(x - HALF))


@jit
def bin_edge(start, length, size, bins, position, far):  # type: ignore[no-untyped-def]
    """Where a bin of a region starts, or with `far` ends, along an axis, within the image."""
    width = i64_f32(length) / i64_f32(bins)
    edge = ceil(i64_f32(position + 1) * width) if far else floor(i64_f32(position) * width)
    return min(max(start + to_index(edge), 0), size)


@jit
def roi_max_bin(r, x, roi, line, column):  # type: ignore[no-untyped-def]
    """The maximum of the pixels of one bin; 0 where there is none."""
    height, width, scale = param(r, HEIGHT), param(r, WIDTH), param_f32(r, SCALE)
    left, top = nearest_pixel(load_f32(roi + 4) * scale), nearest_pixel(load_f32(roi + 8) * scale)
    wide = max(nearest_pixel(load_f32(roi + 12) * scale) - left + 1, 1)
    high = max(nearest_pixel(load_f32(roi + 16) * scale) - top + 1, 1)
    from_h = bin_edge(top, high, height, param(r, OUT_HEIGHT), line, False)
    to_h = bin_edge(top, high, height, param(r, OUT_HEIGHT), line, True)
    from_w = bin_edge(left, wide, width, param(r, OUT_WIDTH), column, False)
    to_w = bin_edge(left, wide, width, param(r, OUT_WIDTH), column, True)
    if from_h >= to_h or from_w >= to_w:
        return ZERO
    best = -INFINITY
    for i in range(from_h, to_h):
        for j in range(from_w, to_w):
            best = maximum(best, load_f32(x + 4 * (i * width + j)))
    return best


@jit
def roi_max_tile(r, t):  # type: ignore[no-untyped-def]
    y, channels, plane = out_address(r), param(r, CHANNELS), 4 * param(r, HEIGHT) * param(r, WIDTH)
    out_height, out_width = param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, rest = urem(rest, out_height), udiv(rest, out_height)
        c, region = urem(rest, channels), udiv(rest, channels)
        roi = input_address(r, 1) + 20 * region
        x = input_address(r, 0) + (image_of(r, to_index(load_f32(roi))) * channels + c) * plane
        store_f32(y + 4 * e, roi_max_bin(r, x, roi, line, column))
    clear(y + 4 * stop, y + 32 * (t + 1))


def _sizes(op: str, types: Types, attrs: Attrs, inputs: int, columns: int) -> TensorType:
    x, rois = take_inputs(op, types, inputs)[:2]
    n, c, height, width = take_rank(op, x, 4)
    size = ints_attr(op, attrs, "size", None, 2)
    float_attr(op, attrs, "scale", 1.0)
    for kind in (x, rois):
        take_dtype(op, kind, (DType.FLOAT32,))
    if len(rois.shape) != 2 or rois.shape[1] != columns:
        raise refuse(op, f"regions of shape {list(rois.shape)}, not [R, {columns}]")
    if not 1 <= min(size) <= max(size) < 1 << 20 or max(n, height, width) >= 1 << 24:
        raise refuse(op, f"{list(x.shape)} pooled to {size}")
    return TensorType(DType.FLOAT32, (rois.shape[0], c, *size))


def infer_align(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W], regions [R, 4] as left, top, right, bottom, images int64 [R], to [R, C, *size]."""
    op = "roi_align"
    only(op, attrs, "size", "scale", "samples", "half_pixel", "maximum")
    out = _sizes(op, types, attrs, 3, 4)
    indices = take_inputs(op, types, 3)[2]
    take_dtype(op, indices, (DType.INT64,))
    if indices.shape != out.shape[:1]:
        raise refuse(op, f"{out.shape[0]} regions, but images of shape {list(indices.shape)}")
    if not 0 <= int_attr(op, attrs, "samples", 0) <= MOST_SAMPLES:
        raise refuse(op, f"{attrs['samples']} samples")
    flag_attr(op, attrs, "half_pixel")
    flag_attr(op, attrs, "maximum")
    return out


def _most(x: TensorType, out: TensorType, attrs: Attrs) -> tuple[int, int]:
    """The most samples of a bin along each axis: those of a region twice as large as the image."""
    if samples := int_attr("roi_align", attrs, "samples", 0):
        return samples, samples
    return -(-2 * x.shape[2] // out.shape[2]), -(-2 * x.shape[3] // out.shape[3])


def params_align(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x = take_inputs("roi_align", types, 3)[0]
    flags = [flag_attr("roi_align", attrs, name) for name in ("half_pixel", "maximum")]
    scale = float_word(float_attr("roi_align", attrs, "scale", 1.0))
    samples = int_attr("roi_align", attrs, "samples", 0)
    return [out.elements, *x.shape, *out.shape[2:], scale, samples, *_most(x, out, attrs), *flags]


def cost_align(types: Types, out: TensorType, attrs: Attrs) -> int:
    lines, columns = _most(take_inputs("roi_align", types, 3)[0], out, attrs)
    samples = lines * columns * (512 + 48 * COST_FLOAT + COST_DIVIDE)
    return COST_TILE + LEAF_FLOATS * (1024 + 40 * COST_FLOAT + (3 + lines) * COST_DIVIDE + samples)


def infer_max(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W], regions [R, 5] as image, left, top, right, bottom, to [R, C, *size]."""
    only("roi_max", attrs, "size", "scale")
    return _sizes("roi_max", types, attrs, 2, 5)


def params_max(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x = take_inputs("roi_max", types, 2)[0]
    return [out.elements, *x.shape, *out.shape[2:], float_word(float_attr("roi_max", attrs, "scale", 1.0))]


def cost_max(types: Types, out: TensorType, attrs: Attrs) -> int:
    x = take_inputs("roi_max", types, 2)[0]
    pixels = x.shape[2] * (64 + x.shape[3] * (32 + 5 * COST_FLOAT))
    return COST_TILE + LEAF_FLOATS * (1024 + 64 * COST_FLOAT + 4 * COST_DIVIDE + pixels)


OPS = [
    Op("roi_align", 356, infer_align, params_align, roi_align_tile, cost_align, roi_align_tiles),
    Op("roi_max", 357, infer_max, params_max, roi_max_tile, cost_max),
]
