"""Convolution over two axes: a sum over k = (c * kH + kh) * kW + kw in blocks of 512, without taps in the padding."""

from opml.graph import DType, TensorType
from opml.numerics import ZERO
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
from opml.ops.checks import int_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.matmul import BLOCK
from opml.ops.window import Window, end_tap, first_tap
from vm.guest.intrinsics import fma32, load_f32, store_f32, udiv, urem

NAME = "conv"

# Parameters, in elements: sizes of the input, output and kernel; channels of a group.
LENGTH, CHANNELS, HEIGHT, WIDTH = range(4)
OUT_CHANNELS, OUT_HEIGHT, OUT_WIDTH, GROUP_IN, GROUP_OUT = range(4, 9)
KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PAD_TOP, PAD_LEFT, DILATION_H, DILATION_W = range(9, 17)


@jit
def window_dot(r, x, w, top, left):  # type: ignore[no-untyped-def]
    """The window whose first tap lies at (top, left) of the planes at x, by the filter at w."""
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w = param(r, DILATION_H), param(r, DILATION_W)
    from_h, to_h = first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)
    from_w, to_w = first_tap(left, dilation_w, kernel_w), end_tap(left, dilation_w, width, kernel_w)
    step = 4 * dilation_w
    total, acc = ZERO, ZERO
    limit = BLOCK
    if from_h >= to_h or from_w >= to_w:
        return total
    for c in range(param(r, GROUP_IN)):
        for kh in range(from_h, to_h):
            k = (c * kernel_h + kh) * kernel_w + from_w
            a = x + 4 * ((c * height + top + kh * dilation_h) * width + left) + from_w * step
            b = w + 4 * k
            end = k + to_w - from_w
            while k < end:
                if k >= limit:
                    total += acc
                    acc = ZERO
                    limit = (k | (BLOCK - 1)) + 1
                stop = min(end, limit)
                while k < stop:
                    acc = fma32(load_f32(a), load_f32(b), acc)
                    a += step
                    b += 4
                    k += 1
    return total + acc


@jit
def conv_tile(r, t):  # type: ignore[no-untyped-def]
    y, bias = out_address(r), input_address(r, 2)
    out_channels, out_height, out_width = param(r, OUT_CHANNELS), param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    plane = 4 * param(r, HEIGHT) * param(r, WIDTH)
    group_in, group_out = param(r, GROUP_IN), param(r, GROUP_OUT)
    filter_bytes = 4 * group_in * param(r, KERNEL_H) * param(r, KERNEL_W)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, rest = urem(rest, out_height), udiv(rest, out_height)
        o, image = urem(rest, out_channels), udiv(rest, out_channels)
        x = input_address(r, 0) + (image * param(r, CHANNELS) + udiv(o, group_out) * group_in) * plane
        top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
        left = column * param(r, STRIDE_W) - param(r, PAD_LEFT)
        total = window_dot(r, x, input_address(r, 1) + o * filter_bytes, top, left)
        if bias != 0:
            total += load_f32(bias + 4 * o)
        store_f32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


def _window(types: Types, attrs: Attrs) -> Window:
    w = take_inputs(NAME, types, 2, 3)[1]
    kernel = take_rank(NAME, w, 4, "the filter")[2:]
    return Window.read(NAME, attrs, (kernel[0], kernel[1]))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W] by w [O, C/group, kH, kW], plus b [O]."""
    x, w = take_inputs(NAME, types, 2, 3)
    only(NAME, attrs, "strides", "pads", "dilations", "group")
    for kind in types:
        if kind is not None:
            take_dtype(NAME, kind, (DType.FLOAT32,))
    n, c, height, width = take_rank(NAME, x, 4)
    o, c_group, *_ = take_rank(NAME, w, 4, "the filter")
    group = int_attr(NAME, attrs, "group", 1)
    if group < 1 or c != c_group * group or o % group:
        raise refuse(NAME, f"{c} channels and a filter {list(w.shape)} do not make {group} groups")
    b = types[2] if len(types) > 2 else None
    if b is not None and b.shape != (o,):
        raise refuse(NAME, f"the bias must have shape [{o}], not {list(b.shape)}")
    return TensorType(DType.FLOAT32, (n, o, *_window(types, attrs).output(NAME, (height, width))))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, w = take_inputs(NAME, types, 2, 3)
    window = _window(types, attrs)
    o, group_in = w.shape[:2]
    group_out = o // int_attr(NAME, attrs, "group", 1)
    sizes = [*x.shape[1:], *out.shape[1:], group_in, group_out]
    return [out.elements, *sizes, *window.kernel, *window.strides, *window.pads[:2], *window.dilations]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    _, w = take_inputs(NAME, types, 2, 3)
    k = w.elements // w.shape[0]
    return COST_TILE + LEAF_FLOATS * (512 + k // w.shape[3] * 64 + COST_FLOAT * (k + k // BLOCK + 2))


OPS = [Op(NAME, 2, infer, params, conv_tile, cost)]
