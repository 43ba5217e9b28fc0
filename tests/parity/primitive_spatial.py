"""Images and signals: windows over any axes, resampling, regions, determinants."""

from math import prod

import numpy as np
from hypothesis import strategies as st
from primitive_base import Draw, Sample, case, present, values

from opml.ops.base import Attrs


def window(draw: Draw, axes: int, largest: int) -> tuple[list[int], list[int], Attrs]:
    """Sizes of an input and of a kernel on it, and a window's attributes."""
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    dilations = [draw(st.integers(1, 2)) for _ in range(axes)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, r - 1)) for r in (*reach, *reach)]
    sizes = [
        max(draw(st.integers(1, largest)), r - before - after)
        for r, before, after in zip(reach, pads[:axes], pads[axes:], strict=True)
    ]
    strides = [draw(st.integers(1, 3)) for _ in range(axes)]
    return sizes, kernel, {"strides": strides, "dilations": dilations, "pads": pads}


@case("conv_nd")
def conv_nd(draw: Draw, op: str) -> Sample:
    axes = draw(st.sampled_from((3, 3, 3, 4, 5)))
    sizes, kernel, attrs = window(draw, axes, {3: 4, 4: 3, 5: 2}[axes])
    group, odd = draw(st.integers(1, 2)), draw(st.booleans())
    group_in, group_out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = values(draw, "float32", (draw(st.integers(1, 2)), group * group_in, *sizes), odd=odd)
    w = values(draw, "float32", (group * group_out, group_in, *kernel), odd=odd)
    return Sample([x, w, present(draw, values(draw, "float32", (group * group_out,)))], attrs | {"group": group})


@case("maxpool_index")
def maxpool_index(draw: Draw, op: str) -> Sample:
    axes = draw(st.integers(1, 4))
    sizes, kernel, attrs = window(draw, axes, {1: 12, 2: 6, 3: 4, 4: 3}[axes])
    x = values(draw, "float32", (1, 2, *sizes))
    flags = {name: draw(st.integers(0, 1)) for name in ("ceil_mode", "column_major")}
    return Sample([x], attrs | flags | {"kernel": kernel})


@case("fold_blocks")
def fold_blocks(draw: Draw, op: str) -> Sample:
    axes = draw(st.integers(1, 4))
    image, kernel, attrs = window(draw, axes, {1: 20, 2: 6, 3: 4, 4: 3}[axes])
    counts = []
    for d in range(axes):
        pads, reach = attrs["pads"], (kernel[d] - 1) * attrs["dilations"][d] + 1  # type: ignore[index]
        counts.append((image[d] + pads[d] + pads[axes + d] - reach) // attrs["strides"][d] + 1)  # type: ignore[index]
    x = values(draw, "float32", (draw(st.integers(1, 2)), 2 * prod(kernel), prod(counts)))
    return Sample([x], attrs | {"image": image, "kernel": kernel})


@case("resample")
def resample(draw: Draw, op: str) -> Sample:
    outer, size, inner = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.sampled_from((1, 3, 8, 19))))
    rows, taps = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 2, 3, 4, 4, 7)))
    index = values(draw, "int64", (rows, taps), low=-1, high=size)
    if draw(st.booleans()):
        index = np.clip(index, 0, size - 1)
    elif draw(st.booleans()):
        index = values(draw, "int64", (rows, taps))
    x, weight = values(draw, "float32", (outer, size, inner)), values(draw, "float32", (rows, taps))
    return Sample([x, index, weight], {"axis": draw(st.sampled_from((1, -2)))})


@case("grid_sample")
def grid_sample(draw: Draw, op: str) -> Sample:
    rank = draw(st.integers(2, 3))
    mode = draw(st.sampled_from(("nearest", "linear", "cubic")))
    sizes = [draw(st.integers(1, 4)) for _ in range(rank)]
    places = [draw(st.integers(1, 2)) for _ in range(rank)]
    images, odd = draw(st.integers(1, 2)), draw(st.booleans())
    x = values(draw, "float32", (images, 2, *sizes), odd=odd)
    grid = values(draw, "float32", (images, *places, rank), odd=odd)
    attrs: Attrs = {"mode": mode, "padding": draw(st.sampled_from(("zeros", "border", "reflection")))}
    return Sample([x, grid], attrs | {"align_corners": draw(st.integers(0, 1))})


@case("deform_columns")
def deform_columns(draw: Draw, op: str) -> Sample:
    sizes, kernel, attrs = window(draw, 2, 4)
    groups, odd = draw(st.integers(1, 2)), draw(st.booleans())
    pads, strides = attrs["pads"], attrs["strides"]
    counts = []
    for d in range(2):
        reach = (kernel[d] - 1) * attrs["dilations"][d] + 1  # type: ignore[index]
        counts.append((sizes[d] + pads[d] + pads[d + 2] - reach) // strides[d] + 1)  # type: ignore[index]
    taps, images = prod(kernel), draw(st.integers(1, 2))
    x = values(draw, "float32", (images, groups, *sizes), odd=odd)
    offset = values(draw, "float32", (images, 2 * groups * taps, *counts), odd=odd)
    mask = present(draw, values(draw, "float32", (images, groups * taps, *counts), odd=odd))
    return Sample([x, offset, mask], attrs | {"kernel": kernel, "groups": groups})


@case("roi_align", "roi_max")
def roi(draw: Draw, op: str) -> Sample:
    images, odd = draw(st.integers(1, 2)), draw(st.booleans())
    x = values(draw, "float32", (images, 2, draw(st.integers(1, 6)), draw(st.integers(1, 6))), odd=odd)
    regions = draw(st.integers(1, 2))
    rois = values(draw, "float32", (regions, 4 if op == "roi_align" else 5), odd=draw(st.booleans()))
    size = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    attrs: Attrs = {"size": size, "scale": draw(st.sampled_from((1.0, 0.25, -1.0, 1e30)))}
    if op == "roi_max":
        return Sample([x, rois], attrs)
    attrs |= {name: draw(st.integers(0, 1)) for name in ("half_pixel", "maximum")}
    attrs["samples"] = draw(st.integers(0, 3))
    return Sample([x, rois, values(draw, "int64", (regions,))], attrs)


@case("eliminate")
def eliminate(draw: Draw, op: str) -> Sample:
    size = draw(st.integers(1, 5))
    x = values(draw, "float32", (draw(st.integers(1, 3)), size, size), odd=draw(st.booleans()))
    return Sample([x], {"step": draw(st.integers(0, size - 1))})
