"""Convolution over three to five axes: the same sum as over two, with the taps of the outer axes beside the channels.

A sum runs over k = ((c * taps + tap) * kH + kh) * kW + kw in blocks of 512, `tap` being the place in the kernel's outer
axes; taps in the padding are left out.
"""

from math import prod

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
from opml.ops.checks import int_attr, only, refuse, take_dtype, take_inputs
from opml.ops.conv import (
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
    ROOM_MOST,
    STRIDE_H,
    STRIDE_W,
    WIDTH,
    all_finite,
    channels,
    fill_plane,
    fill_table,
)
from opml.ops.gemm import COLUMNS, sums_room
from opml.ops.matmul import BLOCK
from opml.ops.native import allocate, release
from opml.ops.window import end_tap, first_tap
from opml.ops.window_nd import WindowND
from vm.guest.intrinsics import fma32, load_f32, store_f32, store_i32, udiv, urem

NAME = "conv_nd"
LEAST, MOST = 3, 5

# The parameters are those of `conv` for the two inner axes, with channels * taps for the channels of a group. Then the
# number of outer axes; real channels; taps, input planes and output planes of the outer axes together; and of each
# outer axis, from the innermost out: sizes of input, output and kernel, stride, padding, dilation.
OUTER_RANK, REAL_IN, TAPS, PLANES, OUT_PLANES, OUTER = range(17, 23)


@jit
def outer_plane(r, tap, place):  # type: ignore[no-untyped-def]
    """The plane that a tap reads for the output plane `place` of a channel; -1 in the padding."""
    at, stride = 0, 1
    for d in range(param(r, OUTER_RANK)):
        w = OUTER + 6 * d
        size = param(r, w)
        start = urem(place, param(r, w + 1)) * param(r, w + 3) - param(r, w + 4)
        i = start + urem(tap, param(r, w + 2)) * param(r, w + 5)
        if i < 0 or i >= size:
            return -1
        at += i * stride
        stride *= size
        place, tap = udiv(place, param(r, w + 1)), udiv(tap, param(r, w + 2))
    return at


@jit
def window_dot(r, x, w, place, top, left):  # type: ignore[no-untyped-def]
    """The window whose first tap lies at (top, left) of the planes for `place` of the channels at x, by a filter."""
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w = param(r, DILATION_H), param(r, DILATION_W)
    from_h, to_h = first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)
    from_w, to_w = first_tap(left, dilation_w, kernel_w), end_tap(left, dilation_w, width, kernel_w)
    step, taps = 4 * dilation_w, param(r, TAPS)
    total, acc = ZERO, ZERO
    limit = BLOCK
    if from_h >= to_h or from_w >= to_w:
        return total
    for c in range(param(r, GROUP_IN)):
        plane = outer_plane(r, urem(c, taps), place)
        if plane >= 0:
            base = x + 4 * (udiv(c, taps) * param(r, PLANES) + plane) * height * width
            for kh in range(from_h, to_h):
                k = (c * kernel_h + kh) * kernel_w + from_w
                a = base + 4 * (top + kh * dilation_h) * width + 4 * left + from_w * step
                b = w + 4 * k
                end = k + to_w - from_w
                while k < end:
                    while k >= limit:  # a loop, as in `conv`
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
def conv_nd_tile(r, t):  # type: ignore[no-untyped-def]
    y, bias = out_address(r), input_address(r, 2)
    out_channels, out_height, out_width = param(r, OUT_CHANNELS), param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    out_planes, group_out = param(r, OUT_PLANES), param(r, GROUP_OUT)
    image_bytes = 4 * param(r, PLANES) * param(r, HEIGHT) * param(r, WIDTH)
    filter_bytes = 4 * param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, rest = urem(rest, out_height), udiv(rest, out_height)
        place, rest = urem(rest, out_planes), udiv(rest, out_planes)
        o, image = urem(rest, out_channels), udiv(rest, out_channels)
        groups = udiv(out_channels, group_out)
        x = input_address(r, 0) + (image * groups + udiv(o, group_out)) * param(r, REAL_IN) * image_bytes
        top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
        left = column * param(r, STRIDE_W) - param(r, PAD_LEFT)
        total = window_dot(r, x, input_address(r, 1) + o * filter_bytes, place, top, left)
        if bias != 0:
            total += load_f32(bias + 4 * o)
        store_f32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


# The fast kernel is that of `conv` for each output plane in turn, whose grid holds the planes that its taps read.


@jit
def fill_planes(r, x, place, grid, lines, columns):  # type: ignore[no-untyped-def]
    """The planes that the taps of output plane `place` read, of the channels at x; zeros in the padding."""
    taps, plane_bytes = param(r, TAPS), 4 * param(r, HEIGHT) * param(r, WIDTH)
    for c in range(param(r, GROUP_IN)):
        plane = outer_plane(r, urem(c, taps), place)
        source = x + (udiv(c, taps) * param(r, PLANES) + max(plane, 0)) * plane_bytes
        grid = fill_plane(r, source, param(r, HEIGHT) if plane >= 0 else 0, grid, lines, columns)


@jit
def group_planes(r, group, e, stop, place, grid, columns, table, sums):  # type: ignore[no-untyped-def]
    """Of outputs e..stop-1 those in plane `place` of the channels of a group (counted through all images)."""
    plane, out_planes, group_out = param(r, OUT_HEIGHT) * param(r, OUT_WIDTH), param(r, OUT_PLANES), param(r, GROUP_OUT)
    first_channel = urem(group, udiv(param(r, OUT_CHANNELS), group_out)) * group_out
    pitch = plane * out_planes
    start = (group * group_out * out_planes + place) * plane  # of the group's first channel
    i = 0
    while i < group_out:
        at = start + i * pitch
        begin, end = max(e - at, 0), min(stop - at, plane)
        count = 1
        if begin == 0 and end == plane:
            while i + count < group_out and stop - at - count * pitch >= plane:
                count += 1
        if begin < end:
            y = out_address(r) + 4 * at
            channels(r, y, 4 * pitch, first_channel + i, count, begin, end, grid, columns, table, sums)
        i += count


