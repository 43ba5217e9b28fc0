"""Convolution of bytes over two axes: the exact sum of (x - its zero) * (w - its channel's zero), modulo 2^32.

The padding holds the zero point of x, that is, adds nothing. The fast kernel is that of `conv`, over blocks of 256.
"""

import numpy as np

from opml.graph import DType, TensorType
from opml.ops.base import (
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
from opml.ops.checks import int_attr, only, refuse, take_inputs, take_rank
from opml.ops.conv import (
    CHANNELS,
    DILATION_H,
    DILATION_W,
    GRID_MOST,
    GROUP_IN,
    GROUP_OUT,
    HEIGHT,
    KERNEL_H,
    KERNEL_W,
    LENGTH,
    OUT_CHANNELS,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
    WIDTH,
    fill_table,
)
from opml.ops.gemm import COLUMNS, STRIPE, accumulate, sums_room
from opml.ops.integers import (
    EXACT,
    add_block,
    check_zero,
    copy_words,
    flip_of,
    left_room,
    load_byte,
    load_zero,
    totals_room,
    widen_line,
)
from opml.ops.matmul import PANEL, ROW_GRAIN
from opml.ops.native import allocate, release
from opml.ops.window import Window, end_tap, first_tap
from vm.guest.intrinsics import i64_f32, store_f32, store_i32, udiv, urem

NAME = "conv_int"
X_FLIP, W_FLIP, W_ZERO = range(17, 20)


@jit
def byte_window(r, x, w, top, left, x_zero, w_zero):  # type: ignore[no-untyped-def]
    """The window whose first tap lies at (top, left) of the planes at x, by the filter at w."""
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    step, dilation_h, x_flip, w_flip = param(r, DILATION_W), param(r, DILATION_H), param(r, X_FLIP), param(r, W_FLIP)
    from_h, to_h = first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)
    from_w, to_w = first_tap(left, step, kernel_w), end_tap(left, step, width, kernel_w)
    total = 0
    for c in range(param(r, GROUP_IN)):
        for kh in range(from_h, to_h):
            a = x + (c * height + top + kh * dilation_h) * width + left
            b = w + (c * kernel_h + kh) * kernel_w
            for kw in range(from_w, to_w):
                total += (load_byte(a + kw * step, x_flip) - x_zero) * (load_byte(b + kw, w_flip) - w_zero)
    return total


@jit
def conv_int_tile(r, t):  # type: ignore[no-untyped-def]
    y, out_height, out_width = out_address(r), param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    depth = param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    x_zero = load_zero(input_address(r, 2), 0, 0, param(r, X_FLIP))
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, rest = urem(rest, out_height), udiv(rest, out_height)
        o, image = urem(rest, param(r, OUT_CHANNELS)), udiv(rest, param(r, OUT_CHANNELS))
        plane = image * param(r, CHANNELS) + udiv(o, param(r, GROUP_OUT)) * param(r, GROUP_IN)
        x = input_address(r, 0) + plane * param(r, HEIGHT) * param(r, WIDTH)
        w_zero = load_zero(input_address(r, 3), o, param(r, W_ZERO), param(r, W_FLIP))
        top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
        left = column * param(r, STRIDE_W) - param(r, PAD_LEFT)
        store_i32(y + 4 * e, byte_window(r, x, input_address(r, 1) + o * depth, top, left, x_zero, w_zero))
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def byte_line(source, target, left, step, width, n, flip, zero):  # type: ignore[no-untyped-def]
    """target[j] = source[left + j * step] - zero as a float, or 0 where that is outside of [0, width), for j < n."""
    begin = first_tap(left, step, n)
    end = max(begin, end_tap(left, step, width, n))
    for j in range(begin):
        store_i32(target + 4 * j, 0)
    if step == 1:
        widen_line(source + left + begin, target + 4 * begin, end - begin, flip, zero)
    else:
        for j in range(begin, end):
            store_f32(target + 4 * j, i64_f32(load_byte(source + left + j * step, flip) - zero))
    for j in range(end, n):
        store_i32(target + 4 * j, 0)


@jit
def byte_grid(r, x, grid, lines, columns, zero):  # type: ignore[no-untyped-def]
    """The planes at x as [channel, sh, sw, lines, columns] floats; see `conv`."""
    height, width, stride_h, stride_w = param(r, HEIGHT), param(r, WIDTH), param(r, STRIDE_H), param(r, STRIDE_W)
    for c in range(param(r, GROUP_IN)):
        for phase_h in range(stride_h):
            for phase_w in range(stride_w):
                for line in range(lines):
                    at = line * stride_h + phase_h - param(r, PAD_TOP)
                    inside = 0 <= at < height
                    source, left = x + (c * height + at) * width, phase_w - param(r, PAD_LEFT)
                    byte_line(source, grid, left, stride_w, width if inside else 0, columns, param(r, X_FLIP), zero)
                    grid += 4 * columns


