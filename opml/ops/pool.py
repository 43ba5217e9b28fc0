"""Maximum and mean over sliding windows of two axes; taps in the padding are left out."""

from opml.graph import DType, TensorType
from opml.numerics import INFINITY, ZERO, maximum
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
    template,
)
from opml.ops.checks import flag_attr, ints_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.window import Window, end_tap, first_tap
from vm.guest.intrinsics import i64_f32, load_f32, store_f32, udiv, urem

# Parameters, in elements. The padded sizes bound the taps that a mean counts.
LENGTH, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH = range(5)
KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PAD_TOP, PAD_LEFT, DILATION_H, DILATION_W = range(5, 13)
COUNT_PADS, PADDED_HEIGHT, PADDED_WIDTH = range(13, 16)


@jit
def window_max(r, x, top, left):  # type: ignore[no-untyped-def]
    """The maximum of a window, -inf if all of it lies in the padding."""
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w = param(r, DILATION_H), param(r, DILATION_W)
    from_w, to_w = first_tap(left, dilation_w, kernel_w), end_tap(left, dilation_w, width, kernel_w)
    best = -INFINITY
    for kh in range(first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)):
        line = x + 4 * ((top + kh * dilation_h) * width + left)
        for kw in range(from_w, to_w):
            best = maximum(best, load_f32(line + 4 * kw * dilation_w))
    return best


@jit
def taps_within(start, step, size, taps):  # type: ignore[no-untyped-def]
    """The number of taps of a window's axis that lie in [0, size)."""
    return max(end_tap(start, step, size, taps) - first_tap(start, step, taps), 0)


@jit
def taps_counted(r, top, left):  # type: ignore[no-untyped-def]
    """By how many taps the mean of a window divides: those in the input, or with COUNT_PADS in the padded input."""
    kernel_h, kernel_w = param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w = param(r, DILATION_H), param(r, DILATION_W)
    if param(r, COUNT_PADS) != 0:
        lines = taps_within(top + param(r, PAD_TOP), dilation_h, param(r, PADDED_HEIGHT), kernel_h)
        return lines * taps_within(left + param(r, PAD_LEFT), dilation_w, param(r, PADDED_WIDTH), kernel_w)
    lines = taps_within(top, dilation_h, param(r, HEIGHT), kernel_h)
    return lines * taps_within(left, dilation_w, param(r, WIDTH), kernel_w)


@jit
def window_mean(r, x, top, left):  # type: ignore[no-untyped-def]
    """The sum of a window's taps, ascending from +0, divided by `taps_counted`."""
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w = param(r, DILATION_H), param(r, DILATION_W)
    from_w, to_w = first_tap(left, dilation_w, kernel_w), end_tap(left, dilation_w, width, kernel_w)
    total = ZERO
    for kh in range(first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)):
        line = x + 4 * ((top + kh * dilation_h) * width + left)
        for kw in range(from_w, to_w):
            total += load_f32(line + 4 * kw * dilation_w)
    return total / i64_f32(taps_counted(r, top, left))


@template
def windows(f, r, t):  # type: ignore[no-untyped-def]
    """out[e] = f(window of e) over a tile."""
    y, plane = out_address(r), 4 * param(r, HEIGHT) * param(r, WIDTH)
    out_height, out_width = param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        column, rest = urem(e, out_width), udiv(e, out_width)
        line, channel = urem(rest, out_height), udiv(rest, out_height)
        top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
        left = column * param(r, STRIDE_W) - param(r, PAD_LEFT)
        store_f32(y + 4 * e, f(r, input_address(r, 0) + channel * plane, top, left))
    clear(y + 4 * stop, y + 32 * (t + 1))


@jit
def maxpool_tile(r, t):  # type: ignore[no-untyped-def]
    windows(window_max, r, t)


@jit
def avgpool_tile(r, t):  # type: ignore[no-untyped-def]
    windows(window_mean, r, t)


@template
def lines(f, start, r, x, y, line, begin, end):  # type: ignore[no-untyped-def]
    """y[c] = f(...f(f(start, tap), tap)...) for columns begin..end-1 of an output line.

    Tap by tap, all columns at once; the taps come in the definition's order, so a column sees the same operations.
    """
    height, width, kernel_h, kernel_w = param(r, HEIGHT), param(r, WIDTH), param(r, KERNEL_H), param(r, KERNEL_W)
    dilation_h, dilation_w, stride = param(r, DILATION_H), param(r, DILATION_W), param(r, STRIDE_W)
    top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
    for c in range(begin, end):
        store_f32(y + 4 * c, start)
    for kh in range(first_tap(top, dilation_h, kernel_h), end_tap(top, dilation_h, height, kernel_h)):
        for kw in range(kernel_w):
            left = kw * dilation_w - param(r, PAD_LEFT)
            source = x + 4 * ((top + kh * dilation_h) * width + left)
            low, high = max(first_tap(left, stride, end), begin), end_tap(left, stride, width, end)
            if stride == 1:
                for c in range(low, high):
                    store_f32(y + 4 * c, f(load_f32(y + 4 * c), load_f32(source + 4 * c)))
            elif stride == 2:
                for c in range(low, high):
                    store_f32(y + 4 * c, f(load_f32(y + 4 * c), load_f32(source + 8 * c)))
            else:
                for c in range(low, high):
                    store_f32(y + 4 * c, f(load_f32(y + 4 * c), load_f32(source + 4 * stride * c)))


