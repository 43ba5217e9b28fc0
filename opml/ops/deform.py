"""The columns of a deformable convolution: what its taps read at displaced places, times a mask."""

from opml.graph import DType, TensorType
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
from opml.ops.sampling import bilinear
from opml.ops.window import Window
from vm.guest.intrinsics import i64_f32, load_f32, store_f32, udiv, urem

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


OPS = [Op(NAME, 355, infer, params, deform_columns_tile, cost)]
