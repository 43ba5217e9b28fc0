"""The columns of a deformable convolution: what its taps read at displaced places, times a mask."""

from opml.graph import DType, TensorType
from opml.numerics import ZERO, floor
from opml.ops.base import (
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
from opml.ops.checks import int_attr, ints_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.sampling import LINEAR, bilinear, tap_weight, to_index
from opml.ops.window import Window
from vm.guest.intrinsics import fma32, i64_f32, load_f32, store_f32, udiv, urem

NAME = "deform_columns"

# Sizes of input, output and kernel; where the taps lie; channels that share their offsets.
LENGTH, CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, KERNEL_H, KERNEL_W = range(8)
STRIDE_H, STRIDE_W, PAD_TOP, PAD_LEFT, DILATION_H, DILATION_W, SHARING = range(8, 15)


@jit
def deform_columns_tile(r, t):  # type: ignore[no-untyped-def]
    x, offset, mask, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    height, width, channels = param(r, HEIGHT), param(r, WIDTH), param(r, CHANNELS)
    out_height, out_width, kernel_w = param(r, OUT_HEIGHT), param(r, OUT_WIDTH), param(r, KERNEL_W)
    taps, places = param(r, KERNEL_H) * kernel_w, out_height * out_width
    groups = udiv(channels, param(r, SHARING))
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        place, rest = urem(e, places), udiv(e, places)
        tap, channel = urem(rest, taps), udiv(rest, taps)
        image, c = udiv(channel, channels), urem(channel, channels)
        top = udiv(place, out_width) * param(r, STRIDE_H) - param(r, PAD_TOP)
        left = urem(place, out_width) * param(r, STRIDE_W) - param(r, PAD_LEFT)
        row = i64_f32(top + udiv(tap, kernel_w) * param(r, DILATION_H))
        column = i64_f32(left + urem(tap, kernel_w) * param(r, DILATION_W))
        k = (image * groups + udiv(c, param(r, SHARING))) * taps + tap
        row += load_f32(offset + 4 * (2 * k * places + place))
        column += load_f32(offset + 4 * ((2 * k + 1) * places + place))
        value = bilinear(x + 4 * channel * height * width, height, width, row, column)
        if mask != 0:
            value *= load_f32(mask + 4 * (k * places + place))
        store_f32(y + 4 * e, value)
    clear(y + 4 * stop, y + 32 * (t + 1))


# The fast kernel finds each place once and reads it of all channels that share it.


@jit
def sharing_channels(r, k, tap, place, x, y, channels):  # type: ignore[no-untyped-def]
    """A place of some channels, of which the first one is at x, by offset k, and its result at y."""
    offset, mask = input_address(r, 1), input_address(r, 2)
    height, width, kernel_w, out_width = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_W), param(r, OUT_WIDTH)
    places = param(r, OUT_HEIGHT) * out_width
    plane, pitch = 4 * height * width, 4 * param(r, KERNEL_H) * kernel_w * places
    top = udiv(place, out_width) * param(r, STRIDE_H) - param(r, PAD_TOP)
    left = urem(place, out_width) * param(r, STRIDE_W) - param(r, PAD_LEFT)
    row = i64_f32(top + udiv(tap, kernel_w) * param(r, DILATION_H))
    column = i64_f32(left + urem(tap, kernel_w) * param(r, DILATION_W))
    row += load_f32(offset + 4 * (2 * k * places + place))
    column += load_f32(offset + 4 * ((2 * k + 1) * places + place))
    row_floor, column_floor = floor(row), floor(column)
    i, j = to_index(row_floor), to_index(column_floor)
    for c in range(channels):
        store_f32(y + c * pitch, ZERO)
    for a in range(2):
        if 0 <= i + a < height:
            down = tap_weight(LINEAR, row - row_floor, a)
            for b in range(2):
                if 0 <= j + b < width:
                    weight = down * tap_weight(LINEAR, column - column_floor, b)
                    source = x + 4 * ((i + a) * width + j + b)
                    for c in range(channels):
                        at = y + c * pitch
                        store_f32(at, fma32(weight, load_f32(source + c * plane), load_f32(at)))
    if mask != 0:
        factor = load_f32(mask + 4 * (k * places + place))
        for c in range(channels):
            store_f32(y + c * pitch, load_f32(y + c * pitch) * factor)


@jit
def deform_columns_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, sharing = input_address(r, 0), out_address(r), param(r, SHARING)
    taps, places = param(r, KERNEL_H) * param(r, KERNEL_W), param(r, OUT_HEIGHT) * param(r, OUT_WIDTH)
    size, plane = taps * places, 4 * param(r, HEIGHT) * param(r, WIDTH)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(y + 4 * stop, y + 32 * (first + count))
    for group in range(udiv(e, sharing * size), udiv(stop + sharing * size - 1, sharing * size)):
        begin, end = max(e - group * sharing * size, 0), min(stop - group * sharing * size, sharing * size)
        for at in range(size):
            # The channels c with begin <= c * size + at < end.
            low = udiv(max(begin - at, 0) + size - 1, size)
            high = udiv(max(end - at, 0) + size - 1, size)
            if low < high:
                channel = group * sharing + low
                tap = udiv(at, places)
                target = y + 4 * (channel * size + at)
                sharing_channels(r, group * taps + tap, tap, at - tap * places, x + channel * plane, target, high - low)


def _window(attrs: Attrs) -> Window:
    kernel = ints_attr(NAME, attrs, "kernel", None, 2)
    return Window.read(NAME, attrs, (kernel[0], kernel[1]))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W], offset [N, 2 * groups * taps, oH, oW], maybe mask [N, groups * taps, oH, oW].

    The result has shape [N, C * taps, oH * oW].
    """
    x, offset = take_inputs(NAME, types, 2, 3)
    only(NAME, attrs, "kernel", "strides", "pads", "dilations", "groups")
    for kind in types:
        if kind is not None:
            take_dtype(NAME, kind, (DType.FLOAT32,))
    n, c, height, width = take_rank(NAME, x, 4)
    window, groups = _window(attrs), int_attr(NAME, attrs, "groups", 1)
    taps = window.kernel[0] * window.kernel[1]
    size = window.output(NAME, (height, width))
    if groups < 1 or c % groups or offset.shape != (n, 2 * groups * taps, *size):
        raise refuse(NAME, f"offsets {list(offset.shape)} in {groups} groups for {list(x.shape)}")
    mask = types[2] if len(types) > 2 else None
    if mask is not None and mask.shape != (n, groups * taps, *size):
        raise refuse(NAME, f"a mask {list(mask.shape)} for offsets {list(offset.shape)}")
    return TensorType(DType.FLOAT32, (n, c * taps, size[0] * size[1]))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, offset = take_inputs(NAME, types, 2, 3)
    w = _window(attrs)
    where = [*w.strides, *w.pads[:2], *w.dilations]
    sharing = x.shape[1] // int_attr(NAME, attrs, "groups", 1)
    return [out.elements, *x.shape[1:], *offset.shape[2:], *w.kernel, *where, sharing]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + LEAF_FLOATS * (1024 + 40 * COST_FLOAT)


OPS = [Op(NAME, 355, infer, params, deform_columns_tile, cost, deform_columns_tiles)]