@jit
def plus(a, b):  # type: ignore[no-untyped-def]
    return a + b


@jit
def max_line(r, x, y, line, begin, end):  # type: ignore[no-untyped-def]
    lines(maximum, -INFINITY, r, x, y, line, begin, end)


@jit
def mean_line(r, x, y, line, begin, end):  # type: ignore[no-untyped-def]
    lines(plus, ZERO, r, x, y, line, begin, end)
    top = line * param(r, STRIDE_H) - param(r, PAD_TOP)
    for c in range(begin, end):
        count = taps_counted(r, top, c * param(r, STRIDE_W) - param(r, PAD_LEFT))
        store_f32(y + 4 * c, load_f32(y + 4 * c) / i64_f32(count))


@template
def by_lines(f, r, first, count):  # type: ignore[no-untyped-def]
    """Some tiles, cut into pieces of output lines. Native only."""
    y, out_height, out_width = out_address(r), param(r, OUT_HEIGHT), param(r, OUT_WIDTH)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    clear(y + 4 * stop, y + 32 * (first + count))
    while e < stop:
        begin, rest = urem(e, out_width), udiv(e, out_width)
        end = min(out_width, begin + stop - e)
        x = input_address(r, 0) + udiv(rest, out_height) * 4 * param(r, HEIGHT) * param(r, WIDTH)
        f(r, x, y + 4 * (e - begin), urem(rest, out_height), begin, end)
        e += end - begin


@jit
def maxpool_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_lines(max_line, r, first, count)


@jit
def avgpool_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_lines(mean_line, r, first, count)


def _window(op: str, attrs: Attrs) -> Window:
    kernel = ints_attr(op, attrs, "kernel", None, 2)
    window = Window.read(op, attrs, (kernel[0], kernel[1]))
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * window.dilations[axis] + 1
        if max(window.pads[axis], window.pads[axis + 2]) >= reach:
            raise refuse(op, f"pads {list(window.pads)} leave windows without an element")
    return window


def _infer(op: str, types: Types, attrs: Attrs) -> TensorType:
    (x,) = take_inputs(op, types, 1)
    take_dtype(op, x, (DType.FLOAT32,))
    n, c, height, width = take_rank(op, x, 4)
    size = _window(op, attrs).output(op, (height, width), flag_attr(op, attrs, "ceil_mode"))
    return TensorType(DType.FLOAT32, (n, c, *size))


def _params(op: str, types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs(op, types, 1)
    window = _window(op, attrs)
    top, left, bottom, right = window.pads
    counts = flag_attr(op, attrs, "count_include_pad")
    padded = [x.shape[2] + top + bottom, x.shape[3] + left + right]
    shape = [*x.shape[2:], *out.shape[2:]]
    return [out.elements, *shape, *window.kernel, *window.strides, top, left, *window.dilations, counts, *padded]


def infer_max(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W] to the maximum of each window."""
    only("maxpool", attrs, "kernel", "strides", "pads", "dilations", "ceil_mode")
    return _infer("maxpool", types, attrs)


def infer_mean(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, H, W] to the mean of each window."""
    only("avgpool", attrs, "kernel", "strides", "pads", "dilations", "ceil_mode", "count_include_pad")
    return _infer("avgpool", types, attrs)


def params_max(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return _params("maxpool", types, out, attrs)


def params_mean(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return _params("avgpool", types, out, attrs)


def cost_max(types: Types, out: TensorType, attrs: Attrs) -> int:
    kernel = ints_attr("maxpool", attrs, "kernel", None, 2)
    return COST_TILE + LEAF_FLOATS * (256 + kernel[0] * 32 + kernel[0] * kernel[1] * 5 * COST_FLOAT)


def cost_mean(types: Types, out: TensorType, attrs: Attrs) -> int:
    kernel = ints_attr("avgpool", attrs, "kernel", None, 2)
    taps = kernel[0] * kernel[1]
    return COST_TILE + LEAF_FLOATS * (512 + kernel[0] * 32 + taps * COST_FLOAT + COST_DIVIDE)


OPS = [
    Op("maxpool", 3, infer_max, params_max, maxpool_tile, cost_max, maxpool_tiles),
    Op("avgpool", 4, infer_mean, params_mean, avgpool_tile, cost_mean, avgpool_tiles),
]
