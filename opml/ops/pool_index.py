"""Where the maximum of each sliding window lies (MaxPool's second output), over one to five axes."""

from math import prod

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    Attrs,
    Op,
    Types,
    clear,
    input_address,
    jit,
    out_address,
    param,
)
from opml.ops.checks import flag_attr, ints_attr, only, refuse, take_dtype, take_inputs
from opml.ops.window_nd import WindowND
from vm.guest.intrinsics import load_f32, store_i64, udiv, urem

NAME = "maxpool_index"
MAX_AXES = 5
LEAF = 4

# Elements of the output and of a channel before and after; axes; taps; whether indices count the first axis fastest.
# Then of each axis, from the innermost out: sizes of input, output and kernel, stride, padding, dilation.
LENGTH, PLANE, OUT_PLANE, RANK, TAPS, COLUMN_MAJOR, AXES = range(7)
AXIS_WORDS = 6


@jit
def tap_place(r, place, tap):  # type: ignore[no-untyped-def]
    """Where a tap of the window for an output's place lies in its channel; -1 in the padding."""
    at, stride = 0, 1
    for d in range(param(r, RANK)):
        w = AXES + AXIS_WORDS * d
        size = param(r, w)
        i = urem(place, param(r, w + 1)) * param(r, w + 3) - param(r, w + 4)
        i += urem(tap, param(r, w + 2)) * param(r, w + 5)
        if i < 0 or i >= size:
            return -1
        at += i * stride
        stride *= size
        place, tap = udiv(place, param(r, w + 1)), udiv(tap, param(r, w + 2))
    return at


@jit
def reordered(r, at):  # type: ignore[no-untyped-def]
    """A place in a channel, counted with its first axis fastest."""
    result = 0
    for d in range(param(r, RANK)):
        size = param(r, AXES + AXIS_WORDS * d)
        result = result * size + urem(at, size)
        at = udiv(at, size)
    return result


@jit
def maxpool_index_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, plane, out_plane = input_address(r, 0), out_address(r), param(r, PLANE), param(r, OUT_PLANE)
    stop = min(LEAF * (t + 1), param(r, LENGTH))
    for e in range(LEAF * t, stop):
        place, channel = urem(e, out_plane), udiv(e, out_plane)
        source = x + 4 * channel * plane
        best = -1
        for tap in range(param(r, TAPS)):
            at = tap_place(r, place, tap)
            if at >= 0:
                value = load_f32(source + 4 * at)
                # The first of equals; a NaN is greater than every number.
                if best < 0:
                    best = at
                else:
                    most = load_f32(source + 4 * best)
                    if most == most and (value > most or value != value):
                        best = at
        if best >= 0:
            best = (reordered(r, best) if param(r, COLUMN_MAJOR) != 0 else best) + channel * plane
        store_i64(y + 8 * e, best)
    clear(y + 8 * stop, y + 32 * (t + 1))


def _window(attrs: Attrs) -> WindowND:
    window = WindowND.read(NAME, attrs, ints_attr(NAME, attrs, "kernel"))
    for axis in range(len(window.kernel)):
        if max(window.before[axis], window.after[axis]) >= window.reach(axis):
            raise refuse(NAME, f"pads {window.before + window.after} leave windows without an element")
    return window


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C, *spatial] to int64 indices into it; -1 for a window without an element."""
    (x,) = take_inputs(NAME, types, 1)
    only(NAME, attrs, "kernel", "strides", "pads", "dilations", "ceil_mode", "column_major")
    take_dtype(NAME, x, (DType.FLOAT32,))
    window = _window(attrs)
    if not 1 <= len(window.kernel) <= MAX_AXES or len(x.shape) != len(window.kernel) + 2:
        raise refuse(NAME, f"a window {window.kernel} on {list(x.shape)}; it has one to {MAX_AXES} spatial axes")
    size = window.output(NAME, x.shape[2:], flag_attr(NAME, attrs, "ceil_mode"))
    flag_attr(NAME, attrs, "column_major")
    return TensorType(DType.INT64, (*x.shape[:2], *size))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs(NAME, types, 1)
    window = _window(attrs)
    words = [out.elements, prod(x.shape[2:]), prod(out.shape[2:]), len(window.kernel), prod(window.kernel)]
    words.append(flag_attr(NAME, attrs, "column_major"))
    for d in reversed(range(len(window.kernel))):
        words += [x.shape[2 + d], out.shape[2 + d], window.kernel[d]]
        words += [window.strides[d], window.before[d], window.dilations[d]]
    return words


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    window = _window(attrs)
    axes = len(window.kernel)
    return COST_TILE + LEAF * (128 + 64 * axes + prod(window.kernel) * (64 + 3 * COST_FLOAT + 128 * axes))


OPS = [Op(NAME, 359, infer, params, maxpool_index_tile, cost)]
