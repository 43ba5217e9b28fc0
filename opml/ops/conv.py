"""Convolution over two axes: a sum over k = (c * kH + kh) * kW + kw in blocks of 512, without taps in the padding."""

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE, ZERO
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
from opml.ops.gemm import COLUMNS, STRIPE, accumulate, finish, sums_room
from opml.ops.matmul import BLOCK, PANEL, ROW_GRAIN, dot
from opml.ops.native import allocate, release
from opml.ops.window import Window, end_tap, first_tap
from vm.guest.intrinsics import fma32, load_f32, load_i32, store_f32, store_i32, store_i64, udiv, urem

NAME = "conv"

# Cells of the fast kernel's grid for each element of a plane of its input or output.
GRID_MOST = 64
# Elements of a grid; no product of sizes that an image may hold overflows below it.
ROOM_MOST = 1 << 36

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
    if kernel_h * kernel_w == 1:  # the same in fewer instructions
        return dot(x + 4 * (top * width + left), 4 * height * width, w, 4, param(r, GROUP_IN))
    for c in range(param(r, GROUP_IN)):
        for kh in range(from_h, to_h):
            k = (c * kernel_h + kh) * kernel_w + from_w
            a = x + 4 * ((c * height + top + kh * dilation_h) * width + left) + from_w * step
            b = w + 4 * k
            end = k + to_w - from_w
            while k < end:
                # A loop, since a compiler would make an `if` here into an addition in any case, and a choice.
                while k >= limit:
                    total += acc
                    acc = ZERO
                    limit += BLOCK
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


# The fast kernel computes on a grid: the padded input, in sh x sw phases (every sh-th line and sw-th column together),
# so that what a tap reads for neighbouring outputs lies together, at one distance from the output's own place on the
# grid. Taps in the padding are multiplied with zeros there. That gives the same bits as leaving them out, unless the
# filter holds an infinity or NaN: a chain starts from +0, so such a step can only turn a -0 into +0, a zero's sign
# changes no later sum that is not zero, and a block's sum is added to a total that is never -0.


@jit
def all_finite(w, n):  # type: ignore[no-untyped-def]
    """Whether n floats are numbers."""
    most = 0
    for i in range(n):
        most = max(most, load_i32(w + 4 * i) & MAGNITUDE)
    return most < INFINITY_BITS


@jit
def copy_line(source, target, left, step, width, n):  # type: ignore[no-untyped-def]
    """target[j] = source[left + j * step], or zero where that is outside of [0, width), for j < n."""
    begin, end = first_tap(left, step, n), end_tap(left, step, width, n)
    end = max(begin, end)
    source += 4 * left
    for j in range(begin):
        store_i32(target + 4 * j, 0)
    if step == 1:
        for j in range(begin, end):
            store_i32(target + 4 * j, load_i32(source + 4 * j))
    else:
        for j in range(begin, end):
            store_i32(target + 4 * j, load_i32(source + 4 * j * step))
    for j in range(end, n):
        store_i32(target + 4 * j, 0)


@jit
def fill_plane(r, x, height, grid, lines, columns):  # type: ignore[no-untyped-def]
    """The plane at x, of `height` lines, as [sh, sw, lines, columns]; where that ends."""
    width, stride_h, stride_w = param(r, WIDTH), param(r, STRIDE_H), param(r, STRIDE_W)
    for phase_h in range(stride_h):
        for phase_w in range(stride_w):
            for line in range(lines):
                at = line * stride_h + phase_h - param(r, PAD_TOP)
                inside = 0 <= at < height
                # A line outside of the input is one of which no column is inside.
                source, left = x + 4 * at * width, phase_w - param(r, PAD_LEFT)
                copy_line(source, grid, left, stride_w, width if inside else 0, columns)
                grid += 4 * columns
    return grid


@jit
def fill_grid(r, x, grid, lines, columns):  # type: ignore[no-untyped-def]
    """The planes at x as [channel, sh, sw, lines, columns]."""
    height = param(r, HEIGHT)
    for c in range(param(r, GROUP_IN)):
        grid = fill_plane(r, x + 4 * c * height * param(r, WIDTH), height, grid, lines, columns)


@jit
def fill_table(r, table, lines, columns):  # type: ignore[no-untyped-def]
    """The distance on the grid, in bytes, from an output's place to what its tap k reads."""
    stride_h, stride_w = param(r, STRIDE_H), param(r, STRIDE_W)
    for c in range(param(r, GROUP_IN)):
        for kh in range(param(r, KERNEL_H)):
            at_h = kh * param(r, DILATION_H)
            plane = (c * stride_h + urem(at_h, stride_h)) * stride_w
            for kw in range(param(r, KERNEL_W)):
                at_w = kw * param(r, DILATION_W)
                line = (plane + urem(at_w, stride_w)) * lines + udiv(at_h, stride_h)
                store_i64(table, 4 * (line * columns + udiv(at_w, stride_w)))
                table += 8


