"""Overlapping blocks added up to an image (Col2Im), over one to six axes."""

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
from opml.ops.checks import ints_attr, only, refuse, take_dtype, take_inputs, take_rank
from opml.ops.window_nd import WindowND
from vm.guest.intrinsics import load_f32, store_f32, udiv, urem

NAME = "fold_blocks"
MAX_AXES = 6

# Elements of the output and of one of its images; axes; elements of a block; blocks. Then of each axis, from the
# innermost out: sizes of image and block, blocks, stride, padding, dilation.
LENGTH, IMAGE, RANK, TAPS, BLOCKS, AXES = range(6)
AXIS_WORDS = 6


@jit
def block_at(r, place, tap):  # type: ignore[no-untyped-def]
    """The block whose element `tap` lies at `place` of the image; -1 for none."""
    at, stride = 0, 1
    for d in range(param(r, RANK)):
        w = AXES + AXIS_WORDS * d
        i = urem(place, param(r, w)) + param(r, w + 4) - urem(tap, param(r, w + 1)) * param(r, w + 5)
        if i < 0:
            return -1
        block = udiv(i, param(r, w + 3))
        if block * param(r, w + 3) != i or block >= param(r, w + 2):
            return -1
        at += block * stride
        stride *= param(r, w + 2)
        place, tap = udiv(place, param(r, w)), udiv(tap, param(r, w + 1))
    return at


@jit
def fold_blocks_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, image, taps, blocks = input_address(r, 0), out_address(r), param(r, IMAGE), param(r, TAPS), param(r, BLOCKS)
    stop = min(LEAF_FLOATS * (t + 1), param(r, LENGTH))
    for e in range(LEAF_FLOATS * t, stop):
        place, channel = urem(e, image), udiv(e, image)
        total = ZERO
        for tap in range(taps):
            block = block_at(r, place, tap)
            if block >= 0:
                total += load_f32(x + 4 * ((channel * taps + tap) * blocks + block))
        store_f32(y + 4 * e, total)
    clear(y + 4 * stop, y + 32 * (t + 1))


def _window(attrs: Attrs) -> tuple[list[int], WindowND]:
    image = ints_attr(NAME, attrs, "image")
    window = WindowND.read(NAME, attrs, ints_attr(NAME, attrs, "kernel", None, len(image)))
    if not 1 <= len(image) <= MAX_AXES or not 1 <= min(image) <= max(image) < 1 << 31:
        raise refuse(NAME, f"an image {image}; it has one to {MAX_AXES} axes")
    return image, window


def infer(types: Types, attrs: Attrs) -> TensorType:
    """x [N, C * taps, blocks] to [N, C, *image]."""
    (x,) = take_inputs(NAME, types, 1)
    only(NAME, attrs, "image", "kernel", "strides", "pads", "dilations")
    take_dtype(NAME, x, (DType.FLOAT32,))
    n, c, blocks = take_rank(NAME, x, 3)
    image, window = _window(attrs)
    taps = prod(window.kernel)
    if c % taps or blocks != prod(window.output(NAME, tuple(image))):
        raise refuse(NAME, f"{list(x.shape)} are not blocks {window.kernel} of an image {image}")
    return TensorType(DType.FLOAT32, (n, c // taps, *image))


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    image, window = _window(attrs)
    counts = window.output(NAME, tuple(image))
    words = [out.elements, prod(image), len(image), prod(window.kernel), prod(counts)]
    for d in reversed(range(len(image))):
        words += [image[d], window.kernel[d], counts[d], window.strides[d], window.before[d], window.dilations[d]]
    return words


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    image, window = _window(attrs)
    return COST_TILE + LEAF_FLOATS * (128 + prod(window.kernel) * (64 + COST_FLOAT + 128 * len(image)))


OPS = [Op(NAME, 358, infer, params, fold_blocks_tile, cost)]
