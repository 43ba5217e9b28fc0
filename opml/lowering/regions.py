"""What samples an image at places that are data, and what puts pieces of one together."""

from math import prod

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers
from opml.lowering.windows import Window

_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # names before operator set 20


@lowers("GridSample")
def grid_sample(c: Call) -> str:
    mode = c.text("mode", "linear")
    attrs = {"mode": _MODES.get(mode, mode), "padding": c.text("padding_mode", "zeros")}
    return c.emit("grid_sample", [c.input(0), c.input(1)], align_corners=c.flag("align_corners"), **attrs)


@lowers("AffineGrid")
def affine_grid(c: Call) -> str:
    """theta [N, d, d + 1] times the places of an image [N, C, *spatial], of which d coordinates are returned."""
    theta, size, corners = c.input(0), c.constant_ints(1, "size"), c.flag("align_corners")
    axes = len(size) - 2
    if axes not in (2, 3) or min(size) < 1 or c.shape() != (size[0], axes, axes + 1):
        raise UnsupportedError(f"theta {list(c.shape())} for an image {size}")
    if not c.build.budget.take(4 * prod(size[2:]) * (axes + 1)):
        raise UnsupportedError(f"the grid of an image {size} is too large")
    lines = [_centres(n, corners) for n in size[2:]]
    planes = np.meshgrid(*lines, indexing="ij")
    places = np.stack([*reversed(planes), np.ones(size[2:])], axis=-1).reshape(-1, axes + 1)
    grid = c.emit("matmul", [c.build.constant(places.astype(np.float32)), theta], trans_a=0, trans_b=1)
    return c.view(grid, (size[0], *size[2:], axes))


def _centres(n: int, corners: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The middles of n pixels between -1 and 1; with `corners` the outer ones lie on the ends."""
    i = np.arange(n)
    if corners:
        return 2.0 * i / max(n - 1, 1) - 1.0
    return (2.0 * i + 1.0) / n - 1.0


@lowers("RoiAlign")
def roi_align(c: Call) -> str:
    mode = c.text("mode", "avg")
    place = "output_half_pixel"
    if c.opset >= 16:
        place = c.text("coordinate_transformation_mode", "half_pixel")
    if mode not in ("avg", "max") or place not in ("half_pixel", "output_half_pixel"):
        raise UnsupportedError(f"mode {mode!r} with coordinates {place!r}")
    size = [c.integer("output_height", 1), c.integer("output_width", 1)]
    flags = {"half_pixel": int(place == "half_pixel"), "maximum": int(mode == "max")}
    indices = c.input(2)
    if c.build.type(indices).dtype is not DType.INT64:
        indices = c.emit("cast", [indices], to="int64")
    scale, samples = c.number("spatial_scale", 1.0), c.integer("sampling_ratio", 0)
    return c.emit("roi_align", [c.input(0), c.input(1), indices], size=size, scale=scale, samples=samples, **flags)


@lowers("MaxRoiPool")
def max_roi_pool(c: Call) -> str:
    size = c.integers("pooled_shape") or []
    return c.emit("roi_max", [c.input(0), c.input(1)], size=size, scale=c.number("spatial_scale", 1.0))


@lowers("DeformConv")
def deform_conv(c: Call) -> str:
    """The displaced and masked columns, by the filters of each group."""
    x, weight, offset, bias, mask = c.input(0), c.input(1), c.input(2), c.optional(3), c.optional(4)
    window = Window(c, list(c.shape(1)[2:]))
    group, groups = c.integer("group", 1), c.integer("offset_group", 1)
    if c.rank() != 4:
        raise UnsupportedError(f"a tensor of {c.rank()} dimensions; opml has two spatial ones")
    n, channels = c.shape()[:2]
    out, per_group = c.shape(1)[:2]
    if group < 1 or channels != per_group * group or out % group:
        raise UnsupportedError(f"{channels} channels and a filter {list(c.shape(1))} do not make {group} groups")
    inputs = [x, offset, mask] if mask else [x, offset]
    columns = c.emit("deform_columns", inputs, kernel=window.kernel, groups=groups, **window.attrs())
    depth, places = per_group * prod(window.kernel), c.build.shape(columns)[2]
    if group == 1:
        left, right = c.view(weight, (out, depth)), columns
    else:
        left = c.view(weight, (1, group, out // group, depth))
        left = c.emit("expand", [left], shape=[n, group, out // group, depth]) if n > 1 else left
        left, right = c.view(left, (n * group, out // group, depth)), c.view(columns, (n * group, depth, places))
    y = c.view(c.emit("matmul", [left, right], trans_a=0, trans_b=0), (n, out, *c.shape(2)[2:]))
    return c.emit("add", [y, c.view(bias, (out, 1, 1))]) if bias else y


@lowers("Col2Im")
def col2im(c: Call) -> str:
    image, kernel = c.constant_ints(1, "image_shape"), c.constant_ints(2, "block_shape")
    attrs = {name: c.integers(name) for name in ("strides", "pads", "dilations")}
    given = {name: value for name, value in attrs.items() if value is not None}
    return c.emit("fold_blocks", [c.input(0)], image=image, kernel=kernel, **given)


@lowers("MaxUnpool")
def max_unpool(c: Call) -> str:
    """Zeros, and the given values at the given places of an image as large as a pooling would have read."""
    x, indices, shape = c.input(0), c.input(1), c.shape()
    kernel = c.integers("kernel_shape") or []
    axes = len(shape) - 2
    strides, pads = c.integers("strides") or [1] * axes, c.integers("pads") or [0] * 2 * axes
    if axes < 1 or len(kernel) != axes or len(strides) != axes or len(pads) != 2 * axes or c.shape(1) != shape:
        raise UnsupportedError(f"kernel_shape {kernel}, strides {strides}, pads {pads} for {list(shape)}")
    spatial = [
        (n - 1) * stride + k - before - after
        for n, stride, k, before, after in zip(shape[2:], strides, kernel, pads[:axes], pads[axes:], strict=True)
    ]
    if min(spatial) < 1 or not c.build.budget.take(4 * prod(shape[:2]) * prod(spatial)):
        raise UnsupportedError(f"an output of spatial shape {spatial}")
    full = [*shape[:2], *spatial]
    zeros = c.build.constant(np.zeros(prod(full), c.build.type(x).dtype.numpy))
    flat = [c.view(name, (prod(shape),)) for name in (indices, x)]
    y = c.view(c.emit("scatter_elements", [zeros, *flat], axis=0), full)
    if not c.optional(2):
        return y
    wanted = c.constant_ints(2, "output_shape")
    if len(wanted) != len(full) or any(w < n for w, n in zip(wanted, full, strict=True)):
        raise UnsupportedError(f"input 'output_shape' is {wanted}, less than {full}")
    after = [w - n for w, n in zip(wanted, full, strict=True)]
    return c.emit("pad", [y], pads=[*[0] * len(full), *after]) if any(after) else y


@lowers("Det")
def det(c: Call) -> str:
    """The product of the diagonal after Gaussian elimination, step by step."""
    x, shape = c.input(0), c.shape()
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise UnsupportedError(f"{list(shape)} are no square matrices")
    size, count = shape[-1], prod(shape[:-2])
    x = c.view(x, (count, size, size))
    for step in range(size - 1):
        x = c.emit("eliminate", [x], step=step)
    flat = c.view(x, (count, size * size))
    diagonal = c.emit("slice", [flat], starts=[0, 0], steps=[1, size + 1], sizes=[count, size])
    return c.view(c.emit("reduce_prod", [diagonal], axes=[1], keepdims=0), shape[:-2])