@jit
def byte_channels(r, image, o, count, begin, end, grid, columns, table, left, sums, totals):  # type: ignore[no-untyped-def]
    """Outputs begin..end-1 (within a plane) of `count` channels, at most STRIPE, from o on, all of one group."""
    out_width, depth = param(r, OUT_WIDTH), param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    plane, flip = param(r, OUT_HEIGHT) * out_width, param(r, W_FLIP)
    w = input_address(r, 1) + o * depth
    y = out_address(r) + 4 * (image * param(r, OUT_CHANNELS) + o) * plane
    last = udiv(end - 1, out_width) * columns + urem(end - 1, out_width)
    for place in range(udiv(begin, out_width) * columns + urem(begin, out_width), last + 1, COLUMNS):
        for start in range(0, depth, EXACT):
            n = min(depth - start, EXACT)
            for i in range(count):
                zero = load_zero(input_address(r, 3), o + i, param(r, W_ZERO), flip)
                widen_line(w + i * depth + start, left + 4 * EXACT * i, n, flip, zero)
            accumulate(count, left, 4 * EXACT, 4, grid + 4 * place, 4 * PANEL, table + 8 * start, n, sums, 1)
            add_block(count, sums, totals, np.int64(start == 0))
        at = place
        while at < min(place + COLUMNS, last + 1):
            line, column = udiv(at, columns), urem(at, columns)
            run = min(min(out_width, columns) - column, min(place + COLUMNS, last + 1) - at)
            for i in range(count):
                target = y + 4 * (i * plane + line * out_width + column)
                copy_words(totals + 4 * (i * COLUMNS + at - place), target, run)
            at = (line + 1) * columns


@jit
def byte_conv(r, e, stop):  # type: ignore[no-untyped-def]
    """Outputs e..stop-1; False, and nothing done, where the grid would be far larger than the input or does not fit."""
    stride_h, stride_w, group_in = param(r, STRIDE_H), param(r, STRIDE_W), param(r, GROUP_IN)
    group_out, out_channels, plane = param(r, GROUP_OUT), param(r, OUT_CHANNELS), param(r, OUT_HEIGHT)
    plane *= param(r, OUT_WIDTH)
    lines = param(r, OUT_HEIGHT) + udiv((param(r, KERNEL_H) - 1) * param(r, DILATION_H), stride_h)
    columns = param(r, OUT_WIDTH) + udiv((param(r, KERNEL_W) - 1) * param(r, DILATION_W), stride_w)
    depth = group_in * param(r, KERNEL_H) * param(r, KERNEL_W)
    cells = stride_h * stride_w * lines * columns
    if cells > GRID_MOST * max(param(r, HEIGHT) * param(r, WIDTH), plane):
        return False
    cells *= group_in
    room = allocate(8 * depth + 4 * (cells + 2 * COLUMNS))
    if room == 0:
        return False
    left, sums, totals, grid = left_room(), sums_room(), totals_room(), room + 8 * depth
    zero = load_zero(input_address(r, 2), 0, 0, param(r, X_FLIP))
    fill_table(r, room, lines, columns)
    for i in range(cells, cells + 2 * COLUMNS):
        store_i32(grid + 4 * i, 0)
    filled = -1
    while e < stop:
        channel, begin = udiv(e, plane), urem(e, plane)
        image, o = udiv(channel, out_channels), urem(channel, out_channels)
        group = udiv(o, group_out)
        source = image * param(r, CHANNELS) + group * group_in
        if source != filled:
            filled = source
            x = input_address(r, 0) + source * param(r, HEIGHT) * param(r, WIDTH)
            byte_grid(r, x, grid, lines, columns, zero)
        if begin != 0 or stop - e < plane:
            count, end = 1, min(plane, begin + stop - e)
            e += end - begin
        else:
            count, end = min(min((group + 1) * group_out - o, udiv(stop - e, plane)), STRIPE), plane
            e += count * plane
        byte_channels(r, image, o, count, begin, end, grid, columns, room, left, sums, totals)
    release(room)
    return True


@jit
def conv_int_tiles(r, first, count):  # type: ignore[no-untyped-def]
    stop = min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    if byte_conv(r, LEAF_FLOATS * first, stop):
        clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))
    else:
        for t in range(first, first + count):
            conv_int_tile(r, t)


def _window(types: Types, attrs: Attrs) -> Window:
    kernel = take_rank(NAME, take_inputs(NAME, types, 2, 4)[1], 4, "the filter")[2:]
    return Window.read(NAME, attrs, (kernel[0], kernel[1]))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W] by w [O, C/group, kH, kW], int8 or uint8; the zero point of x, and those of w, one or [O]."""
    x, w = take_inputs(NAME, types, 2, 4)
    only(NAME, attrs, "strides", "pads", "dilations", "group")
    n, c, height, width = take_rank(NAME, x, 4)
    o, c_group, *_ = take_rank(NAME, w, 4, "the filter")
    group = int_attr(NAME, attrs, "group", 1)
    if group < 1 or c != c_group * group or o % group:
        raise refuse(NAME, f"{c} channels and a filter {list(w.shape)} do not make {group} groups")
    zeros = [*types[2:], None, None]
    check_zero(NAME, "the input", x, zeros[0], 1)
    check_zero(NAME, f"{o} filters", w, zeros[1], o)
    return TensorType(DType.INT32, (n, o, *_window(types, attrs).output(NAME, (height, width))))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, w = take_inputs(NAME, types, 2, 4)
    window, zeros = _window(types, attrs), [*types[2:], None, None]
    o, group_in = w.shape[:2]
    sizes = [*x.shape[1:], *out.shape[1:], group_in, o // int_attr(NAME, attrs, "group", 1)]
    windows = [*window.kernel, *window.strides, *window.pads[:2], *window.dilations]
    return [out.elements, *sizes, *windows, flip_of(x), flip_of(w), check_zero(NAME, "the filters", w, zeros[1], o)]


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole channels, many at a time where there are many."""
    rows = ROW_GRAIN if out.shape[1] >= 4 * ROW_GRAIN else 1
    return max(rows * out.shape[2] * out.shape[3] // LEAF_FLOATS, 1)


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    _, w = take_inputs(NAME, types, 2, 4)
    k = w.elements // w.shape[0]
    return COST_TILE + LEAF_FLOATS * (768 + k // w.shape[3] * 128 + 32 * k)


OPS = [Op(NAME, 421, infer, params, conv_int_tile, cost, conv_int_tiles, grain)]