@jit
def channels(r, y, pitch, o, count, begin, end, grid, columns, table, sums):  # type: ignore[no-untyped-def]
    """Outputs begin..end-1 (within a plane) of `count` channels from o on, all of one group.

    The plane of o lies at y, the next ones `pitch` bytes apart.
    """
    out_width, depth = param(r, OUT_WIDTH), param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    w, bias = input_address(r, 1) + 4 * o * depth, input_address(r, 2)
    last = udiv(end - 1, out_width) * columns + urem(end - 1, out_width)
    for place in range(udiv(begin, out_width) * columns + urem(begin, out_width), last + 1, COLUMNS):
        for top in range(0, count, STRIPE):
            rows = min(count - top, STRIPE)
            for start in range(0, depth, BLOCK):
                n, first = min(depth - start, BLOCK), np.int64(start == 0)
                a = w + 4 * (top * depth + start)
                accumulate(rows, a, 4 * depth, 4, grid + 4 * place, 4 * PANEL, table + 8 * start, n, sums, first)
            at = place
            while at < min(place + COLUMNS, last + 1):
                line, column = udiv(at, columns), urem(at, columns)
                run = min(min(out_width, columns) - column, min(place + COLUMNS, last + 1) - at)
                for i in range(rows):
                    target = y + (top + i) * pitch + 4 * (line * out_width + column)
                    source = sums + 4 * (i * COLUMNS + at - place)
                    finish(target, source, run, bias + 4 * (o + top + i) if bias != 0 else 0, 0)
                at = (line + 1) * columns


@jit
def conv_grid(r, e, stop):  # type: ignore[no-untyped-def]
    """Outputs e..stop-1; False, and nothing done, where the grid would be far larger than the input or does not fit."""
    stride_h, stride_w, group_in, group_out = (
        param(r, STRIDE_H),
        param(r, STRIDE_W),
        param(r, GROUP_IN),
        param(r, GROUP_OUT),
    )
    out_channels, plane = param(r, OUT_CHANNELS), param(r, OUT_HEIGHT) * param(r, OUT_WIDTH)
    lines = param(r, OUT_HEIGHT) + udiv((param(r, KERNEL_H) - 1) * param(r, DILATION_H), stride_h)
    columns = param(r, OUT_WIDTH) + udiv((param(r, KERNEL_W) - 1) * param(r, DILATION_W), stride_w)
    depth = group_in * param(r, KERNEL_H) * param(r, KERNEL_W)
    # Most cells of such a grid are read by nobody: strides or dilations are larger than what they step over.
    cells = stride_h * stride_w * lines * columns
    if cells > min(GRID_MOST * max(param(r, HEIGHT) * param(r, WIDTH), plane), udiv(ROOM_MOST, group_in)):
        return False
    cells *= group_in
    # The last vectors may reach beyond the last plane.
    room = allocate(8 * depth + 4 * (cells + 2 * COLUMNS))
    if room == 0:
        return False
    sums, grid = sums_room(), room + 8 * depth
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
            x = input_address(r, 0) + 4 * source * param(r, HEIGHT) * param(r, WIDTH)
            fill_grid(r, x, grid, lines, columns)
        if begin != 0 or stop - e < plane:
            count, end = 1, min(plane, begin + stop - e)
            e += end - begin
        else:
            count, end = min((group + 1) * group_out - o, udiv(stop - e, plane)), plane
            e += count * plane
        y = out_address(r) + 4 * channel * plane
        channels(r, y, 4 * plane, o, count, begin, end, grid, columns, room, sums)
    release(room)
    return True


@jit
def conv_tiles(r, first, count):  # type: ignore[no-untyped-def]
    stop = min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    filters = param(r, OUT_CHANNELS) * param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    if all_finite(input_address(r, 1), filters) and conv_grid(r, LEAF_FLOATS * first, stop):
        clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))
    else:
        for t in range(first, first + count):
            conv_tile(r, t)


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


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole channels, many at a time where there are many."""
    rows = ROW_GRAIN if out.shape[1] >= 4 * ROW_GRAIN else 1
    return max(rows * out.shape[2] * out.shape[3] // LEAF_FLOATS, 1)


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    _, w = take_inputs(NAME, types, 2, 3)
    k = w.elements // w.shape[0]
    return COST_TILE + LEAF_FLOATS * (512 + k // w.shape[3] * 256 + COST_FLOAT * (k + k // BLOCK + 2))


OPS = [Op(NAME, 2, infer, params, conv_tile, cost, conv_tiles, grain)]