@jit
def conv_nd_grid(r, e, stop):  # type: ignore[no-untyped-def]
    """Outputs e..stop-1; False, and nothing done, where the grid would be far larger than a plane or does not fit."""
    stride_h, stride_w = param(r, STRIDE_H), param(r, STRIDE_W)
    plane = param(r, OUT_HEIGHT) * param(r, OUT_WIDTH)
    lines = param(r, OUT_HEIGHT) + udiv((param(r, KERNEL_H) - 1) * param(r, DILATION_H), stride_h)
    columns = param(r, OUT_WIDTH) + udiv((param(r, KERNEL_W) - 1) * param(r, DILATION_W), stride_w)
    depth = param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    cells = stride_h * stride_w * lines * columns
    most = udiv(ROOM_MOST, param(r, GROUP_IN))
    if cells > min(GRID_MOST * max(param(r, HEIGHT) * param(r, WIDTH), plane), most):
        return False
    cells *= param(r, GROUP_IN)
    room = allocate(8 * depth + 4 * (cells + 2 * COLUMNS))
    if room == 0:
        return False
    sums, grid = sums_room(), room + 8 * depth
    fill_table(r, room, lines, columns)
    for i in range(cells, cells + 2 * COLUMNS):
        store_i32(grid + 4 * i, 0)
    out_planes = param(r, OUT_PLANES)
    group_size = param(r, GROUP_OUT) * out_planes * plane
    group_bytes = 4 * param(r, REAL_IN) * param(r, PLANES) * param(r, HEIGHT) * param(r, WIDTH)
    for group in range(udiv(e, group_size), udiv(stop - 1, group_size) + 1):
        for place in range(out_planes):
            fill_planes(r, input_address(r, 0) + group * group_bytes, place, grid, lines, columns)
            group_planes(r, group, e, stop, place, grid, columns, room, sums)
    release(room)
    return True


@jit
def conv_nd_tiles(r, first, count):  # type: ignore[no-untyped-def]
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    filters = param(r, OUT_CHANNELS) * param(r, GROUP_IN) * param(r, KERNEL_H) * param(r, KERNEL_W)
    if e < stop and all_finite(input_address(r, 1), filters) and conv_nd_grid(r, e, stop):
        clear(out_address(r) + 4 * stop, out_address(r) + 32 * (first + count))
    else:
        for t in range(first, first + count):
            conv_nd_tile(r, t)


def _window(types: Types, attrs: Attrs) -> WindowND:
    w = take_inputs(NAME, types, 2, 3)[1]
    return WindowND.read(NAME, attrs, list(w.shape[2:]))


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, *spatial] by w [O, C/group, *kernel], plus b [O]; three to five spatial axes."""
    x, w = take_inputs(NAME, types, 2, 3)
    only(NAME, attrs, "strides", "pads", "dilations", "group")
    for kind in types:
        if kind is not None:
            take_dtype(NAME, kind, (DType.FLOAT32,))
    rank = len(x.shape) - 2
    if not LEAST <= rank <= MOST or len(w.shape) != len(x.shape):
        raise refuse(NAME, f"{list(x.shape)} by a filter {list(w.shape)}; it has {LEAST} to {MOST} spatial axes")
    o, group = w.shape[0], int_attr(NAME, attrs, "group", 1)
    if group < 1 or x.shape[1] != w.shape[1] * group or o % group:
        raise refuse(NAME, f"{x.shape[1]} channels and a filter {list(w.shape)} do not make {group} groups")
    b = types[2] if len(types) > 2 else None
    if b is not None and b.shape != (o,):
        raise refuse(NAME, f"the bias must have shape [{o}], not {list(b.shape)}")
    return TensorType(DType.FLOAT32, (x.shape[0], o, *_window(types, attrs).output(NAME, x.shape[2:])))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, w = take_inputs(NAME, types, 2, 3)
    window = _window(types, attrs)
    o, group_in = w.shape[:2]
    group_out = o // int_attr(NAME, attrs, "group", 1)
    taps = prod(window.kernel[:-2])
    inner = [window.kernel, window.strides, window.before, window.dilations]
    words = [out.elements, x.shape[1], *x.shape[-2:], o, *out.shape[-2:], group_in * taps, group_out]
    for values in inner:
        words += values[-2:]
    words += [len(window.kernel) - 2, group_in, taps, prod(x.shape[2:-2]), prod(out.shape[2:-2])]
    sizes = [list(x.shape[2:]), list(out.shape[2:]), *inner[:3], window.dilations]
    for axis in reversed(range(len(window.kernel) - 2)):
        words += [values[axis] for values in sizes]
    return words


def grain(types: Types, out: TensorType, attrs: Attrs) -> int:
    """Whole channels."""
    return max(prod(out.shape[2:]) // LEAF_FLOATS, 1)


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    _, w = take_inputs(NAME, types, 2, 3)
    k = w.elements // w.shape[0]
    planes = w.shape[1] * prod(w.shape[2:-2])
    return COST_TILE + LEAF_FLOATS * (768 + planes * 320 + k // w.shape[-1] * 256 + COST_FLOAT * (k + k // BLOCK + 2))


OPS = [Op(NAME, 352, infer, params, conv_nd_tile, cost, conv_nd_tiles, grain)]
